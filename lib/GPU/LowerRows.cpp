// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Ops that make something of a whole row, on a GPU: norms, quantised
// activations, sums of groups. The row is the block's, in its registers. A norm
// goes into what is quantised without a way through memory, where nothing else
// reads it. Each row ends where the threads meet.

#include "BlockRow.h"
#include "LowerStep.h"
#include "TokenTiles.h"

using namespace mlir;
using namespace mlir::tbq;

/// Vectors of a thread that may be loaded before a barrier: what registers are
/// left beside a linear's.
static constexpr int64_t kMostAhead = 2;
/// Of a row that is held while the one before is used.
static constexpr int64_t kMostHeld = 8;

static int64_t countRows(Value rows) {
  return cast<MemRefType>(rows.getType()).getDimSize(0);
}

/// Runs `body` with every token of the op's range, and its row. Of several, the
/// next one's row is on its way while one is used.
static void
forEachRow(ThreadBuilder &t, StepOp op, BlockRow &row, Value rows,
           llvm::function_ref<void(Value, const SmallVector<Value> &)> body) {
  int64_t count = countRows(rows);
  if (count == 1 || row.countVectors() > kMostHeld)
    return forEachToken(t, op, [&](Value token) {
      body(token, row.load(rows, token));
      t.synchronize();
    });
  // Behind the last one, any row that there is.
  auto load = [&](Value token) {
    return row.load(rows, t.min(token, t.index(count - 1)));
  };
  Value first = op.getRange()[0], end = op.getRange()[1];
  t.loop(first, end, t.index(1), load(first),
         [&](Value token, ValueRange elements) {
           SmallVector<Value> next = load(t.add(token, 1));
           body(token, SmallVector<Value>(elements));
           t.synchronize();
           return next;
         });
}

/// 1 / sqrt(squares / features + epsilon)
static Value getNormFactor(ThreadBuilder &t, Value squares, int64_t features,
                           const APFloat &epsilon) {
  Value mean = t.divf(squares, t.constant(float(features)));
  Value root = math::SqrtOp::create(
      t.b, t.loc, t.addf(mean, t.constant(epsilon.convertToFloat())));
  return t.divf(t.constant(1.0f), root);
}

static Value sumSquares(ThreadBuilder &t, BlockRow &row,
                        ArrayRef<Value> elements, int64_t turn) {
  Value part = t.mulf(elements.front(), elements.front());
  for (Value x : elements.drop_front())
    part = t.fma(x, x, part);
  return row.reduce(Reduction::Sum, part, turn);
}

/// What a norm multiplies its row with and adds to it.
struct NormWeights {
  SmallVector<Value> weights, biases;
};

static NormWeights loadWeights(ThreadBuilder &t, RmsNormOp op, BlockRow &row,
                               IRMapping &copies) {
  return {row.load(getBytes(t, getAt(t.b, op.getWeight(), copies))), {}};
}
static NormWeights loadWeights(ThreadBuilder &t, LayerNormOp op, BlockRow &row,
                               IRMapping &copies) {
  return {row.load(getBytes(t, getAt(t.b, op.getWeight(), copies))),
          row.load(getBytes(t, getAt(t.b, op.getBias(), copies)))};
}

/// The same, if they are few, before the barrier that the row waits for.
template <typename NormOp>
static NormWeights loadWeights(ThreadBuilder &t, NormOp op, BlockRow &row) {
  OpBuilder::InsertionGuard guard(t.b);
  if (row.countVectors() <= kMostAhead)
    if (Operation *barrier = findBarrier(op))
      t.b.setInsertionPoint(barrier);
  IRMapping copies;
  return loadWeights(t, op, row, copies);
}

/// The row's norm; counts the turns that its sums take.
static SmallVector<Value> getNorm(ThreadBuilder &t, RmsNormOp op, BlockRow &row,
                                  const NormWeights &with,
                                  SmallVector<Value> elements, int64_t &turn) {
  const SmallVector<Value> &weights = with.weights;
  Value squares = sumSquares(t, row, elements, turn++);
  Value factor = getNormFactor(t, squares, op.getFeatures(), op.getEpsilon());
  for (auto [x, weight] : llvm::zip_equal(elements, weights))
    x = t.mulf(weight, t.mulf(x, factor));
  return elements;
}

