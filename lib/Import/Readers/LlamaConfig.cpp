// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// config.json of a LlamaForCausalLM.
// Input: the parsed object and what every model has; output: the rest of the
// config, and which tensors the model consists of.
// Invariant: see Config.h. Fields that transformers' LlamaConfig gives a
// default have the same default here.
#include "Config.h"

using namespace tbq;

static Status checkActivation(const JsonObject &config) {
  auto activation = config.stringOr("hidden_act", "silu");
  if (!activation)
    return activation.error();
  if (*activation != "silu")
    return config.error("hidden_act", "unsupported activation '" + *activation +
                                          "' (supported: silu)");
  return Status::ok();
}

/// Key/value heads and their size: what must divide what.
static Status readHeads(const JsonObject &config, ModelConfig &result) {
  FieldReader fields;
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

static ModelParts getParts(const ModelConfig &config, bool attentionBias,
                           bool mlpBias) {
  const int64_t hidden = config.hidden, ffn = config.ffn;
  const int64_t queries = config.heads * config.headDim;
  const int64_t keys = config.kvHeads * config.headDim;
  ModelParts parts;
  parts.embeddingColumns = hidden;
  parts.layerLinears = {{"self_attn.q_proj", queries, hidden, attentionBias},
                        {"self_attn.k_proj", keys, hidden, attentionBias},
                        {"self_attn.v_proj", keys, hidden, attentionBias},
                        {"self_attn.o_proj", hidden, queries, attentionBias},
                        {"mlp.gate_proj", ffn, hidden, mlpBias},
                        {"mlp.up_proj", ffn, hidden, mlpBias},
                        {"mlp.down_proj", hidden, ffn, mlpBias}};
  parts.layerVectors = {{"input_layernorm.weight", {hidden}},
                        {"post_attention_layernorm.weight", {hidden}}};
  parts.vectors = {{"model.norm.weight", {hidden}}};
  parts.redundant = {"self_attn.rotary_emb.inv_freq"}; // of older checkpoints
  return parts;
}

static Status readLlama(const JsonObject &config, ModelConfig &result) {
  if (Status status = checkActivation(config); !status)
    return status;
  LlamaConfig own;
  bool attentionBias = false, mlpBias = false;
  FieldReader fields;
  fields.set(result.ffn, config.integer("intermediate_size", 1, countLimit));
  fields.set(own.rmsEps, config.numberOr("rms_norm_eps", 1e-6, 1e-30, 1.0));
  fields.set(result.tieEmbeddings,
             config.booleanOr("tie_word_embeddings", false));
  fields.set(attentionBias, config.booleanOr("attention_bias", false));
  fields.set(mlpBias, config.booleanOr("mlp_bias", false));
  if (Status status = fields.status(); !status)
    return status;
  if (Status status = readHeads(config, result); !status)
    return status;
  if (Status status = readRope(config, own); !status)
    return status;
  result.parts = getParts(result, attentionBias, mlpBias);
  result.own = own;
  return Status::ok();
}

const Architecture tbq::llamaArchitecture = {"llama", "LlamaForCausalLM",
                                             readLlama};
