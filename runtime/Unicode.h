// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Text as the tokenizer sees it: UTF-8 in and out, the character classes of its
// patterns, and the normal forms, each in the Unicode version that the
// tokenizers library has for it (format/UnicodeAdditions.h).
// Invariant: everything but appendValidUtf8 is given valid UTF-8.
#ifndef TBQ_RUNTIME_UNICODE_H
#define TBQ_RUNTIME_UNICODE_H

#include <cstdint>
#include <string>
#include <string_view>

namespace tbq::unicode {

struct Character {
  uint32_t codePoint;
  uint32_t bytes;
};

/// The character that starts at `offset` (< text.size()).
Character decodeAt(std::string_view text, size_t offset);
/// The character that ends before `offset` (> 0).
Character decodeBefore(std::string_view text, size_t offset);
void append(std::string &out, uint32_t codePoint);

/// Appends `bytes` as UTF-8, each maximal ill-formed part as one U+FFFD (what
/// Python's errors="replace" and Rust's from_utf8_lossy do). Unless `last`, a
/// sequence cut off by the end is left; returns how many bytes were used.
size_t appendValidUtf8(std::string &out, std::string_view bytes, bool last);
bool isValidUtf8(std::string_view bytes);

enum class Class : uint8_t { letter, number, space, other };
/// The classes of \p{L}, \p{N}, \s (White_Space) and the rest.
Class classOf(uint32_t codePoint);
/// What the Digits pre-tokenizer takes for a digit.
bool isNumeric(uint32_t codePoint);
/// \w of the patterns that guard single-word tokens.
bool isWord(uint32_t codePoint);

enum class NormalForm { nfc, nfd, nfkc, nfkd };
std::string normalize(std::string_view text, NormalForm form);
/// Character by character, full mappings, no context.
std::string lowercase(std::string_view text);

} // namespace tbq::unicode

#endif // TBQ_RUNTIME_UNICODE_H
