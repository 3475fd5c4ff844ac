// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-observe-steps: around each op of the distributed step, what it reads and
// what it wrote is shown to whoever asked. An op may write where it reads, so
// its inputs are shown before it runs. No worker is at work meanwhile. Steps of
// several sequences show nothing: they compute what others do, and whoever
// looks knows one sequence and its cache.

#include "StepArguments.h"
#include "tbq/Passes.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_OBSERVESTEPSPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

namespace {
/// A value that an op shows.
struct Shown {
  Value buffer;
  bool written;
};
} // namespace

/// The op's rows and its cache, in the order of its operands.
static SmallVector<Shown> getShown(StepOp op) {
  SmallVector<Shown> shown;
  OperandRange into = op.getInto();
  for (OpOperand &operand : op->getOpOperands()) {
    Value buffer = operand.get();
    // Two operands may be one buffer: one that is read, one that is written.
    const bool isInto = !into.empty() && operand.getOperandNumber() >=
                                             into.getBeginOperandIndex();
    const bool isCache = op.writesCache() && buffer == op.getCacheMemory();
    if (isa<MemRefType>(buffer.getType()))
      shown.push_back({buffer, isInto || isCache});
  }
  return shown;
}

/// The rows an input has: of all tokens, where the op selects among them.
static Value getRows(StepOp op, bool written) {
  if (isa<SelectRowsOp>(op) && !written)
    return op->getParentOfType<func::FuncOp>().getArgument(kCount);
  return op.getCountMutable()[0].get();
}

static DictionaryAttr describe(StepOp op, ArrayRef<Shown> shown) {
  Builder b(op->getContext());
  SmallVector<Attribute> values;
  for (const Shown &value : shown) {
    auto type = cast<MemRefType>(value.buffer.getType());
    std::string element;
    llvm::raw_string_ostream(element) << type.getElementType();
    if (value.buffer == op.getCacheMemory())
      element = "cache";
    int64_t columns =
        type.getRank() == 1 && element != "cache" ? 1 : type.getShape().back();
    values.push_back(b.getDictionaryAttr(
        {b.getNamedAttr("type", b.getStringAttr(element)),
         b.getNamedAttr("columns", b.getI64IntegerAttr(columns)),
         b.getNamedAttr("written", b.getBoolAttr(value.written))}));
  }
  StringRef name = "";
  if (auto location = dyn_cast<NameLoc>(op->getLoc()))
    name = location.getName();
  StringRef kind = op->getName().stripDialect();
  return b.getDictionaryAttr(
      {b.getNamedAttr("name", b.getStringAttr(name)),
       b.getNamedAttr("kind", b.getStringAttr(kind)),
       b.getNamedAttr("values", b.getArrayAttr(values))});
}

/// Shows the values that are `written`, or the others, at the insertion point.
static void show(OpBuilder &b, StepOp op, ArrayRef<Shown> shown, bool written,
                 Value team, Value layer, int64_t number) {
  Location loc = op->getLoc();
  BarrierOp::create(b, loc, team);
  for (auto [i, value] : llvm::enumerate(shown))
    if (value.written == written)
      ObserveOp::create(b, loc, team, number, i, layer, getRows(op, written),
                        value.buffer);
  BarrierOp::create(b, loc, team);
}

namespace {
struct ObserveStepsPass : tbq::impl::ObserveStepsPassBase<ObserveStepsPass> {
  void runOnOperation() override {
    SmallVector<Attribute> operations;
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      if (!function.getArgument(kPosition).getType().isIndex())
        continue;
      OpBuilder b = OpBuilder::atBlockBegin(&function.getBody().front());
      Value layer =
          function.getNumArguments() > kLayer
              ? Value(function.getArgument(kLayer))
              : arith::ConstantIndexOp::create(b, function.getLoc(), -1);
      Value team = function.getArgument(kTeam);
      function.walk([&](StepOp op) {
        const int64_t number = operations.size();
        SmallVector<Shown> shown = getShown(op);
        b.setInsertionPoint(op);
        show(b, op, shown, /*written=*/false, team, layer, number);
        b.setInsertionPointAfter(op);
        show(b, op, shown, /*written=*/true, team, layer, number);
        operations.push_back(describe(op, shown));
      });
    }
    getOperation()->setAttr("tbq.operations",
                            ArrayAttr::get(&getContext(), operations));
  }
};
} // namespace
