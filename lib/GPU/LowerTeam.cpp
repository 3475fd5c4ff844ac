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

/// The barrier's two halves.
static constexpr const char *kArrive = "tbq_barrier_arrive",
                            *kWait = "tbq_barrier_wait";
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
                                    ArrayRef<Type> more = {}) {
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

/// int32 tbq_barrier_arrive(tbq_device_barrier *barrier)
/// Each block adds to one counter, the first of them what the others leave of
/// 2^31: the highest bit changes when all have arrived. Thread 0 has looked at
/// it before, so that nothing waits for the addition, and gets what it saw.
/// Before that stands a fence, since NVPTX drops the addition's order without a
/// word.
static void buildArrival(ModuleOp module) {
  OpBuilder b(module.getContext());
  Location loc = module.getLoc();
  Type i32 = b.getI32Type();
  LLVM::LLVMFuncOp function = addFunction(b, module, kArrive, i32);
  auto addBlock = [&] {
    return OpBuilder(module.getContext())
        .createBlock(&function.getBody(), function.getBody().end());
  };
  Block *look = addBlock(), *meet = addBlock(), *arrive = addBlock(),
        *done = addBlock();
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
  LLVM::FenceOp::create(b, loc, AtomicOrdering::acq_rel, kScope);
  LLVM::AtomicRMWOp::create(b, loc, LLVM::AtomicBinOp::add, barrier, amount,
                            AtomicOrdering::monotonic, kScope);
  LLVM::BrOp::create(b, loc, ValueRange(), done);

  b.setInsertionPointToEnd(done);
  LLVM::ReturnOp::create(b, loc, seen);
}

/// void tbq_barrier_wait(tbq_device_barrier *barrier, int32 seen)
/// Thread 0 waits for the highest bit to change. Who looks out acquires: a
/// second fence would wait for the addition's way and back.
static void buildWait(ModuleOp module) {
  OpBuilder b(module.getContext());
  Location loc = module.getLoc();
  const bool isTimed = countPhases(module) > 0;
  LLVM::LLVMFuncOp function =
      addFunction(b, module, kWait, LLVM::LLVMVoidType::get(b.getContext()),
                  {b.getI32Type()});
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
  Value counter = loadCounter(b, loc, barrier, AtomicOrdering::acquire, kScope);
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
  LLVM::BrOp::create(b, loc, ValueRange(), done);

  b.setInsertionPointToEnd(done);
  NVVM::Barrier0Op::create(b, loc);
  LLVM::ReturnOp::create(b, loc, ValueRange());
}

/// Calls one of the two, behind what `more` says of the barrier's times.
static LLVM::CallOp call(ThreadBuilder &t, BarrierOp op, StringRef name,
                         TypeRange results, ValueRange more, int64_t phases) {
  SmallVector<Value> arguments = {op.getTeam()};
  arguments.append(more.begin(), more.end());
  if (op.getPhase()) {
    Value number = t.add(t.mul(op.getLayer(), phases), int64_t(*op.getPhase()));
    arguments.push_back(
        arith::IndexCastOp::create(t.b, t.loc, t.b.getI64Type(), number));
  }
  return LLVM::CallOp::create(t.b, t.loc, results, name, arguments);
}

/// Arrives, and waits, at once or, where the two stand apart, in two places:
/// `seen` goes from one to the other. Where times are noted all blocks meet.
static void lowerBarrier(BarrierOp op, int64_t phases, Value &seen) {
  OpBuilder b(op);
  ThreadBuilder t(b, op.getLoc());
  bool arrives = !op->hasAttr(kWaitsOnly), waits = !op->hasAttr(kArrivesOnly);
  auto arrive = [&] {
    return call(t, op, kArrive, b.getI32Type(), {}, phases).getResult();
  };
  auto wait = [&] { call(t, op, kWait, {}, {seen}, phases); };
  auto meetInBlock = [&](Type) {
    t.synchronize();
    return t.constantI32(0);
  };
  if (phases == 0 && op->hasAttr(kBlockOnly)) {
    if (arrives)
      t.synchronize();
  } else if (phases == 0 && op->hasAttr(kBlockOnlyLater)) {
    Value isFirst = t.equal(op->getBlock()->getArgument(kLayerArgument), 0);
    if (arrives)
      seen = t.ifElse(
                  isFirst, [&] { return SmallVector<Value>{arrive()}; },
                  meetInBlock)
                 .front();
    if (waits)
      t.ifThen(isFirst, wait);
  } else {
    if (arrives)
      seen = arrive();
    if (waits)
      wait();
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
    module.walk([&](BarrierOp op) {
      if (!op->hasAttr(kWaitsOnly))
        storeEmpties(op);
    });
    for (auto function : module.getOps<func::FuncOp>()) {
      convertTeamToPointer(function);
      lowerOps(function, phases);
    }
    buildArrival(module);
    buildWait(module);
    buildWindowObserve(module);
  }
};
} // namespace
