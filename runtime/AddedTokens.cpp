// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Leftmost-longest search for added tokens and the cuts they make.
// Input: valid UTF-8. Output: pieces; tokens carry their ids.
// Invariant: the rules (strip, single word, special) are those of the
// tokenizers library's added vocabulary, in its order.
#include "runtime/AddedTokens.h"

#include "runtime/Unicode.h"

#include <algorithm>

using namespace tbq;

Status AddedTokens::Matcher::prepare(const std::string &name) {
  std::sort(entries.begin(), entries.end(),
            [](const auto &a, const auto &b) { return a.pattern < b.pattern; });
  for (size_t i = 0; i + 1 < entries.size(); ++i)
    if (entries[i].pattern == entries[i + 1].pattern)
      return makeError(name, "added token " + std::to_string(entries[i].id),
                       "has the text of token " +
                           std::to_string(entries[i + 1].id));
  for (const Entry &entry : entries)
    ++starts[static_cast<uint8_t>(entry.pattern[0]) + 1];
  for (size_t i = 1; i < starts.size(); ++i)
    starts[i] += starts[i - 1];
  return Status::ok();
}

std::optional<AddedTokens::Match>
AddedTokens::Matcher::next(std::string_view text, size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    auto first = static_cast<uint8_t>(text[begin]);
    auto low = entries.begin() + starts[first];
    auto high = entries.begin() + starts[first + 1];
    const Entry *longest = nullptr;
    // Narrow to the entries that agree with the text, byte by byte. A pattern
    // that ends here sorts before those that go on.
    for (size_t depth = 1; low != high; ++depth) {
      if (low->pattern.size() == depth) {
        longest = &*low;
        ++low;
      }
      if (begin + depth >= text.size())
        break;
      auto byte = static_cast<uint8_t>(text[begin + depth]);
      auto at = [depth](const Entry &entry) {
        return static_cast<uint8_t>(entry.pattern[depth]);
      };
      low = std::partition_point(
          low, high, [&](const Entry &entry) { return at(entry) < byte; });
      high = std::partition_point(
          low, high, [&](const Entry &entry) { return at(entry) == byte; });
    }
    if (longest)
      return Match{begin, begin + longest->pattern.size(), longest};
  }
  return std::nullopt;
}

static bool isSpace(uint32_t codePoint) {
  return unicode::classOf(codePoint) == unicode::Class::space;
}

static bool isAlone(std::string_view text, size_t begin, size_t end) {
  bool left = begin == 0 ||
              !unicode::isWord(unicode::decodeBefore(text, begin).codePoint);
  bool right = end == text.size() ||
               !unicode::isWord(unicode::decodeAt(text, end).codePoint);
  return left && right;
}

static size_t skipSpacesBefore(std::string_view text, size_t offset,
                               size_t limit) {
  while (offset > limit) {
    auto character = unicode::decodeBefore(text, offset);
    if (!isSpace(character.codePoint))
      break;
    offset -= character.bytes;
  }
  return offset;
}

static size_t skipSpacesAfter(std::string_view text, size_t offset) {
  while (offset < text.size()) {
    auto character = unicode::decodeAt(text, offset);
    if (!isSpace(character.codePoint))
      break;
    offset += character.bytes;
  }
  return offset;
}

void AddedTokens::splitPiece(const Matcher &matcher, std::string_view text,
                             bool first, bool parseSpecial, TextPieces &out) {
  size_t done = 0;
  auto addBefore = [&](size_t end) {
    if (done < end)
      out.addText(text.substr(done, end - done), first && done == 0);
  };
  for (size_t from = 0; auto match = matcher.next(text, from);
       from = match->end) {
    const Entry &entry = *match->entry;
    if (entry.special && !parseSpecial)
      continue;
    if ((entry.flags & tables::singleWord) &&
        !isAlone(text, match->begin, match->end))
      continue;
    size_t begin = match->begin, end = match->end;
    if (entry.flags & tables::leftStrip)
      begin = std::max(skipSpacesBefore(text, begin, 0), done);
    if (entry.flags & tables::rightStrip)
      end = skipSpacesAfter(text, end);
    addBefore(begin);
    out.addToken(entry.id);
    done = end;
  }
  addBefore(text.size());
}

Result<AddedTokens> AddedTokens::build(const TokenizerView &view,
                                       const Normalizer &normalizer,
                                       const std::string &name) {
  AddedTokens result;
  for (uint32_t i = 0; i < view.addedCount(); ++i) {
    auto token = view.added(i);
    std::string text(view.text(token.id));
    Entry entry{text, token.id, token.flags,
                (view.tokenFlags(token.id) & tables::special) != 0};
    result.byText.emplace(text, token.id);
    if (!(token.flags & tables::normalized)) {
      result.asWritten.entries.push_back(std::move(entry));
      continue;
    }
    entry.pattern = normalizer.apply(text);
    if (entry.pattern.empty())
      return makeError(name, "added token " + std::to_string(token.id),
                       "is empty when normalized");
    if (entry.pattern != text)
      result.normalizedTexts.emplace(token.id, entry.pattern);
    result.inNormalized.entries.push_back(std::move(entry));
  }
  for (Matcher *matcher : {&result.asWritten, &result.inNormalized})
    if (auto status = matcher->prepare(name); !status)
      return status.error();
  return result;
}

TextPieces AddedTokens::split(std::string_view text,
                              const Normalizer &normalizer,
                              bool parseSpecial) const {
  TextPieces written, result;
  splitPiece(asWritten, text, true, parseSpecial, written);
  for (const auto &piece : written.pieces) {
    if (piece.token != tables::none)
      result.addToken(piece.token);
    else
      splitPiece(inNormalized, normalizer.apply(written.view(piece)),
                 piece.first, parseSpecial, result);
  }
  return result;
}

const std::string *AddedTokens::normalizedText(uint32_t id) const {
  auto found = normalizedTexts.find(id);
  return found == normalizedTexts.end() ? nullptr : &found->second;
}

std::optional<uint32_t> AddedTokens::find(std::string_view text) const {
  auto found = byText.find(std::string(text));
  if (found == byText.end())
    return std::nullopt;
  return found->second;
}