static SmallVector<Value> getNorm(ThreadBuilder &t, LayerNormOp op,
                                  BlockRow &row, const NormWeights &with,
                                  SmallVector<Value> elements, int64_t &turn) {
  Value mean = t.divf(row.reduce(Reduction::Sum, elements, turn++),
                      t.constant(float(op.getFeatures())));
  for (Value &x : elements)
    x = t.subf(x, mean);
  elements = row.mask(elements);
  Value squares = sumSquares(t, row, elements, turn++);
  Value factor = getNormFactor(t, squares, op.getFeatures(), op.getEpsilon());
  for (auto [x, weight, bias] :
       llvm::zip_equal(elements, with.weights, with.biases))
    x = t.fma(weight, t.mulf(x, factor), bias);
  return row.mask(elements);
}

template <typename NormOp> static void lower(ThreadBuilder &t, NormOp op) {
  BlockRow row(t, op.getFeatures());
  NormWeights with = loadWeights(t, op, row);
  forEachRow(t, op, row, op.getInput(), [&](Value token, auto &elements) {
    int64_t turn = 0;
    row.store(getNorm(t, op, row, with, elements, turn), op.getInto().front(),
              token);
  });
}

void mlir::tbq::lowerRmsNorm(ThreadBuilder &t, RmsNormOp op) { lower(t, op); }
void mlir::tbq::lowerLayerNorm(ThreadBuilder &t, LayerNormOp op) {
  lower(t, op);
}

void mlir::tbq::lowerGroupSums(ThreadBuilder &t, GroupSumsOp op) {
  BlockRow row(t, op.getColumnsAttr().getInt());
  forEachRow(t, op, row, op.getInput(), [&](Value token, auto &elements) {
    row.sumGroups(
        elements, op.getGroup(),
        [&](Value sum, Value group) {
          t.store(sum, op.getInto().front(), {token, group});
        },
        [&](Value column) { return t.load(op.getInput(), {token, column}); });
  });
}

/// Stores a row's digits: in one byte, or the low byte and what it leaves to
/// the high one.
static void storeDigits(ThreadBuilder &t, BlockRow &row, ArrayRef<Value> q,
                        ValueRange digits, BlockRow::Place place) {
  row.storeBytes(q, digits.back(), place);
  if (digits.size() == 1)
    return;
  // The low byte counts from -128 to 127.
  auto high = llvm::map_to_vector(q, [&](Value x) {
    return arith::ShRSIOp::create(t.b, t.loc, t.add(x, t.constantI32(128)),
                                  t.constantI32(8))
        .getResult();
  });
  row.storeBytes(high, digits.front(), place);
}

/// What was stored for one column.
static Value loadDigits(ThreadBuilder &t, ValueRange digits, ValueRange at) {
  auto load = [&](Value rows) -> Value {
    return arith::ExtSIOp::create(t.b, t.loc, t.b.getI32Type(),
                                  t.load(rows, at));
  };
  Value low = load(digits.back());
  if (digits.size() == 1)
    return low;
  return t.add(t.mul(load(digits.front()), t.constantI32(256)), low);
}

static void quantize(ThreadBuilder &t, QuantizeActivationsOp op, BlockRow &row,
                     ArrayRef<Value> elements, Value token, int64_t turn) {
  ValueRange digits = op.getInto().drop_back(2);
  Value scales = op.getInto().drop_back().back(), sums = op.getInto().back();
  Value steps = t.constant(digits.size() == 1 ? kSteps8 : kSteps16);
  auto sizes = llvm::map_to_vector(elements, [&](Value x) {
    return math::AbsFOp::create(t.b, t.loc, x).getResult();
  });
  Value largest =
      t.maxf(row.reduce(Reduction::Maximum, sizes, turn), t.constant(1e-5f));
  // The last thread has the fewest columns.
  t.ifThen(t.equal(t.thread(), kThreads - 1), [&] {
    t.store(t.divf(largest, steps), scales, {token, t.index(0)});
  });
  Value factor = t.divf(steps, largest);
  auto q = llvm::map_to_vector(
      elements, [&](Value x) { return t.roundToI32(t.mulf(x, factor)); });
  std::optional<TokenTiles> tiles = TokenTiles::get(op);
  // In tiles, an element's number is that of the buffer's, not of its row's.
  auto getPlace = [&](Value column) -> SmallVector<Value> {
    if (!tiles)
      return {token, column};
    return {t.index(0),
            tiles->getDigits(t, token, column, getColumns(digits.front()))};
  };
  storeDigits(t, row, q, digits, getPlace);
  row.sumGroups(
      q, op.getGroup(),
      [&](Value sum, Value group) {
        if (!tiles)
          return t.store(sum, sums, {token, group});
        t.store(t.bitcast(t.toF32(sum), sum.getType()), sums,
                {t.index(0), tiles->getSum(t, token, group, getColumns(sums))});
      },
      [&](Value column) { return loadDigits(t, digits, getPlace(column)); });
  if (tiles)
    fenceCopies(t);
}

