// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Normalizers, pre-tokenizers, decoders and the post-processor of a
// tokenizer.json. Input: the document's root. Output: steps and template.
// Invariant: Sequences are flattened; every component, and every combination
// whose meaning would differ in the runtime, is either taken over exactly or
// refused by name.
#include "PatternDialect.h"
#include "TokenizerSource.h"

#include <algorithm>
#include <functional>

using namespace tbq;
using nlohmann::json;

namespace {

using Read = std::function<Status(const JsonObject &, const std::string &type,
                                  TokenizerSource &)>;

} // namespace

/// Calls `read` for `component`, or for the elements of its Sequence (of one
/// level: the library's own nest no deeper in practice).
static Status readComponent(const JsonObject &root, const char *key,
                            const char *elements, const Read &read,
                            TokenizerSource &source) {
  if (!root.has(key))
    return Status::ok();
  auto component = root.object(key);
  if (!component)
    return component.error();
  auto type = componentType(*component);
  if (!type)
    return type.error();
  if (*type != "Sequence")
    return read(*component, *type, source);
  auto parts = objectsIn(*component, elements);
  if (!parts)
    return parts.error();
  for (const JsonObject &part : *parts) {
    auto partType = componentType(part);
    if (!partType)
      return partType.error();
    if (auto status = read(part, *partType, source); !status)
      return status;
  }
  return Status::ok();
}

static Status addFlag(const JsonObject &component, const char *key,
                      std::optional<bool> fallback, uint32_t flag,
                      uint32_t &flags) {
  auto set =
      fallback ? component.booleanOr(key, *fallback) : component.boolean(key);
  if (!set)
    return set.error();
  if (*set)
    flags |= flag;
  return Status::ok();
}

/// Replace, as a normalizer and as a decoder.
static Status readReplace(const JsonObject &component, uint32_t kind,
                          TokenizerSource &source) {
  auto pattern = component.object("pattern");
  if (!pattern)
    return pattern.error();
  auto wanted = pattern->string("String");
  if (!wanted)
    return component.error("pattern", "Replace is supported for a String only");
  auto content = component.string("content");
  if (!content)
    return content.error();
  if (wanted->empty())
    return pattern->unexpected("String", "a text");
  uint32_t first = source.addString(std::move(*wanted));
  uint32_t second = source.addString(std::move(*content));
  source.steps.push_back({kind, 0, first, second});
  return Status::ok();
}

static Status readNormalizer(const JsonObject &component,
                             const std::string &type, TokenizerSource &source) {
  for (auto [name, kind] : {std::pair{"NFC", tables::normalizeNfc},
                            {"NFD", tables::normalizeNfd},
                            {"NFKC", tables::normalizeNfkc},
                            {"NFKD", tables::normalizeNfkd},
                            {"Lowercase", tables::normalizeLowercase}})
    if (type == name) {
      source.steps.push_back({kind});
      return Status::ok();
    }
  if (type == "Replace")
    return readReplace(component, tables::normalizeReplace, source);
  if (type != "Prepend")
    return refuseComponent(component, "normalizer", type);
  auto text = component.string("prepend");
  if (!text)
    return text.error();
  if (!text->empty())
    source.steps.push_back(
        {tables::normalizePrepend, 0, source.addString(std::move(*text))});
  return Status::ok();
}

static Status readByteLevel(const JsonObject &component,
                            TokenizerSource &source) {
  TokenizerSource::Step step{tables::splitByteLevel};
  if (auto status = addFlag(component, "add_prefix_space", std::nullopt,
                            tables::addPrefixSpace, step.flags);
      !status)
    return status;
  if (auto status =
          addFlag(component, "use_regex", true, tables::useRegex, step.flags);
      !status)
    return status;
  source.steps.push_back(step);
  return Status::ok();
}

