// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The tensors of a LlamaForCausalLM, part by part, all checked.
#ifndef TBQ_IMPORT_LLAMAPARTS_H
#define TBQ_IMPORT_LLAMAPARTS_H

#include "tbq/Checkpoint.h"

#include <string>
#include <vector>

namespace mlir::tbq {

struct LayerTensors {
  std::string name; // "model.layers.0"
  const ::tbq::TensorView *inputNorm = nullptr, *postAttentionNorm = nullptr;
  ::tbq::LinearTensors q, k, v, o, gate, up, down;
};

struct ModelTensors {
  const ::tbq::TensorView *norm = nullptr;
  ::tbq::LinearTensors embedding;
  ::tbq::LinearTensors head; // the embedding's tensors if tied
  std::vector<LayerTensors> layers;
};

/// Finds every tensor that the config asks for and checks type and shape, and
/// that the groups of what is quantised are ones that can be packed.
::tbq::Result<ModelTensors> collectTensors(const ::tbq::Checkpoint &checkpoint);

/// The path of its config.json, for messages.
std::string configFile(const ::tbq::Checkpoint &checkpoint);

} // namespace mlir::tbq

#endif // TBQ_IMPORT_LLAMAPARTS_H
