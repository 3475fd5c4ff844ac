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
  return success();
}

/// [1.00000000e+00, ...]: nine digits give every f32 back exactly.
static ParseResult parseFrequencies(OpAsmParser &parser,
                                    DenseF32ArrayAttr &frequencies) {
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
  frequencies = DenseF32ArrayAttr::get(parser.getContext(), values);
  return success();
}

static void printFrequencies(OpAsmPrinter &printer, Operation *,
                             DenseF32ArrayAttr frequencies) {
  printer << "[";
  llvm::interleaveComma(frequencies.asArrayRef(), printer, [&](float value) {
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
    if (int64_t(getCoefficients().size()) != layout.getNumTerms())
      return emitOpError("has ")
             << getCoefficients().size() << " coefficients for "
             << layout.getNumTerms() << " terms";
    for (Value coefficient : getCoefficients())
      if (!isMatrix(coefficient.getType(), rows, layout.getNumGroups()))
        return emitOpError("coefficients must be ")
               << rows << "x" << layout.getNumGroups() << ", not "
               << coefficient.getType();
    return success();
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
