// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The tensors of the embedding and of the output projection, float or quantised
// to 8 or 4 bits.
// Input: an open Checkpoint; output: views.
// Invariant: as of a linear (LinearTensors.cpp); where the config ties the two
// and both are stored, they are equal.
#include "LinearTensors.h"

#include "CheckpointState.h"

#include <algorithm>
#include <cstring>

using namespace tbq;

static const char *const headName = "lm_head";

/// Codes and scales, checked.
static Status readQuantized(const Checkpoint &checkpoint,
                            const EmbeddingQuantization &quantization,
                            LinearTensors &table) {
  const bool wide = quantization.bits == 8;
  table.quantization = LinearScheme{wide ? Scheme::Int8 : Scheme::Int4,
                                    quantization.groupSize, false};
  table.groups = table.quantization->groupsPerRow(table.columns);
  auto codes = checkpoint.require(
      table.name + ".q", {wide ? DType::I8 : DType::U8},
      {table.rows, wide ? table.columns : (table.columns - 1) / 2 + 1});
  if (!codes)
    return codes.error();
  table.codes = *codes;
  auto scale = checkpoint.require(table.name + ".scale", {DType::F16},
                                  {table.rows, table.groups});
  if (!scale)
    return scale.error();
  table.scale = *scale;
  if (Status status =
          checkUnusedBits(**codes, table.columns, quantization.bits);
      !status)
    return status;
  return checkFiniteF16(**scale);
}

/// A [vocab, embedding columns] matrix with nothing else stored under its name.
static Result<LinearTensors> readTable(const Checkpoint &checkpoint,
                                       const std::string &name) {
  const ModelConfig &config = checkpoint.config();
  LinearTensors table;
  table.name = name;
  table.rows = config.vocab;
  table.columns = config.parts.embeddingColumns;
  const auto &quantization = checkpoint.quantization();
  if (quantization && quantization->embedding) {
    if (Status status =
            readQuantized(checkpoint, *quantization->embedding, table);
        !status)
      return status.error();
  } else {
    auto weight = checkpoint.requireFloat(table.name + ".weight",
                                          {table.rows, table.columns});
    if (!weight)
      return weight.error();
    table.weight = *weight;
  }
  if (Status status = checkNothingLeft(checkpoint, table); !status)
    return status.error();
  return table;
}

/// Whether any tensor is called NAME.something.
static bool storesAny(const Checkpoint &checkpoint, const std::string &name) {
  const std::string prefix = name + ".";
  return std::any_of(checkpoint.tensors().begin(), checkpoint.tensors().end(),
                     [&](const TensorView &tensor) {
                       return tensor.name.compare(0, prefix.size(), prefix) ==
                              0;
                     });
}

Result<LinearTensors> Checkpoint::embedding() const {
  const std::string &name = config().parts.embedding;
  // Tied checkpoints store the one matrix under either name.
  if (config().tieEmbeddings && !storesAny(*this, name) &&
      storesAny(*this, headName))
    return readTable(*this, headName);
  return readTable(*this, name);
}

/// An error if two parts of what should be one matrix differ.
static Status checkEqual(const TensorView &part, const TensorView &copy) {
  if (copy.dtype == part.dtype && copy.bytes == part.bytes &&
      std::memcmp(copy.data, part.data, copy.bytes) == 0)
    return Status::ok();
  return makeError(copy.file, copy.name,
                   "differs from " + part.name +
                       ", but config.json's tie_word_embeddings is true");
}

Result<LinearTensors> Checkpoint::head() const {
  if (!config().tieEmbeddings)
    return readTable(*this, headName);
  auto shared = embedding();
  if (!shared || shared->name == headName || !storesAny(*this, headName))
    return shared;
  auto copy = readTable(*this, headName);
  if (!copy)
    return copy;
  for (auto part :
       {&LinearTensors::weight, &LinearTensors::codes, &LinearTensors::scale}) {
    if (!((*shared).*part))
      continue;
    Status status = checkEqual(*((*shared).*part), *((*copy).*part));
    dropPages(*((*shared).*part));
    dropPages(*((*copy).*part));
    if (!status)
      return status.error();
  }
  return shared;
}
