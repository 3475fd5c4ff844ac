// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Verifiers of the ops that hold weights and layers. The ops of the step itself
// are in StepOps.cpp.

#include "tbq/IR/Tbq.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/OpImplementation.h"
#include "llvm/Support/Format.h"

using namespace mlir;
using namespace mlir::tbq;

/// Groups of `group` columns in a row of `columns`; the last may be shorter.
static int64_t numGroups(int64_t columns, int64_t group) {
  return (columns + group - 1) / group;
}

static bool isMatrix(Type type, int64_t rows, int64_t columns) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && tensor.getShape() == ArrayRef<int64_t>{rows, columns};
}

static bool isVector(Type type, int64_t size, unsigned bits, bool isFloat) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && tensor.getShape() == ArrayRef<int64_t>{size} &&
         (isFloat ? tensor.getElementType().isF16()
                  : tensor.getElementType().isInteger(bits));
}

LogicalResult mlir::tbq::verifySalient(Operation *op, TypeRange parts,
                                       int64_t rows, int64_t columns) {
  if (parts.size() < 4 || parts.size() > 5)
    return op->emitOpError("salient needs mask, values, offsets, value scale "
                           "and perhaps zero");
  auto mask = dyn_cast<DigitsType>(parts[0]);
  if (!mask || mask.getScheme() != Scheme::SalientMask ||
      mask.getRows() != rows || mask.getColumns() != columns)
    return op->emitOpError("salient mask does not match weights of ")
           << rows << "x" << columns;
  auto values = dyn_cast<RankedTensorType>(parts[1]);
  if (!values || values.getRank() != 1 ||
      !isVector(values, values.getDimSize(0), 8, false) ||
      values.getDimSize(0) > rows * columns)
    return op->emitOpError("salient values must be i8, at most one a weight, "
                           "not ")
           << parts[1];
  if (!isVector(parts[2], rows + 1, 32, false))
    return op->emitOpError("salient offsets must be ")
           << rows + 1 << " i32, not " << parts[2];
  if (!isVector(parts[3], rows, 16, true))
    return op->emitOpError("salient value scale must be ")
           << rows << " f16, not " << parts[3];
  if (parts.size() == 5 && !isVector(parts[4], rows, 16, false))
    return op->emitOpError("salient zero must be ")
           << rows << " i16, not " << parts[4];
  return success();
}

int64_t QuantizeOp::getMostSalient(int64_t rows, int64_t columns, int64_t group,
                                   double fraction) {
  int64_t most = 0;
  for (int64_t first = 0; first < columns; first += group) {
    // The weight of rank `kept`, from 0, is the largest that stays binary.
    const int64_t count = rows * std::min(group, columns - first);
    const auto kept = static_cast<int64_t>(count * (1 - fraction));
    most += count - std::min(kept + 1, count);
  }
  return most;
}

void QuantizeOp::build(OpBuilder &b, OperationState &state, Value weight,
                       Scheme scheme, int64_t group, double salient) {
  auto matrix = cast<RankedTensorType>(weight.getType());
  const int64_t rows = matrix.getDimSize(0), columns = matrix.getDimSize(1);
  auto tensor = [](ArrayRef<int64_t> shape, Type element) {
    return RankedTensorType::get(shape, element);
  };
  Type coefficients = tensor({rows, numGroups(columns, group)}, b.getF16Type());
  SmallVector<Type> parts;
  if (salient > 0)
    parts = {
        DigitsType::get(b.getContext(), rows, columns, Scheme::SalientMask),
        tensor({getMostSalient(rows, columns, group, salient)}, b.getI8Type()),
        tensor({rows + 1}, b.getI32Type()), tensor({rows}, b.getF16Type()),
        tensor({rows}, b.getI16Type())};
  build(b, state, DigitsType::get(b.getContext(), rows, columns, scheme),
        SmallVector<Type, 2>(isInteger(scheme) ? 1 : 2, coefficients), parts,
        weight, SchemeAttr::get(b.getContext(), scheme),
        b.getI64IntegerAttr(group),
        salient > 0 ? b.getF64FloatAttr(salient) : FloatAttr(),
        /*thresholds=*/DenseF32ArrayAttr());
}

