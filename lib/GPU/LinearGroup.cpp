// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See LinearGroup.h. Only linears of few tokens are put together: with more,
// each has work for all blocks.

#include "DigitLinear.h"
#include "LowerStep.h"

using namespace mlir;
using namespace mlir::tbq;

static LayoutAttr getLayout(PackedLinearOp op) {
  return op.getWeight().getType().getLayout();
}

int64_t LinearGroup::countTiles() const {
  int64_t tiles = 0;
  for (PackedLinearOp op : ArrayRef(ops).drop_back(inPairs ? 1 : 0))
    tiles += getLayout(op).getNumTiles();
  return tiles;
}

/// Whether two linears of one token differ in nothing but weights and rows.
static bool areAlike(PackedLinearOp one, PackedLinearOp other) {
  auto forget = [](PackedLinearOp op) {
    LayoutAttr layout = getLayout(op);
    return LayoutAttr::get(op.getContext(), /*rows=*/1, layout.getColumns(),
                           layout.getElementType(), layout.getDigits(),
                           layout.getTerms(), layout.getGroup(),
                           layout.getTile(), layout.getBias(),
                           layout.getSalient());
  };
  return one.getInput() == other.getInput() && one.getLow() == other.getLow() &&
         one.getSums() == other.getSums() &&
         one.getActivationScale() == other.getActivationScale() &&
         one.getCount() == other.getCount() && !one.getResidual() &&
         !other.getResidual() && forget(one) == forget(other);
}

static bool writes(Operation *op, Value rows) {
  auto step = dyn_cast<StepOp>(op);
  return step && llvm::is_contained(step.getInto(), rows);
}

LinearGroup mlir::tbq::findAlike(PackedLinearOp op) {
  if (getLayout(op).isFloat() || getLayout(op).getSalient())
    return {{op}};
  Value rows = op.getInput();
  Operation *first = op;
  while (first->getPrevNode() && !writes(first->getPrevNode(), rows))
    first = first->getPrevNode();
  LinearGroup group;
  for (Operation *each = first; each && !writes(each, rows);
       each = each->getNextNode())
    if (auto linear = dyn_cast<PackedLinearOp>(each);
        linear && (linear == op || areAlike(op, linear)))
      group.ops.push_back(linear);
  group.inPairs = group.ops.size() == 2 && DigitLinear::takesIntegers(op) &&
                  getLayout(group.ops[0]).getNumTiles() ==
                      getLayout(group.ops[1]).getNumTiles();
  return group;
}

Operation *mlir::tbq::findEffect(Operation *op, bool isBehind) {
  do
    op = isBehind ? op->getNextNode() : op->getPrevNode();
  while (op && isMemoryEffectFree(op));
  return op;
}

/// Whether blocks may divide what the linears write as they like: others read
/// it behind a barrier, and behind the one before nothing has been divided.
static bool canDivideAnew(ArrayRef<PackedLinearOp> ops) {
  Operation *behind = findEffect(ops.back(), /*isBehind=*/true);
  Operation *before = findEffect(ops.front(), /*isBehind=*/false);
  while (before && isa<RmsNormOp, LayerNormOp, QuantizeActivationsOp>(before) &&
         isOwn(cast<StepOp>(before).getInto().front()))
    before = findEffect(before, /*isBehind=*/false);
  return behind && isa<BarrierOp>(behind) && before && isa<BarrierOp>(before);
}

/// What makes of each two rows one, by the same tiles, if none else reads them:
/// of one token.
static GatedActivationOp findGated(LinearGroup &pair) {
  auto gated = dyn_cast_or_null<GatedActivationOp>(
      findEffect(pair.ops.back(), /*isBehind=*/true));
  Value input = pair.ops[0].getInput();
  if (!gated || cast<MemRefType>(input.getType()).getDimSize(0) > 1)
    return nullptr;
  Value gate = pair.ops[0].getInto().front();
  Value up = pair.ops[1].getInto().front();
  return gated.getGate() == gate && gated.getUp() == up &&
                 gated.getUnitColumns() == kWarpRows &&
                 gated.getUnitsPerToken() == pair.countTiles() &&
                 !isReadBehind(gated, gate) && !isReadBehind(gated, up)
             ? gated
             : nullptr;
}

