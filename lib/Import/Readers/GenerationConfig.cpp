// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// generation_config.json, completed by the token ids of config.json.
// Input: both parsed objects; output: GenerationConfig.
// Invariant: token ids are in [0, vocab); what neither file says stays absent.
#include "Config.h"

using namespace tbq;

static constexpr size_t endLimit = 256;

/// A token id, or a list of them, or nothing.
static Result<std::vector<int64_t>>
readIds(const JsonObject &object, const std::string &key, int64_t vocab) {
  const nlohmann::json *field = object.find(key);
  if (!field)
    return std::vector<int64_t>();
  const std::string wanted =
      "a token id in [0, " + std::to_string(vocab) + "), vocab_size";
  if (!field->is_array()) {
    auto id = object.integer(key, 0, vocab - 1);
    if (!id)
      return object.unexpected(key, wanted);
    return std::vector<int64_t>{*id};
  }
  if (field->size() > endLimit)
    return object.unexpected(key, "at most " + std::to_string(endLimit) +
                                      " token ids");
  std::vector<int64_t> ids;
  for (const nlohmann::json &element : *field) {
    if (!element.is_number_unsigned() ||
        element.get<uint64_t>() >= static_cast<uint64_t>(vocab))
      return object.error(key, "must hold token ids in [0, " +
                                   std::to_string(vocab) + ") (got " +
                                   describeJson(element) + ")");
    ids.push_back(element.get<int64_t>());
  }
  return ids;
}

static Result<std::optional<int64_t>>
readId(const JsonObject &object, const std::string &key, int64_t vocab) {
  auto ids = readIds(object, key, vocab);
  if (!ids)
    return ids.error();
  if (ids->size() > 1)
    return object.unexpected(key, "one token id");
  return ids->empty() ? std::nullopt : std::optional(ids->front());
}

/// pad_token_id -1 is how the first llama configs say "none".
static Result<std::optional<int64_t>> readPad(const JsonObject &object,
                                              int64_t vocab) {
  const nlohmann::json *field = object.find("pad_token_id");
  if (field && *field == -1)
    return std::optional<int64_t>();
  return readId(object, "pad_token_id", vocab);
}

static Status readTokens(const JsonObject &object, int64_t vocab,
                         GenerationConfig &result) {
  std::optional<int64_t> bos, pad;
  std::vector<int64_t> eos;
  FieldReader fields;
  fields.set(bos, readId(object, "bos_token_id", vocab));
  fields.set(eos, readIds(object, "eos_token_id", vocab));
  fields.set(pad, readPad(object, vocab));
  if (!result.bos)
    result.bos = bos;
  if (result.eos.empty())
    result.eos = std::move(eos);
  if (!result.pad)
    result.pad = pad;
  return fields.status();
}

static Status readSampling(const JsonObject &object, GenerationConfig &result) {
  FieldReader fields;
  auto number = [&](std::optional<double> &target, const char *key,
                    double minimum, double maximum) {
    if (object.has(key))
      fields.set(target, object.number(key, minimum, maximum));
  };
  if (object.has("do_sample"))
    fields.set(result.doSample, object.boolean("do_sample"));
  number(result.temperature, "temperature", 0.0, 1000.0);
  if (object.has("top_k"))
    fields.set(result.topK, object.integer("top_k", 0, INT32_MAX));
  number(result.topP, "top_p", 0.0, 1.0);
  number(result.minP, "min_p", 0.0, 1.0);
  number(result.repetitionPenalty, "repetition_penalty", 1e-6, 1000.0);
  return fields.status();
}

Result<GenerationConfig> tbq::readGenerationConfig(const JsonObject &config,
                                                   const JsonObject *generation,
                                                   int64_t vocab) {
  GenerationConfig result;
  Status status = Status::ok();
  if (generation) {
    status = readTokens(*generation, vocab, result);
    if (status)
      status = readSampling(*generation, result);
  }
  if (status)
    status = readTokens(config, vocab, result);
  if (!status)
    return status.error();
  return result;
}
