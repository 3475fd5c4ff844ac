// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Text to ids with tokenizers whose answers can be worked out by hand; the
// comparison with the tokenizers library is test/Run/test_tokenizer.py.
#include "SmallTokenizer.h"

#include <chrono>
#include <gtest/gtest.h>

using namespace tbq;
using namespace tbq::test;
using nlohmann::json;

static json split(const std::string &pattern, const char *behavior) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", pattern}}},
          {"behavior", behavior},
          {"invert", false}};
}

static json bytesOnly() {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
}

TEST(Encode, MergesByRankWithinWords) {
  auto open = makeTokenizer(byteLevelTokenizer());
  EXPECT_EQ(open.encode("hello"), (Ids{259}));
  EXPECT_EQ(open.encode("hell"), (Ids{258}));
  EXPECT_EQ(open.encode("helhello"), (Ids{256, 'l', 259}));
  EXPECT_EQ(open.encode("lll"), (Ids{257, 'l'})); // the leftmost pair first
  EXPECT_EQ(open.encode("hello wo"), (Ids{259, 260, 'o'}));
  EXPECT_EQ(open.encode("he\nllo"), (Ids{256, '\n', 257, 'o'}));
  EXPECT_EQ(open.encode(""), Ids{});
  EXPECT_EQ(open.encode("é"), (Ids{0xc3, 0xa9}));
}

TEST(Encode, IgnoreMergesTakesWholeWordsFirst) {
  json document = byteLevelTokenizer();
  document["model"]["merges"] = json::array();
  EXPECT_EQ(makeTokenizer(document).encode("he"), (Ids{'h', 'e'}));
  document["model"]["ignore_merges"] = true;
  EXPECT_EQ(makeTokenizer(document).encode("he"), (Ids{256}));
}

TEST(Encode, SpecialTokensInTheText) {
  auto open = makeTokenizer(byteLevelTokenizer());
  EXPECT_EQ(open.encode("he<|end|>he"), (Ids{256, 261, 256}));
  EXPECT_EQ(open.encode("<|end|>", true, /*parseSpecial=*/false).size(), 7u);
  EXPECT_EQ(open.encode("<<|end|>"), (Ids{'<', 261}));
}

TEST(Encode, StripAndSingleWord) {
  json document = byteLevelTokenizer();
  auto &token = document["added_tokens"][0];
  token["lstrip"] = token["rstrip"] = true;
  EXPECT_EQ(makeTokenizer(document).encode("a \t<|end|>\n b"),
            (Ids{'a', 261, 'b'}));
  document["model"]["vocab"].erase("<|end|>");
  token = {{"id", 261},          {"content", "he"}, {"special", false},
           {"lstrip", false},    {"rstrip", false}, {"normalized", false},
           {"single_word", true}};
  // "he" is token 256 of the model, so that is the id it must keep.
  auto refused = compile(document);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("256"), std::string::npos);
  token["id"] = 256;
  document["model"]["merges"] = json::array();
  auto open = makeTokenizer(document);
  EXPECT_EQ(open.encode("he, he"), (Ids{256, ',', ' ', 256}));
  EXPECT_EQ(open.encode("hex"), (Ids{'h', 'e', 'x'}));
  EXPECT_EQ(open.encode("\xc3\xa9he"), (Ids{0xc3, 0xa9, 'h', 'e'}));
}

TEST(Encode, LongestAddedTokenWins) {
  json document = byteLevelTokenizer();
  int id = 262;
  for (const char *text : {"<a", "<abc", "<ab", "c>"}) {
    json token = document["added_tokens"][0];
    token["id"] = id++;
    token["content"] = text;
    document["added_tokens"].push_back(token);
  }
  auto open = makeTokenizer(document);
  EXPECT_EQ(open.encode("<abc>"), (Ids{263, '>'}));
  EXPECT_EQ(open.encode("<abx<a"), (Ids{264, 'x', 262}));
  EXPECT_EQ(open.encode("<acc>"), (Ids{262, 'c', 265}));
  EXPECT_EQ(open.encode("<"), (Ids{'<'}));
}

