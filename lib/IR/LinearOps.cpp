// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Linears, as weights are read and as they are packed, and what they need of
// their activations: what each op requires, and how its work is counted.

#include "StepForm.h"

#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace mlir::tbq;

int64_t LinearOp::getUnitsPerToken() { return 1; }

/// How many scale tensors and whether a shift belong to a scheme.
static LogicalResult verifyScheme(LinearOp op, DigitsType digits) {
  Scheme scheme = digits.getScheme();
  size_t scales = scheme == Scheme::DualBinary ? 2 : 1;
  if (scheme == Scheme::SalientMask)
    return op.emitOpError("a salient mask is no weight");
  if (op.getScale().size() != scales)
    return op.emitOpError() << stringifyScheme(scheme) << " needs " << scales
                            << " scale tensors, not " << op.getScale().size();
  if ((scheme == Scheme::DualBinary || isInteger(scheme)) && op.getShift())
    return op.emitOpError() << stringifyScheme(scheme) << " has no shift";
  if (!op.getSalient().empty()) {
    if (scheme != Scheme::Binary)
      return op.emitOpError("only binary weights have a salient part");
    if (failed(verifySalient(op, op.getSalient().getTypes(), digits.getRows(),
                             digits.getColumns())))
      return failure();
  }
  SmallVector<Value> coefficients(op.getScale());
  if (op.getShift())
    coefficients.push_back(op.getShift());
  return verifyCoefficients(op, digits, coefficients);
}

LogicalResult LinearOp::verify() {
  if (failed(verifyForm(*this, 1)))
    return failure();
  int64_t rows, columns;
  if (auto digits = dyn_cast<DigitsType>(getWeight().getType())) {
    rows = digits.getRows(), columns = digits.getColumns();
    if (failed(verifyScheme(*this, digits)))
      return failure();
  } else {
    auto weight = cast<RankedTensorType>(getWeight().getType());
    if (weight.getRank() != 2 || !isa<FloatType>(weight.getElementType()))
      return emitOpError("weight must be a float matrix or digits, not ")
             << weight;
    if (!getScale().empty() || getShift() || !getSalient().empty() ||
        getGroup())
      return emitOpError("a float weight has no scale, shift, salient part or "
                         "group");
    rows = weight.getDimSize(0), columns = weight.getDimSize(1);
  }
  if (!hasColumns(getInput(), columns))
    return emitOpError("input needs ")
           << columns << " columns, not " << getInput().getType();
  if (!hasColumns(getOutput(*this), rows))
    return emitOpError("output needs ")
           << rows << " columns, not " << getOutput(*this).getType();
  if (getResidual() && getResidual().getType() != getOutput(*this).getType())
    return emitOpError("residual differs from the output: ")
           << getResidual().getType();
  if (getBias() && getShape(getBias()) != std::make_pair(int64_t(1), rows))
    return emitOpError("bias needs ")
           << rows << " elements, not " << getBias().getType();
  return success();
}

namespace {
/// A float linear multiplies f32 activations in every mode: it states none.
struct DropActivationsOfFloatLinear : OpRewritePattern<LinearOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(LinearOp op,
                                PatternRewriter &rewriter) const override {
    if (!op.getActivations() || isa<DigitsType>(op.getWeight().getType()))
      return failure();
    rewriter.modifyOpInPlace(op, [&] { op.removeActivationsAttr(); });
    return success();
  }
};
} // namespace

void LinearOp::getCanonicalizationPatterns(RewritePatternSet &patterns,
                                           MLIRContext *context) {
  patterns.add<DropActivationsOfFloatLinear>(context);
}

int64_t GroupSumsOp::getUnitsPerToken() { return 1; }

static LogicalResult verifyGroups(Operation *op, Value input, Value sums,
                                  int64_t columns, int64_t group) {
  if (group < 1 || group > columns)
    return op->emitOpError("group ") << group << " in rows of " << columns;
  if (!hasColumns(input, columns) || !isF32(input))
    return op->emitOpError("input needs ")
           << columns << " columns of f32, not " << input.getType();
  if (!hasColumns(sums, (columns + group - 1) / group))
    return op->emitOpError("needs one sum for each group of ")
           << group << ", not " << sums.getType();
  return success();
}

LogicalResult GroupSumsOp::verify() {
  if (failed(verifyForm(*this, 1)))
    return failure();
  return verifyGroups(*this, getInput(), getOutput(*this),
                      getColumnsAttr().getInt(), getGroup());
}

int64_t QuantizeActivationsOp::getUnitsPerToken() { return 1; }

LogicalResult QuantizeActivationsOp::verify() {
  // One digit or two, scale, sums.
  size_t outputs = countOutputs(*this) == 4 ? 4 : 3;
  if (failed(verifyForm(*this, outputs)))
    return failure();
  ValueRange made =
      getInto().empty() ? ValueRange(getResults()) : ValueRange(getInto());
  int64_t columns = getColumnsAttr().getInt();
  for (Value digits : made.drop_back(2))
    if (!hasColumns(digits, columns) ||
        !getElementTypeOrSelf(digits).isInteger(8))
      return emitOpError("makes digits of ")
             << columns << " columns of i8, not " << digits.getType();
  return verifyGroups(*this, getInput(), made.back(), columns, getGroup());
}

int64_t PackedLinearOp::getUnitsPerToken() { return 0; }
int64_t PackedLinearOp::getFixedUnits() {
  return getWeight().getType().getLayout().getNumTiles();
}
int64_t PackedLinearOp::getUnitColumns() {
  return getWeight().getType().getLayout().getTile();
}
bool PackedLinearOp::mayOverwrite(Value operand) {
  // Tiles read the whole row of an input, each only its part of a residual.
  return operand == getResidual() && operand != getInput();
}

LogicalResult PackedLinearOp::verify() {
  if (failed(verifyForm(*this, 1)))
    return failure();
  LayoutAttr layout = getWeight().getType().getLayout();
  if (layout.getTile() == 1)
    return emitOpError("needs a matrix in tiles, not a table");
  if (!hasColumns(getInput(), layout.getColumns()) ||
      !hasRoom(getOutput(*this), layout.getRows()))
    return emitOpError("does not map ")
           << getInput().getType() << " to " << getOutput(*this).getType()
           << " by " << layout;
  if (layout.isFloat() && (getSums() || getActivationScale()))
    return emitOpError("a float weight needs no sums and no activation scale");
  if (isF32(getInput()) == bool(getActivationScale()))
    return emitOpError("integer activations, and only they, have a scale");
  if (getLow() &&
      (isF32(getInput()) || getLow().getType() != getInput().getType()))
    return emitOpError("low digits stand beside high ones of their type, not ")
           << getInput().getType();
  if (!isF32(getInput())) {
    int64_t most = layout.getMostColumns(getLow() ? kSteps16 : kSteps8);
    if (layout.getGroup() > most)
      return emitOpError("sums of groups of ")
             << layout.getGroup() << " columns may not fit int32: with "
             << (getLow() ? "i16" : "i8") << " activations at most " << most;
  }
  if (layout.usesSums() != bool(getSums()))
    return emitOpError("the layout's terms ")
           << (getSums() ? "use no sums" : "need sums of the activations");
  if (getSums() && !hasColumns(getSums(), layout.getNumGroups()))
    return emitOpError("needs one sum for each of ")
           << layout.getNumGroups() << " groups";
  return success();
}
