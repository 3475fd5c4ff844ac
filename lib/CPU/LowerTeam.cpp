// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-lower-team-to-cpu: the workers of a step are threads. !tbq.team becomes a
// pointer to tbq_team (format/StepAbi.h, whose offsets are asserted here); a
// barrier is a call of one function: count arrivals, then wait for the
// generation to change, spinning a bounded while before the wait hook.

#include "LowerTeam.h"

#include "format/StepAbi.h"
#include "tbq/Passes.h"
#include "tbq/Target/Team.h"

#include <cstddef>

namespace mlir::tbq {
#define GEN_PASS_DEF_LOWERTEAMTOCPUPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;
using LLVM::AtomicOrdering;

Value mlir::tbq::loadField(OpBuilder &b, Location loc, Value team,
                           int64_t offset, Type type) {
  return LLVM::LoadOp::create(b, loc, type,
                              getFieldAddress(b, loc, team, offset));
}

static Value constant(OpBuilder &b, Location loc, Type type, int64_t value) {
  return LLVM::ConstantOp::create(b, loc, type, b.getIntegerAttr(type, value));
}

/// void tbq_barrier_wait(const tbq_team *team)
static void buildBarrier(ModuleOp module) {
  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  Location loc = module.getLoc();
  auto pointer = LLVM::LLVMPointerType::get(b.getContext());
  Type i32 = b.getI32Type(), i64 = b.getI64Type();
  LLVM::LLVMFuncOp function = createBarrier(module);
  Block *entry = function.addEntryBlock(b);
  Region &region = function.getBody();
  auto addBlock = [&](TypeRange types = {}) {
    return b.createBlock(&region, region.end(), types,
                         SmallVector<Location>(types.size(), loc));
  };
  Block *together = addBlock(), *last = addBlock(), *spin = addBlock({i64});
  Block *again = addBlock({i64}), *wait = addBlock(), *done = addBlock();
  Value team = entry->getArgument(0);

  b.setInsertionPointToEnd(entry);
  Value workers = loadField(b, loc, team, offsetof(tbq_team, workers), i64);
  Value alone = LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::eq, workers,
                                     constant(b, loc, i64, 1));
  LLVM::CondBrOp::create(b, loc, alone, done, together);

  b.setInsertionPointToEnd(together);
  Value barrier = loadField(b, loc, team, offsetof(tbq_team, barrier), pointer);
  Value generation =
      getFieldAddress(b, loc, barrier, offsetof(tbq_barrier, generation));
  // Before arriving: the last to arrive changes it.
  Value seen = loadCounter(b, loc, generation, AtomicOrdering::monotonic);
  Value arrived = LLVM::AtomicRMWOp::create(b, loc, LLVM::AtomicBinOp::add,
                                            barrier, constant(b, loc, i32, 1),
                                            AtomicOrdering::acq_rel);
  Value others =
      LLVM::SubOp::create(b, loc, LLVM::TruncOp::create(b, loc, i32, workers),
                          constant(b, loc, i32, 1));
  Value isLast =
      LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::eq, arrived, others);
  Value spins = loadField(b, loc, team, offsetof(tbq_team, spins), i64);
  LLVM::CondBrOp::create(b, loc, isLast, last, ValueRange(), spin,
                         ValueRange(spins));

  b.setInsertionPointToEnd(last);
  storeCounter(b, loc, constant(b, loc, i32, 0), barrier,
               AtomicOrdering::monotonic);
  Value next = LLVM::AddOp::create(b, loc, seen, constant(b, loc, i32, 1));
  storeCounter(b, loc, next, generation, AtomicOrdering::release);
  LLVM::BrOp::create(b, loc, ValueRange(), done);

  b.setInsertionPointToEnd(spin);
  Value now = loadCounter(b, loc, generation, AtomicOrdering::acquire);
  Value changed =
      LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::ne, now, seen);
  LLVM::CondBrOp::create(b, loc, changed, done, ValueRange(), again,
                         ValueRange(spin->getArgument(0)));

  b.setInsertionPointToEnd(again);
  Value left = LLVM::SubOp::create(b, loc, again->getArgument(0),
                                   constant(b, loc, i64, 1));
  Value patient =
      LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::sgt,
                           again->getArgument(0), constant(b, loc, i64, 0));
  LLVM::CondBrOp::create(b, loc, patient, spin, ValueRange(left), wait,
                         ValueRange());

  b.setInsertionPointToEnd(wait);
  Value hook = loadField(b, loc, team, offsetof(tbq_team, wait), pointer);
  Value context =
      loadField(b, loc, team, offsetof(tbq_team, wait_context), pointer);
  auto hookType = LLVM::LLVMFunctionType::get(
      LLVM::LLVMVoidType::get(b.getContext()), {pointer, pointer, i32});
  LLVM::CallOp::create(b, loc, hookType,
                       ValueRange{hook, context, generation, seen});
  LLVM::BrOp::create(b, loc, ValueRange{constant(b, loc, i64, 0)}, spin);

  b.setInsertionPointToEnd(done);
  LLVM::ReturnOp::create(b, loc, ValueRange());
}

static void lowerOps(func::FuncOp function) {
  auto lowerField = [](Operation *op, int64_t offset) {
    OpBuilder b(op);
    Value field =
        loadField(b, op->getLoc(), op->getOperand(0), offset, b.getI64Type());
    op->replaceAllUsesWith(ValueRange{
        arith::IndexCastOp::create(b, op->getLoc(), b.getIndexType(), field)});
    op->erase();
  };
  function.walk([&](Operation *op) {
    if (isa<WorkerOp>(op)) {
      lowerField(op, offsetof(tbq_team, worker));
    } else if (isa<WorkersOp>(op)) {
      lowerField(op, offsetof(tbq_team, workers));
    } else if (auto observe = dyn_cast<ObserveOp>(op)) {
      lowerObserve(observe);
    } else if (auto barrier = dyn_cast<BarrierOp>(op)) {
      lowerBarrier(barrier);
    }
  });
}

namespace {
struct LowerTeamToCPUPass
    : tbq::impl::LowerTeamToCPUPassBase<LowerTeamToCPUPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    for (auto function : module.getOps<func::FuncOp>()) {
      convertTeamToPointer(function);
      lowerOps(function);
    }
    buildBarrier(module);
    buildObserve(module);
  }
};
} // namespace
