// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Puts the parts together: repair UTF-8, find added tokens and normalize, cut,
// encode the pieces, add the template's tokens; and decode.
// Invariant: all checks of the tables happen in open().
#include "runtime/Tokenizer.h"

#include "runtime/AddedTokens.h"
#include "runtime/BytePairs.h"
#include "runtime/Normalizer.h"
#include "runtime/PreTokenizer.h"
#include "runtime/TokenDecoder.h"
#include "runtime/TokenizerView.h"
#include "runtime/Unicode.h"

#include <limits>

using namespace tbq;

constexpr size_t textLimit = size_t(256) << 20;

struct Tokenizer::Parts {
  std::string name;
  TokenizerView view;
  Normalizer normalizer;
  AddedTokens added;
  PreTokenizer preTokenizer;
  TokenDecoder decoder;
  CharacterTokens characters;

  /// The text that decoders are given, or nothing for an id without a token.
  std::optional<std::string_view> decodedText(int32_t id,
                                              bool skipSpecial) const;
};

struct StreamDecoder::State {
  const Tokenizer::Parts *parts;
  bool skipSpecial;
  TokenDecoder::State decoder;
};

static Status checkStepKinds(const TokenizerView &view,
                             const std::string &name) {
  auto known = [](uint32_t kind) {
    return (kind >= tables::normalizePrepend &&
            kind <= tables::normalizeLowercase) ||
           (kind >= tables::splitByteLevel && kind <= tables::splitText) ||
           (kind >= tables::decodeByteLevel && kind <= tables::decodeStrip);
  };
  auto needsString = [](uint32_t kind) {
    return kind <= tables::normalizeReplace ||
           (kind >= tables::splitMetaspace && kind <= tables::splitText) ||
           kind == tables::decodeMetaspace || kind == tables::decodeReplace ||
           kind == tables::decodeStrip;
  };
  for (uint32_t i = 0; i < view.stepCount(); ++i) {
    auto step = view.step(i);
    bool behaves =
        (step.kind != tables::splitPattern && step.kind != tables::splitText) ||
        (step.flags & tables::splitBehaviorMask) <= tables::splitContiguous;
    if (!known(step.kind) || (needsString(step.kind) && step.first.empty()) ||
        !behaves)
      return makeError(name, "tokenizer step " + std::to_string(i),
                       "unknown kind " + std::to_string(step.kind) +
                           " or missing text");
  }
  return Status::ok();
}

Tokenizer::Tokenizer(std::unique_ptr<Parts> parts) : parts(std::move(parts)) {}
Tokenizer::Tokenizer(Tokenizer &&) noexcept = default;
Tokenizer &Tokenizer::operator=(Tokenizer &&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::open(const uint8_t *data, uint64_t size,
                                  const std::string &name) {
  auto view = TokenizerView::open(data, size, name);
  if (!view)
    return view.error();
  if (auto status = checkStepKinds(*view, name); !status)
    return status.error();
  Normalizer normalizer(*view);
  auto added = AddedTokens::build(*view, normalizer, name);
  if (!added)
    return added.error();
  auto preTokenizer = PreTokenizer::build(*view, name);
  if (!preTokenizer)
    return preTokenizer.error();
  auto decoder = TokenDecoder::build(*view, name);
  if (!decoder)
    return decoder.error();
  return Tokenizer(std::unique_ptr<Parts>(new Parts{
      name, *view, std::move(normalizer), std::move(*added),
      std::move(*preTokenizer), std::move(*decoder), CharacterTokens(*view)}));
}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view text,
                                               bool addSpecial,
                                               bool parseSpecial) const {
  if (text.size() > textLimit)
    return makeError(parts->name, "text",
                     "of " + std::to_string(text.size()) +
                         " bytes, more than the limit of " +
                         std::to_string(textLimit));
  std::string valid;
  valid.reserve(text.size());
  unicode::appendValidUtf8(valid, text, /*last=*/true);
  TextPieces pieces =
      parts->added.split(valid, parts->normalizer, parseSpecial);
  if (auto status = parts->preTokenizer.apply(pieces); !status)
    return status.error();
  if (pieces.text.size() > size_t(std::numeric_limits<int32_t>::max()))
    return makeError(parts->name, "text", "too large once normalized");

  std::vector<int32_t> ids;
  const TokenizerView &view = parts->view;
  auto addTemplate = [&](uint32_t begin, uint32_t end) {
    for (uint32_t i = begin; addSpecial && i < end; ++i)
      ids.push_back(static_cast<int32_t>(view.templateToken(i)));
  };
  addTemplate(0, view.prefixCount());
  BytePairEncoder encoder(view, parts->characters);
  for (const auto &piece : pieces.pieces) {
    if (piece.token != tables::none)
      ids.push_back(static_cast<int32_t>(piece.token));
    else
      encoder.encode(pieces.view(piece), ids);
  }
  addTemplate(view.prefixCount(), view.templateCount());
  return ids;
}

