// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Memory that each worker has for itself, on its stack. Where a step has one
// token, an op whose unit is a token (a norm, quantising activations) is one
// unit: one worker would compute it while all others wait behind a barrier.
// Instead every worker computes it, in the same order and so to the same bits,
// and reads only what it wrote itself. So with the heads that rope rotates,
// where attention takes the token's key as it is (tbq-attend-own-key).
#ifndef TBQ_LOWER_WORKERMEMORY_H
#define TBQ_LOWER_WORKERMEMORY_H

#include "ArenaPlan.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"

namespace mlir::tbq {

/// The tensors of `function` that every worker makes for itself, and where they
/// lie in at most `most` bytes. Those in `elsewhere` have memory already.
ArenaPlan planWorkerMemory(func::FuncOp function,
                           const DenseSet<Value> &elsewhere, int64_t most);

/// A worker's own memory, for the time of the function; its buffers are views.
Value createWorkerMemory(OpBuilder &b, Location loc, int64_t bytes);
bool isWorkerBuffer(Value buffer);

/// Whether every worker computes all of an op in buffer form.
bool isOfEveryWorker(StepOp op);

} // namespace mlir::tbq

#endif // TBQ_LOWER_WORKERMEMORY_H
