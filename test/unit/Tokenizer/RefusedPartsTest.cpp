// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Fields of a tokenizer's two files that are of another type or value than
// they must be, one at a time: each is refused by its path.
#include "SmallTokenizer.h"

#include "tbq/ChatTemplate.h"

#include <gtest/gtest.h>

using namespace tbq;
using namespace tbq::test;
using nlohmann::json;

namespace {
/// `value` (JSON) at a place of the SentencePiece-style document.
struct Damage {
  const char *place, *value, *named;
};
} // namespace

static void expectNamed(const Damage &damage, const json &document,
                        const std::string &config = "") {
  auto tables = compile(document, config);
  ASSERT_FALSE(tables) << damage.place << " = " << damage.value;
  EXPECT_NE(tables.error().message.find(damage.named), std::string::npos)
      << tables.error().message << " has no " << damage.named;
}

TEST(RefusedParts, OfTheDocument) {
  for (const Damage &damage : std::initializer_list<Damage>{
           {"/version", "1", "version"},
           {"/model/vocab", "{}", "model.vocab: must hold from 1 token"},
           {"/model/vocab", R"({"a": 65537})",
            "model.vocab.a: must be an integer in [0, 65536] (got 65537)"},
           {"/model/merges", "{}", "model.merges"},
           {"/model/dropout", "\"0\"", "model.dropout"},
           {"/model/dropout", "0.5", "model.dropout: must be null"},
           {"/model/unk_token", "5", "model.unk_token"},
           {"/model/continuing_subword_prefix", "1", "subword_prefix"},
           {"/model/fuse_unk", "1", "model.fuse_unk"},
           {"/added_tokens", "{}", "added_tokens"},
           {"/added_tokens/0", "5", "added_tokens[0]"},
           {"/added_tokens/0/special", "1", "added_tokens[0].special"},
           {"/normalizer", "[]", "normalizer"},
           {"/normalizer/normalizers", "{}", "normalizers"},
           {"/normalizer/normalizers/1/pattern", "{}", "for a String only"},
           {"/normalizer/normalizers/1/pattern", "5", "pattern"},
           {"/normalizer/normalizers/1/pattern/String", "\"\"", "a text"},
           {"/normalizer/normalizers/1/content", "5", "content"},
           {"/normalizer/normalizers/0/prepend", "5", "prepend"},
           {"/decoder/decoders/3/content", "5", "content"},
           {"/decoder/decoders/3/content", "\"\"", "one character"},
           {"/decoder/decoders/3/start", "-1", "start"},
           {"/decoder/decoders/3/stop", "1", "stop"},
           {"/post_processor/single", "5", "single"},
           {"/post_processor/single", "[]", "has no place for the text"},
           {"/post_processor/single/0/SpecialToken", "5", "SpecialToken"},
           {"/post_processor/single/0/SpecialToken/id", "5", "id"},
           {"/post_processor/single/1/Sequence/id", "\"B\"", "A, once"},
           {"/post_processor/special_tokens", "5", "special_tokens"},
           {"/post_processor/special_tokens/<s>/ids", "5", "ids"},
           {"/post_processor/special_tokens/<s>/ids/0", "-1", "no token -1"},
           {"/post_processor/special_tokens/<s>/ids/0", "264", "no token 264"},
       }) {
    json document = sentencePieceTokenizer();
    document[json::json_pointer(damage.place)] = json::parse(damage.value);
    expectNamed(damage, document);
  }
}

TEST(RefusedParts, OfAPreTokenizer) {
  const json split = {{"type", "Split"},
                      {"pattern", {{"String", " "}}},
                      {"behavior", "Removed"},
                      {"invert", false}};
  const json metaspace = {{"type", "Metaspace"},
                          {"replacement", "_"},
                          {"prepend_scheme", "never"},
                          {"split", true}};
  const json digits = {{"type", "Digits"}, {"individual_digits", true}};
  const struct {
    const json *good;
    std::vector<Damage> damages;
  } parts[] = {
      {&split,
       {{"/behavior", "5", "behavior"},
        {"/behavior", "\"Kept\"", "unsupported Kept"},
        {"/invert", "null", "invert"},
        {"/pattern", "5", "pattern"},
        {"/pattern/String", "5", "String"},
        {"/pattern/String", "\"\"", "a text"}}},
      {&metaspace,
       {{"/replacement", "5", "replacement"},
        {"/prepend_scheme", "5", "prepend_scheme"},
        {"/prepend_scheme", "\"last\"", "always, first or never"},
        {"/prepend_scheme", "\"first\"", "does not match prepend_scheme first"},
        {"/add_prefix_space", "5", "add_prefix_space"},
        {"/split", "5", "split"}}},
      {&digits, {{"/individual_digits", "5", "individual_digits"}}}};
  for (const auto &part : parts) {
    json document = byteLevelTokenizer();
    document["pre_tokenizer"] = *part.good;
    ASSERT_TRUE(compile(document)) << *part.good;
    for (const Damage &damage : part.damages) {
      document["pre_tokenizer"] = *part.good;
      if (std::string(damage.value) == "\"first\"")
        document["pre_tokenizer"]["add_prefix_space"] = false;
      document["pre_tokenizer"][json::json_pointer(damage.place)] =
          json::parse(damage.value);
      expectNamed(damage, document);
    }
  }
  json document = byteLevelTokenizer();
  document["pre_tokenizer"] = {
      {"type", "Sequence"}, {"pretokenizers", std::vector<json>(64, digits)}};
  expectNamed({"pretokenizers", "65 parts", "more than 64 components"},
              document);
}

TEST(RefusedParts, OfTheConfiguration) {
  for (const Damage &damage : std::initializer_list<Damage>{
           {"", "[]", "tokenizer_config.json"},
           {"", R"({"bos_token":5})", "bos_token"},
           {"", R"({"bos_token":{"content":5}})", "bos_token.content"},
           {"", R"({"added_tokens_decoder":[]})", "added_tokens_decoder"},
           {"", R"({"added_tokens_decoder":{"1":5}})",
            "added_tokens_decoder.1"},
           {"", R"({"added_tokens_decoder":{"1":{"content":5}}})", "content"}})
    expectNamed(damage, sentencePieceTokenizer(), damage.value);
}

TEST(RefusedParts, OfAChatsConfiguration) {
  for (const char *config :
       {"[]", R"({"bos_token":5})", R"({"eos_token":{"content":5}})",
        R"({"chat_template":5})", R"({"chat_template":[5]})",
        R"({"chat_template":[{"name":5}]})",
        R"({"chat_template":[{"name":"default","template":5}]})"}) {
    auto chat = recogniseChat("", config, "model");
    ASSERT_FALSE(chat) << config;
    EXPECT_EQ(chat.error().message.rfind("model/tokenizer_config.json: ", 0),
              0u)
        << chat.error().message;
  }
  auto other = recogniseChat(
      "", R"({"chat_template":[{"name":"tools","template":"x"}]})", "model");
  ASSERT_TRUE(other);
  EXPECT_FALSE(other->format);
}

TEST(RefusedParts, NotACommentNorAPairGivenTwice) {
  // The comment counts no rank, and the pair has its last one.
  json document = byteLevelTokenizer();
  document["model"]["vocab"]["el"] = 262;
  document["model"]["merges"] = {"#version: 0.2", "e l", "l l", "e l"};
  EXPECT_EQ(makeTokenizer(document).encode("ell"), (Ids{'e', 257}));
  document["model"]["merges"] = {"e l", "l l"};
  EXPECT_EQ(makeTokenizer(document).encode("ell"), (Ids{262, 'l'}));
}