static Status readMetaspace(const JsonObject &component, uint32_t kind,
                            TokenizerSource &source) {
  TokenizerSource::Step step{kind};
  auto replacement = component.string("replacement");
  if (!replacement)
    return replacement.error();
  auto scheme = component.stringOr("prepend_scheme", "always");
  if (!scheme)
    return scheme.error();
  auto prefix = component.booleanOr("add_prefix_space", true);
  if (!prefix)
    return prefix.error();
  if (*scheme != "always" && *scheme != "first" && *scheme != "never")
    return component.unexpected("prepend_scheme", "always, first or never");
  if (!*prefix && *scheme != "never")
    return component.error("add_prefix_space",
                           "does not match prepend_scheme " + *scheme);
  if (*scheme != "never")
    step.flags |=
        *scheme == "first" ? tables::prependFirst : tables::prependAlways;
  if (auto status =
          addFlag(component, "split", true, tables::metaspaceSplit, step.flags);
      !status)
    return status;
  size_t characters = static_cast<size_t>(
      std::count_if(replacement->begin(), replacement->end(),
                    [](char byte) { return (byte & 0xc0) != 0x80; }));
  if (characters != 1)
    return component.unexpected("replacement", "one character");
  // "first" speaks of the original text, which steps before could shift.
  bool shifted = kind == tables::splitMetaspace && *scheme == "first" &&
                 std::any_of(source.steps.begin(), source.steps.end(),
                             [](const auto &before) {
                               return before.kind <= tables::normalizeReplace ||
                                      before.kind >= tables::splitByteLevel;
                             });
  if (shifted)
    return component.error("prepend_scheme",
                           "first is unsupported after other components");
  step.first = source.addString(std::move(*replacement));
  source.steps.push_back(step);
  return Status::ok();
}

static Status readSplit(const JsonObject &component, TokenizerSource &source) {
  TokenizerSource::Step step{tables::splitText};
  auto behavior = component.string("behavior");
  if (!behavior)
    return behavior.error();
  bool known = false;
  for (auto [name, flag] :
       {std::pair{"Removed", tables::splitRemoved},
        {"Isolated", tables::splitIsolated},
        {"MergedWithPrevious", tables::splitMergedWithPrevious},
        {"MergedWithNext", tables::splitMergedWithNext},
        {"Contiguous", tables::splitContiguous}})
    if (*behavior == name) {
      step.flags = flag;
      known = true;
    }
  if (!known)
    return component.error("behavior", "unsupported " + *behavior);
  if (auto status = addFlag(component, "invert", std::nullopt,
                            tables::splitInvert, step.flags);
      !status)
    return status;
  auto pattern = component.object("pattern");
  if (!pattern)
    return pattern.error();
  bool regex = pattern->has("Regex");
  auto text = pattern->string(regex ? "Regex" : "String");
  if (!text)
    return text.error();
  if (text->empty())
    return pattern->unexpected(regex ? "Regex" : "String", "a text");
  if (regex) {
    step.kind = tables::splitPattern;
    text = translatePattern(*text, *pattern, "Regex");
    if (!text)
      return text.error();
  }
  step.first = source.addString(std::move(*text));
  source.steps.push_back(step);
  return Status::ok();
}

static Status readPreTokenizer(const JsonObject &component,
                               const std::string &type,
                               TokenizerSource &source) {
  if (type == "ByteLevel")
    return readByteLevel(component, source);
  if (type == "Metaspace")
    return readMetaspace(component, tables::splitMetaspace, source);
  if (type == "Split")
    return readSplit(component, source);
  if (type != "Digits")
    return refuseComponent(component, "pre-tokenizer", type);
  TokenizerSource::Step step{tables::splitDigits};
  if (auto status = addFlag(component, "individual_digits", std::nullopt,
                            tables::individualDigits, step.flags);
      !status)
    return status;
  source.steps.push_back(step);
  return Status::ok();
}

/// The runtime decodes token by token: it takes ByteLevel or Metaspace alone,
/// or Replace ..., ByteFallback, Fuse, Strip, each but Replace at most once.
static Status checkDecoderOrder(const JsonObject &component,
                                const std::string &type, uint32_t kind,
                                const TokenizerSource &source) {
  uint32_t last = source.steps.empty() ? 0 : source.steps.back().kind;
  bool first = last < tables::decodeByteLevel;
  bool single = kind <= tables::decodeMetaspace;
  bool afterSingle = !first && last <= tables::decodeMetaspace;
  bool repeats = kind == tables::decodeReplace && kind == last;
  bool unfused = kind == tables::decodeStrip && last != tables::decodeFuse;
  if ((single && !first) || afterSingle || unfused ||
      (kind <= last && !repeats))
    return component.error("type",
                           "decoder " + type + " is unsupported in this place");
  return Status::ok();
}

