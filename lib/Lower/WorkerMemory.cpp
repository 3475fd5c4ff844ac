// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which tensors are each worker's own, and how their buffers are told; see
// WorkerMemory.h.

#include "WorkerMemory.h"

using namespace mlir;
using namespace mlir::tbq;

/// The rows of a token as one unit, and no more than one token.
static bool isOneUnit(StepOp op) {
  return op.getUnitsPerToken() == 1 && op.getUnitColumns() == 0 &&
         llvm::all_of(op->getResultTypes(), [](Type type) {
           return cast<RankedTensorType>(type).getDimSize(0) == 1;
         });
}

/// Rotated for attention that takes the token's key as it is: a barrier would
/// stand before it else.
static bool isRotatedForOneToken(StepOp op) {
  return isa<RopeOp>(op) && llvm::any_of(op->getUsers(), [](Operation *user) {
           auto attention = dyn_cast<AttentionOp>(user);
           return attention && attention.getKey();
         });
}

/// What goes through layers or to the caller belongs to all workers.
static bool isReadByOpsOnly(Value tensor) {
  return llvm::all_of(tensor.getUsers(),
                      [](Operation *user) { return isa<StepOp>(user); });
}

ArenaPlan mlir::tbq::planWorkerMemory(func::FuncOp function,
                                      const DenseSet<Value> &elsewhere,
                                      int64_t most) {
  DenseSet<Value> tensors;
  ArenaPlan plan;
  for (StepOp op : function.getOps<StepOp>()) {
    ResultRange results = op->getResults();
    if (!(isOneUnit(op) || isRotatedForOneToken(op)) ||
        !llvm::all_of(results, isReadByOpsOnly) ||
        llvm::any_of(results,
                     [&](Value value) { return elsewhere.contains(value); }))
      continue;
    DenseSet<Value> more = tensors;
    more.insert(results.begin(), results.end());
    ArenaPlan larger = ArenaPlan::createOwn(function, more);
    if (larger.getBytes() > most)
      continue;
    tensors = std::move(more);
    plan = std::move(larger);
  }
  return plan;
}

Value mlir::tbq::createWorkerMemory(OpBuilder &b, Location loc, int64_t bytes) {
  return memref::AllocaOp::create(
      b, loc, MemRefType::get({bytes}, b.getI8Type()), ValueRange(),
      ValueRange(), b.getI64IntegerAttr(kAlignment));
}

bool mlir::tbq::isWorkerBuffer(Value buffer) {
  auto view = buffer.getDefiningOp<memref::ViewOp>();
  return view && view.getSource().getDefiningOp<memref::AllocaOp>();
}

bool mlir::tbq::isOfEveryWorker(StepOp op) {
  return !op.getInto().empty() && isWorkerBuffer(op.getInto().front());
}