LinearGroup mlir::tbq::findLinearGroup(ArrayRef<PackedLinearOp> rest) {
  PackedLinearOp first = rest.front();
  LinearGroup alone{{first}}, group = alone;
  if (!DigitLinear::mayHaveRing(first))
    return alone;
  for (PackedLinearOp op : rest.drop_front()) {
    if (findEffect(group.ops.back(), /*isBehind=*/true) != op ||
        !areAlike(first, op))
      break;
    group.ops.push_back(op);
  }
  if (group.ops.size() == 1)
    return alone;
  group.inPairs = group.ops.size() == 2 &&
                  first.getRange() == group.ops[1].getRange() &&
                  DigitLinear::takesIntegers(first);
  if (group.inPairs)
    group.gated = findGated(group);
  return group.inPairs || canDivideAnew(group.ops) ? group : alone;
}

LinearGroup mlir::tbq::findGatedPair(ArrayRef<PackedLinearOp> rest) {
  LinearGroup alone{{rest.front()}}, pair = alone;
  if (rest.size() == 1 || getLayout(rest[0]) != getLayout(rest[1]) ||
      findEffect(rest[0], /*isBehind=*/true) != rest[1] ||
      !areAlike(rest[0], rest[1]))
    return alone;
  pair.ops.push_back(rest[1]);
  Operation *barrier = findEffect(rest[1], /*isBehind=*/true);
  if (!isa_and_nonnull<BarrierOp>(barrier))
    return alone;
  auto gated = dyn_cast_or_null<GatedActivationOp>(
      findEffect(barrier, /*isBehind=*/true));
  if (!gated)
    return alone;
  Value gate = pair.ops[0].getInto().front(),
        up = pair.ops[1].getInto().front();
  auto isReadElsewhere = [&](Value row) {
    return row != gated.getInto().front() && isReadBehind(gated, row);
  };
  if (gated.getGate() != gate || gated.getUp() != up || isReadElsewhere(gate) ||
      isReadElsewhere(up))
    return alone;
  pair.inPairs = true;
  pair.gated = gated;
  return pair;
}

/// Whether a linear takes its input from what the op writes, and nothing else.
static bool readsRows(PackedLinearOp linear, QuantizeActivationsOp op) {
  ValueRange rows = op.getInto();
  bool hasLow = rows.size() == 4;
  return linear.getInput() == rows.front() &&
         (!linear.getSums() || linear.getSums() == rows.back()) &&
         linear.getLow() == (hasLow ? rows[1] : Value());
}

SmallVector<PackedLinearOp> mlir::tbq::findReaders(QuantizeActivationsOp op) {
  SmallVector<PackedLinearOp> readers;
  SmallPtrSet<Value, 4> rows(op.getInto().begin(), op.getInto().end());
  for (Operation *user = op->getNextNode(); user && !rows.empty();
       user = user->getNextNode()) {
    WalkResult reads = user->walk([&](Operation *inner) {
      int64_t found = llvm::count_if(inner->getOperands(), [&](Value operand) {
        return rows.contains(operand);
      });
      if (auto step = dyn_cast<StepOp>(inner))
        found -= llvm::count_if(
            step.getInto(), [&](Value into) { return rows.contains(into); });
      return found ? WalkResult::interrupt() : WalkResult::advance();
    });
    if (reads.wasInterrupted()) {
      auto linear = dyn_cast<PackedLinearOp>(user);
      if (!linear || !readsRows(linear, op))
        return {};
      readers.push_back(linear);
    }
    user->walk([&](StepOp step) {
      for (Value into : step.getInto())
        rows.erase(into);
    });
  }
  return readers;
}