LogicalResult QuantizeOp::verify() {
  auto weight = cast<RankedTensorType>(getWeight().getType());
  if (weight.getRank() != 2)
    return emitOpError("quantises matrices, not ") << weight;
  DigitsType digits = getDigits().getType();
  if (digits.getScheme() != getScheme() ||
      digits.getRows() != weight.getDimSize(0) ||
      digits.getColumns() != weight.getDimSize(1))
    return emitOpError("digits ") << digits << " do not match " << weight
                                  << " as " << stringifyScheme(getScheme());
  if (getGroup() < 1 || int64_t(getGroup()) > digits.getColumns())
    return emitOpError("group ")
           << getGroup() << " in rows of " << digits.getColumns();
  if (getScheme() == Scheme::SalientMask)
    return emitOpError("a salient mask is no scheme of a weight");
  size_t count = isInteger(getScheme()) ? 1 : 2;
  if (getCoefficients().size() != count)
    return emitOpError("coefficients of ")
           << stringifyScheme(getScheme()) << ": " << count << " a group, not "
           << getCoefficients().size();
  int64_t groups = numGroups(digits.getColumns(), getGroup());
  for (Value coefficient : getCoefficients())
    if (!isMatrix(coefficient.getType(), digits.getRows(), groups))
      return emitOpError("coefficients must be ")
             << digits.getRows() << "x" << groups << ", not "
             << coefficient.getType();
  if (!getSalientFraction()) {
    if (!getSalient().empty())
      return emitOpError("has a salient part but no fraction of it");
    return success();
  }
  const double fraction = getSalientFraction()->convertToDouble();
  if (getScheme() != Scheme::Binary)
    return emitOpError("only binary weights have a salient part");
  if (!(fraction > 0 && fraction <= 0.5))
    return emitOpError("salient fraction must be above 0 and at most 0.5");
  if (getThresholds() && int64_t(getThresholds()->size()) !=
                             numGroups(digits.getColumns(), getGroup()))
    return emitOpError("needs a threshold for each of ")
           << numGroups(digits.getColumns(), getGroup()) << " groups, not "
           << getThresholds()->size();
  if (getSalient().size() != 5)
    return emitOpError("makes all 5 salient parts, not ")
           << getSalient().size();
  return verifySalient(*this, getSalient().getTypes(), digits.getRows(),
                       digits.getColumns());
}

/// [1.00000000e+00, ...]: nine digits give every f32 back exactly.
static ParseResult parseFloats(OpAsmParser &parser, DenseF32ArrayAttr &floats) {
  SmallVector<float> values;
  auto parseValue = [&]() -> ParseResult {
    double value;
    if (parser.parseFloat(value))
      return failure();
    values.push_back(float(value));
    return success();
  };
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::Square, parseValue))
    return failure();
  floats = DenseF32ArrayAttr::get(parser.getContext(), values);
  return success();
}

static void printFloats(OpAsmPrinter &printer, Operation *,
                        DenseF32ArrayAttr floats) {
  printer << "[";
  llvm::interleaveComma(floats.asArrayRef(), printer, [&](float value) {
    printer << llvm::format("%.8e", double(value));
  });
  printer << "]";
}

LogicalResult RopeTableOp::verify() {
  auto type = cast<RankedTensorType>(getResult().getType());
  if (type.getRank() != 2 || !type.getElementType().isF32() ||
      type.getDimSize(1) != 2 * int64_t(getInvFreq().size()))
    return emitOpError("needs a result of positions x ")
           << 2 * getInvFreq().size() << " f32, not " << type;
  return success();
}

int64_t PackOp::getSalientDigits() {
  if (getSalient().empty())
    return 0;
  return cast<RankedTensorType>(getSalient()[1].getType()).getDimSize(0);
}