TEST(Encode, SentencePieceStyle) {
  auto open = makeTokenizer(sentencePieceTokenizer());
  EXPECT_EQ(open.encode("a"), (Ids{1, 262}));
  EXPECT_EQ(open.encode("a", /*addSpecial=*/false), (Ids{262}));
  EXPECT_EQ(open.encode("ab"), (Ids{1, 262, 261})); // "▁a" has the lower rank
  EXPECT_EQ(open.encode("bab"), (Ids{1, 259, 261, 263}));
  EXPECT_EQ(open.encode("é"), (Ids{1, 259, 3 + 0xc3, 3 + 0xa9}));
  EXPECT_EQ(open.encode("a</s>b"), (Ids{1, 262, 2, 259, 261}));
}

TEST(Encode, UnknownCharacters) {
  json document = sentencePieceTokenizer();
  document["model"]["byte_fallback"] = false;
  EXPECT_EQ(makeTokenizer(document).encode("éßb"), (Ids{1, 259, 0, 261}));
  document["model"]["fuse_unk"] = false;
  EXPECT_EQ(makeTokenizer(document).encode("éßb"), (Ids{1, 259, 0, 0, 261}));
  document["model"]["unk_token"] = nullptr;
  EXPECT_EQ(makeTokenizer(document).encode("éßb"), (Ids{1, 259, 261}));
}

TEST(Encode, SplitBehaviors) {
  json document = byteLevelTokenizer();
  document["model"]["merges"] = {"l l"};
  auto encode = [&](const char *behavior, const char *text) {
    document["pre_tokenizer"] = {
        {"type", "Sequence"},
        {"pretokenizers", {split("l", behavior), bytesOnly()}}};
    return makeTokenizer(document).encode(text);
  };
  EXPECT_EQ(encode("Isolated", "all"), (Ids{'a', 'l', 'l'}));
  EXPECT_EQ(encode("Contiguous", "all"), (Ids{'a', 257}));
  EXPECT_EQ(encode("Removed", "allo"), (Ids{'a', 'o'}));
  EXPECT_EQ(encode("MergedWithPrevious", "llll"), (Ids{'l', 'l', 'l', 'l'}));
}

TEST(Encode, RepairsIllFormedText) {
  auto open = makeTokenizer(byteLevelTokenizer());
  EXPECT_EQ(open.encode("\xff"), (Ids{0xef, 0xbf, 0xbd}));
  EXPECT_EQ(open.encode("\xe2\x82"), (Ids{0xef, 0xbf, 0xbd}));
}

TEST(Encode, RunawayPatternIsAnError) {
  json document = byteLevelTokenizer();
  document["pre_tokenizer"] = split("(?:a+)+c", "Isolated");
  auto open = makeTokenizer(document);
  auto ids = open.tokenizer.encode(std::string(5000, 'a') + "bc");
  ASSERT_FALSE(ids);
  EXPECT_NE(ids.error().message.find("split pattern"), std::string::npos);
}

TEST(Encode, OneRepeatedCharacterIsNotQuadratic) {
  json document = byteLevelTokenizer();
  document["pre_tokenizer"] = bytesOnly();
  auto open = makeTokenizer(document);
  auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(open.encode(std::string(1 << 20, 'l')).size(), 1u << 19);
  std::chrono::duration<double> seconds =
      std::chrono::steady_clock::now() - start;
  EXPECT_LT(seconds.count(), 20); // sanitizers included; test_tokenizer.py: 2
}

TEST(Encode, NamedTokens) {
  auto open = makeTokenizer(
      sentencePieceTokenizer(),
      R"({"bos_token": "<s>", "eos_token": {"content": "</s>"}})");
  EXPECT_EQ(open.tokenizer.firstToken(), 1);
  EXPECT_EQ(open.tokenizer.endToken(), 2);
  EXPECT_EQ(open.tokenizer.paddingToken(), std::nullopt);
  EXPECT_EQ(open.tokenizer.vocabularySize(), 264);
  EXPECT_EQ(open.tokenizer.tokenText(262), "▁a");
  EXPECT_EQ(open.tokenizer.tokenText(264), std::nullopt);
  EXPECT_EQ(open.tokenizer.tokenText(-1), std::nullopt);
  EXPECT_EQ(open.tokenizer.findToken("</s>"), 2);
  EXPECT_EQ(open.tokenizer.findToken("zzz"), std::nullopt);
  EXPECT_TRUE(open.tokenizer.isSpecial(2));
  EXPECT_FALSE(open.tokenizer.isSpecial(262));
}
