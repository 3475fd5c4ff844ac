// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// config.json of an OPTForCausalLM.
// Input: the parsed object and what every model has; output: the rest of the
// config, and which tensors the model consists of.
// Invariant: see Config.h. Fields that transformers' OPTConfig gives a default
// have the same default here. dropout and attention_dropout act in training
// alone and are not read. layerdrop does too, in transformers; a model that
// leaves out layers is refused all the same, for whoever relies on that knows a
// meaning that is not compiled.
#include "Config.h"

using namespace tbq;

static Status readActivation(const JsonObject &config, OptConfig &result) {
  auto name = config.stringOr("activation_function", "relu");
  if (!name)
    return name.error();
  if (*name != "relu" && *name != "gelu")
    return config.error("activation_function", "unsupported activation '" +
                                                   *name +
                                                   "' (supported: relu, gelu)");
  result.activation = *name == "relu" ? OptConfig::Activation::Relu
                                      : OptConfig::Activation::Gelu;
  return Status::ok();
}

static Status readHeads(const JsonObject &config, ModelConfig &result) {
  if (result.hidden % result.heads != 0)
    return config.error("num_attention_heads",
                        "must divide hidden_size, " +
                            std::to_string(result.hidden) + " (got " +
                            std::to_string(result.heads) + ")");
  result.kvHeads = result.heads;
  result.headDim = result.hidden / result.heads;
  return Status::ok();
}

static void addNorm(std::vector<ModelParts::Vector> &vectors,
                    const std::string &name, int64_t size) {
  vectors.push_back({name + ".weight", {size}});
  vectors.push_back({name + ".bias", {size}});
}

static ModelParts getParts(const ModelConfig &config, const OptConfig &own,
                           int64_t embeddingColumns) {
  const int64_t hidden = config.hidden, ffn = config.ffn;
  const std::string decoder = "model.decoder.";
  ModelParts parts;
  parts.embedding = decoder + "embed_tokens";
  parts.embeddingColumns = embeddingColumns;
  parts.layers = decoder + "layers";
  for (const char *name : {"q_proj", "k_proj", "v_proj", "out_proj"})
    parts.layerLinears.push_back(
        {std::string("self_attn.") + name, hidden, hidden, own.biases});
  parts.layerLinears.push_back({"fc1", ffn, hidden, own.biases});
  parts.layerLinears.push_back({"fc2", hidden, ffn, own.biases});
  addNorm(parts.layerVectors, "self_attn_layer_norm", hidden);
  addNorm(parts.layerVectors, "final_layer_norm", hidden);
  parts.vectors = {{decoder + "embed_positions.weight",
                    {config.maxPosition + OptConfig::positionOffset, hidden}}};
  if (own.finalNorm)
    addNorm(parts.vectors, decoder + "final_layer_norm", hidden);
  if (embeddingColumns != hidden)
    parts.linears = {
        {decoder + "project_in", hidden, embeddingColumns, false},
        {decoder + "project_out", embeddingColumns, hidden, false}};
  return parts;
}

static Status readOpt(const JsonObject &config, ModelConfig &result) {
  OptConfig own;
  if (Status status = readActivation(config, own); !status)
    return status;
  int64_t embeddingColumns = 0;
  bool oldFinal = false, affine = false;
  double layerdrop = 0.0;
  FieldReader fields;
  fields.set(result.ffn, config.integer("ffn_dim", 1, countLimit));
  fields.set(embeddingColumns, config.integerOr("word_embed_proj_dim",
                                                result.hidden, 1, sizeLimit));
  fields.set(result.tieEmbeddings,
             config.booleanOr("tie_word_embeddings", true));
  fields.set(own.normBefore, config.booleanOr("do_layer_norm_before", true));
  fields.set(oldFinal, config.booleanOr("_remove_final_layer_norm", false));
  fields.set(own.biases, config.booleanOr("enable_bias", true));
  fields.set(affine, config.booleanOr("layer_norm_elementwise_affine", true));
  fields.set(layerdrop, config.numberOr("layerdrop", 0.0, 0.0, 1.0));
  if (Status status = fields.status(); !status)
    return status;
  if (layerdrop != 0.0)
    return config.error("layerdrop",
                        "layers that are left out at random are not supported; "
                        "0 keeps all, as transformers does in inference");
  if (!affine)
    return config.error("layer_norm_elementwise_affine",
                        "layer norms without weights are not supported");
  own.finalNorm = own.normBefore && !oldFinal;
  if (Status status = readHeads(config, result); !status)
    return status;
  result.parts = getParts(result, own, embeddingColumns);
  result.own = own;
  return Status::ok();
}

const Architecture tbq::optArchitecture = {"opt", "OPTForCausalLM", readOpt};
