// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A one-pass translator. Known differences it takes care of: \s in PCRE2 also
// takes U+180E; \p{Han} and other scripts mean script extensions there; `^`,
// `$`, \w, \b, \v, \h, inline options and {n}+ mean different things.
// Invariant: the output compiles under PCRE2 (checked at the end).
#include "PatternDialect.h"

#include "format/UnicodeAdditions.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iterator>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

using namespace tbq;

// White_Space, as the inside of a character class.
static const char *const whiteSpace =
    "\\x{09}-\\x{0d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}"
    "\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}";

static const char *const categories[] = {
    "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",
    "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po",
    "S",  "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp"};
static const char *const scripts[] = {
    "Han",   "Hiragana", "Katakana", "Hangul", "Latin",
    "Greek", "Cyrillic", "Arabic",   "Hebrew", "Thai"};

template <class Names>
static bool contains(const Names &names, const std::string &name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

/// The members of \p{L} and \p{N} that PCRE2 does not know yet.
static std::string additions(const std::string &category) {
  std::string result;
  auto add = [&result](const auto &ranges) {
    for (unicode::CodePoints range : ranges) {
      char text[40];
      std::snprintf(text, sizeof(text), "\\x{%x}-\\x{%x}", range.first,
                    range.last);
      result += text;
    }
  };
  if (category == "L")
    add(unicode::newLetters);
  if (category == "N")
    add(unicode::newNumbers);
  return result;
}

namespace {

class Translator {
public:
  explicit Translator(const std::string &text) : text(text) {}

  /// False leaves `refused` set.
  bool run() {
    while (refused.empty() && at < text.size())
      item();
    return refused.empty();
  }

  std::string out, refused;

private:
  bool startsWith(const char *wanted) const {
    return text.compare(at, std::strlen(wanted), wanted) == 0;
  }
  void copy(size_t count) {
    out += text.substr(at, count);
    at += count;
  }
  void refuse(size_t count) { refused = text.substr(at, count); }

  void item() {
    char character = text[at];
    if (character == '\\')
      escape(/*inClass=*/false);
    else if (character == '[')
      characterClass();
    else if (character == '(')
      group();
    else if (std::strchr("*+?{", character))
      quantifier();
    else if (std::strchr(".^$", character))
      refuse(1);
    else
      copy(1);
  }

  void group() {
    for (const char *start : {"(?:", "(?i:", "(?=", "(?!", "(?>"})
      if (startsWith(start))
        return copy(std::strlen(start));
    if (startsWith("(?") || startsWith("(*"))
      return refuse(4);
    copy(1);
  }

  /// Simple ones may be lazy or possessive; {n,m} may be neither, since there
  /// the dialects differ.
  void quantifier() {
    if (text[at] != '{') {
      copy(1);
      if (at < text.size() && (text[at] == '?' || text[at] == '+'))
        copy(1);
    } else {
      size_t stop = text.find('}', at);
      std::string inside =
          stop == text.npos ? "" : text.substr(at + 1, stop - at - 1);
      bool plain = !inside.empty() && inside[0] != ',' &&
                   inside.find_first_not_of("0123456789,") == inside.npos &&
                   std::count(inside.begin(), inside.end(), ',') <= 1;
      if (!plain)
        return refuse(8);
      copy(stop + 1 - at);
    }
    if (at < text.size() && std::strchr("*+?{", text[at]))
      refuse(1);
  }

  void property(bool inClass) {
    size_t stop = text.find('}', at);
    std::string name =
        stop == text.npos || at + 2 >= text.size() || text[at + 2] != '{'
            ? ""
            : text.substr(at + 3, stop - at - 3);
    bool negated = text[at + 1] == 'P';
    if (negated && inClass)
      return refuse(12);
    std::string set = "\\p{" + name + "}";
    if (contains(scripts, name))
      set = "\\p{sc:" + name + "}";
    else if (!contains(categories, name))
      return refuse(12);
    set += additions(name);
    out += inClass ? set : (negated ? "[^" : "[") + set + "]";
    at = stop + 1;
  }

  void escape(bool inClass) {
    char character = at + 1 < text.size() ? text[at + 1] : '\0';
    if (character == 'p' || character == 'P')
      return property(inClass);
    if (character == 's' || (character == 'S' && !inClass)) {
      const char *open = character == 's' ? "[" : "[^";
      out += inClass ? whiteSpace : std::string(open) + whiteSpace + "]";
    } else if (character == 'd' || character == 'D') {
      out += character == 'd' ? "\\p{Nd}" : "\\P{Nd}";
    } else if (character && std::strchr("rntf", character)) {
      out += text.substr(at, 2);
    } else if (character > ' ' && character < 0x7f &&
               !std::isalnum(static_cast<unsigned char>(character))) {
      out += text.substr(at, 2);
    } else {
      return refuse(2);
    }
    at += 2;
  }

  void characterClass() {
    copy(1);
    if (at < text.size() && text[at] == '^')
      copy(1);
    // An empty class and a leading ] are read differently.
    if (at < text.size() && text[at] == ']')
      return refuse(1);
    bool afterSet = false; // after \s, \p{..} ...: no range can start there
    while (refused.empty() && at < text.size() && text[at] != ']') {
      bool hyphen = text[at] == '-' && at + 1 < text.size();
      if (text[at] == '[' || startsWith("&&") ||
          (hyphen && afterSet && text[at + 1] != ']'))
        return refuse(2);
      afterSet = text[at] == '\\' && at + 1 < text.size() &&
                 std::strchr("sdDpP", text[at + 1]);
      if (text[at] == '\\')
        escape(/*inClass=*/true);
      else
        copy(1);
    }
    if (refused.empty() && at == text.size())
      refused = "[ without ]";
    else if (refused.empty())
      copy(1);
  }

  const std::string &text;
  size_t at = 0;
};

} // namespace

static bool compiles(const std::string &pattern) {
  int error = 0;
  PCRE2_SIZE position = 0;
  pcre2_code *code = pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &position,
      nullptr);
  pcre2_code_free(code);
  return code != nullptr;
}

Result<std::string> tbq::translatePattern(const std::string &pattern,
                                          const JsonObject &owner,
                                          const std::string &key) {
  Translator translator(pattern);
  if (!translator.run())
    return owner.error(key, "unsupported in a pattern: " + translator.refused);
  if (translator.out.empty() || !compiles(translator.out))
    return owner.error(key, "not a regular expression: " + pattern);
  return std::move(translator.out);
}
