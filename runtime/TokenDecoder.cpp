// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ByteLevel, Metaspace and Replace/ByteFallback/Fuse/Strip decoders, one token
// at a time. Input: token texts, valid UTF-8. Output: valid UTF-8.
// Invariant: byte tokens are held until their run ends, since one bad byte
// turns the whole run into U+FFFD.
#include "runtime/TokenDecoder.h"

#include "runtime/Normalizer.h"
#include "runtime/PreTokenizer.h"
#include "runtime/Unicode.h"

using namespace tbq;

Result<TokenDecoder> TokenDecoder::build(const TokenizerView &view,
                                         const std::string &name) {
  TokenDecoder result;
  uint32_t last = 0;
  for (uint32_t i = 0; i < view.stepCount(); ++i) {
    auto step = view.step(i);
    if (step.kind < tables::decodeByteLevel)
      continue;
    // Replace steps may repeat; all others stand alone or in this order.
    bool ordered = step.kind > last || (step.kind == tables::decodeReplace &&
                                        last == tables::decodeReplace);
    bool alone = step.kind <= tables::decodeMetaspace ||
                 last == tables::decodeByteLevel ||
                 last == tables::decodeMetaspace;
    bool unfused =
        step.kind == tables::decodeStrip && last != tables::decodeFuse;
    if (!ordered || (alone && last) || unfused)
      return makeError(name, "decoder",
                       "step " + std::to_string(i) + " out of order");
    last = step.kind;
    result.kind = step.kind == tables::decodeByteLevel   ? Kind::byteLevel
                  : step.kind == tables::decodeMetaspace ? Kind::metaspace
                                                         : Kind::steps;
    if (step.kind == tables::decodeMetaspace)
      result.metaspace = step;
    if (step.kind == tables::decodeReplace)
      result.replacements.push_back(step);
    if (step.kind == tables::decodeByteFallback)
      result.byteFallback = true;
    if (step.kind == tables::decodeStrip) {
      result.strip = step.first;
      result.stripLimit = step.number;
    }
  }
  return result;
}

/// Appends text, less the leading characters that Strip drops.
void TokenDecoder::emit(State &state, std::string_view text,
                        std::string &out) const {
  while (!state.pastLeading && !text.empty()) {
    bool drop = !strip.empty() && state.dropped < stripLimit &&
                text.compare(0, strip.size(), strip) == 0;
    if (drop) {
      text.remove_prefix(strip.size());
      ++state.dropped;
    }
    state.pastLeading = !drop;
  }
  out += text;
}

void TokenDecoder::flushBytes(State &state, std::string &out) const {
  if (unicode::isValidUtf8(state.bytes))
    emit(state, state.bytes, out);
  else
    for (size_t i = 0; i < state.bytes.size(); ++i)
      emit(state, "\xef\xbf\xbd", out);
  state.bytes.clear();
}

static int hexDigit(char character) {
  if (character >= '0' && character <= '9')
    return character - '0';
  char lower = static_cast<char>(character | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/// The byte that a token <0xHH> names, or -1.
static int namedByte(std::string_view token) {
  if (token.size() != 6 || token.substr(0, 3) != "<0x" || token[5] != '>')
    return -1;
  int high = hexDigit(token[3]), low = hexDigit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

void TokenDecoder::pushSteps(State &state, std::string_view token,
                             std::string &out) const {
  std::string text(token);
  for (const auto &step : replacements)
    text = replaceAll(text, step.first, step.second);
  int byte = byteFallback ? namedByte(text) : -1;
  if (byte >= 0) {
    state.bytes += static_cast<char>(byte);
    return;
  }
  flushBytes(state, out);
  emit(state, text, out);
}

static const std::array<int16_t, 512> &bytesOfAlphabet() {
  static const std::array<int16_t, 512> bytes = [] {
    std::array<int16_t, 512> result;
    result.fill(-1);
    for (int16_t byte = 0; byte < 256; ++byte)
      result[byteLevelAlphabet()[static_cast<size_t>(byte)]] = byte;
    return result;
  }();
  return bytes;
}

void TokenDecoder::pushByteLevel(State &state, std::string_view token,
                                 std::string &out) const {
  std::string bytes;
  for (size_t offset = 0; offset < token.size();) {
    auto character = unicode::decodeAt(token, offset);
    offset += character.bytes;
    int16_t byte = character.codePoint < 512
                       ? bytesOfAlphabet()[character.codePoint]
                       : int16_t(-1);
    if (byte < 0) { // such a token (an added one) stands for itself
      bytes = token;
      break;
    }
    bytes += static_cast<char>(byte);
  }
  state.bytes += bytes;
  size_t used = unicode::appendValidUtf8(out, state.bytes, /*last=*/false);
  state.bytes.erase(0, used);
}

void TokenDecoder::pushMetaspace(State &state, std::string_view token,
                                 std::string &out) const {
  bool dropsMarks =
      state.tokens == 0 &&
      (metaspace.flags & (tables::prependFirst | tables::prependAlways));
  out += replaceAll(token, metaspace.first, dropsMarks ? "" : " ");
}

void TokenDecoder::push(State &state, std::string_view token,
                        std::string &out) const {
  switch (kind) {
  case Kind::joined:
    if (state.tokens)
      out += ' ';
    out += token;
    break;
  case Kind::byteLevel:
    pushByteLevel(state, token, out);
    break;
  case Kind::metaspace:
    pushMetaspace(state, token, out);
    break;
  case Kind::steps:
    pushSteps(state, token, out);
    break;
  }
  ++state.tokens;
}

void TokenDecoder::finish(State &state, std::string &out) const {
  if (kind == Kind::byteLevel)
    unicode::appendValidUtf8(out, state.bytes, /*last=*/true);
  else
    flushBytes(state, out);
  state = State();
}
