// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// UTF-8, character classes and normal forms over utf8proc's tables.
// Invariant: n characters take O(n log n) time (combining marks are sorted, not
// exchanged one by one as in utf8proc_map, which hostile text makes quadratic).
#include "runtime/Unicode.h"

#include "format/UnicodeAdditions.h"

#include <algorithm>
#include <utf8proc.h>
#include <vector>

using namespace tbq;
using namespace tbq::unicode;

Character unicode::decodeAt(std::string_view text, size_t offset) {
  auto at = [&](size_t i) {
    return static_cast<uint32_t>(static_cast<uint8_t>(text[offset + i]));
  };
  uint32_t first = at(0);
  if (first < 0x80)
    return {first, 1};
  if (first < 0xe0)
    return {(first & 0x1f) << 6 | (at(1) & 0x3f), 2};
  if (first < 0xf0)
    return {(first & 0xf) << 12 | (at(1) & 0x3f) << 6 | (at(2) & 0x3f), 3};
  return {(first & 7) << 18 | (at(1) & 0x3f) << 12 | (at(2) & 0x3f) << 6 |
              (at(3) & 0x3f),
          4};
}

Character unicode::decodeBefore(std::string_view text, size_t offset) {
  do
    --offset;
  while ((static_cast<uint8_t>(text[offset]) & 0xc0) == 0x80);
  return decodeAt(text, offset);
}

