// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The binary form of a tokenizer: written once by the compiler from
// tokenizer.json, then used by the runtime where it is mapped, without parsing.
// A header, a list of sections (kind, offset, size), the sections.
// Invariant: all integers are little-endian; sections lie in the order of their
// kinds, start at multiples of 8 and do not overlap; offsets are from byte 0.
#ifndef TBQ_FORMAT_TOKENIZERTABLES_H
#define TBQ_FORMAT_TOKENIZERTABLES_H

#include <cstdint>
#include <string_view>

namespace tbq::tables {

constexpr std::string_view magic = "TBQTOKEN";
constexpr uint32_t version = 1;
constexpr uint32_t none = 0xffffffff; // no token, no string, an empty slot
constexpr uint32_t maxTokens = 1u << 24;

/// At byte 0, in this order and without padding:
///   magic (8 bytes), u32 version, u32 sections, u64 size of the whole,
///   u64 XXH64 (seed 0) of every byte after this field,
///   u32 tokens, u32 model flags, u32 unknown token, u32 template prefix,
///   u32 template suffix, u32 first (bos), u32 end (eos), u32 padding token,
/// then per section: u32 kind, u32 zero, u64 offset, u64 size.
constexpr uint64_t checksumEnd = 32;
constexpr uint64_t headerSize = 64;
constexpr uint64_t sectionEntrySize = 24;

enum Section : uint32_t {
  /// u32[tokens + 1]: where the text of each token starts in tokenBytes. Ids
  /// that stand for nothing have empty text and no present flag.
  tokenOffsets,
  tokenBytes,
  /// u8[tokens]: TokenFlag.
  tokenFlags,
  /// u32[power of two]: ids of the model's own vocabulary, open addressing
  /// with linear probing from hashText(text) & (slots - 1); `none` is empty.
  vocabularySlots,
  /// {u32 left, right, rank, result}[power of two]: the merges, likewise from
  /// hashPair(left, right) & (slots - 1); left == `none` is empty.
  mergeSlots,
  /// {u32 id, u32 AddedFlag}[]: tokens found in the text before the model.
  addedTokens,
  /// {u32 StepKind, u32 flags, u32 string, u32 string, u32 number}[]:
  /// normalizers, then pre-tokenizers, then decoders, each in their order.
  steps,
  /// u32[strings + 1] into stringBytes: what steps refer to.
  stringOffsets,
  stringBytes,
  /// u32[prefix + suffix]: tokens put around an encoded text.
  templateTokens,
  sectionCount
};

constexpr uint64_t mergeSlotSize = 16;
constexpr uint64_t addedTokenSize = 8;
constexpr uint64_t stepSize = 20;

enum TokenFlag : uint8_t {
  present = 1,
  inModel = 2, // in the model's vocabulary
  added = 4,
  special = 8,
};

enum ModelFlag : uint32_t {
  byteFallback = 1,
  fuseUnknown = 2,
  ignoreMerges = 4,
};

enum AddedFlag : uint32_t {
  leftStrip = 1,
  rightStrip = 2,
  singleWord = 4,
  normalized = 8,
};

enum StepKind : uint32_t {
  // Normalizers.
  normalizePrepend = 0x100, // string: what is put before a text
  normalizeReplace,         // string: what is replaced, second: by what
  normalizeNfc,
  normalizeNfd,
  normalizeNfkc,
  normalizeNfkd,
  normalizeLowercase,
  // Pre-tokenizers.
  splitByteLevel = 0x200, // ByteLevelFlag
  splitDigits,            // DigitsFlag
  splitMetaspace,         // MetaspaceFlag; string: the replacement
  splitPattern,           // SplitFlag; string: a PCRE2 pattern
  splitText,              // SplitFlag; string: the text itself
  // Decoders. None at all: token texts joined by spaces.
  decodeByteLevel = 0x300,
  decodeMetaspace,    // MetaspaceFlag; string: the replacement
  decodeReplace,      // string, second: as in normalizeReplace, per token
  decodeByteFallback, // runs of <0xHH> become the bytes they name
  decodeFuse,         // the tokens become one text
  decodeStrip,        // string: one character; number: how many to drop at most
};

enum ByteLevelFlag : uint32_t { addPrefixSpace = 1, useRegex = 2 };
enum DigitsFlag : uint32_t { individualDigits = 1 };
enum MetaspaceFlag : uint32_t {
  prependFirst = 1, // before the text's first piece only
  prependAlways = 2,
  metaspaceSplit = 4,
};

/// What happens to the matches of a split; one of them, plus perhaps invert.
enum SplitFlag : uint32_t {
  splitRemoved = 0,
  splitIsolated = 1,
  splitMergedWithPrevious = 2,
  splitMergedWithNext = 3,
  splitContiguous = 4,
  splitBehaviorMask = 7,
  splitInvert = 8,
};

/// FNV-1a, 64 bits.
constexpr uint64_t hashText(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (char character : text)
    hash = (hash ^ static_cast<uint8_t>(character)) * 0x100000001b3;
  return hash ^ (hash >> 32);
}

constexpr uint64_t hashPair(uint32_t left, uint32_t right) {
  uint64_t key = (static_cast<uint64_t>(left) << 32 | right) + 1;
  key *= 0x9e3779b97f4a7c15;
  return key ^ (key >> 29);
}

} // namespace tbq::tables

#endif // TBQ_FORMAT_TOKENIZERTABLES_H
