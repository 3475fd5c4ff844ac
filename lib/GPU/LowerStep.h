// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What tbq-lower-step-to-gpu is made of: one function an op. All threads of
// the block run it; each op ends where they meet.
#ifndef TBQ_GPU_LOWERSTEP_H
#define TBQ_GPU_LOWERSTEP_H

#include "ThreadBuilder.h"

namespace mlir::tbq {

void lowerEmbedding(ThreadBuilder &t, EmbeddingOp op);
void lowerAddPositions(ThreadBuilder &t, AddPositionsOp op);
void lowerRmsNorm(ThreadBuilder &t, RmsNormOp op);
void lowerLayerNorm(ThreadBuilder &t, LayerNormOp op);
void lowerSelectRows(ThreadBuilder &t, SelectRowsOp op);
void lowerAdd(ThreadBuilder &t, AddOp op);
void lowerGatedActivation(ThreadBuilder &t, GatedActivationOp op);
void lowerActivation(ThreadBuilder &t, ActivationOp op);
void lowerGroupSums(ThreadBuilder &t, GroupSumsOp op);
void lowerQuantizeActivations(ThreadBuilder &t, QuantizeActivationsOp op);
void lowerRope(ThreadBuilder &t, RopeOp op);
void lowerAppendCache(ThreadBuilder &t, AppendCacheOp op);
void lowerAttention(ThreadBuilder &t, AttentionOp op);

} // namespace mlir::tbq

#endif // TBQ_GPU_LOWERSTEP_H
