// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Checks tokenizer tables and looks things up in them.
// Input: untrusted bytes. Output: a view, or an error that names the part.
// Invariant: the checksum is verified first, yet nothing relies on it for
// memory safety: every index is checked against its section here, once.
#include "runtime/TokenizerView.h"

#include "runtime/Unicode.h"

#include <xxhash.h>

using namespace tbq;
using namespace tbq::tables;

static const char *sectionName(uint32_t section) {
  static const char *const names[sectionCount] = {
      "token offsets", "token bytes",  "token flags", "vocabulary",
      "merges",        "added tokens", "steps",       "string offsets",
      "string bytes",  "template"};
  return names[section];
}

static uint32_t load32(const uint8_t *data) {
  return *BoundedReader(data, 4).read<uint32_t>();
}

uint32_t TokenizerView::word(Section section, uint64_t index) const {
  return load32(sections[section].data + 4 * index);
}

Status TokenizerView::readHeader(BoundedReader &reader,
                                 const std::string &name) {
  if (reader.size() < headerSize)
    return makeError(name, "tokenizer header",
                     "needs " + std::to_string(headerSize) + " bytes (got " +
                         std::to_string(reader.size()) + ")");
  if (*reader.readString(magic.size()) != magic)
    return makeError(name, "tokenizer header", "not a tokenizer's tables");
  uint32_t fileVersion = *reader.read<uint32_t>();
  if (fileVersion != version)
    return makeError(name, "tokenizer version",
                     "must be " + std::to_string(version) + " (got " +
                         std::to_string(fileVersion) + ")");
  uint32_t listed = *reader.read<uint32_t>();
  uint64_t size = *reader.read<uint64_t>();
  if (size != reader.size())
    return makeError(name, "tokenizer size",
                     "says " + std::to_string(size) + " bytes (got " +
                         std::to_string(reader.size()) + ")");
  uint64_t checksum = *reader.read<uint64_t>();
  const uint8_t *rest = *reader.readBytes(0);
  if (XXH64(rest, reader.remaining(), 0) != checksum)
    return makeError(name, "tokenizer checksum", "does not match: damaged");
  if (listed != sectionCount)
    return makeError(name, "tokenizer sections",
                     "must be " + std::to_string(uint32_t(sectionCount)) +
                         " (got " + std::to_string(listed) + ")");
  for (uint32_t *field : {&tokenCount, &flags, &unknown, &prefix, &suffix,
                          &first, &end, &padding})
    *field = *reader.read<uint32_t>();
  if (tokenCount == 0 || tokenCount > maxTokens)
    return makeError(name, "tokenizer tokens",
                     "must be in [1, " + std::to_string(maxTokens) + "] (got " +
                         std::to_string(tokenCount) + ")");
  return Status::ok();
}

Status TokenizerView::readSections(BoundedReader &reader,
                                   const std::string &name) {
  uint64_t previousEnd = headerSize + sectionCount * sectionEntrySize;
  for (uint32_t i = 0; i < sectionCount; ++i) {
    auto kind = reader.read<uint32_t>();
    auto zero = reader.read<uint32_t>();
    auto offset = reader.read<uint64_t>();
    auto size = reader.read<uint64_t>();
    bool good = size && *kind == i && *zero == 0 && *offset % 8 == 0 &&
                *offset >= previousEnd && *offset <= reader.size() &&
                *size <= reader.size() - *offset;
    if (!good)
      return makeError(name, sectionName(i), "section out of place");
    BoundedReader at = reader;
    at.seek(*offset);
    sections[i] = {*at.readBytes(*size), *size};
    previousEnd = *offset + *size;
  }
  return Status::ok();
}

Status TokenizerView::checkOffsets(Section offsets, Section bytes,
                                   const std::string &name) const {
  uint64_t words = sections[offsets].size / 4;
  uint32_t previous = 0;
  for (uint64_t i = 0; i < words; ++i) {
    uint32_t offset = word(offsets, i);
    if (offset < previous || offset > sections[bytes].size || (!i && offset))
      return makeError(name, sectionName(offsets),
                       "entry " + std::to_string(i) + " out of order");
    previous = offset;
  }
  return Status::ok();
}

static bool isPowerOfTwo(uint64_t value) {
  return value && (value & (value - 1)) == 0;
}

Status TokenizerView::checkContents(const std::string &name) const {
  auto bad = [&](uint32_t section, std::string_view detail) {
    return Status(makeError(name, sectionName(section), detail));
  };
  auto isToken = [&](uint32_t id) {
    return id < tokenCount && (tokenFlags(id) & present);
  };
  for (uint32_t id : {unknown, first, end, padding})
    if (id != none && !isToken(id))
      return makeError(name, "tokenizer header",
                       "no token " + std::to_string(id));
  for (uint32_t id = 0; id < tokenCount; ++id)
    if (!unicode::isValidUtf8(text(id)))
      return bad(tokenBytes, "not UTF-8 in token " + std::to_string(id));
  uint64_t slots = sections[vocabularySlots].size / 4;
  for (uint64_t i = 0; i < slots; ++i)
    if (uint32_t id = word(vocabularySlots, i); id != none && !isToken(id))
      return bad(vocabularySlots, "no token " + std::to_string(id));
  slots = sections[mergeSlots].size / 4;
  for (uint64_t i = 0; i < slots; i += 4)
    if (word(mergeSlots, i) != none && !isToken(word(mergeSlots, i + 3)))
      return bad(mergeSlots,
                 "no token " + std::to_string(word(mergeSlots, i + 3)));
  for (uint32_t i = 0; i < addedCount(); ++i)
    if (Added token = added(i); !isToken(token.id) || text(token.id).empty())
      return bad(addedTokens, "no token " + std::to_string(token.id));
  for (uint32_t i = 0; i < templateCount(); ++i)
    if (!isToken(templateToken(i)))
      return bad(templateTokens,
                 "no token " + std::to_string(templateToken(i)));
  return Status::ok();
}

