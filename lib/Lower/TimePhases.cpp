// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-time-phases: numbers the barriers of a step and says what stands behind
// each. An entry point begins and ends with one more, so that all that blocks
// do lies between two; behind its last nothing does.

#include "StepArguments.h"
#include "tbq/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringExtras.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_TIMEPHASESPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

/// A linear by the last word of its name, another op by its kind.
static StringRef getShortName(StepOp op) {
  auto location = dyn_cast<NameLoc>(op->getLoc());
  if (isa<PackedLinearOp>(op) && location) {
    StringRef name = location.getName();
    return name.substr(name.rfind('.') + 1);
  }
  return op->getName().stripDialect();
}

static void addEnds(func::FuncOp entry) {
  Value team = entry.getArgument(kTeam);
  OpBuilder b = OpBuilder::atBlockBegin(&entry.front());
  BarrierOp::create(b, entry.getLoc(), team);
  b.setInsertionPoint(entry.front().getTerminator());
  BarrierOp::create(b, entry.getLoc(), team);
}

namespace {
struct TimePhasesPass : tbq::impl::TimePhasesPassBase<TimePhasesPass> {
  void runOnOperation() override {
    SmallVector<SmallVector<StringRef>> phases;
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      const bool isEntry = function.getNumArguments() <= kLayer;
      if (isEntry)
        addEnds(function);
      OpBuilder b = OpBuilder::atBlockBegin(&function.front());
      Value layer =
          isEntry
              ? Value(arith::ConstantIndexOp::create(b, function.getLoc(), 0))
              : Value(function.getArgument(kLayer));
      // What stands before a function's first barrier belongs to its caller's
      // last phase.
      bool inPhase = false;
      function.walk([&](Operation *op) {
        if (auto barrier = dyn_cast<BarrierOp>(op)) {
          barrier.setPhase(phases.size());
          barrier.getLayerMutable().assign(layer);
          phases.emplace_back();
          inPhase = true;
        } else if (auto step = dyn_cast<StepOp>(op); step && inPhase) {
          phases.back().push_back(getShortName(step));
        }
      });
    }
    SmallVector<Attribute> names;
    for (ArrayRef<StringRef> ops : phases)
      names.push_back(StringAttr::get(&getContext(), llvm::join(ops, ", ")));
    getOperation()->setAttr("tbq.phases", ArrayAttr::get(&getContext(), names));
  }
};
} // namespace
