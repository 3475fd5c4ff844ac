// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The ops of the step that are no linears: what each requires of its operands
// and how its work is counted. What memory any op touches.

#include "StepForm.h"

#include "format/StepAbi.h"

using namespace mlir;
using namespace mlir::tbq;

#include "tbq/IR/TbqInterfaces.cpp.inc"

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
TBQ_EFFECTS(LayerNormOp)
TBQ_EFFECTS(AddPositionsOp)
TBQ_EFFECTS(LinearOp)
TBQ_EFFECTS(RopeOp)
TBQ_EFFECTS(AppendCacheOp)
TBQ_EFFECTS(AttentionOp)
TBQ_EFFECTS(GatedActivationOp)
TBQ_EFFECTS(ActivationOp)
TBQ_EFFECTS(AddOp)
TBQ_EFFECTS(SelectRowsOp)
TBQ_EFFECTS(SummarizeLogitsOp)
TBQ_EFFECTS(GroupSumsOp)
TBQ_EFFECTS(QuantizeActivationsOp)
TBQ_EFFECTS(PackedLinearOp)
#undef TBQ_EFFECTS

//===----------------------------------------------------------------------===//
// Row by row
//===----------------------------------------------------------------------===//

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
  if (auto packed = dyn_cast<PackedType>(getTable().getType()))
    if (packed.getLayout().getNumPanels() > 1)
      return emitOpError("takes rows, which a table in panels has not whole");
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

int64_t LayerNormOp::getUnitsPerToken() { return 1; }

