// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Writes format/TokenizerTables.h.
// Input: a checked TokenizerSource. Output: the bytes.
// Invariant: hash tables are at most half full and filled in the order of ids
// and ranks, so equal sources give equal bytes.
#include "TokenizerSource.h"

#include <array>
#include <xxhash.h>

using namespace tbq;
using namespace tbq::tables;

namespace {

class Bytes {
public:
  std::vector<uint8_t> data;

  void add32(uint32_t value) {
    for (unsigned shift = 0; shift < 32; shift += 8)
      data.push_back(static_cast<uint8_t>(value >> shift));
  }
  void add64(uint64_t value) {
    add32(static_cast<uint32_t>(value));
    add32(static_cast<uint32_t>(value >> 32));
  }
  void addText(std::string_view text) {
    data.insert(data.end(), text.begin(), text.end());
  }
  void addBytes(const std::vector<uint8_t> &bytes) {
    data.insert(data.end(), bytes.begin(), bytes.end());
  }
};

using Sections = std::array<Bytes, sectionCount>;

} // namespace

static uint64_t slotsFor(uint64_t entries) {
  uint64_t slots = 16;
  while (slots < 2 * entries)
    slots *= 2;
  return slots;
}

static void writeTokens(const TokenizerSource &source, Sections &sections) {
  std::vector<uint32_t> slots(slotsFor(source.modelTokens), none);
  uint32_t offset = 0;
  for (uint32_t id = 0; id < source.tokens.size(); ++id) {
    const auto &token = source.tokens[id];
    sections[tokenOffsets].add32(offset);
    sections[tokenBytes].addText(token.text);
    sections[tokenFlags].data.push_back(token.flags);
    offset += static_cast<uint32_t>(token.text.size());
    if (!(token.flags & inModel))
      continue;
    uint64_t slot = hashText(token.text) & (slots.size() - 1);
    while (slots[slot] != none)
      slot = (slot + 1) & (slots.size() - 1);
    slots[slot] = id;
  }
  sections[tokenOffsets].add32(offset);
  for (uint32_t id : slots)
    sections[vocabularySlots].add32(id);
}

static void writeMerges(const TokenizerSource &source, Bytes &out) {
  std::vector<TokenizerSource::Merge> slots(slotsFor(source.merges.size()),
                                            {none, none, none, none});
  for (const auto &merge : source.merges) {
    uint64_t slot = hashPair(merge.left, merge.right) & (slots.size() - 1);
    while (slots[slot].left != none)
      slot = (slot + 1) & (slots.size() - 1);
    slots[slot] = merge;
  }
  for (const auto &merge : slots)
    for (uint32_t field : {merge.left, merge.right, merge.rank, merge.result})
      out.add32(field);
}

static void writeRest(const TokenizerSource &source, Sections &sections) {
  for (const auto &token : source.added)
    for (uint32_t field : {token.id, token.flags})
      sections[addedTokens].add32(field);
  for (const auto &step : source.steps)
    for (uint32_t field :
         {step.kind, step.flags, step.first, step.second, step.number})
      sections[steps].add32(field);
  uint32_t offset = 0;
  for (const std::string &text : source.strings) {
    sections[stringOffsets].add32(offset);
    sections[stringBytes].addText(text);
    offset += static_cast<uint32_t>(text.size());
  }
  sections[stringOffsets].add32(offset);
  for (const auto *ids : {&source.prefix, &source.suffix})
    for (uint32_t id : *ids)
      sections[templateTokens].add32(id);
}

std::vector<uint8_t> tbq::writeTables(const TokenizerSource &source) {
  Sections sections;
  writeTokens(source, sections);
  writeMerges(source, sections[mergeSlots]);
  writeRest(source, sections);

  // Everything after the checksum first, then what depends on it.
  Bytes rest;
  for (uint32_t field :
       {static_cast<uint32_t>(source.tokens.size()), source.modelFlags,
        source.unknown, static_cast<uint32_t>(source.prefix.size()),
        static_cast<uint32_t>(source.suffix.size()), source.first, source.end,
        source.padding})
    rest.add32(field);
  auto aligned = [](uint64_t offset) { return (offset + 7) / 8 * 8; };
  uint64_t offset = headerSize + sectionCount * sectionEntrySize;
  for (uint32_t i = 0; i < sectionCount; ++i) {
    offset = aligned(offset);
    rest.add32(i);
    rest.add32(0);
    rest.add64(offset);
    rest.add64(sections[i].data.size());
    offset += sections[i].data.size();
  }
  for (const Bytes &section : sections) {
    rest.data.resize(aligned(rest.data.size()));
    rest.addBytes(section.data);
  }

  Bytes file;
  file.addText(magic);
  file.add32(version);
  file.add32(sectionCount);
  file.add64(checksumEnd + rest.data.size());
  file.add64(XXH64(rest.data.data(), rest.data.size(), 0));
  file.addBytes(rest.data);
  return std::move(file.data);
}
