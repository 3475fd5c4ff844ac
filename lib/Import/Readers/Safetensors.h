// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The tensors of a safetensors file, and of all files of a model.
// Invariant: every returned view lies inside its mapping and its size equals
// what its shape and element type say.
#ifndef TBQ_IMPORT_READERS_SAFETENSORS_H
#define TBQ_IMPORT_READERS_SAFETENSORS_H

#include "ModelDirectory.h"
#include "tbq/Checkpoint.h"

namespace tbq {

/// In the order of their data. The views borrow from `file`.
Result<std::vector<TensorView>> readSafetensors(const MappedFile &file);

struct ModelWeights {
  std::string path; // model.safetensors or its index, for messages
  std::vector<MappedFile> files;
  std::vector<TensorView> tensors; // sorted by name, each name once
};

/// model.safetensors, or else the shards of model.safetensors.index.json.
Result<ModelWeights> readModelWeights(const ModelDirectory &directory);

} // namespace tbq

#endif // TBQ_IMPORT_READERS_SAFETENSORS_H
