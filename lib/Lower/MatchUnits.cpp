// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-match-units: in a step of one token, an op that goes element by element
// over what linears wrote gets units of as many columns as their tiles have
// rows. So a worker goes on with what it wrote itself, and no barrier stands
// between (tbq-distribute). Units of 16 columns, a CPU's tiles, are not stated.

#include "tbq/Passes.h"

#include "llvm/ADT/TypeSwitch.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_MATCHUNITSPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

/// Rows of the tiles of the linears that wrote the op's operands, through other
/// ops that go element by element; 0 if they differ or there are none.
static int64_t getTile(Operation *op) {
  int64_t tile = 0;
  for (Value operand : op->getOperands()) {
    StepOp writer = operand.getDefiningOp<StepOp>();
    if (!writer || !isa<PackedLinearOp, GatedActivationOp, ActivationOp, AddOp>(
                       writer.getOperation()))
      continue;
    int64_t columns = writer.getUnitColumns();
    if (tile && columns != tile)
      return 0;
    tile = columns;
  }
  return tile;
}

static void matchUnits(Operation *op) {
  int64_t tile = getTile(op);
  if (tile == 0 || tile == kLanes)
    return;
  auto unit = IntegerAttr::get(IntegerType::get(op->getContext(), 64), tile);
  llvm::TypeSwitch<Operation *>(op)
      .Case<GatedActivationOp, ActivationOp, AddOp>(
          [&](auto elements) { elements.setUnitAttr(unit); });
}

namespace {
struct MatchUnitsPass : tbq::impl::MatchUnitsPassBase<MatchUnitsPass> {
  void runOnOperation() override {
    for (auto step : getOperation().getOps<StepOp>()) {
      Operation *op = step;
      if (op->getNumResults() == 1 &&
          cast<RankedTensorType>(op->getResult(0).getType()).getDimSize(0) == 1)
        matchUnits(op);
    }
  }
};
} // namespace
