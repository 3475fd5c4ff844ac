// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What tbq-lower-step-to-gpu is made of: one function an op. All threads of
// the block run it.
#ifndef TBQ_GPU_LOWERSTEP_H
#define TBQ_GPU_LOWERSTEP_H

#include "WarpAttention.h"

namespace mlir::tbq {

// Element by element. The first: of each of the inputs' elements `body` makes
// the result's; a thread has four neighbours.
void mapElements(ThreadBuilder &t, StepOp op, int64_t columns,
                 ValueRange inputs,
                 llvm::function_ref<Value(ArrayRef<Value>)> body);
void lowerEmbedding(ThreadBuilder &t, EmbeddingOp op);
void lowerAddPositions(ThreadBuilder &t, AddPositionsOp op);
void lowerSelectRows(ThreadBuilder &t, SelectRowsOp op);
void lowerSummarizeLogits(ThreadBuilder &t, SummarizeLogitsOp op);
void lowerAdd(ThreadBuilder &t, AddOp op);
void lowerGatedActivation(ThreadBuilder &t, GatedActivationOp op);
/// silu(gate) * up
Value getGated(ThreadBuilder &t, Value gate, Value up);
void lowerActivation(ThreadBuilder &t, ActivationOp op);
void lowerRope(ThreadBuilder &t, RopeOp op);
void lowerAppendCache(ThreadBuilder &t, AppendCacheOp op);

// Rows and heads; behind each the block's threads have met.
void lowerRmsNorm(ThreadBuilder &t, RmsNormOp op);
void lowerLayerNorm(ThreadBuilder &t, LayerNormOp op);
void lowerGroupSums(ThreadBuilder &t, GroupSumsOp op);
void lowerQuantizeActivations(ThreadBuilder &t, QuantizeActivationsOp op);
/// And what `around` it is done with it, for `blocks` blocks that may share
/// `sharedBytes` each, whose groups of warps may take each other's registers.
void lowerAttention(ThreadBuilder &t, AttentionOp op,
                    AttentionNeighbours around, int64_t blocks,
                    int64_t sharedBytes, bool warpgroups);
AttentionNeighbours findNeighbours(AttentionOp op);

/// Of what stands before an op that reads a row of one token: it is done when
/// the row has come, before anything is made of it.
inline constexpr const char *kBehindRow = "tbq.behind_row";
/// Such an op between two others, whose row all warps have a part of, or null.
Operation *findRowReader(Operation *from, Operation *to);
/// All that stands before such an op, from behind `from` on, is put behind its
/// row.
void putBehindRow(Operation *from, Operation *reader);

/// Whether the buffer is the block's own, for the time of the function.
bool isOwn(Value buffer);
/// Whether anything behind `op` reads the row, before one of the step's ops
/// writes it anew: bytes of the block's own may be used again.
bool isReadBehind(Operation *op, Value row);

/// What alone reads the row that a norm makes, and can be lowered together with
/// it; else null.
QuantizeActivationsOp findQuantize(StepOp norm);
/// The norm of a row, not stored, and its digits, where `t` stands. atOnce: an
/// RmsNorm's sum and its largest are found together, of what is not yet
/// multiplied with its factor.
void lowerNormAndQuantize(ThreadBuilder &t, StepOp norm,
                          QuantizeActivationsOp op, bool atOnce);

} // namespace mlir::tbq

#endif // TBQ_GPU_LOWERSTEP_H
