// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-lower-team-to-gpu: the workers of a step are the blocks of one launch.
// !tbq.team becomes a pointer to two counters; a barrier is a call of one
// function: the block's threads meet, one of them counts its arrival and waits
// for the generation to change. decode and prefill become kernels.

#include "LowerTeam.h"

#include "format/DeviceAbi.h"
#include "tbq/Target/Team.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_LOWERTEAMTOGPUPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;
using LLVM::AtomicOrdering;

/// All blocks of the launch, and no more.
static constexpr const char *kScope = "device";

static Value constant(OpBuilder &b, Location loc, int64_t value) {
  return LLVM::ConstantOp::create(b, loc, b.getI32Type(),
                                  b.getI32IntegerAttr(value));
}

/// void tbq_barrier_wait(tbq_device_barrier *barrier)
/// The atomic addition carries no order of its own (NVPTX drops it without a
/// word): fences stand around it.
static void buildBarrier(ModuleOp module) {
  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  Location loc = module.getLoc();
  Type i32 = b.getI32Type();
  LLVM::LLVMFuncOp function = createBarrier(module);
  Block *entry = function.addEntryBlock(b);
  auto addBlock = [&] {
    Block *block = b.createBlock(&function.getBody(), function.getBody().end());
    return block;
  };
  Block *arrive = addBlock(), *last = addBlock(), *wait = addBlock(),
        *arrived = addBlock(), *done = addBlock();
  Value barrier = entry->getArgument(0);

  b.setInsertionPointToEnd(entry);
  Value generation = getFieldAddress(b, loc, barrier,
                                     offsetof(tbq_device_barrier, generation));
  NVVM::Barrier0Op::create(b, loc);
  Value thread = NVVM::ThreadIdXOp::create(b, loc, i32);
  Value first = LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::eq, thread,
                                     constant(b, loc, 0));
  LLVM::CondBrOp::create(b, loc, first, arrive, ValueRange(), done,
                         ValueRange());

  b.setInsertionPointToEnd(arrive);
  // Before arriving: the last to arrive changes it.
  Value seen =
      loadCounter(b, loc, generation, AtomicOrdering::monotonic, kScope);
  LLVM::FenceOp::create(b, loc, AtomicOrdering::acq_rel, kScope);
  Value before = LLVM::AtomicRMWOp::create(b, loc, LLVM::AtomicBinOp::add,
                                           barrier, constant(b, loc, 1),
                                           AtomicOrdering::monotonic, kScope);
  Value blocks = NVVM::GridDimXOp::create(b, loc, i32);
  Value others = LLVM::SubOp::create(b, loc, blocks, constant(b, loc, 1));
  Value isLast =
      LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::eq, before, others);
  LLVM::CondBrOp::create(b, loc, isLast, last, ValueRange(), wait,
                         ValueRange());

  b.setInsertionPointToEnd(last);
  storeCounter(b, loc, constant(b, loc, 0), barrier, AtomicOrdering::monotonic,
               kScope);
  Value next = LLVM::AddOp::create(b, loc, seen, constant(b, loc, 1));
  storeCounter(b, loc, next, generation, AtomicOrdering::release, kScope);
  LLVM::BrOp::create(b, loc, ValueRange(), arrived);

  b.setInsertionPointToEnd(wait);
  Value now = loadCounter(b, loc, generation, AtomicOrdering::acquire, kScope);
  Value changed =
      LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::ne, now, seen);
  LLVM::CondBrOp::create(b, loc, changed, arrived, ValueRange(), wait,
                         ValueRange());

  b.setInsertionPointToEnd(arrived);
  LLVM::FenceOp::create(b, loc, AtomicOrdering::acq_rel, kScope);
  LLVM::BrOp::create(b, loc, ValueRange(), done);

  b.setInsertionPointToEnd(done);
  NVVM::Barrier0Op::create(b, loc);
  LLVM::ReturnOp::create(b, loc, ValueRange());
}

static void lowerOps(func::FuncOp function) {
  auto replace = [](Operation *op, auto create) {
    OpBuilder b(op);
    Value number = create(b, op->getLoc());
    op->replaceAllUsesWith(ValueRange{arith::IndexCastUIOp::create(
        b, op->getLoc(), b.getIndexType(), number)});
    op->erase();
  };
  function.walk([&](Operation *op) {
    if (isa<WorkerOp>(op)) {
      replace(op, [](OpBuilder &b, Location loc) -> Value {
        return NVVM::BlockIdXOp::create(b, loc, b.getI32Type());
      });
    } else if (isa<WorkersOp>(op)) {
      replace(op, [](OpBuilder &b, Location loc) -> Value {
        return NVVM::GridDimXOp::create(b, loc, b.getI32Type());
      });
    } else if (auto barrier = dyn_cast<BarrierOp>(op)) {
      lowerBarrier(barrier);
    } else if (auto observe = dyn_cast<ObserveOp>(op)) {
      OpBuilder b(op);
      ThreadBuilder t(b, op->getLoc());
      lowerObserve(t, observe);
    }
  });
}

namespace {
struct LowerTeamToGPUPass
    : tbq::impl::LowerTeamToGPUPassBase<LowerTeamToGPUPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    for (auto function : module.getOps<func::FuncOp>()) {
      convertTeamToPointer(function);
      lowerOps(function);
    }
    buildBarrier(module);
    buildWindowObserve(module);
  }
};
} // namespace
