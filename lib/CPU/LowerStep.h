// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What tbq-lower-step-to-cpu is made of: one function an op.
#ifndef TBQ_CPU_LOWERSTEP_H
#define TBQ_CPU_LOWERSTEP_H

#include "VectorBuilder.h"

namespace mlir::tbq {

void lowerEmbedding(VectorBuilder &v, EmbeddingOp op);
void lowerAddPositions(VectorBuilder &v, AddPositionsOp op);
void lowerRmsNorm(VectorBuilder &v, RmsNormOp op);
void lowerLayerNorm(VectorBuilder &v, LayerNormOp op);
void lowerSelectRows(VectorBuilder &v, SelectRowsOp op);
void lowerAdd(VectorBuilder &v, AddOp op);
void lowerGatedActivation(VectorBuilder &v, GatedActivationOp op);
void lowerActivation(VectorBuilder &v, ActivationOp op);
void lowerGroupSums(VectorBuilder &v, GroupSumsOp op);
void lowerQuantizeActivations(VectorBuilder &v, QuantizeActivationsOp op);
void lowerRope(VectorBuilder &v, RopeOp op);
void lowerAppendCache(VectorBuilder &v, AppendCacheOp op);

/// What attention asks of the target.
struct AttentionTarget {
  int64_t registers; // vectors of 16 lanes that it has room for
  /// How far ahead keys and values are asked for, rounded up to whole blocks of
  /// positions; 0: they are not.
  int64_t cacheBytes;
};
/// With sums of spans it needs the step's workers (getTeam).
void lowerAttention(VectorBuilder &v, AttentionOp op,
                    const AttentionTarget &target);

/// The argument of an op's function that is its workers, null if it has none.
Value getTeam(Operation *op);

/// The bytes of a packed weight.
Value getBytes(VectorBuilder &v, Value packed);

} // namespace mlir::tbq

#endif // TBQ_CPU_LOWERSTEP_H
