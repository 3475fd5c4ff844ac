// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The ops of the step: what each requires of its operands, how its work is
// counted, and what memory it touches.

#include "tbq/IR/Tbq.h"

#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/PatternMatch.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

#include "tbq/IR/TbqInterfaces.cpp.inc"

/// Columns of a row of activations: exact in tensor form; in buffer form rows
/// are padded to whole vectors.
static int64_t getColumns(Value rows) {
  auto type = cast<ShapedType>(rows.getType());
  return type.getRank() == 0 ? 1 : type.getShape().back();
}

static bool hasColumns(Value rows, int64_t columns) {
  auto type = cast<ShapedType>(rows.getType());
  if (isa<MemRefType>(type))
    columns = llvm::alignTo(columns, kLanes);
  return type.getRank() == 2 && type.getDimSize(1) == columns;
}

static bool isF32(Value rows) {
  return cast<ShapedType>(rows.getType()).getElementType().isF32();
}

/// How many results or buffers an op of the step makes.
template <typename OpType> static size_t countOutputs(OpType op) {
  return op.getInto().empty() ? op->getNumResults() : op.getInto().size();
}

/// The rules every op of the step shares. `outputs`: how many it makes.
template <typename OpType>
static LogicalResult verifyForm(OpType op, size_t outputs) {
  bool buffer = !op.getInto().empty();
  size_t made = countOutputs(op);
  if (buffer && op->getNumResults() != 0)
    return op.emitOpError("has both results and buffers to write into");
  if (made != outputs)
    return op.emitOpError("needs ")
           << outputs << " results or buffers, not " << made;
  ValueRange written =
      buffer ? ValueRange(op.getInto()) : ValueRange(op->getResults());
  for (Value output : written)
    if (cast<ShapedType>(output.getType()).getRank() != 2)
      return op.emitOpError("makes tokens x columns, not ") << output.getType();
  if (!op.getRange().empty() && op.getRange().size() != 2)
    return op.emitOpError("range needs a begin and an end");
  return success();
}

/// The one output, in either form.
template <typename OpType> static Value getOutput(OpType op) {
  return op.getInto().empty() ? Value(op->getResult(0))
                              : Value(op.getInto().front());
}

/// Tensor form: no effects but on the cache. Buffer form: writes `into`.
template <typename OpType>
static void
addEffects(OpType op, SmallVectorImpl<MemoryEffects::EffectInstance> &effects) {
  for (OpOperand &operand : op->getOpOperands()) {
    if (isa<CacheType>(operand.get().getType())) {
      effects.emplace_back(MemoryEffects::Read::get(), &operand);
      if (op.writesCache())
        effects.emplace_back(MemoryEffects::Write::get(), &operand);
    } else if (isa<MemRefType>(operand.get().getType())) {
      effects.emplace_back(MemoryEffects::Read::get(), &operand);
      effects.emplace_back(MemoryEffects::Write::get(), &operand);
    }
  }
}

#define TBQ_EFFECTS(OP)                                                        \
  void OP::getEffects(                                                         \
      SmallVectorImpl<MemoryEffects::EffectInstance> &effects) {               \
    addEffects(*this, effects);                                                \
  }
TBQ_EFFECTS(EmbeddingOp)
TBQ_EFFECTS(RmsNormOp)
TBQ_EFFECTS(LinearOp)
TBQ_EFFECTS(RopeOp)
TBQ_EFFECTS(AppendCacheOp)
TBQ_EFFECTS(AttentionOp)
TBQ_EFFECTS(GatedActivationOp)
TBQ_EFFECTS(AddOp)
TBQ_EFFECTS(SelectRowsOp)
TBQ_EFFECTS(GroupSumsOp)
TBQ_EFFECTS(QuantizeActivationsOp)
TBQ_EFFECTS(PackedLinearOp)
#undef TBQ_EFFECTS

//===----------------------------------------------------------------------===//
// Row by row
//===----------------------------------------------------------------------===//

