// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which tensors are each worker's own, and how their buffers are told; see
// WorkerMemory.h.

#include "WorkerMemory.h"

#include "ArenaPlan.h"

using namespace mlir;
using namespace mlir::tbq;

/// The rows of a token as one unit, and no more than one token.
static bool isOneUnit(StepOp op) {
  return op.getUnitsPerToken() == 1 && op.getUnitColumns() == 0 &&
         llvm::all_of(op->getResultTypes(), [](Type type) {
           return cast<RankedTensorType>(type).getDimSize(0) == 1;
         });
}

/// What goes through layers or to the caller belongs to all workers.
static bool isReadByOpsOnly(Value tensor) {
  return llvm::all_of(tensor.getUsers(),
                      [](Operation *user) { return isa<StepOp>(user); });
}

DenseSet<Value> mlir::tbq::findWorkerTensors(func::FuncOp function,
                                             const DenseSet<Value> &elsewhere,
                                             int64_t most) {
  DenseSet<Value> tensors;
  int64_t bytes = 0;
  for (StepOp op : function.getOps<StepOp>()) {
    ResultRange results = op->getResults();
    if (!isOneUnit(op) || !llvm::all_of(results, isReadByOpsOnly) ||
        llvm::any_of(results,
                     [&](Value value) { return elsewhere.contains(value); }))
      continue;
    int64_t needed = 0;
    for (Type type : results.getTypes())
      needed += getBufferBytes(getBufferType(cast<RankedTensorType>(type)));
    if (bytes + needed > most)
      continue;
    bytes += needed;
    tensors.insert(results.begin(), results.end());
  }
  return tensors;
}

Value mlir::tbq::createWorkerBuffer(OpBuilder &b, Location loc,
                                    MemRefType type) {
  return memref::AllocaOp::create(b, loc, type, ValueRange(), ValueRange(),
                                  b.getI64IntegerAttr(kAlignment));
}

bool mlir::tbq::isWorkerBuffer(Value buffer) {
  return buffer.getDefiningOp<memref::AllocaOp>() != nullptr;
}

bool mlir::tbq::isOfEveryWorker(StepOp op) {
  return !op.getInto().empty() && isWorkerBuffer(op.getInto().front());
}
