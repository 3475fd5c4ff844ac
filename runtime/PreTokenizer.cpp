// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ByteLevel, Digits, Metaspace and Split, as the tokenizers library defines
// them. Input and output: TextPieces.
// Invariant: `parts` of a text cover it in order; what happens to matches is
// decided after they are found, as there.
#include "runtime/PreTokenizer.h"

#include "runtime/Normalizer.h"
#include "runtime/Unicode.h"

#include <algorithm>

using namespace tbq;
using unicode::Class;

const std::array<uint16_t, 256> &tbq::byteLevelAlphabet() {
  static const std::array<uint16_t, 256> alphabet = [] {
    std::array<uint16_t, 256> result{};
    uint16_t next = 256;
    for (uint16_t byte = 0; byte < 256; ++byte) {
      bool printable = (byte >= '!' && byte <= '~') ||
                       (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
      result[byte] = printable ? byte : next++;
    }
    return result;
  }();
  return alphabet;
}

static void writeBytesAsCharacters(std::string_view text, std::string &out) {
  for (char byte : text)
    unicode::append(out, byteLevelAlphabet()[static_cast<uint8_t>(byte)]);
}

/// The end of the run of characters of one class that starts at `offset`.
static size_t endOfRun(std::string_view text, size_t offset, Class wanted) {
  while (offset < text.size()) {
    auto character = unicode::decodeAt(text, offset);
    if (unicode::classOf(character.codePoint) != wanted)
      break;
    offset += character.bytes;
  }
  return offset;
}

/// The end of the match at `begin` of GPT-2's pattern
///   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
static size_t endOfWord(std::string_view text, size_t begin) {
  if (text[begin] == '\'')
    for (std::string_view suffix :
         {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"})
      if (text.substr(begin, suffix.size()) == suffix)
        return begin + suffix.size();
  size_t start = begin + (text[begin] == ' ');
  if (start < text.size()) {
    Class kind = unicode::classOf(unicode::decodeAt(text, start).codePoint);
    if (kind != Class::space)
      return endOfRun(text, start, kind);
  }
  // White space leaves its last character to the word that follows.
  size_t end = endOfRun(text, begin, Class::space);
  if (end == text.size())
    return end;
  size_t last = end - unicode::decodeBefore(text, end).bytes;
  return last > begin ? last : end;
}

static void splitByteLevel(std::string_view text, uint32_t flags, bool first,
                           TextPieces &out) {
  std::string prefixed;
  if ((flags & tables::addPrefixSpace) && text[0] != ' ') {
    prefixed.append(" ").append(text);
    text = prefixed;
  }
  std::string characters;
  for (size_t begin = 0; begin < text.size();) {
    size_t end =
        flags & tables::useRegex ? endOfWord(text, begin) : text.size();
    characters.clear();
    writeBytesAsCharacters(text.substr(begin, end - begin), characters);
    out.addText(characters, first && begin == 0);
    begin = end;
  }
}

static void splitMetaspace(std::string_view text,
                           const TokenizerView::Step &step, bool first,
                           TextPieces &out) {
  std::string_view mark = step.first;
  std::string marked = replaceAll(text, " ", mark);
  bool prepend = (step.flags & tables::prependAlways) ||
                 ((step.flags & tables::prependFirst) && first);
  if (prepend && marked.compare(0, mark.size(), mark) != 0)
    marked.insert(0, mark);
  if (!(step.flags & tables::metaspaceSplit))
    return out.addText(marked, first);
  // Each mark starts a piece, and so does each of a run of marks but the first:
  // the library merges a match with the text after it, not with another match.
  size_t begin = 0;
  while (begin < marked.size()) {
    size_t end = marked.find(mark, begin + 1);
    end = std::min(end, marked.size());
    out.addText(std::string_view(marked).substr(begin, end - begin),
                first && begin == 0);
    begin = end;
  }
}

Status PreTokenizer::findParts(const Step &step, std::string_view text,
                               std::vector<Part> &parts) {
  size_t done = 0;
  auto found = [&](size_t begin, size_t end) {
    if (done != begin)
      parts.push_back({done, begin, false});
    parts.push_back({begin, end, true});
    done = end;
  };
  if (step.pattern) {
    if (auto status = step.pattern->forEachMatch(text, found); !status)
      return status;
  } else if (step.what.kind == tables::splitText) {
    std::string_view wanted = step.what.first;
    for (size_t at = text.find(wanted); at != std::string_view::npos;
         at = text.find(wanted, at + wanted.size()))
      found(at, at + wanted.size());
  } else {
    for (size_t at = 0; at < text.size();) {
      auto character = unicode::decodeAt(text, at);
      if (unicode::isNumeric(character.codePoint))
        found(at, at + character.bytes);
      at += character.bytes;
    }
  }
  if (done != text.size())
    parts.push_back({done, text.size(), false});
  return Status::ok();
}

namespace {

struct Range {
  size_t begin, end;
};

} // namespace

/// Joins `parts` in their order (of the text, or reversed): a match that
/// follows no match goes to the range before it.
template <class Iterator>
static std::vector<Range> mergeMatches(Iterator part, Iterator stop) {
  std::vector<Range> result;
  for (bool previous = false; part != stop; ++part) {
    if (part->match && !previous && !result.empty())
      result.back() = {std::min(result.back().begin, part->begin),
                       std::max(result.back().end, part->end)};
    else
      result.push_back({part->begin, part->end});
    previous = part->match;
  }
  return result;
}

template <class Parts>
static std::vector<Range> rangesOf(const Parts &parts, uint32_t behavior) {
  if (behavior == tables::splitMergedWithPrevious)
    return mergeMatches(parts.begin(), parts.end());
  if (behavior == tables::splitMergedWithNext) {
    auto result = mergeMatches(parts.rbegin(), parts.rend());
    std::reverse(result.begin(), result.end());
    return result;
  }
  std::vector<Range> result;
  bool previous = false;
  for (const auto &part : parts) {
    if (behavior == tables::splitRemoved && part.match)
      continue;
    if (behavior == tables::splitContiguous && part.match == previous &&
        !result.empty())
      result.back().end = part.end;
    else
      result.push_back({part.begin, part.end});
    previous = part.match;
  }
  return result;
}

static uint32_t behaviorOf(const TokenizerView::Step &step) {
  if (step.kind == tables::splitDigits)
    return step.flags & tables::individualDigits ? tables::splitIsolated
                                                 : tables::splitContiguous;
  return step.flags & tables::splitBehaviorMask;
}

Status PreTokenizer::applyStep(const Step &step, const TextPieces &pieces,
                               const TextPieces::Piece &piece,
                               TextPieces &out) {
  std::string_view text = pieces.view(piece);
  if (step.what.kind == tables::splitByteLevel) {
    splitByteLevel(text, step.what.flags, piece.first, out);
    return Status::ok();
  }
  if (step.what.kind == tables::splitMetaspace) {
    splitMetaspace(text, step.what, piece.first, out);
    return Status::ok();
  }
  std::vector<Part> parts;
  if (auto status = findParts(step, text, parts); !status)
    return status;
  bool invert = step.what.kind != tables::splitDigits &&
                (step.what.flags & tables::splitInvert);
  if (invert)
    for (Part &part : parts)
      part.match = !part.match;
  for (Range range : rangesOf(parts, behaviorOf(step.what)))
    out.addText(text.substr(range.begin, range.end - range.begin),
                piece.first && range.begin == 0);
  return Status::ok();
}

Status PreTokenizer::apply(TextPieces &pieces) const {
  for (const Step &step : steps) {
    TextPieces out;
    out.text.reserve(pieces.text.size());
    for (const auto &piece : pieces.pieces) {
      if (piece.token != tables::none)
        out.addToken(piece.token);
      else if (auto status = applyStep(step, pieces, piece, out); !status)
        return status;
    }
    pieces = std::move(out);
  }
  return Status::ok();
}

Result<PreTokenizer> PreTokenizer::build(const TokenizerView &view,
                                         const std::string &name) {
  PreTokenizer result;
  for (uint32_t i = 0; i < view.stepCount(); ++i) {
    Step step{view.step(i), std::nullopt};
    if (step.what.kind < tables::splitByteLevel ||
        step.what.kind >= tables::decodeByteLevel)
      continue;
    if (step.what.kind == tables::splitPattern) {
      auto pattern = Pattern::compile(step.what.first, name);
      if (!pattern)
        return pattern.error();
      step.pattern = std::move(*pattern);
    }
    result.steps.push_back(std::move(step));
  }
  return result;
}
