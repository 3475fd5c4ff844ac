// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Finds the tensors of a model.
// Input: an open checkpoint; output: views of all its parts.
// Invariant: nothing is missing or of another type or shape than config.json
// says.

#include "ModelTensors.h"

#include "tbq/IR/Tbq.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::Checkpoint;
using ::tbq::LinearTensors;
using ::tbq::makeError;
using ::tbq::ModelParts;
using ::tbq::Result;
using ::tbq::Status;

std::string mlir::tbq::configFile(const Checkpoint &checkpoint) {
  return checkpoint.directory() + "/config.json";
}

/// Columns of a step of digits, the 4 bytes that a row has in it.
static int64_t getStepColumns(::tbq::Scheme scheme) {
  switch (scheme) {
  case ::tbq::Scheme::Ternary:
    return 16;
  case ::tbq::Scheme::Binary:
  case ::tbq::Scheme::DualBinary:
    return 32;
  case ::tbq::Scheme::Int8:
    return 4;
  case ::tbq::Scheme::Int4:
    return 8;
  }
  llvm_unreachable("all schemes are named");
}

/// Groups that end within a row must end with a whole step of digits. `field`:
/// what of the config says how long they are.
static Status checkGroup(const Checkpoint &checkpoint,
                         const LinearTensors &linear, const char *field) {
  if (!linear.quantization)
    return Status::ok();
  const int64_t group = linear.quantization->groupSize;
  const int64_t step = getStepColumns(linear.quantization->scheme);
  if (group == 0 || group >= linear.columns || group % step == 0)
    return Status::ok();
  return makeError(configFile(checkpoint), field,
                   linear.name + " has groups of " + std::to_string(group) +
                       " weights (supported: multiples of " +
                       std::to_string(step) + ", or \"row\")");
}

/// Reads all of these parts, whose names stand behind `prefix`.
Status ModelTensors::readParts(const Checkpoint &checkpoint,
                               const std::string &prefix,
                               ArrayRef<ModelParts::Linear> linearParts,
                               ArrayRef<ModelParts::Vector> vectorParts) {
  for (const ModelParts::Linear &part : linearParts) {
    auto found = checkpoint.linear(prefix + part.name, part.rows, part.columns,
                                   part.bias);
    if (!found)
      return found.error();
    Status status =
        checkGroup(checkpoint, *found, "quantization_config.group_size");
    if (!status)
      return status;
    linears[found->name] = *std::move(found);
  }
  for (const ModelParts::Vector &part : vectorParts) {
    auto found = checkpoint.requireFloat(prefix + part.name, part.shape);
    if (!found)
      return found.error();
    vectors[(*found)->name] = *found;
  }
  return Status::ok();
}

Result<ModelTensors> ModelTensors::collect(const Checkpoint &checkpoint) {
  const ModelParts &parts = checkpoint.config().parts;
  ModelTensors tensors;
  auto embedding = checkpoint.embedding();
  if (!embedding)
    return embedding.error();
  tensors.embedding = *std::move(embedding);
  Status status = checkGroup(checkpoint, tensors.embedding,
                             "quantization_config.embedding.group_size");
  if (!status)
    return status.error();
  for (int64_t i = 0; i < checkpoint.config().layers; ++i) {
    status = tensors.readParts(checkpoint,
                               parts.layers + "." + std::to_string(i) + ".",
                               parts.layerLinears, parts.layerVectors);
    if (!status)
      return status.error();
  }
  status = tensors.readParts(checkpoint, "", parts.linears, parts.vectors);
  if (!status)
    return status.error();
  auto head = checkpoint.head();
  if (!head)
    return head.error();
  tensors.head = *std::move(head);
  return tensors;
}
