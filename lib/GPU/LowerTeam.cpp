// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-lower-team-to-gpu: the workers of a step are the blocks of one launch.
// !tbq.team becomes a pointer to a counter; a barrier is a call of one
// function: the block's threads meet, one of them counts its arrival and waits
// for all others'. decode and prefill become kernels.

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
/// What all blocks together add to the barrier's counter.
static constexpr int64_t kAllArrived = int64_t(1) << 31;

static Value constant(OpBuilder &b, Location loc, int64_t value) {
  return LLVM::ConstantOp::create(b, loc, b.getI32Type(),
                                  b.getI32IntegerAttr(value));
}

/// Whether barriers note times: how many phases there are, or 0.
static int64_t countPhases(ModuleOp module) {
  auto phases = module->getAttrOfType<ArrayAttr>("tbq.phases");
  return phases ? phases.size() : 0;
}

static Value readClock(OpBuilder &b, Location loc) {
  return NVVM::Clock64Op::create(b, loc, b.getI64Type());
}

/// Where the block's times of a barrier go (tbq_device_barrier::times);
/// `number` is that of its first block's.
static Value getTimes(OpBuilder &b, Location loc, Value barrier, Value number) {
  auto pointer = LLVM::LLVMPointerType::get(b.getContext());
  auto toI64 = [&](Value value) -> Value {
    return LLVM::ZExtOp::create(b, loc, b.getI64Type(), value);
  };
  Type i32 = b.getI32Type();
  Value blocks = toI64(NVVM::GridDimXOp::create(b, loc, i32));
  Value block = toI64(NVVM::BlockIdXOp::create(b, loc, i32));
  Value own = LLVM::AddOp::create(
      b, loc, LLVM::MulOp::create(b, loc, number, blocks), block);
  Value times = LLVM::LoadOp::create(
      b, loc, pointer,
      getFieldAddress(b, loc, barrier, offsetof(tbq_device_barrier, times)));
  auto time = LLVM::LLVMArrayType::get(b.getI64Type(), 2);
  static_assert(sizeof(tbq_device_time) == 16);
  return LLVM::GEPOp::create(b, loc, pointer, time, times,
                             ArrayRef<LLVM::GEPArg>{own});
}

/// void tbq_barrier_wait(tbq_device_barrier *barrier)
/// Each block adds to one counter, the first of them what the others leave of
/// 2^31: the highest bit changes when all have arrived. Thread 0 has looked at
/// it before, so that nothing waits for the addition. Fences stand around:
/// neither the addition (NVPTX drops its order without a word) nor the
/// look-out, which would invalidate the cache at each look, carries an order.
/// A second argument is the number of the times to note.
static void buildBarrier(ModuleOp module) {
  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  Location loc = module.getLoc();
  Type i32 = b.getI32Type();
  const bool isTimed = countPhases(module) > 0;
  LLVM::LLVMFuncOp function =
      isTimed ? createBarrier(module, {b.getI64Type()}) : createBarrier(module);
  Block *entry = function.addEntryBlock(b);
  auto addBlock = [&] {
    return b.createBlock(&function.getBody(), function.getBody().end());
  };
  Block *look = addBlock(), *meet = addBlock(), *arrive = addBlock(),
        *wait = addBlock(), *arrived = addBlock(), *done = addBlock();
  Value seen = meet->addArgument(i32, loc);
  Value barrier = entry->getArgument(0), zero;
  auto load = [&] {
    return loadCounter(b, loc, barrier, AtomicOrdering::monotonic, kScope);
  };

  b.setInsertionPointToEnd(entry);
  zero = constant(b, loc, 0);
  Value thread = NVVM::ThreadIdXOp::create(b, loc, i32);
  Value first =
      LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::eq, thread, zero);
  LLVM::CondBrOp::create(b, loc, first, look, ValueRange(), meet,
                         ValueRange{zero});

  b.setInsertionPointToEnd(look);
  LLVM::BrOp::create(b, loc, ValueRange{load()}, meet);

  b.setInsertionPointToEnd(meet);
  NVVM::Barrier0Op::create(b, loc);
  LLVM::CondBrOp::create(b, loc, first, arrive, ValueRange(), done,
                         ValueRange());

  b.setInsertionPointToEnd(arrive);
  Value came = isTimed ? readClock(b, loc) : Value();
  Value others = LLVM::SubOp::create(
      b, loc, NVVM::GridDimXOp::create(b, loc, i32), constant(b, loc, 1));
  Value rest =
      LLVM::SubOp::create(b, loc, constant(b, loc, kAllArrived), others);
  Value isFirst =
      LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::eq,
                           NVVM::BlockIdXOp::create(b, loc, i32), zero);
  Value amount =
      LLVM::SelectOp::create(b, loc, isFirst, rest, constant(b, loc, 1));
  LLVM::FenceOp::create(b, loc, AtomicOrdering::acq_rel, kScope);
  LLVM::AtomicRMWOp::create(b, loc, LLVM::AtomicBinOp::add, barrier, amount,
                            AtomicOrdering::monotonic, kScope);
  // Asked for while others are waited for.
  Value times =
      isTimed ? getTimes(b, loc, barrier, entry->getArgument(1)) : Value();
  LLVM::BrOp::create(b, loc, ValueRange(), wait);

  b.setInsertionPointToEnd(wait);
  Value changed = LLVM::XOrOp::create(b, loc, load(), seen);
  Value all =
      LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::slt, changed, zero);
  LLVM::CondBrOp::create(b, loc, all, arrived, ValueRange(), wait,
                         ValueRange());

  b.setInsertionPointToEnd(arrived);
  LLVM::FenceOp::create(b, loc, AtomicOrdering::acq_rel, kScope);
  if (isTimed) {
    LLVM::StoreOp::create(b, loc, came, times);
    LLVM::StoreOp::create(
        b, loc, readClock(b, loc),
        getFieldAddress(b, loc, times, offsetof(tbq_device_time, left)));
  }
  LLVM::BrOp::create(b, loc, ValueRange(), done);

  b.setInsertionPointToEnd(done);
  NVVM::Barrier0Op::create(b, loc);
  LLVM::ReturnOp::create(b, loc, ValueRange());
}

static void lowerTimedBarrier(BarrierOp op, int64_t phases) {
  OpBuilder b(op);
  ThreadBuilder t(b, op.getLoc());
  Value number = t.add(t.mul(op.getLayer(), phases), int64_t(*op.getPhase()));
  lowerBarrier(
      op, arith::IndexCastOp::create(b, op.getLoc(), b.getI64Type(), number)
              .getResult());
}

static void lowerOps(func::FuncOp function, int64_t phases) {
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
      if (barrier.getPhase())
        lowerTimedBarrier(barrier, phases);
      else
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
    const int64_t phases = countPhases(module);
    for (auto function : module.getOps<func::FuncOp>()) {
      convertTeamToPointer(function);
      lowerOps(function, phases);
    }
    buildBarrier(module);
    buildWindowObserve(module);
  }
};
} // namespace
