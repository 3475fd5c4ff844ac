// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-lower-team-to-gpu: the workers of a step are the blocks of one launch.
// !tbq.team becomes a pointer to a counter; a barrier is a call of one
// function: the block's threads meet, one of them counts its arrival and waits
// for all others'. decode and prefill become kernels.

#include "LowerTeam.h"
#include "RowExchange.h"

#include "format/DeviceAbi.h"
#include "tbq/Target/Team.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_LOWERTEAMTOGPUPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;
using LLVM::AtomicOrdering;

/// The barrier's two halves, and those of one that has a fence only where its
/// last argument says so.
static constexpr const char *kArrive = "tbq_barrier_arrive",
                            *kWait = "tbq_barrier_wait",
                            *kArriveUnfenced = "tbq_barrier_arrive_unfenced",
                            *kWaitUnfenced = "tbq_barrier_wait_unfenced";
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

/// A function of one barrier, with a block to begin in; `more`: arguments
/// behind the barrier and before the number of the times to note, if any.
static LLVM::LLVMFuncOp addFunction(OpBuilder &b, ModuleOp module,
                                    StringRef name, Type result,
                                    ArrayRef<Type> more) {
  b.setInsertionPointToEnd(module.getBody());
  SmallVector<Type> types = {LLVM::LLVMPointerType::get(b.getContext())};
  types.append(more.begin(), more.end());
  if (countPhases(module) > 0)
    types.push_back(b.getI64Type());
  auto function = LLVM::LLVMFuncOp::create(
      b, module.getLoc(), name, LLVM::LLVMFunctionType::get(result, types),
      LLVM::Linkage::Internal);
  b.setInsertionPointToEnd(function.addEntryBlock(b));
  return function;
}

/// Whether this is the block's first thread.
static Value isFirstThread(OpBuilder &b, Location loc) {
  Value thread = NVVM::ThreadIdXOp::create(b, loc, b.getI32Type());
  return LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::eq, thread,
                              constant(b, loc, 0));
}

static void addFence(OpBuilder &b, Location loc) {
  LLVM::FenceOp::create(b, loc, AtomicOrdering::acq_rel, kScope);
}

/// A fence where `fences`, and on to `next`.
static void addFenceIf(OpBuilder &b, Location loc, Value fences, Block *next) {
  Block *fence = OpBuilder(b).createBlock(next);
  LLVM::CondBrOp::create(b, loc, fences, fence, ValueRange(), next,
                         ValueRange());
  b.setInsertionPointToEnd(fence);
  addFence(b, loc);
  LLVM::BrOp::create(b, loc, ValueRange(), next);
}