void unicode::append(std::string &out, uint32_t codePoint) {
  auto put = [&](uint32_t byte) { out += static_cast<char>(byte); };
  auto tail = [&](unsigned shift) {
    put(0x80 | ((codePoint >> shift) & 0x3f));
  };
  if (codePoint < 0x80) {
    put(codePoint);
  } else if (codePoint < 0x800) {
    put(0xc0 | codePoint >> 6);
    tail(0);
  } else if (codePoint < 0x10000) {
    put(0xe0 | codePoint >> 12);
    tail(6);
    tail(0);
  } else {
    put(0xf0 | codePoint >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

namespace {

/// The longest start of bytes[offset..] that could begin a character.
struct Sequence {
  size_t bytes;  // of it that fit (at least 1)
  size_t wanted; // by its first byte; 0 if that begins nothing
};

} // namespace

static Sequence scanSequence(std::string_view bytes, size_t offset) {
  auto at = [&](size_t i) { return static_cast<uint8_t>(bytes[offset + i]); };
  uint8_t first = at(0);
  if (first < 0x80)
    return {1, 1};
  if (first < 0xc2 || first > 0xf4)
    return {1, 0};
  size_t wanted = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  // The second byte's range keeps out overlong forms, surrogates and what is
  // past U+10FFFF (Unicode standard, table 3-7).
  uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  size_t fit = 1;
  while (fit < wanted && offset + fit < bytes.size() && at(fit) >= low &&
         at(fit) <= high) {
    ++fit;
    low = 0x80;
    high = 0xbf;
  }
  return {fit, wanted};
}

size_t unicode::appendValidUtf8(std::string &out, std::string_view bytes,
                                bool last) {
  size_t offset = 0;
  while (offset < bytes.size()) {
    Sequence sequence = scanSequence(bytes, offset);
    if (sequence.bytes == sequence.wanted) {
      out.append(bytes.substr(offset, sequence.bytes));
    } else {
      bool cutOff = sequence.wanted && offset + sequence.bytes == bytes.size();
      if (cutOff && !last)
        break;
      append(out, 0xfffd);
    }
    offset += sequence.bytes;
  }
  return offset;
}

bool unicode::isValidUtf8(std::string_view bytes) {
  for (size_t offset = 0; offset < bytes.size();) {
    Sequence sequence = scanSequence(bytes, offset);
    if (sequence.bytes != sequence.wanted)
      return false;
    offset += sequence.bytes;
  }
  return true;
}

static bool isWhiteSpace(uint32_t c) {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
         c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

Class unicode::classOf(uint32_t c) {
  if (isWhiteSpace(c))
    return Class::space;
  if (c < 0x80) {
    if ((c | 0x20) - 'a' < 26)
      return Class::letter;
    return c - '0' < 10 ? Class::number : Class::other;
  }
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
  case UTF8PROC_CATEGORY_LU:
  case UTF8PROC_CATEGORY_LL:
  case UTF8PROC_CATEGORY_LT:
  case UTF8PROC_CATEGORY_LM:
  case UTF8PROC_CATEGORY_LO:
    return Class::letter;
  case UTF8PROC_CATEGORY_ND:
  case UTF8PROC_CATEGORY_NL:
  case UTF8PROC_CATEGORY_NO:
    return Class::number;
  case UTF8PROC_CATEGORY_CN:
    if (contains(newLetters, c))
      return Class::letter;
    return contains(newNumbers, c) ? Class::number : Class::other;
  default:
    return Class::other;
  }
}

bool unicode::isNumeric(uint32_t c) {
  return classOf(c) == Class::number || contains(newerDigits, c);
}

bool unicode::isWord(uint32_t c) {
  // Other_Alphabetic beyond marks: the circled and squared Latin letters.
  if (c == 0x200c || c == 0x200d || (c >= 0x24b6 && c <= 0x24e9) ||
      (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
      (c >= 0x1f170 && c <= 0x1f189))
    return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
  case UTF8PROC_CATEGORY_LU:
  case UTF8PROC_CATEGORY_LL:
  case UTF8PROC_CATEGORY_LT:
  case UTF8PROC_CATEGORY_LM:
  case UTF8PROC_CATEGORY_LO:
  case UTF8PROC_CATEGORY_MN:
  case UTF8PROC_CATEGORY_MC:
  case UTF8PROC_CATEGORY_ME:
  case UTF8PROC_CATEGORY_ND:
  case UTF8PROC_CATEGORY_NL:
  case UTF8PROC_CATEGORY_PC:
    return true;
  default:
    return false;
  }
}

/// Puts each run of combining marks in canonical order: by class, and within a
/// class as they were.
static void orderMarks(std::vector<utf8proc_int32_t> &characters) {
  struct Mark {
    uint64_t order;
    utf8proc_int32_t character;
  };
  std::vector<Mark> run;
  for (size_t start = 0; start < characters.size(); ++start) {
    run.clear();
    for (size_t i = start; i < characters.size(); ++i) {
      auto rank = static_cast<uint64_t>(
          utf8proc_get_property(characters[i])->combining_class);
      if (rank == 0)
        break;
      run.push_back({rank << 40 | i, characters[i]});
    }
    std::sort(run.begin(), run.end(),
              [](const Mark &a, const Mark &b) { return a.order < b.order; });
    for (const Mark &mark : run)
      characters[start++] = mark.character;
  }
}

static void normalizeSegment(std::string_view text, NormalForm form,
                             std::string &out) {
  bool compatible = form == NormalForm::nfkc || form == NormalForm::nfkd;
  bool compose = form == NormalForm::nfc || form == NormalForm::nfkc;
  auto options =
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE |
                                     (compatible ? UTF8PROC_COMPAT : 0));
  std::vector<utf8proc_int32_t> characters;
  characters.reserve(text.size());
  for (size_t offset = 0; offset < text.size();) {
    Character character = decodeAt(text, offset);
    offset += character.bytes;
    utf8proc_int32_t parts[32]; // the longest decomposition has 18
    int boundClass = 0;
    auto count = utf8proc_decompose_char(
        static_cast<utf8proc_int32_t>(character.codePoint), parts, 32, options,
        &boundClass);
    characters.insert(characters.end(), parts,
                      parts + std::clamp<utf8proc_ssize_t>(count, 0, 32));
  }
  orderMarks(characters);
  if (compose) {
    auto count = utf8proc_normalize_utf32(
        characters.data(), static_cast<utf8proc_ssize_t>(characters.size()),
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    characters.resize(
        static_cast<size_t>(std::max<utf8proc_ssize_t>(count, 0)));
  }
  for (utf8proc_int32_t character : characters)
    append(out, static_cast<uint32_t>(character));
}

std::string unicode::normalize(std::string_view text, NormalForm form) {
  bool ascii = std::all_of(text.begin(), text.end(), [](char character) {
    return static_cast<uint8_t>(character) < 0x80;
  });
  if (ascii)
    return std::string(text);
  std::string result;
  result.reserve(text.size());
  size_t begin = 0;
  for (size_t offset = 0; offset < text.size();) {
    Character character = decodeAt(text, offset);
    if (contains(unknownToNormalForms, character.codePoint)) {
      normalizeSegment(text.substr(begin, offset - begin), form, result);
      append(result, character.codePoint);
      begin = offset + character.bytes;
    }
    offset += character.bytes;
  }
  normalizeSegment(text.substr(begin), form, result);
  return result;
}

static uint32_t lowercase(uint32_t c) {
  for (const CasePair &pair : newCasePairs)
    if (c >= pair.capitals.first && c <= pair.capitals.last)
      return c - pair.capitals.first + pair.firstSmall;
  return static_cast<uint32_t>(
      utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}

std::string unicode::lowercase(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t offset = 0; offset < text.size();) {
    Character character = decodeAt(text, offset);
    offset += character.bytes;
    if (character.codePoint == 0x130) // the one that becomes two characters
      result += "i\xcc\x87";
    else
      append(result, ::lowercase(character.codePoint));
  }
  return result;
}
