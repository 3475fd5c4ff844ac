// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the tokenizer compiler refuses, and that it says why.
#include "SmallTokenizer.h"

#include "tbq/TokenizerCompiler.h"

#include <gtest/gtest.h>

using namespace tbq;
using namespace tbq::test;
using nlohmann::json;

/// Compiling `document` fails with a message that has all of `parts` in it.
static void expectRefused(const json &document,
                          const std::vector<std::string> &parts,
                          const std::string &config = "") {
  auto tables = compile(document, config);
  ASSERT_FALSE(tables) << document.dump().substr(0, 200);
  for (const std::string &part : parts)
    EXPECT_NE(tables.error().message.find(part), std::string::npos)
        << tables.error().message << " has no " << part;
}

TEST(TokenizerCompiler, EqualInputGivesEqualBytes) {
  auto first = compile(byteLevelTokenizer());
  auto second = compile(byteLevelTokenizer());
  ASSERT_TRUE(first && second);
  EXPECT_EQ(*first, *second);
}

TEST(TokenizerCompiler, MergesAsTextsOrPairs) {
  json document = byteLevelTokenizer();
  auto asTexts = compile(document);
  document["model"]["merges"] = json::array(
      {{"h", "e"}, {"l", "l"}, {"he", "ll"}, {"hell", "o"}, {"Ġ", "w"}});
  auto asPairs = compile(document);
  ASSERT_TRUE(asTexts && asPairs);
  EXPECT_EQ(*asTexts, *asPairs);
}

TEST(TokenizerCompiler, ModelsAndTheirOptions) {
  json document = byteLevelTokenizer();
  document["model"]["type"] = "Unigram";
  expectRefused(document, {"model/tokenizer.json", "model.type", "Unigram"});
  for (auto [key, value] : {std::pair<const char *, json>{"dropout", 0.1},
                            {"continuing_subword_prefix", "##"},
                            {"end_of_word_suffix", "</w>"},
                            {"unk_token", "nowhere"},
                            {"byte_fallback", "yes"}}) {
    document = byteLevelTokenizer();
    document["model"][key] = value;
    expectRefused(document, {std::string("model.") + key});
  }
}

TEST(TokenizerCompiler, VocabularyAndMerges) {
  json document = byteLevelTokenizer();
  document["model"]["vocab"]["he"] = 7;
  expectRefused(document, {"model.vocab", "7"});
  document["model"]["vocab"]["he"] = -1;
  expectRefused(document, {"model.vocab.he", "-1"});
  document["model"]["vocab"]["he"] = 1u << 30;
  expectRefused(document, {"model.vocab.he"});
  for (json merge : {json("h  e"), json("h"), json({"h"}), json(5),
                     json({"h", "zz"}), json("h o")}) {
    document = byteLevelTokenizer();
    document["model"]["merges"][1] = merge;
    expectRefused(document, {"merges[1]"});
  }
}

TEST(TokenizerCompiler, AddedTokens) {
  json document = byteLevelTokenizer();
  document["added_tokens"][0]["id"] = 5;
  expectRefused(document, {"added_tokens[0].id", "261"});
  document = byteLevelTokenizer();
  document["added_tokens"][0]["content"] = "";
  expectRefused(document, {"added_tokens[0].content"});
  document = byteLevelTokenizer();
  document["added_tokens"].push_back(document["added_tokens"][0]);
  expectRefused(document, {"added_tokens[1].id", "twice"});
}

TEST(TokenizerCompiler, Components) {
  struct Case {
    const char *field;
    const char *value;
    const char *named;
  };
  for (const Case &refused : std::initializer_list<Case>{
           {"normalizer", R"({"type": "BertNormalizer"})", "BertNormalizer"},
           {"normalizer", R"({})", "normalizer.type"},
           {"pre_tokenizer", R"({"type": "Whitespace"})", "Whitespace"},
           {"pre_tokenizer", R"({"type": "Metaspace", "replacement": "ab"})",
            "replacement"},
           {"pre_tokenizer",
            R"({"type": "Sequence", "pretokenizers": [{"type": "Digits",
                "individual_digits": true}, {"type": "Metaspace",
                "replacement": "_", "prepend_scheme": "first"}]})",
            "prepend_scheme"},
           {"post_processor", R"({"type": "BertProcessing"})",
            "BertProcessing"},
           {"post_processor",
            R"({"type": "TemplateProcessing", "special_tokens": {},
                "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}]})",
            "special_tokens.<s>"},
           {"decoder", R"({"type": "CTC"})", "CTC"},
           {"decoder",
            R"({"type": "Strip", "content": " ", "start": 1, "stop": 0})",
            "Strip"},
           {"decoder",
            R"({"type": "Sequence", "decoders": [{"type": "ByteLevel"},
                {"type": "Fuse"}]})",
            "Fuse"},
       }) {
    json document = byteLevelTokenizer();
    document[refused.field] = json::parse(refused.value);
    expectRefused(document, {"tokenizer.json", refused.named});
  }
}

TEST(TokenizerCompiler, PatternsOfOneMeaningOnly) {
  auto withPattern = [](const std::string &pattern) {
    json document = byteLevelTokenizer();
    document["pre_tokenizer"] = {{"type", "Split"},
                                 {"pattern", {{"Regex", pattern}}},
                                 {"behavior", "Isolated"},
                                 {"invert", false}};
    return document;
  };
  for (const char *pattern :
       {"\\w",    "\\bx",        "^a",     "a$",    "a.b",      "(?<=a)b",
        "(?i)a",  "(a)\\1",      "a{2}+",  "a{2}?", "a{,2}",    "a**",
        "[a&&b]", "[[:alpha:]]", "[a[b]]", "[\\S]", "[\\P{L}]", "\\p{Foo}",
        "\\p",    "[a",          "[]a]",   "a\\",   "(a",       "[\\s-a]",
        "\\v",    "(*ACCEPT)"})
    expectRefused(withPattern(pattern), {"Regex"});
  for (const char *pattern :
       {"(?i:'s|'t)|\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s+",
        "[^\\r\\n\\p{L}]?+\\p{Lu}++\\P{N}*?", "(?>a|b)(?!\\S)[a\\-z-]",
        "[\\p{Han}一-龥]+"})
    EXPECT_TRUE(compile(withPattern(pattern))) << pattern;
}

TEST(TokenizerCompiler, ConfigurationMustAgree) {
  json document = sentencePieceTokenizer();
  expectRefused(document, {"tokenizer_config.json", "eos_token", "<eos>"},
                R"({"eos_token": "<eos>"})");
  expectRefused(document, {"added_tokens_decoder.1", "</s>"},
                R"({"added_tokens_decoder": {"1": {"content": "</s>"}}})");
  expectRefused(document, {"tokenizer_config.json"}, "[");
  EXPECT_TRUE(compile(document, R"({"bos_token": null, "eos_token": "</s>",
      "added_tokens_decoder": {"2": {"content": "</s>"}}})"));
}

TEST(TokenizerCompiler, DamagedJson) {
  std::string text = sentencePieceTokenizer().dump();
  for (size_t size = 0; size < text.size(); size += 97)
    EXPECT_FALSE(compileTokenizer(text.substr(0, size), "", "model"));
  EXPECT_FALSE(compileTokenizer("[]", "", "model"));
  EXPECT_FALSE(compileTokenizer(R"({"version": "2.0"})", "", "model"));
}