LogicalResult LayerNormOp::verify() {
  if (failed(verifyForm(*this, 1)))
    return failure();
  int64_t features = getFeatures();
  auto vector = std::make_pair(int64_t(1), features);
  if (!hasColumns(getInput(), features) ||
      !hasColumns(getOutput(*this), features) ||
      getShape(getWeight()) != vector || getShape(getBias()) != vector)
    return emitOpError("input, weight, bias and output need ")
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

int64_t SummarizeLogitsOp::getSummaryColumns(int64_t columns) {
  return llvm::alignTo<TBQ_LOGITS_GROUP>(columns) +
         llvm::divideCeil(columns, TBQ_LOGITS_GROUP);
}
int64_t SummarizeLogitsOp::getUnitsPerToken() {
  return llvm::divideCeil(getColumns(), TBQ_LOGITS_GROUP);
}
int64_t SummarizeLogitsOp::getUnitColumns() { return TBQ_LOGITS_GROUP; }

LogicalResult SummarizeLogitsOp::verify() {
  if (failed(verifyForm(*this, 1)))
    return failure();
  int64_t columns = getColumns(), made = getSummaryColumns(columns);
  if (!isF32(getInput()) || !hasColumns(getInput(), columns) ||
      !hasColumns(getOutput(*this), made))
    return emitOpError("makes rows of ")
           << made << " f32 of " << columns << ", not " << getInput().getType()
           << " to " << getOutput(*this).getType();
  return success();
}

//===----------------------------------------------------------------------===//
// Element by element: one unit is a vector of columns, or as many as the op
// says.
//===----------------------------------------------------------------------===//

template <typename OpType> static int64_t getElements(OpType op) {
  return op.getUnit().value_or(kLanes);
}

template <typename OpType> static LogicalResult verifyElements(OpType op) {
  if (failed(verifyForm(op, 1)))
    return failure();
  int64_t unit = getElements(op);
  if (unit < 1 || (kLanes % unit != 0 && unit % kLanes != 0))
    return op.emitOpError("units of ")
           << unit << " columns are no parts of vectors of " << kLanes
           << ", and no such vectors";
  return success();
}

int64_t GatedActivationOp::getUnitsPerToken() {
  return llvm::divideCeil(getColumns(getGate()), getUnitColumns());
}
int64_t GatedActivationOp::getUnitColumns() { return getElements(*this); }
bool GatedActivationOp::mayOverwrite(Value) { return true; }
LogicalResult GatedActivationOp::verify() {
  if (failed(verifyElements(*this)))
    return failure();
  if (getGate().getType() != getUp().getType() || !isF32(getGate()))
    return emitOpError("gate and up differ: ")
           << getGate().getType() << " and " << getUp().getType();
  return success();
}

int64_t ActivationOp::getUnitsPerToken() {
  return llvm::divideCeil(getColumns(getInput()), getUnitColumns());
}
int64_t ActivationOp::getUnitColumns() { return getElements(*this); }
bool ActivationOp::mayOverwrite(Value) { return true; }
LogicalResult ActivationOp::verify() {
  if (failed(verifyElements(*this)))
    return failure();
  if (getInput().getType() != getOutput(*this).getType() || !isF32(getInput()))
    return emitOpError("keeps rows of f32 as they are, not ")
           << getInput().getType() << " to " << getOutput(*this).getType();
  return success();
}

int64_t AddPositionsOp::getUnitsPerToken() {
  return llvm::divideCeil(getColumns(getInput()), kLanes);
}
int64_t AddPositionsOp::getUnitColumns() { return kLanes; }
bool AddPositionsOp::mayOverwrite(Value) { return true; }
LogicalResult AddPositionsOp::verify() {
  if (failed(verifyForm(*this, 1)) || failed(verifyPlaces(*this, getInput())))
    return failure();
  if (getInput().getType() != getOutput(*this).getType() || !isF32(getInput()))
    return emitOpError("keeps the type of its rows, not ")
           << getInput().getType() << " to " << getOutput(*this).getType();
  auto [rows, columns] = getShape(getTable());
  if (!hasColumns(getInput(), columns))
    return emitOpError("table has ")
           << columns << " columns for rows of " << getColumns(getInput());
  if (int64_t(getOffset()) >= rows)
    return emitOpError("begins at row ")
           << getOffset() << " of a table of " << rows;
  return success();
}

int64_t AddOp::getUnitsPerToken() {
  return llvm::divideCeil(getColumns(getLhs()), getUnitColumns());
}
int64_t AddOp::getUnitColumns() { return getElements(*this); }
bool AddOp::mayOverwrite(Value) { return true; }
LogicalResult AddOp::verify() {
  if (failed(verifyElements(*this)))
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
bool RopeOp::mayOverwrite(Value) { return true; }

LogicalResult RopeOp::verify() {
  if (failed(verifyForm(*this, 1)) || failed(verifyPlaces(*this, getInput())))
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
  if (failed(verifyForm(*this, 0)) || failed(verifyPlaces(*this, getKey())))
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
bool AttentionOp::readsEarlierCache() { return bool(getKey()); }
int64_t AttentionOp::getMostSpans() {
  return llvm::divideCeil(getCacheType().getPositions(),
                          kSpan * CacheType::kBlock);
}
int64_t AttentionOp::getSumColumns() {
  return 2 * kLanes + getCacheType().getPaddedHeadDim();
}

/// Memory for sums of spans, where attention has some.
static LogicalResult verifySpans(AttentionOp op) {
  ValueRange outputs = op.getInto().empty() ? ValueRange(op->getResults())
                                            : ValueRange(op.getInto());
  if (outputs.size() != 2)
    return success();
  int64_t columns = op.getMostSpans() * op.getHeads() * op.getSumColumns();
  if (op.getKey() || !op.getPosition().getType().isIndex() ||
      cast<ShapedType>(op.getQuery().getType()).getDimSize(0) != 1)
    return op.emitOpError("has sums of spans for one token, whose key is in "
                          "the cache");
  if (!isF32(outputs[1]) || !hasColumns(outputs[1], columns))
    return op.emitOpError("needs ")
           << columns << " columns for sums of spans, not "
           << outputs[1].getType();
  return success();
}

LogicalResult AttentionOp::verify() {
  if (failed(verifyForm(*this, countOutputs(*this) == 2 ? 2 : 1)) ||
      failed(verifyPlaces(*this, getQuery())) || failed(verifySpans(*this)))
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
  if (bool(getKey()) != bool(getValue()))
    return emitOpError("has a key or a value of its token, not both");
  if (!getKey())
    return success();
  int64_t own = cache.getKvHeads() * cache.getHeadDim();
  for (Value rows : {getQuery(), getKey(), getValue()})
    if (cast<ShapedType>(rows.getType()).getDimSize(0) != 1)
      return emitOpError("has a key and a value for one token, not ")
             << rows.getType();
  if (!hasColumns(getKey(), own) || !hasColumns(getValue(), own))
    return emitOpError("key and value need ")
           << own << " columns, not " << getKey().getType() << " and "
           << getValue().getType();
  return success();
}