void mlir::tbq::lowerQuantizeActivations(ThreadBuilder &t,
                                         QuantizeActivationsOp op) {
  BlockRow row(t, op.getColumnsAttr().getInt());
  forEachRow(t, op, row, op.getInput(), [&](Value token, auto &elements) {
    quantize(t, op, row, elements, token, /*turn=*/0);
  });
}

template <typename NormOp>
static void lower(ThreadBuilder &t, NormOp norm, QuantizeActivationsOp op) {
  BlockRow row(t, norm.getFeatures());
  NormWeights with = loadWeights(t, norm, row);
  forEachRow(t, op, row, norm.getInput(), [&](Value token, auto &loaded) {
    int64_t turn = 0;
    SmallVector<Value> elements = getNorm(t, norm, row, with, loaded, turn);
    quantize(t, op, row, elements, token, turn);
  });
}

void mlir::tbq::lowerNormAndQuantize(ThreadBuilder &t, StepOp norm,
                                     QuantizeActivationsOp op) {
  if (auto rms = dyn_cast<RmsNormOp>(norm.getOperation()))
    lower(t, rms, op);
  else
    lower(t, cast<LayerNormOp>(norm.getOperation()), op);
}

bool mlir::tbq::isOwn(Value buffer) {
  while (auto view = buffer.getDefiningOp<ViewLikeOpInterface>())
    buffer = view.getViewSource();
  return buffer.getDefiningOp<memref::AllocaOp>() ||
         buffer.getDefiningOp<memref::GetGlobalOp>();
}

bool mlir::tbq::isReadBehind(Operation *op, Value row) {
  auto uses = [&](Operation *user) {
    return llvm::is_contained(user->getOperands(), row);
  };
  for (op = op->getNextNode(); op; op = op->getNextNode()) {
    auto step = dyn_cast<StepOp>(op);
    if (step && uses(op))
      return llvm::count(op->getOperands(), row) >
             llvm::count(step.getInto(), row);
    WalkResult found = op->walk([&](Operation *inner) {
      return uses(inner) ? WalkResult::interrupt() : WalkResult::advance();
    });
    if (found.wasInterrupted())
      return true;
  }
  return false;
}

/// Whether two parts of the step's memory have no byte in common.
static bool areApart(Value one, Value other) {
  auto first = one.getDefiningOp<memref::ViewOp>(),
       second = other.getDefiningOp<memref::ViewOp>();
  if (!first || !second || first.getSource() != second.getSource())
    return false;
  auto begin = getConstantIntValue(first.getByteShift()),
       otherBegin = getConstantIntValue(second.getByteShift());
  auto countBytes = [](MemRefType type) {
    return type.getNumElements() * type.getElementTypeBitWidth() / 8;
  };
  return begin && otherBegin &&
         (*begin + countBytes(first.getType()) <= *otherBegin ||
          *otherBegin + countBytes(second.getType()) <= *begin);
}

QuantizeActivationsOp mlir::tbq::findQuantize(StepOp norm) {
  if (!isa<RmsNormOp, LayerNormOp>(norm.getOperation()))
    return nullptr;
  Value row = norm.getInto().front();
  bool isOne = countRows(row) == 1;
  if (isOne ? !isOwn(row) : !row.getDefiningOp<memref::ViewOp>())
    return nullptr;
  // What stands between is arithmetic: no barrier, nothing that is shown.
  Operation *next = norm->getNextNode();
  while (next && isPure(next))
    next = next->getNextNode();
  auto quantize = dyn_cast_or_null<QuantizeActivationsOp>(next);
  if (!quantize || quantize.getInput() != row ||
      quantize.getRange() != norm.getRange() || isReadBehind(quantize, row))
    return nullptr;
  // Of several tokens, one's digits must not lie where another's row is still
  // to be read.
  auto isApart = [&](Value into) {
    return areApart(norm->getOperand(0), into);
  };
  if (!isOne && !llvm::all_of(quantize.getInto(), isApart))
    return nullptr;
  return quantize;
}
