// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Recognises the tensors of LlamaForCausalLM by name.
// Input: all tensors and the config; output: ok, or the first stranger.
// Invariant: what a linear stores (weight, codes, scale ...) is not judged
// here but where the linear is read.
#include "LlamaTensors.h"

#include <algorithm>

using namespace tbq;

static bool startsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

/// Whether `name` is NORM.weight or lies directly under a linear.
static bool isLayerTensor(std::string_view name) {
  for (const char *exact :
       {"input_layernorm.weight", "post_attention_layernorm.weight",
        // A table older checkpoints stored; it follows from the config.
        "self_attn.rotary_emb.inv_freq"})
    if (name == exact)
      return true;
  for (const char *linear :
       {"self_attn.q_proj.", "self_attn.k_proj.", "self_attn.v_proj.",
        "self_attn.o_proj.", "mlp.gate_proj.", "mlp.up_proj.",
        "mlp.down_proj."})
    if (startsWith(name, linear))
      return true;
  return false;
}

/// Splits "model.layers.12.rest" into 12 and "rest"; -1 if it is none such.
static int64_t splitLayer(std::string_view name, std::string_view &rest) {
  const std::string_view prefix = "model.layers.";
  if (!startsWith(name, prefix))
    return -1;
  name.remove_prefix(prefix.size());
  size_t dot = name.find('.');
  if (dot == 0 || dot > 6 || (dot > 1 && name[0] == '0'))
    return -1;
  int64_t layer = 0;
  for (char digit : name.substr(0, dot)) {
    if (digit < '0' || digit > '9')
      return -1;
    layer = layer * 10 + (digit - '0');
  }
  rest = name.substr(dot + 1);
  return layer;
}

Status tbq::checkLlamaTensorNames(const std::vector<TensorView> &tensors,
                                  const LlamaConfig &config) {
  for (const TensorView &tensor : tensors) {
    if (tensor.name == "model.norm.weight" ||
        startsWith(tensor.name, "model.embed_tokens.") ||
        startsWith(tensor.name, "lm_head."))
      continue;
    std::string_view rest;
    int64_t layer = splitLayer(tensor.name, rest);
    if (layer >= config.layers)
      return makeError(tensor.file, tensor.name,
                       "belongs to layer " + std::to_string(layer) +
                           ", but config.json's num_hidden_layers is " +
                           std::to_string(config.layers));
    if (layer < 0 || !isLayerTensor(rest))
      return makeError(tensor.file, tensor.name,
                       "is not a tensor of a llama model: is config.json's "
                       "architecture right?");
  }
  return Status::ok();
}
