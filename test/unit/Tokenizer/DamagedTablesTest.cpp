// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Tables that are cut short or changed, with and without a checksum that fits:
// always a typed error or a tokenizer that works on what it was given.
#include "SmallTokenizer.h"

#include "format/TokenizerTables.h"

#include <cstring>
#include <gtest/gtest.h>
#include <memory>
#include <random>
#include <xxhash.h>

using namespace tbq;
using namespace tbq::test;
using nlohmann::json;

/// A copy without spare capacity, so that a sanitizer sees each byte too far.
static bool opensAndWorks(const std::vector<uint8_t> &tables) {
  auto copy = std::make_unique<uint8_t[]>(tables.size());
  std::copy(tables.begin(), tables.end(), copy.get());
  auto tokenizer = Tokenizer::open(copy.get(), tables.size(), "tables");
  if (!tokenizer) {
    EXPECT_EQ(tokenizer.error().message.rfind("tables: ", 0), 0u);
    return false;
  }
  for (bool parseSpecial : {false, true}) {
    auto ids =
        tokenizer->encode("hello w<|end|> aéb\t 12\xff", true, parseSpecial);
    if (!ids)
      continue;
    for (int32_t id : *ids)
      EXPECT_TRUE(id >= 0 && id < tokenizer->vocabularySize());
    (void)tokenizer->decode(*ids, parseSpecial);
  }
  (void)tokenizer->decode({0, 1, 2, 200, 255, 259, 260, 261, 262});
  return true;
}

static void setChecksum(std::vector<uint8_t> &tables) {
  uint64_t sum = XXH64(tables.data() + tables::checksumEnd,
                       tables.size() - tables::checksumEnd, 0);
  for (int i = 0; i < 8; ++i)
    tables[tables::checksumEnd - 8 + i] = static_cast<uint8_t>(sum >> (8 * i));
}

/// With every kind of step, so that damage reaches each.
static json richTokenizer() {
  json document = byteLevelTokenizer();
  document["normalizer"] = {
      {"type", "Sequence"},
      {"normalizers",
       {{{"type", "NFC"}},
        {{"type", "Replace"}, {"pattern", {{"String", "q"}}}, {"content", "k"}},
        {{"type", "Lowercase"}}}}};
  json byteLevel = document["pre_tokenizer"];
  document["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Digits"}, {"individual_digits", true}},
        {{"type", "Split"},
         {"pattern", {{"Regex", "\\s+"}}},
         {"behavior", "MergedWithNext"},
         {"invert", false}},
        byteLevel}}};
  return document;
}

TEST(DamagedTables, EveryTruncation) {
  for (const json &document :
       {byteLevelTokenizer(), sentencePieceTokenizer()}) {
    auto tables = compile(document);
    ASSERT_TRUE(tables);
    ASSERT_TRUE(opensAndWorks(*tables));
    for (size_t size = 0; size < tables->size(); ++size) {
      auto cut = *tables;
      cut.resize(size);
      EXPECT_FALSE(opensAndWorks(cut)) << size;
    }
  }
}

TEST(DamagedTables, EveryFlippedBitIsNoticed) {
  auto tables = compile(sentencePieceTokenizer());
  ASSERT_TRUE(tables);
  for (size_t byte = 0; byte < tables->size(); ++byte) {
    auto damaged = *tables;
    damaged[byte] ^= uint8_t(1) << byte % 8;
    EXPECT_FALSE(opensAndWorks(damaged)) << byte;
  }
}

TEST(DamagedTables, ChangesUnderAFittingChecksum) {
  std::mt19937 random(11);
  size_t opened = 0, refused = 0;
  for (const json &document : {richTokenizer(), sentencePieceTokenizer()}) {
    auto tables = compile(document);
    ASSERT_TRUE(tables);
    // The header, the section list and the small sections, byte by byte, and
    // places all over.
    for (size_t i = 0; i < 6000; ++i) {
      auto damaged = *tables;
      size_t place = tables::checksumEnd +
                     (i < 1000 ? i : random() % (damaged.size() - 32));
      const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
      damaged[place % damaged.size()] = values[random() % 5];
      setChecksum(damaged);
      ++(opensAndWorks(damaged) ? opened : refused);
    }
  }
  EXPECT_GT(opened, 100u);
  EXPECT_GT(refused, 100u);
}

TEST(DamagedTables, FullHashTablesEndTheirSearch) {
  auto tables = compile(byteLevelTokenizer());
  ASSERT_TRUE(tables);
  // No empty slot is left for a search to end at.
  for (uint32_t section : {tables::vocabularySlots, tables::mergeSlots}) {
    const uint8_t *entry =
        tables->data() + tables::headerSize + 24 * section + 8;
    uint64_t offset, size;
    std::memcpy(&offset, entry, 8);
    std::memcpy(&size, entry + 8, 8);
    std::fill_n(tables->begin() + static_cast<long>(offset), size, 0);
  }
  setChecksum(*tables);
  EXPECT_TRUE(opensAndWorks(*tables));
}
