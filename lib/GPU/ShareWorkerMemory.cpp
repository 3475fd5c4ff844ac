// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-share-worker-memory: what a worker has for itself (lib/Lower/
// WorkerMemory.h) belongs to all threads of a block. Input: functions with
// buffers on the stack. Output: views of one buffer that the threads share.
// Invariant: a layer function's buffers lie behind those of the entry points,
// which live while it runs. How much it is, tbq.shared_bytes says to the
// launch; what lies behind a function's own, from its kWorkerEnd on, is its
// ops' to use (ThreadBuilder::getScratch).

#include "ThreadBuilder.h"

#include "llvm/Support/MathExtras.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_SHAREWORKERMEMORYPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

static int64_t getBytes(MemRefType type) {
  return llvm::alignTo(countBytes(type), kAlignment);
}

/// The bytes that the functions' own buffers take, at most one at a time.
static int64_t getMostBytes(ArrayRef<func::FuncOp> functions) {
  int64_t most = 0;
  for (func::FuncOp function : functions) {
    int64_t bytes = 0;
    function.walk(
        [&](memref::AllocaOp op) { bytes += getBytes(op.getType()); });
    most = std::max(most, bytes);
  }
  return most;
}

/// Puts a function's buffers one behind the other, from `offset` on.
static void share(func::FuncOp function, int64_t offset) {
  function.walk([&](memref::AllocaOp op) {
    OpBuilder b(op);
    Location loc = op.getLoc();
    Value all = ThreadBuilder(b, loc).getWorkerMemory();
    MemRefType own = op.getType();
    auto shared = MemRefType::get(
        own.getShape(), own.getElementType(), MemRefLayoutAttrInterface(),
        cast<MemRefType>(all.getType()).getMemorySpace());
    Value view = memref::ViewOp::create(
        b, loc, shared, all, arith::ConstantIndexOp::create(b, loc, offset),
        ValueRange());
    // Ops know no address space; LLVM finds it again.
    op.replaceAllUsesWith(
        memref::MemorySpaceCastOp::create(b, loc, own, view).getResult());
    op.erase();
    offset += getBytes(own);
  });
  function->setAttr(kWorkerEnd, Builder(function).getI64IntegerAttr(offset));
}

namespace {
struct ShareWorkerMemoryPass
    : tbq::impl::ShareWorkerMemoryPassBase<ShareWorkerMemoryPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    SmallVector<func::FuncOp> entries, layers;
    for (auto function : module.getOps<func::FuncOp>())
      (function.isPublic() ? entries : layers).push_back(function);
    int64_t first = getMostBytes(entries), second = getMostBytes(layers);
    // A stride of 32 columns may end behind the last row's padding.
    int64_t padding = first + second ? kAlignment : 0;
    module->setAttr(kLaunchedBytes, Builder(module).getI64IntegerAttr(
                                        first + second + padding));
    for (func::FuncOp function : entries)
      share(function, 0);
    for (func::FuncOp function : layers)
      share(function, first);
  }
};
} // namespace
