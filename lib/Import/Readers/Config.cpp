// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// config.json of a LlamaForCausalLM.
// Input: the parsed object; output: LlamaConfig.
// Invariant: see Config.h. Fields that transformers' LlamaConfig gives a
// default have the same default here; the sizes of the model have none.
#include "Config.h"

using namespace tbq;

// Far above any model, low enough that no product of three of them wraps.
static constexpr int64_t sizeLimit = 1 << 20;
static constexpr int64_t countLimit = 1 << 24;
static constexpr int64_t layerLimit = 4096;

static Status checkArchitecture(const JsonObject &config) {
  if (config.has("architectures")) {
    auto names = config.strings("architectures");
    if (!names)
      return names.error();
    if (names->size() != 1)
      return config.error("architectures", "must name one architecture (got " +
                                               std::to_string(names->size()) +
                                               ")");
    if (names->front() != "LlamaForCausalLM")
      return config.error("architectures", "unsupported architecture '" +
                                               names->front() +
                                               "' (supported: llama)");
    if (!config.has("model_type"))
      return Status::ok();
  }
  auto type = config.string("model_type");
  if (!type)
    return type.error();
  if (*type != "llama")
    return config.error("model_type", "unsupported architecture '" + *type +
                                          "' (supported: llama)");
  return Status::ok();
}

static Status checkActivation(const JsonObject &config) {
  auto activation = config.stringOr("hidden_act", "silu");
  if (!activation)
    return activation.error();
  if (*activation != "silu")
    return config.error("hidden_act", "unsupported activation '" + *activation +
                                          "' (supported: silu)");
  return Status::ok();
}

/// Heads, key/value heads and their size: what must divide what.
static Status readHeads(const JsonObject &config, LlamaConfig &result) {
  FieldReader fields;
  fields.set(result.heads, config.integer("num_attention_heads", 1, sizeLimit));
  fields.set(result.kvHeads, config.integerOr("num_key_value_heads",
                                              result.heads, 1, sizeLimit));
  fields.set(result.headDim, config.integerOr("head_dim", 0, 1, sizeLimit));
  if (Status status = fields.status(); !status)
    return status;
  if (result.heads % result.kvHeads != 0)
    return config.error("num_key_value_heads",
                        "must divide num_attention_heads, " +
                            std::to_string(result.heads) + " (got " +
                            std::to_string(result.kvHeads) + ")");
  if (!config.has("head_dim")) {
    if (result.hidden % result.heads != 0)
      return config.error("num_attention_heads",
                          "must divide hidden_size, " +
                              std::to_string(result.hidden) +
                              ", where head_dim is absent (got " +
                              std::to_string(result.heads) + ")");
    result.headDim = result.hidden / result.heads;
  }
  if (result.headDim % 2 != 0)
    return config.error("head_dim", "must be even for rotary embeddings (got " +
                                        std::to_string(result.headDim) + ")");
  if (result.heads * result.headDim > sizeLimit)
    return config.error(
        "head_dim", "times num_attention_heads must be at most " +
                        std::to_string(sizeLimit) + " (got " +
                        std::to_string(result.heads * result.headDim) + ")");
  return Status::ok();
}

Result<LlamaConfig> tbq::readLlamaConfig(const JsonObject &config) {
  if (Status status = checkArchitecture(config); !status)
    return status.error();
  if (Status status = checkActivation(config); !status)
    return status.error();
  LlamaConfig result;
  result.hiddenAct = "silu";
  FieldReader fields;
  fields.set(result.hidden, config.integer("hidden_size", 1, sizeLimit));
  fields.set(result.layers, config.integer("num_hidden_layers", 1, layerLimit));
  fields.set(result.ffn, config.integer("intermediate_size", 1, countLimit));
  fields.set(result.vocab, config.integer("vocab_size", 1, countLimit));
  fields.set(result.maxPosition,
             config.integerOr("max_position_embeddings", 2048, 1, countLimit));
  fields.set(result.rmsEps, config.numberOr("rms_norm_eps", 1e-6, 1e-30, 1.0));
  fields.set(result.tieEmbeddings,
             config.booleanOr("tie_word_embeddings", false));
  fields.set(result.attentionBias, config.booleanOr("attention_bias", false));
  fields.set(result.mlpBias, config.booleanOr("mlp_bias", false));
  fields.set(result.name, config.stringOr("_name_or_path", ""));
  if (Status status = fields.status(); !status)
    return status.error();
  if (Status status = readHeads(config, result); !status)
    return status.error();
  if (Status status = readRope(config, result); !status)
    return status.error();
  return result;
}
