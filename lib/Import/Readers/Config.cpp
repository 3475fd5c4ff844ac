// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// config.json: which architecture it is of, and what every model has.
// Input: the parsed object; output: ModelConfig.
// Invariant: see Config.h. The sizes of the model have no defaults.
#include "Config.h"

using namespace tbq;

static constexpr int64_t layerLimit = 4096;

static const Architecture *const architectures[] = {&llamaArchitecture,
                                                    &optArchitecture};

static Error refuseArchitecture(const JsonObject &config, const char *field,
                                const std::string &name) {
  std::string supported;
  for (const Architecture *architecture : architectures)
    supported +=
        (supported.empty() ? "" : ", ") + std::string(architecture->type);
  return config.error(field, "unsupported architecture '" + name +
                                 "' (supported: " + supported + ")");
}

/// By "architectures" and "model_type", of which one may be absent.
static Result<const Architecture *> findArchitecture(const JsonObject &config) {
  const Architecture *named = nullptr;
  if (config.has("architectures")) {
    auto names = config.strings("architectures");
    if (!names)
      return names.error();
    if (names->size() != 1)
      return config.error("architectures", "must name one architecture (got " +
                                               std::to_string(names->size()) +
                                               ")");
    for (const Architecture *architecture : architectures)
      if (names->front() == architecture->className)
        named = architecture;
    if (!named)
      return refuseArchitecture(config, "architectures", names->front());
    if (!config.has("model_type"))
      return named;
  }
  auto type = config.string("model_type");
  if (!type)
    return type.error();
  for (const Architecture *architecture : architectures)
    if (*type == architecture->type) {
      if (named && named != architecture)
        return config.unexpected("model_type", std::string(named->type) +
                                                   ", as architectures says");
      return architecture;
    }
  return refuseArchitecture(config, "model_type", *type);
}

Result<ModelConfig> tbq::readModelConfig(const JsonObject &config) {
  auto architecture = findArchitecture(config);
  if (!architecture)
    return architecture.error();
  ModelConfig result;
  result.architecture = (*architecture)->type;
  FieldReader fields;
  fields.set(result.hidden, config.integer("hidden_size", 1, sizeLimit));
  fields.set(result.layers, config.integer("num_hidden_layers", 1, layerLimit));
  fields.set(result.heads, config.integer("num_attention_heads", 1, sizeLimit));
  fields.set(result.vocab, config.integer("vocab_size", 1, countLimit));
  fields.set(result.maxPosition,
             config.integerOr("max_position_embeddings", 2048, 1, countLimit));
  fields.set(result.name, config.stringOr("_name_or_path", ""));
  if (Status status = fields.status(); !status)
    return status.error();
  if (Status status = (*architecture)->read(config, result); !status)
    return status.error();
  return result;
}