std::string Tokenizer::decode(const std::vector<int32_t> &ids,
                              bool skipSpecial) const {
  StreamDecoder decoder(*this, skipSpecial);
  std::string text;
  for (int32_t id : ids)
    text += decoder.push(id);
  return text += decoder.finish();
}

int32_t Tokenizer::vocabularySize() const {
  return static_cast<int32_t>(parts->view.tokens());
}

std::optional<std::string_view> Tokenizer::tokenText(int32_t id) const {
  if (id < 0 || id >= vocabularySize() ||
      !(parts->view.tokenFlags(static_cast<uint32_t>(id)) & tables::present))
    return std::nullopt;
  return parts->view.text(static_cast<uint32_t>(id));
}

std::optional<int32_t> Tokenizer::findToken(std::string_view text) const {
  auto id = parts->added.find(text);
  if (!id)
    id = parts->view.findInModel(text);
  return id ? std::optional(static_cast<int32_t>(*id)) : std::nullopt;
}

bool Tokenizer::isSpecial(int32_t id) const {
  return tokenText(id) &&
         (parts->view.tokenFlags(static_cast<uint32_t>(id)) & tables::special);
}

static std::optional<int32_t> optionalToken(uint32_t id) {
  if (id == tables::none)
    return std::nullopt;
  return static_cast<int32_t>(id);
}

std::optional<int32_t> Tokenizer::firstToken() const {
  return optionalToken(parts->view.firstToken());
}
std::optional<int32_t> Tokenizer::endToken() const {
  return optionalToken(parts->view.endToken());
}
std::optional<int32_t> Tokenizer::paddingToken() const {
  return optionalToken(parts->view.paddingToken());
}

std::optional<std::string_view>
Tokenizer::Parts::decodedText(int32_t id, bool skipSpecial) const {
  if (id < 0 || static_cast<uint32_t>(id) >= view.tokens())
    return std::nullopt;
  auto token = static_cast<uint32_t>(id);
  uint8_t flags = view.tokenFlags(token);
  if (!(flags & tables::present) || (skipSpecial && (flags & tables::special)))
    return std::nullopt;
  if (const std::string *normalized = added.normalizedText(token))
    return *normalized;
  return view.text(token);
}

StreamDecoder::StreamDecoder(const Tokenizer &tokenizer, bool skipSpecial)
    : state(new State{tokenizer.parts.get(), skipSpecial, {}}) {}
StreamDecoder::StreamDecoder(StreamDecoder &&) noexcept = default;
StreamDecoder &StreamDecoder::operator=(StreamDecoder &&) noexcept = default;
StreamDecoder::~StreamDecoder() = default;

std::string StreamDecoder::push(int32_t id) {
  std::string out;
  if (auto text = state->parts->decodedText(id, state->skipSpecial))
    state->parts->decoder.push(state->decoder, *text, out);
  return out;
}

std::string StreamDecoder::finish() {
  std::string out;
  state->parts->decoder.finish(state->decoder, out);
  return out;
}
