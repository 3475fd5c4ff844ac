// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The TemporaryModel as an OPT: hidden 8, 1 layer, 2 heads, ffn 12, vocab 16.
#ifndef TBQ_TEST_UNIT_IMPORT_OPTMODEL_H
#define TBQ_TEST_UNIT_IMPORT_OPTMODEL_H

#include "TemporaryModel.h"

namespace tbq {

inline void addNorm(TemporaryModel &model, const std::string &name) {
  model.tensors[name + ".weight"] = floatTensor({8});
  model.tensors[name + ".bias"] = floatTensor({8}, 0.5f);
}

inline void makeOpt(TemporaryModel &model) {
  model.config = {{"architectures", {"OPTForCausalLM"}},
                  {"model_type", "opt"},
                  {"hidden_size", 8},
                  {"num_hidden_layers", 1},
                  {"num_attention_heads", 2},
                  {"ffn_dim", 12},
                  {"vocab_size", 16},
                  {"max_position_embeddings", 32}};
  model.tensors.clear();
  const std::string decoder = "model.decoder.", layer = decoder + "layers.0.";
  model.tensors[decoder + "embed_tokens.weight"] = floatTensor({16, 8});
  model.tensors[decoder + "embed_positions.weight"] = floatTensor({34, 8});
  addNorm(model, decoder + "final_layer_norm");
  addNorm(model, layer + "self_attn_layer_norm");
  addNorm(model, layer + "final_layer_norm");
  auto addLinear = [&](const std::string &name, int64_t rows, int64_t columns) {
    model.tensors[layer + name + ".weight"] = floatTensor({rows, columns});
    model.tensors[layer + name + ".bias"] = floatTensor({rows});
  };
  for (const char *part : {"q_proj", "k_proj", "v_proj", "out_proj"})
    addLinear(std::string("self_attn.") + part, 8, 8);
  addLinear("fc1", 12, 8);
  addLinear("fc2", 8, 12);
}

/// OPT-350M's form: norms behind the parts, and an embedding of 6 columns.
inline void makePostNormOpt(TemporaryModel &model) {
  makeOpt(model);
  model.config["do_layer_norm_before"] = false;
  model.config["word_embed_proj_dim"] = 6;
  const std::string decoder = "model.decoder.";
  for (const char *part : {".weight", ".bias"})
    model.tensors.erase(decoder + "final_layer_norm" + part);
  model.tensors[decoder + "embed_tokens.weight"] = floatTensor({16, 6});
  model.tensors[decoder + "project_in.weight"] = floatTensor({8, 6});
  model.tensors[decoder + "project_out.weight"] = floatTensor({6, 8});
}

} // namespace tbq

#endif // TBQ_TEST_UNIT_IMPORT_OPTMODEL_H
