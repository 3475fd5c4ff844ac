// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Ids to text, at once and as a stream.
#include "SmallTokenizer.h"

#include <gtest/gtest.h>
#include <random>

using namespace tbq;
using namespace tbq::test;
using nlohmann::json;

TEST(Decode, ByteLevelHoldsIncompleteCharacters) {
  auto open = makeTokenizer(byteLevelTokenizer());
  StreamDecoder decoder(open.tokenizer);
  EXPECT_EQ(decoder.push(259), "hello");
  EXPECT_EQ(decoder.push(0xe2), "");
  EXPECT_EQ(decoder.push(0x82), "");
  EXPECT_EQ(decoder.push(0xac), "€");
  EXPECT_EQ(decoder.push(0xe2), "");
  EXPECT_EQ(decoder.push('x'), "\ufffdx");
  EXPECT_EQ(decoder.push(0xf0), "");
  EXPECT_EQ(decoder.finish(), "\ufffd");
  EXPECT_EQ(decoder.push(260), " w"); // ready for another text
}

TEST(Decode, ByteTokensOfOneRunStandOrFallTogether) {
  auto open = makeTokenizer(sentencePieceTokenizer());
  const int32_t byte = 3;
  EXPECT_EQ(open.tokenizer.decode({byte + 0xc3, byte + 0xa9, 261}), "éb");
  EXPECT_EQ(open.tokenizer.decode({byte + 0xc3, byte + 0xa9, byte + 0xff}),
            "\ufffd\ufffd\ufffd");
  EXPECT_EQ(open.tokenizer.decode({byte + ' ', byte + 'x'}), "x");
}

TEST(Decode, OneLeadingSpaceIsDropped) {
  auto open = makeTokenizer(sentencePieceTokenizer());
  EXPECT_EQ(open.tokenizer.decode({262, 262}), "a a");
  EXPECT_EQ(open.tokenizer.decode({259, 262}), " a");
  EXPECT_EQ(open.tokenizer.decode({261, 262}), "b a");
  StreamDecoder decoder(open.tokenizer);
  EXPECT_EQ(decoder.push(262), "a");
  EXPECT_EQ(decoder.push(262), " a");
}

TEST(Decode, SpecialTokensAreSkippedByChoice) {
  // Not normalized here: with Prepend, a normalized one is written "▁<s>".
  auto open = makeTokenizer(sentencePieceTokenizer());
  EXPECT_EQ(open.tokenizer.decode({1, 262, 2}, /*skipSpecial=*/true), "a");
  EXPECT_EQ(open.tokenizer.decode({1, 262, 2}), "<s> a</s>");
  EXPECT_EQ(open.tokenizer.decode({-5, 262, 1000000}), "a");
}

TEST(Decode, MetaspaceAndNone) {
  json document = sentencePieceTokenizer();
  document["decoder"] = {{"type", "Metaspace"},
                         {"replacement", "▁"},
                         {"prepend_scheme", "always"},
                         {"split", true}};
  EXPECT_EQ(makeTokenizer(document).tokenizer.decode({262, 262}), "a a");
  document["decoder"]["prepend_scheme"] = "never";
  EXPECT_EQ(makeTokenizer(document).tokenizer.decode({262, 262}), " a a");
  document["decoder"] = nullptr;
  EXPECT_EQ(makeTokenizer(document).tokenizer.decode({262, 261}), "▁a b");
}

TEST(Decode, AddedTokenThatIsNoByteStringStandsForItself) {
  json document = byteLevelTokenizer();
  json token = document["added_tokens"][0];
  token["id"] = 262;
  token["content"] = "Ġ ○";
  document["added_tokens"].push_back(token);
  EXPECT_EQ(makeTokenizer(document).tokenizer.decode({262, 260}), "Ġ ○ w");
}

TEST(Decode, StreamEqualsWhole) {
  std::mt19937 random(7);
  for (const json &document :
       {byteLevelTokenizer(), sentencePieceTokenizer()}) {
    auto open = makeTokenizer(document);
    for (int round = 0; round < 200; ++round) {
      Ids ids(random() % 20);
      for (int32_t &id : ids)
        id = static_cast<int32_t>(random() % 264);
      StreamDecoder decoder(open.tokenizer);
      std::string text;
      for (int32_t id : ids)
        text += decoder.push(id);
      text += decoder.finish();
      EXPECT_EQ(text, open.tokenizer.decode(ids));
    }
  }
}