LogicalResult PackOp::verify() {
  LayoutAttr layout = getResult().getType().getLayout();
  int64_t rows = layout.getRows(), columns = layout.getColumns();
  if (layout.getBias() != bool(getBias()))
    return emitOpError("the layout and the operands disagree on a bias");
  if (auto digits = dyn_cast<DigitsType>(getWeight().getType())) {
    if (layout.isFloat())
      return emitOpError("cannot pack digits into a float layout");
    if (digits.getRows() != rows || digits.getColumns() != columns)
      return emitOpError("digits ") << digits << " do not fit " << layout;
    if (int64_t(getCoefficients().size()) != layout.getNumGroupTerms())
      return emitOpError("has ")
             << getCoefficients().size() << " coefficients for "
             << layout.getNumGroupTerms() << " terms";
    if (layout.getSalient() == getSalient().empty())
      return emitOpError("the layout and the operands disagree on a salient "
                         "part");
    int64_t group = getCoefficientGroup();
    if (group < layout.getGroup() || group > columns ||
        (group % layout.getGroup() != 0 && group != columns))
      return emitOpError("groups of ")
             << layout.getGroup() << " columns are no parts of groups of "
             << group;
    int64_t groups = numGroups(columns, group);
    for (Value coefficient : getCoefficients())
      if (!isMatrix(coefficient.getType(), rows, groups))
        return emitOpError("coefficients must be ")
               << rows << "x" << groups << ", not " << coefficient.getType();
    if (getSalient().empty())
      return success();
    return verifySalient(*this, getSalient().getTypes(), rows, columns);
  }
  if (!layout.isFloat())
    return emitOpError("cannot pack a float weight into digits");
  auto tensor = cast<RankedTensorType>(getWeight().getType());
  if (tensor.getNumElements() != rows * columns)
    return emitOpError() << tensor << " does not fit " << layout;
  return success();
}

LogicalResult PlacedWeightOp::verify() {
  if (getOffsets().empty())
    return emitOpError("needs an offset");
  if (!getLayer() && getOffsets().size() != 1)
    return emitOpError("has ")
           << getOffsets().size() << " offsets but no layer to choose by";
  for (int64_t offset : getOffsets())
    if (offset < 0 || offset % kAlignment != 0)
      return emitOpError("offset ")
             << offset << " is not a multiple of " << kAlignment;
  return success();
}

LogicalResult LayerOp::verify() {
  Block &block = getBody().front();
  if (block.getNumArguments() != 2 ||
      block.getArgument(0).getType() != getInput().getType() ||
      !block.getArgument(1).getType().isIndex())
    return emitOpError("region takes the residual and the layer's number");
  auto yield = dyn_cast<YieldOp>(block.back());
  if (!yield || yield.getValues().size() != 1 ||
      yield.getValues()[0].getType() != getResult().getType() ||
      getResult().getType() != getInput().getType())
    return emitOpError("must yield a residual of its input's type");
  return success();
}

LogicalResult LayersOp::verify() {
  if (getFirst() >= getLast())
    return emitOpError("repeats no layer: ")
           << getFirst() << " to " << getLast();
  if (getResult().getType() != getInput().getType())
    return emitOpError("must hand on a residual of its input's type");
  return success();
}

LogicalResult LayersOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto callee =
      symbols.lookupNearestSymbolFrom<func::FuncOp>(*this, getCalleeAttr());
  if (!callee)
    return emitOpError("calls no function '") << getCallee() << "'";
  SmallVector<Type> expected{getInput().getType(),
                             IndexType::get(getContext())};
  llvm::append_range(expected, getArguments().getTypes());
  if (callee.getArgumentTypes() != ArrayRef<Type>(expected))
    return emitOpError("arguments do not match '") << getCallee() << "'";
  return success();
}

#define GET_OP_CLASSES
#include "tbq/IR/TbqOps.cpp.inc"
