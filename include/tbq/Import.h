// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The import stage: an open checkpoint becomes the graph-stage module of its
// model, one function @forward whose weights are names.
// Invariant: every tensor the module names was found, with the type and shape
// the module gives it, before the first op was built; no weight is copied.
#ifndef TBQ_IMPORT_H
#define TBQ_IMPORT_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "tbq/Checkpoint.h"
#include "tbq/IR/Tbq.h"

#include <optional>
#include <vector>

namespace mlir::tbq {

/// Elements of the KV cache.
enum class CacheElement { F32, F16 };

struct ImportOptions {
  /// Positions that the cache and the rope table have room for; 0: the model's
  /// max_position_embeddings, at most 4096.
  int64_t context = 0;
  /// Absent: what the checkpoint's quantization_config says, else i16 where
  /// linears are quantised.
  std::optional<Activations> activations;
  /// Linears of a float checkpoint will be.
  bool quantizes = false;
  /// Absent: f32 with f32 activations, else f16.
  std::optional<CacheElement> cache;
};

/// Builds the module of a model. Errors name file and tensor or field: tensors
/// that are missing or of another shape, groups that cannot be packed, a
/// context beyond the model's.
::tbq::Result<OwningOpRef<ModuleOp>>
importModel(MLIRContext *context, const ::tbq::Checkpoint &checkpoint,
            const ImportOptions &options);

/// The headDim / 2 rotation frequencies (transformers' inv_freq) with the
/// config's scaling applied, bit for bit as transformers 5 computes them in
/// float32 (modeling_rope_utils.py).
std::vector<float> computeRopeFrequencies(const ::tbq::LlamaConfig &config,
                                          int64_t headDim);

} // namespace mlir::tbq

#endif // TBQ_IMPORT_H
