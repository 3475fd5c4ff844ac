// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tokenizer.json and tokenizer_config.json to tables: reads the parts in the
// order in which they depend on each other.
// Input: untrusted JSON. Output: tables, or an error naming file and field.
// Invariant: a part that is not understood ends in an error, never in a guess.
#include "tbq/TokenizerCompiler.h"

#include "TokenizerSource.h"

using namespace tbq;
using nlohmann::json;

Result<std::string> tbq::componentType(const JsonObject &component) {
  return component.string("type");
}

Error tbq::refuseComponent(const JsonObject &component, const char *what,
                           const std::string &type) {
  return component.error("type",
                         std::string("unsupported ") + what + " " + type);
}

Result<std::vector<JsonObject>> tbq::objectsIn(const JsonObject &parent,
                                               const std::string &key) {
  auto array = parent.array(key);
  if (!array)
    return array.error();
  std::vector<JsonObject> result;
  for (size_t i = 0; i < (*array)->size(); ++i) {
    auto object = JsonObject::from((**array)[i], parent.file(),
                                   key + "[" + std::to_string(i) + "]");
    if (!object)
      return object.error();
    result.push_back(std::move(*object));
  }
  return result;
}

/// A token's text from tokenizer_config.json: a string, or {"content": ...}.
static Result<std::string> namedText(const JsonObject &config,
                                     const std::string &key) {
  const json *field = config.find(key);
  if (!field->is_object())
    return config.string(key);
  auto object = config.object(key);
  if (!object)
    return object.error();
  return object->string("content");
}

static Status readNamedTokens(const JsonObject &config,
                              TokenizerSource &source) {
  for (auto [key, id] : {std::pair{"bos_token", &source.first},
                         {"eos_token", &source.end},
                         {"pad_token", &source.padding}}) {
    if (!config.has(key))
      continue;
    auto text = namedText(config, key);
    if (!text)
      return text.error();
    auto found = source.idOf.find(*text);
    if (found == source.idOf.end())
      return config.error(key, "no token " + *text + " in tokenizer.json");
    *id = found->second;
  }
  return Status::ok();
}

/// "added_tokens_decoder" must say what tokenizer.json says.
static Status checkDecoderTokens(const JsonObject &config,
                                 const TokenizerSource &source) {
  if (!config.has("added_tokens_decoder"))
    return Status::ok();
  auto listed = config.object("added_tokens_decoder");
  if (!listed)
    return listed.error();
  for (const auto &entry : listed->raw().items()) {
    auto token = listed->object(entry.key());
    if (!token)
      return token.error();
    auto content = token->string("content");
    if (!content)
      return content.error();
    auto found = source.idOf.find(*content);
    if (found == source.idOf.end() ||
        std::to_string(found->second) != entry.key())
      return listed->error(entry.key(), "token " + *content +
                                            " is not this in tokenizer.json");
  }
  return Status::ok();
}

static Status readTokenizer(std::string_view text, const std::string &file,
                            TokenizerSource &source) {
  auto document = parseJson(text, file);
  if (!document)
    return document.error();
  auto root = JsonObject::from(*document, file);
  if (!root)
    return root.error();
  auto version = root->stringOr("version", "1.0");
  if (!version)
    return version.error();
  if (*version != "1.0")
    return root->unexpected("version", "1.0");
  for (auto read : {readModel, readAddedTokens, readSteps, readTemplate})
    if (auto status = read(*root, source); !status)
      return status;
  return Status::ok();
}

static Status readConfig(std::string_view text, const std::string &file,
                         TokenizerSource &source) {
  if (text.empty())
    return Status::ok();
  auto document = parseJson(text, file);
  if (!document)
    return document.error();
  auto root = JsonObject::from(*document, file);
  if (!root)
    return root.error();
  if (auto status = readNamedTokens(*root, source); !status)
    return status;
  return checkDecoderTokens(*root, source);
}

Result<std::vector<uint8_t>>
tbq::compileTokenizer(std::string_view tokenizerJson,
                      std::string_view tokenizerConfigJson,
                      const std::string &directory) {
  TokenizerSource source;
  if (auto status =
          readTokenizer(tokenizerJson, directory + "/tokenizer.json", source);
      !status)
    return status.error();
  if (auto status = readConfig(tokenizerConfigJson,
                               directory + "/tokenizer_config.json", source);
      !status)
    return status.error();
  return writeTables(source);
}