/// int32 tbq_barrier_arrive(tbq_device_barrier *barrier)
/// Each block adds to one counter, the first of them what the others leave of
/// 2^31: the highest bit changes when all have arrived. Thread 0 has looked at
/// it before, so that nothing waits for the addition, and gets what it saw.
/// Before that stands a fence, since NVPTX drops the addition's order without a
/// word.
static void buildArrival(ModuleOp module, bool isFenced) {
  OpBuilder b(module.getContext());
  Location loc = module.getLoc();
  Type i32 = b.getI32Type();
  SmallVector<Type> more;
  if (!isFenced)
    more.push_back(b.getI1Type());
  LLVM::LLVMFuncOp function =
      addFunction(b, module, isFenced ? kArrive : kArriveUnfenced, i32, more);
  auto addBlock = [&] {
    return OpBuilder(module.getContext())
        .createBlock(&function.getBody(), function.getBody().end());
  };
  Block *look = addBlock(), *meet = addBlock(), *arrive = addBlock(),
        *count = addBlock(), *done = addBlock();
  Value seen = meet->addArgument(i32, loc);
  Value barrier = function.getArgument(0);

  Value first = isFirstThread(b, loc);
  Value zero = constant(b, loc, 0);
  LLVM::CondBrOp::create(b, loc, first, look, ValueRange(), meet,
                         ValueRange{zero});

  b.setInsertionPointToEnd(look);
  Value looked =
      loadCounter(b, loc, barrier, AtomicOrdering::monotonic, kScope);
  LLVM::BrOp::create(b, loc, ValueRange{looked}, meet);

  b.setInsertionPointToEnd(meet);
  NVVM::Barrier0Op::create(b, loc);
  LLVM::CondBrOp::create(b, loc, first, arrive, ValueRange(), done,
                         ValueRange());

  b.setInsertionPointToEnd(arrive);
  if (countPhases(module) > 0)
    LLVM::StoreOp::create(
        b, loc, readClock(b, loc),
        getTimes(b, loc, barrier, function.getArguments().back()));
  Value others =
      LLVM::SubOp::create(b, loc, countBlocks(b, loc), constant(b, loc, 1));
  Value rest =
      LLVM::SubOp::create(b, loc, constant(b, loc, kAllArrived), others);
  Value isFirst = LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::eq,
                                       getBlock(b, loc), zero);
  Value amount =
      LLVM::SelectOp::create(b, loc, isFirst, rest, constant(b, loc, 1));
  if (isFenced) {
    addFence(b, loc);
    LLVM::BrOp::create(b, loc, ValueRange(), count);
  } else {
    addFenceIf(b, loc, function.getArgument(1), count);
  }

  b.setInsertionPointToEnd(count);
  LLVM::AtomicRMWOp::create(b, loc, LLVM::AtomicBinOp::add, barrier, amount,
                            AtomicOrdering::monotonic, kScope);
  LLVM::BrOp::create(b, loc, ValueRange(), done);

  b.setInsertionPointToEnd(done);
  LLVM::ReturnOp::create(b, loc, seen);
}

/// void tbq_barrier_wait(tbq_device_barrier *barrier, int32 seen)
/// Thread 0 waits for the highest bit to change. Who looks out acquires: a
/// second fence would wait for the addition's way and back.
static void buildWait(ModuleOp module, bool isFenced) {
  OpBuilder b(module.getContext());
  Location loc = module.getLoc();
  const bool isTimed = countPhases(module) > 0;
  SmallVector<Type> more = {b.getI32Type()};
  if (!isFenced)
    more.push_back(b.getI1Type());
  LLVM::LLVMFuncOp function =
      addFunction(b, module, isFenced ? kWait : kWaitUnfenced,
                  LLVM::LLVMVoidType::get(b.getContext()), more);
  auto addBlock = [&] {
    return OpBuilder(module.getContext())
        .createBlock(&function.getBody(), function.getBody().end());
  };
  Block *begin = addBlock(), *wait = addBlock(), *arrived = addBlock(),
        *done = addBlock();
  Value barrier = function.getArgument(0), seen = function.getArgument(1);
  LLVM::CondBrOp::create(b, loc, isFirstThread(b, loc), begin, ValueRange(),
                         done, ValueRange());

  b.setInsertionPointToEnd(begin);
  // Asked for while others are waited for.
  Value times = isTimed
                    ? getTimes(b, loc, barrier, function.getArguments().back())
                    : Value();
  LLVM::BrOp::create(b, loc, ValueRange(), wait);

  b.setInsertionPointToEnd(wait);
  Value counter = loadCounter(
      b, loc, barrier,
      isFenced ? AtomicOrdering::acquire : AtomicOrdering::monotonic, kScope);
  Value changed = LLVM::XOrOp::create(b, loc, counter, seen);
  Value all = LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::slt, changed,
                                   constant(b, loc, 0));
  LLVM::CondBrOp::create(b, loc, all, arrived, ValueRange(), wait,
                         ValueRange());

  b.setInsertionPointToEnd(arrived);
  if (isTimed)
    LLVM::StoreOp::create(
        b, loc, readClock(b, loc),
        getFieldAddress(b, loc, times, offsetof(tbq_device_time, left)));
  if (isFenced)
    LLVM::BrOp::create(b, loc, ValueRange(), done);
  else
    addFenceIf(b, loc, function.getArgument(2), done);

  b.setInsertionPointToEnd(done);
  NVVM::Barrier0Op::create(b, loc);
  LLVM::ReturnOp::create(b, loc, ValueRange());
}

