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
/// More than any GPU has processors. Known, divisions by it take 32 bits.
static constexpr int64_t kMostBlocks = 1 << 16;
/// What all blocks together add to the barrier's counter.
static constexpr int64_t kAllArrived = int64_t(1) << 31;

/// The block's number and how many there are; everywhere with a range, or it
/// would be lost where the same is computed twice.
static Value getBlock(OpBuilder &b, Location loc) {
  auto range = LLVM::ConstantRangeAttr::get(b.getContext(), APInt(32, 0),
                                            APInt(32, kMostBlocks));
  return NVVM::BlockIdXOp::create(b, loc, b.getI32Type(), range);
}
static Value countBlocks(OpBuilder &b, Location loc) {
  auto range = LLVM::ConstantRangeAttr::get(b.getContext(), APInt(32, 1),
                                            APInt(32, kMostBlocks + 1));
  return NVVM::GridDimXOp::create(b, loc, b.getI32Type(), range);
}

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
  Value blocks = toI64(countBlocks(b, loc));
  Value block = toI64(getBlock(b, loc));
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
/// it before, so that nothing waits for the addition. Before that stands a
/// fence, since NVPTX drops the addition's order without a word; who looks out
/// acquires: a second fence would wait for the addition's way and back.
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
  auto load = [&](AtomicOrdering ordering) {
    return loadCounter(b, loc, barrier, ordering, kScope);
  };

  b.setInsertionPointToEnd(entry);
  zero = constant(b, loc, 0);
  Value thread = NVVM::ThreadIdXOp::create(b, loc, i32);
  Value first =
      LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::eq, thread, zero);
  LLVM::CondBrOp::create(b, loc, first, look, ValueRange(), meet,
                         ValueRange{zero});

  b.setInsertionPointToEnd(look);
  LLVM::BrOp::create(b, loc, ValueRange{load(AtomicOrdering::monotonic)}, meet);

  b.setInsertionPointToEnd(meet);
  NVVM::Barrier0Op::create(b, loc);
  LLVM::CondBrOp::create(b, loc, first, arrive, ValueRange(), done,
                         ValueRange());

  b.setInsertionPointToEnd(arrive);
  Value came = isTimed ? readClock(b, loc) : Value();
  Value others =
      LLVM::SubOp::create(b, loc, countBlocks(b, loc), constant(b, loc, 1));
  Value rest =
      LLVM::SubOp::create(b, loc, constant(b, loc, kAllArrived), others);
  Value isFirst = LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::eq,
                                       getBlock(b, loc), zero);
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
  Value changed =
      LLVM::XOrOp::create(b, loc, load(AtomicOrdering::acquire), seen);
  Value all =
      LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::slt, changed, zero);
  LLVM::CondBrOp::create(b, loc, all, arrived, ValueRange(), wait,
                         ValueRange());

  b.setInsertionPointToEnd(arrived);
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
  auto replace = [](Operation *op, Value number) {
    OpBuilder b(op);
    op->replaceAllUsesWith(ValueRange{arith::IndexCastUIOp::create(
        b, op->getLoc(), b.getIndexType(), number)});
    op->erase();
  };
  function.walk([&](Operation *op) {
    OpBuilder b(op);
    if (isa<WorkerOp>(op)) {
      replace(op, getBlock(b, op->getLoc()));
    } else if (isa<WorkersOp>(op)) {
      replace(op, countBlocks(b, op->getLoc()));
    } else if (auto barrier = dyn_cast<BarrierOp>(op)) {
      if (barrier.getPhase())
        lowerTimedBarrier(barrier, phases);
      else
        lowerBarrier(barrier);
    } else if (auto observe = dyn_cast<ObserveOp>(op)) {
      ThreadBuilder t(b, op->getLoc());
      lowerObserve(t, observe);
    }
  });
}

/// The thread's number, in a function of layers, as if each might have another:
/// else all that is computed of it, most of it addresses, would be computed
/// once before the first layer and held in registers that there are not.
static void hideThread(func::FuncOp function) {
  SmallVector<NVVM::ThreadIdXOp> numbers;
  function.walk([&](NVVM::ThreadIdXOp op) { numbers.push_back(op); });
  OpBuilder b = OpBuilder::atBlockBegin(&function.front());
  Type i32 = b.getI32Type();
  Value number = NVVM::ThreadIdXOp::create(b, function.getLoc(), i32);
  Value hidden = LLVM::InlineAsmOp::create(
                     b, function.getLoc(), i32, number, /*asm_string=*/"",
                     /*constraints=*/"=r,0", /*has_side_effects=*/true,
                     /*is_align_stack=*/false, LLVM::TailCallKind::None,
                     /*asm_dialect=*/LLVM::AsmDialectAttr(),
                     /*operand_attrs=*/ArrayAttr())
                     .getResult(0);
  for (NVVM::ThreadIdXOp op : numbers) {
    op.getResult().replaceAllUsesWith(hidden);
    op.erase();
  }
}

namespace {
struct LowerTeamToGPUPass
    : tbq::impl::LowerTeamToGPUPassBase<LowerTeamToGPUPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    const int64_t phases = countPhases(module);
    for (auto function : module.getOps<func::FuncOp>()) {
      convertTeamToPointer(function);
      if (function.isPrivate())
        hideThread(function);
      lowerOps(function, phases);
    }
    buildBarrier(module);
    buildWindowObserve(module);
  }
};
} // namespace