/// Rows and columns of a matrix, table or vector, as stored or packed.
static std::pair<int64_t, int64_t> getShape(Value weight) {
  if (auto packed = dyn_cast<PackedType>(weight.getType()))
    return {packed.getLayout().getRows(), packed.getLayout().getColumns()};
  if (auto digits = dyn_cast<DigitsType>(weight.getType()))
    return {digits.getRows(), digits.getColumns()};
  auto tensor = cast<RankedTensorType>(weight.getType());
  if (tensor.getRank() == 0)
    return {1, 1};
  return {tensor.getRank() == 1 ? 1 : tensor.getDimSize(0),
          tensor.getShape().back()};
}

/// What a weight of digits needs beside them: a group, and coefficients for
/// each.
template <typename OpType>
static LogicalResult verifyCoefficients(OpType op, DigitsType digits,
                                        ValueRange coefficients) {
  std::optional<uint64_t> group = op.getGroup();
  int64_t columns = digits.getColumns();
  if (!group || int64_t(*group) < 1 || int64_t(*group) > columns)
    return op.emitOpError("needs a group of 1 to ") << columns << " columns";
  int64_t groups = llvm::divideCeil(columns, int64_t(*group));
  for (Value coefficient : coefficients) {
    auto type = cast<RankedTensorType>(coefficient.getType());
    if (type.getShape() != ArrayRef<int64_t>{digits.getRows(), groups} ||
        !type.getElementType().isF16())
      return op.emitOpError("scales and shift must be ")
             << digits.getRows() << "x" << groups << " f16, not " << type;
  }
  return success();
}

int64_t EmbeddingOp::getUnitsPerToken() { return 1; }

LogicalResult EmbeddingOp::verify() {
  if (failed(verifyForm(*this, 1)))
    return failure();
  if (!cast<ShapedType>(getTokens().getType()).getElementType().isInteger(32))
    return emitOpError("tokens are i32 numbers, not ") << getTokens().getType();
  if (auto digits = dyn_cast<DigitsType>(getTable().getType())) {
    if (!isInteger(digits.getScheme()))
      return emitOpError("digits of a table are int8 or int4, not ")
             << stringifyScheme(digits.getScheme());
    if (!getScale())
      return emitOpError("a table of digits needs a scale");
    if (failed(verifyCoefficients(*this, digits, getScale())))
      return failure();
  } else if (getScale() || getGroup()) {
    return emitOpError("only a table of digits has a scale and a group");
  }
  if (!hasColumns(getOutput(*this), getShape(getTable()).second))
    return emitOpError("gives rows of ")
           << getShape(getTable()).second << " columns, not "
           << getOutput(*this).getType();
  return success();
}

int64_t RmsNormOp::getUnitsPerToken() { return 1; }

LogicalResult RmsNormOp::verify() {
  if (failed(verifyForm(*this, 1)))
    return failure();
  int64_t features = getFeatures();
  if (!hasColumns(getInput(), features) ||
      !hasColumns(getOutput(*this), features) ||
      getShape(getWeight()) != std::make_pair(int64_t(1), features))
    return emitOpError("input, weight and output need ")
           << features << " features";
  return success();
}

int64_t SelectRowsOp::getUnitsPerToken() { return 1; }

LogicalResult SelectRowsOp::verify() {
  if (failed(verifyForm(*this, 1)))
    return failure();
  if (getColumns(getInput()) != getColumns(getOutput(*this)))
    return emitOpError("keeps the columns of ") << getInput().getType();
  return success();
}

//===----------------------------------------------------------------------===//
// Element by element: one unit is a vector of columns.
//===----------------------------------------------------------------------===//

int64_t GatedActivationOp::getUnitsPerToken() {
  return llvm::divideCeil(getColumns(getGate()), kLanes);
}
int64_t GatedActivationOp::getUnitColumns() { return kLanes; }
LogicalResult GatedActivationOp::verify() {
  if (failed(verifyForm(*this, 1)))
    return failure();
  if (getGate().getType() != getUp().getType() || !isF32(getGate()))
    return emitOpError("gate and up differ: ")
           << getGate().getType() << " and " << getUp().getType();
  return success();
}