/// Calls one of the two, behind what `more` says of the barrier's times.
static LLVM::CallOp call(BarrierOp op, StringRef name, TypeRange results,
                         ValueRange more, int64_t phases) {
  OpBuilder b(op);
  SmallVector<Value> arguments = {op.getTeam()};
  arguments.append(more.begin(), more.end());
  if (op.getPhase()) {
    ThreadBuilder t(b, op.getLoc());
    Value number = t.add(t.mul(op.getLayer(), phases), int64_t(*op.getPhase()));
    arguments.push_back(
        arith::IndexCastOp::create(b, op.getLoc(), b.getI64Type(), number));
  }
  return LLVM::CallOp::create(b, op.getLoc(), results, name, arguments);
}

static bool isUnfenced(BarrierOp op) {
  return op->hasAttr(kUnfenced) || op->hasAttr(kFencedFirst);
}

/// Arrives, and waits, at once or, where the two stand apart, in two places:
/// `seen` goes from one to the other.
static void lowerBarrier(BarrierOp op, int64_t phases, Value &seen) {
  OpBuilder b(op);
  SmallVector<Value> fences;
  if (op->hasAttr(kFencedFirst)) {
    ThreadBuilder t(b, op.getLoc());
    Value layer = op->getBlock()->getArgument(kLayerArgument);
    fences.push_back(t.equal(layer, 0));
  } else if (op->hasAttr(kUnfenced)) {
    fences.push_back(LLVM::ConstantOp::create(b, op.getLoc(), b.getI1Type(),
                                              b.getBoolAttr(false)));
  }
  if (!op->hasAttr(kWaitsOnly)) {
    seen = call(op, isUnfenced(op) ? kArriveUnfenced : kArrive,
                IntegerType::get(op.getContext(), 32), fences, phases)
               .getResult();
  }
  if (!op->hasAttr(kArrivesOnly)) {
    SmallVector<Value> more = {seen};
    more.append(fences);
    call(op, isUnfenced(op) ? kWaitUnfenced : kWait, {}, more, phases);
  }
  op.erase();
}

static void lowerOps(func::FuncOp function, int64_t phases) {
  auto replace = [](Operation *op, Value number) {
    OpBuilder b(op);
    op->replaceAllUsesWith(ValueRange{arith::IndexCastUIOp::create(
        b, op->getLoc(), b.getIndexType(), number)});
    op->erase();
  };
  Value seen;
  function.walk([&](Operation *op) {
    OpBuilder b(op);
    if (isa<WorkerOp>(op)) {
      replace(op, getBlock(b, op->getLoc()));
    } else if (isa<WorkersOp>(op)) {
      replace(op, countBlocks(b, op->getLoc()));
    } else if (auto barrier = dyn_cast<BarrierOp>(op)) {
      lowerBarrier(barrier, phases, seen);
    } else if (auto observe = dyn_cast<ObserveOp>(op)) {
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
    bool hasUnfenced = false;
    module.walk([&](BarrierOp op) {
      hasUnfenced |= isUnfenced(op);
      if (!op->hasAttr(kWaitsOnly))
        storeEmpties(op);
    });
    for (auto function : module.getOps<func::FuncOp>()) {
      convertTeamToPointer(function);
      lowerOps(function, phases);
    }
    for (bool isFenced : {true, false}) {
      if (!isFenced && !hasUnfenced)
        continue;
      buildArrival(module, isFenced);
      buildWait(module, isFenced);
    }
    buildWindowObserve(module);
  }
};
} // namespace