static Status readDecoder(const JsonObject &component, const std::string &type,
                          TokenizerSource &source) {
  uint32_t kind = 0;
  for (auto [name, known] : {std::pair{"ByteLevel", tables::decodeByteLevel},
                             {"Metaspace", tables::decodeMetaspace},
                             {"Replace", tables::decodeReplace},
                             {"ByteFallback", tables::decodeByteFallback},
                             {"Fuse", tables::decodeFuse},
                             {"Strip", tables::decodeStrip}})
    if (type == name)
      kind = known;
  if (!kind)
    return refuseComponent(component, "decoder", type);
  if (auto status = checkDecoderOrder(component, type, kind, source); !status)
    return status;
  if (kind == tables::decodeMetaspace)
    return readMetaspace(component, kind, source);
  if (kind == tables::decodeReplace)
    return readReplace(component, kind, source);
  TokenizerSource::Step step{kind};
  if (kind == tables::decodeStrip) {
    auto content = component.string("content");
    if (!content)
      return content.error();
    if (content->empty())
      return component.unexpected("content", "one character");
    auto start = component.integer("start", 0, 1000);
    if (!start)
      return start.error();
    if (auto stop = component.integer("stop", 0, 0); !stop)
      return stop.error();
    step.first = source.addString(std::move(*content));
    step.number = static_cast<uint32_t>(*start);
  }
  source.steps.push_back(step);
  return Status::ok();
}

Status tbq::readSteps(const JsonObject &root, TokenizerSource &source) {
  if (auto status = readComponent(root, "normalizer", "normalizers",
                                  readNormalizer, source);
      !status)
    return status;
  if (auto status = readComponent(root, "pre_tokenizer", "pretokenizers",
                                  readPreTokenizer, source);
      !status)
    return status;
  if (auto status =
          readComponent(root, "decoder", "decoders", readDecoder, source);
      !status)
    return status;
  if (source.steps.size() > 64)
    return root.error("pre_tokenizer", "more than 64 components");
  return Status::ok();
}

/// Appends the ids that a template's special token stands for.
static Status addSpecialToken(const JsonObject &processor,
                              const std::string &name,
                              const TokenizerSource &source,
                              std::vector<uint32_t> &out) {
  auto known = processor.object("special_tokens");
  if (!known)
    return known.error();
  auto token = known->object(name);
  if (!token)
    return token.error();
  auto ids = token->array("ids");
  if (!ids)
    return ids.error();
  for (const json &id : **ids) {
    bool good = id.is_number_unsigned() &&
                id.get<uint64_t>() < source.tokens.size() &&
                (source.tokens[id.get<uint64_t>()].flags & tables::present);
    if (!good)
      return token->error("ids", "no token " + describeJson(id));
    out.push_back(id.get<uint32_t>());
  }
  return Status::ok();
}

static Status readTemplateProcessing(const JsonObject &processor,
                                     TokenizerSource &source) {
  auto pieces = objectsIn(processor, "single");
  if (!pieces)
    return pieces.error();
  bool textSeen = false;
  for (const JsonObject &piece : *pieces) {
    bool isText = piece.has("Sequence");
    auto body = piece.object(isText ? "Sequence" : "SpecialToken");
    if (!body)
      return body.error();
    auto id = body->string("id");
    if (!id)
      return id.error();
    if (isText && (*id != "A" || textSeen))
      return body->unexpected("id", "A, once");
    textSeen |= isText;
    if (isText)
      continue;
    if (auto status = addSpecialToken(processor, *id, source,
                                      textSeen ? source.suffix : source.prefix);
        !status)
      return status;
  }
  if (!textSeen)
    return processor.error("single", "has no place for the text");
  return Status::ok();
}

Status tbq::readTemplate(const JsonObject &root, TokenizerSource &source) {
  bool seen = false;
  auto read = [&](const JsonObject &component, const std::string &type,
                  TokenizerSource &out) -> Status {
    if (type == "ByteLevel") // moves offsets only
      return Status::ok();
    if (type != "TemplateProcessing" || seen)
      return refuseComponent(component, "post-processor", type);
    seen = true;
    return readTemplateProcessing(component, out);
  };
  return readComponent(root, "post_processor", "processors", read, source);
}