int64_t AddOp::getUnitsPerToken() {
  return llvm::divideCeil(getColumns(getLhs()), kLanes);
}
int64_t AddOp::getUnitColumns() { return kLanes; }
bool AddOp::mayOverwrite(Value) { return true; }
LogicalResult AddOp::verify() {
  if (failed(verifyForm(*this, 1)))
    return failure();
  if (getLhs().getType() != getRhs().getType() || !isF32(getLhs()))
    return emitOpError("adds rows of one type, not ")
           << getLhs().getType() << " and " << getRhs().getType();
  return success();
}

//===----------------------------------------------------------------------===//
// Heads
//===----------------------------------------------------------------------===//

int64_t RopeOp::getUnitsPerToken() { return getHeads(); }
int64_t RopeOp::getUnitColumns() { return getHeadDim(); }

LogicalResult RopeOp::verify() {
  if (failed(verifyForm(*this, 1)))
    return failure();
  int64_t headDim = getHeadDim(), columns = getHeads() * headDim;
  if (headDim % 2 != 0)
    return emitOpError("rotates pairs: head_dim ") << headDim << " is odd";
  if (!hasColumns(getInput(), columns) ||
      !hasColumns(getOutput(*this), columns))
    return emitOpError("needs rows of ")
           << columns << " columns, not " << getInput().getType();
  if (getShape(getTable()).second != headDim)
    return emitOpError("table has ") << getShape(getTable()).second
                                     << " columns for head_dim " << headDim;
  return success();
}

int64_t AppendCacheOp::getUnitsPerToken() {
  return getCacheType().getKvHeads();
}
int64_t AppendCacheOp::getUnitColumns() { return getCacheType().getHeadDim(); }
Value AppendCacheOp::getCacheMemory() { return getCache(); }
bool AppendCacheOp::writesCache() { return true; }

LogicalResult AppendCacheOp::verify() {
  if (failed(verifyForm(*this, 0)))
    return failure();
  CacheType cache = getCacheType();
  int64_t columns = cache.getKvHeads() * cache.getHeadDim();
  if (!hasColumns(getKey(), columns) || !hasColumns(getValue(), columns))
    return emitOpError("keys and values need ")
           << columns << " columns, not " << getKey().getType() << " and "
           << getValue().getType();
  return success();
}

int64_t AttentionOp::getUnitsPerToken() { return getHeads(); }
int64_t AttentionOp::getUnitColumns() { return getCacheType().getHeadDim(); }
Value AttentionOp::getCacheMemory() { return getCache(); }

LogicalResult AttentionOp::verify() {
  if (failed(verifyForm(*this, 1)))
    return failure();
  CacheType cache = getCacheType();
  if (getHeads() % cache.getKvHeads() != 0)
    return emitOpError() << getHeads() << " heads do not share "
                         << cache.getKvHeads() << " kv heads evenly";
  int64_t columns = getHeads() * cache.getHeadDim();
  if (!hasColumns(getQuery(), columns) ||
      !hasColumns(getOutput(*this), columns))
    return emitOpError("query and output need ")
           << columns << " columns, not " << getQuery().getType();
  return success();
}

//===----------------------------------------------------------------------===//
// Linears
//===----------------------------------------------------------------------===//

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
bool PackedLinearOp::mayOverwrite(Value operand) {
  // Tiles read the whole row of an input, each only its part of a residual.
  return operand == getResidual() && operand != getInput();
}

LogicalResult PackedLinearOp::verify() {
  if (failed(verifyForm(*this, 1)))
    return failure();
  LayoutAttr layout = getWeight().getType().getLayout();
  if (layout.getTile() != kLanes)
    return emitOpError("needs tiles of ") << kLanes << " rows";
  if (!hasColumns(getInput(), layout.getColumns()) ||
      !hasColumns(getOutput(*this), layout.getRows()))
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
