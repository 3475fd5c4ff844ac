// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Recognises the tensors of a model by name.
// Input: all tensors and the config with its parts; output: ok, or the first
// stranger.
// Invariant: what a linear stores (weight, codes, scale ...) is not judged
// here but where the linear is read.
#include "TensorNames.h"

#include <algorithm>

using namespace tbq;

static bool startsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

/// Whether `name` lies directly under a linear, or is one of the vectors.
static bool isPart(std::string_view name,
                   const std::vector<ModelParts::Linear> &linears,
                   const std::vector<ModelParts::Vector> &vectors) {
  return std::any_of(linears.begin(), linears.end(),
                     [&](const ModelParts::Linear &linear) {
                       return startsWith(name, linear.name + ".");
                     }) ||
         std::any_of(vectors.begin(), vectors.end(),
                     [&](const ModelParts::Vector &vector) {
                       return name == vector.name;
                     });
}

static bool isLayerPart(std::string_view name, const ModelParts &parts) {
  return isPart(name, parts.layerLinears, parts.layerVectors) ||
         std::find(parts.redundant.begin(), parts.redundant.end(), name) !=
             parts.redundant.end();
}

/// Splits "model.layers.12.rest" into 12 and "rest"; -1 if it is none such.
static int64_t splitLayer(std::string_view name, const std::string &layers,
                          std::string_view &rest) {
  if (!startsWith(name, layers + "."))
    return -1;
  name.remove_prefix(layers.size() + 1);
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

Status tbq::checkTensorNames(const std::vector<TensorView> &tensors,
                             const ModelConfig &config) {
  const ModelParts &parts = config.parts;
  for (const TensorView &tensor : tensors) {
    if (isPart(tensor.name, parts.linears, parts.vectors) ||
        startsWith(tensor.name, parts.embedding + ".") ||
        startsWith(tensor.name, "lm_head."))
      continue;
    std::string_view rest;
    int64_t layer = splitLayer(tensor.name, parts.layers, rest);
    if (layer >= config.layers)
      return makeError(tensor.file, tensor.name,
                       "belongs to layer " + std::to_string(layer) +
                           ", but config.json's num_hidden_layers is " +
                           std::to_string(config.layers));
    if (layer < 0 || !isLayerPart(rest, parts))
      return makeError(tensor.file, tensor.name,
                       "is not a tensor of this " + config.architecture +
                           " model: is config.json right?");
  }
  return Status::ok();
}