Status TokenizerView::checkSteps(const std::string &name) const {
  uint32_t strings = count(stringOffsets, 4) - 1;
  for (uint32_t i = 0; i < stepCount(); ++i) {
    for (uint64_t field : {2, 3})
      if (uint32_t string = word(steps, 5 * i + field);
          string != none && string >= strings)
        return makeError(name, sectionName(steps),
                         "no string " + std::to_string(string));
    Step checked = step(i);
    if (!unicode::isValidUtf8(checked.first) ||
        !unicode::isValidUtf8(checked.second))
      return makeError(name, sectionName(stringBytes), "not UTF-8");
  }
  return Status::ok();
}

Result<TokenizerView> TokenizerView::open(const uint8_t *data, uint64_t size,
                                          const std::string &name) {
  TokenizerView view;
  BoundedReader reader(data, size);
  if (auto status = view.readHeader(reader, name); !status)
    return status.error();
  if (auto status = view.readSections(reader, name); !status)
    return status.error();
  auto bytes = [&](uint32_t section) { return view.sections[section].size; };
  uint64_t templates = uint64_t(view.prefix) + view.suffix;
  bool sized[sectionCount] = {
      bytes(tokenOffsets) == 4 * (uint64_t(view.tokenCount) + 1),
      true,
      bytes(tables::tokenFlags) == view.tokenCount,
      bytes(vocabularySlots) % 4 == 0 &&
          isPowerOfTwo(bytes(vocabularySlots) / 4),
      bytes(mergeSlots) % mergeSlotSize == 0 &&
          isPowerOfTwo(bytes(mergeSlots) / mergeSlotSize),
      bytes(addedTokens) % addedTokenSize == 0 &&
          bytes(addedTokens) / addedTokenSize <= view.tokenCount,
      bytes(steps) % stepSize == 0 && bytes(steps) / stepSize <= 64,
      bytes(stringOffsets) % 4 == 0 && bytes(stringOffsets) > 0 &&
          bytes(stringOffsets) / 4 <= 256,
      true,
      bytes(templateTokens) == 4 * templates && templates <= 64};
  for (uint32_t i = 0; i < sectionCount; ++i)
    if (!sized[i])
      return makeError(name, sectionName(i),
                       "section of " + std::to_string(bytes(i)) + " bytes");
  for (auto check : {view.checkOffsets(tokenOffsets, tokenBytes, name),
                     view.checkOffsets(stringOffsets, stringBytes, name)})
    if (!check)
      return check.error();
  if (auto status = view.checkContents(name); !status)
    return status.error();
  if (auto status = view.checkSteps(name); !status)
    return status.error();
  return view;
}

std::string_view TokenizerView::slice(Section offsets, Section bytes,
                                      uint32_t index) const {
  uint32_t begin = word(offsets, index);
  auto data = reinterpret_cast<const char *>(sections[bytes].data);
  return {data + begin, word(offsets, uint64_t(index) + 1) - begin};
}

std::string_view TokenizerView::text(uint32_t id) const {
  return slice(tokenOffsets, tokenBytes, id);
}

uint8_t TokenizerView::tokenFlags(uint32_t id) const {
  return sections[tables::tokenFlags].data[id];
}

std::optional<uint32_t>
TokenizerView::findInModel(std::string_view wanted) const {
  uint64_t mask = sections[vocabularySlots].size / 4 - 1;
  uint64_t slot = hashText(wanted) & mask;
  for (uint64_t probes = 0; probes <= mask; ++probes) {
    uint32_t id = word(vocabularySlots, slot);
    if (id == none)
      break;
    if (text(id) == wanted)
      return id;
    slot = (slot + 1) & mask;
  }
  return std::nullopt;
}

std::optional<TokenizerView::Merge>
TokenizerView::findMerge(uint32_t left, uint32_t right) const {
  uint64_t mask = sections[mergeSlots].size / mergeSlotSize - 1;
  uint64_t slot = hashPair(left, right) & mask;
  for (uint64_t probes = 0; probes <= mask; ++probes) {
    const uint8_t *entry = sections[mergeSlots].data + mergeSlotSize * slot;
    uint32_t found = load32(entry);
    if (found == none)
      break;
    if (found == left && load32(entry + 4) == right)
      return Merge{load32(entry + 8), load32(entry + 12)};
    slot = (slot + 1) & mask;
  }
  return std::nullopt;
}

TokenizerView::Added TokenizerView::added(uint32_t index) const {
  return {word(addedTokens, 2 * uint64_t(index)),
          word(addedTokens, 2 * uint64_t(index) + 1)};
}

uint32_t TokenizerView::templateToken(uint32_t index) const {
  return word(templateTokens, index);
}

TokenizerView::Step TokenizerView::step(uint32_t index) const {
  auto field = [&](uint64_t i) { return word(steps, 5 * uint64_t(index) + i); };
  auto string = [&](uint32_t number) {
    return number == none ? std::string_view()
                          : slice(stringOffsets, stringBytes, number);
  };
  return {static_cast<StepKind>(field(0)), field(1), string(field(2)),
          string(field(3)), field(4)};
}
