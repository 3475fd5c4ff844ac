// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a Checkpoint holds: the directory, its configs and its mapped weights.
#ifndef TBQ_IMPORT_READERS_CHECKPOINTSTATE_H
#define TBQ_IMPORT_READERS_CHECKPOINTSTATE_H

#include "ModelDirectory.h"
#include "Safetensors.h"
#include "tbq/Checkpoint.h"

namespace tbq {

struct Checkpoint::State {
  explicit State(ModelDirectory directory) : directory(std::move(directory)) {}

  ModelDirectory directory;
  ModelConfig config;
  GenerationConfig generation;
  std::optional<QuantizationConfig> quantization;
  ModelWeights weights;
};

} // namespace tbq

#endif // TBQ_IMPORT_READERS_CHECKPOINTSTATE_H
