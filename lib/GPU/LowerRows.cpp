// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Ops that make something of a whole row, on a GPU: norms, quantised
// activations, sums of groups. The row is the block's, in its registers. A norm
// goes into what is quantised without a way through memory, where nothing else
// reads it. Each row ends where the threads meet.

#include "BlockRow.h"
#include "LowerStep.h"
#include "TokenTiles.h"

#include "llvm/Support/MathExtras.h"

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

/// What a thread makes first of its elements, for a sum or maximum of the row:
/// NaN where one of them is.
using GetPart = llvm::function_ref<Value(ArrayRef<Value>)>;

/// A thread's elements of a row, and their part.
struct RowPart {
  SmallVector<Value> elements;
  Value part;
};

/// Looks again while something of the row is not there yet.
static RowPart loadExchanged(ThreadBuilder &t, BlockRow &row,
                             RowExchange &exchange, GetPart getPart) {
  auto [elements, part] = waitUntilFull(
      t, row.load(exchange),
      [&](int64_t number) { return row.load(exchange, number); }, getPart);
  return {elements, part};
}

Operation *mlir::tbq::findRowReader(Operation *from, Operation *to) {
  for (Operation *op = to->getPrevNode(); op && op != from;
       op = op->getPrevNode()) {
    if (!isa<RmsNormOp, LayerNormOp, QuantizeActivationsOp>(op))
      continue;
    Value rows = op->getOperand(0);
    if (!isOwn(rows)) // none before it is of this linear
      return countRows(rows) == 1 && getColumns(rows) >= kRowInAllWarps
                 ? op
                 : nullptr;
  }
  return nullptr;
}

void mlir::tbq::putBehindRow(Operation *from, Operation *reader) {
  OpBuilder b(reader);
  auto all = scf::ExecuteRegionOp::create(b, reader->getLoc(), TypeRange());
  all->setAttr(kBehindRow, b.getUnitAttr());
  Block *inner = b.createBlock(&all.getRegion());
  inner->getOperations().splice(
      inner->end(), reader->getBlock()->getOperations(),
      std::next(from->getIterator()), all->getIterator());
  scf::YieldOp::create(b, reader->getLoc());
}

/// What is to be done behind a reader's row; null: nothing. What the reader
/// needs besides may have come between.
static scf::ExecuteRegionOp findBehindRow(Operation *reader) {
  for (Operation *op = reader->getPrevNode(); op && !isa<BarrierOp>(op);
       op = op->getPrevNode())
    if (op->hasAttr(kBehindRow))
      return cast<scf::ExecuteRegionOp>(op);
  return nullptr;
}

/// Puts it where `t` stands.
static void take(ThreadBuilder &t, scf::ExecuteRegionOp all) {
  Block *inner = &all.getRegion().front();
  inner->getTerminator()->erase();
  t.b.getInsertionBlock()->getOperations().splice(t.b.getInsertionPoint(),
                                                  inner->getOperations());
  all->erase();
}

/// Runs `body` with every token of the op's range, and its row, which is the
/// input of `reader`. Of several, the next one's row is on its way while one is
/// used.
static void forEachRow(ThreadBuilder &t, StepOp op, BlockRow &row,
                       StepOp reader, GetPart getPart,
                       llvm::function_ref<void(Value, const RowPart &)> body) {
  Value rows = reader->getOperand(0);
  int64_t count = countRows(rows);
  scf::ExecuteRegionOp behind = findBehindRow(reader);
  auto addPart = [&](const SmallVector<Value> &elements) {
    return RowPart{elements, getPart(elements)};
  };
  if (count == 1 || row.countVectors() > kMostHeld)
    return forEachToken(t, op, [&](Value token) {
      row.inItsWarps([&] {
        auto exchange = RowExchange::get(t, reader, rows);
        RowPart part = exchange ? loadExchanged(t, row, *exchange, getPart)
                                : addPart(row.load(rows, token));
        if (behind)
          take(t, behind);
        body(token, part);
      });
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
           body(token, addPart(SmallVector<Value>(elements)));
           t.synchronize();
           return next;
         });
}

/// 1 / sqrt(squares / features + epsilon)
static Value getNormFactor(ThreadBuilder &t, Value squares, int64_t features,
                           const APFloat &epsilon) {
  return t.inverseRoot(t.fma(squares, t.constant(1.0f / float(features)),
                             t.constant(epsilon.convertToFloat())));
}

static Value addSquares(ThreadBuilder &t, ArrayRef<Value> elements) {
  Value part = t.mulf(elements.front(), elements.front());
  for (Value x : elements.drop_front())
    part = t.fma(x, x, part);
  return part;
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

/// What a norm needs first of a row.
static Value getPart(ThreadBuilder &t, RmsNormOp, BlockRow &,
                     ArrayRef<Value> elements) {
  return addSquares(t, elements);
}
static Value getPart(ThreadBuilder &, LayerNormOp, BlockRow &row,
                     ArrayRef<Value> elements) {
  return row.combine(Reduction::Sum, elements);
}

/// The row's norm; counts the turns that its sums take.
static SmallVector<Value> getNorm(ThreadBuilder &t, RmsNormOp op, BlockRow &,
                                  const NormWeights &with, const RowPart &part,
                                  int64_t &turn) {
  const SmallVector<Value> &weights = with.weights;
  SmallVector<Value> elements = part.elements;
  Value squares = t.reduceBlock(Reduction::Sum, part.part, turn++);
  Value factor = getNormFactor(t, squares, op.getFeatures(), op.getEpsilon());
  for (auto [x, weight] : llvm::zip_equal(elements, weights))
    x = t.mulf(weight, t.mulf(x, factor));
  return elements;
}

static SmallVector<Value> getNorm(ThreadBuilder &t, LayerNormOp op,
                                  BlockRow &row, const NormWeights &with,
                                  const RowPart &part, int64_t &turn) {
  SmallVector<Value> elements = part.elements;
  Value mean = t.divf(t.reduceBlock(Reduction::Sum, part.part, turn++),
                      t.constant(float(op.getFeatures())));
  for (Value &x : elements)
    x = t.subf(x, mean);
  elements = row.mask(elements);
  Value squares =
      t.reduceBlock(Reduction::Sum, addSquares(t, elements), turn++);
  Value factor = getNormFactor(t, squares, op.getFeatures(), op.getEpsilon());
  for (auto [x, weight, bias] :
       llvm::zip_equal(elements, with.weights, with.biases))
    x = t.fma(weight, t.mulf(x, factor), bias);
  return row.mask(elements);
}

template <typename NormOp> static void lower(ThreadBuilder &t, NormOp op) {
  BlockRow row(t, op.getFeatures());
  NormWeights with = loadWeights(t, op, row);
  auto part = [&](ArrayRef<Value> elements) {
    return getPart(t, op, row, elements);
  };
  forEachRow(t, op, row, op, part, [&](Value token, const RowPart &loaded) {
    int64_t turn = 0;
    row.store(getNorm(t, op, row, with, loaded, turn), op.getInto().front(),
              token);
  });
}

void mlir::tbq::lowerRmsNorm(ThreadBuilder &t, RmsNormOp op) { lower(t, op); }
void mlir::tbq::lowerLayerNorm(ThreadBuilder &t, LayerNormOp op) {
  lower(t, op);
}

void mlir::tbq::lowerGroupSums(ThreadBuilder &t, GroupSumsOp op) {
  BlockRow row(t, op.getColumnsAttr().getInt());
  auto none = [](ArrayRef<Value>) { return Value(); };
  forEachRow(t, op, row, op, none, [&](Value token, const RowPart &loaded) {
    row.sumGroups(
        row.sumVectors(loaded.elements), op.getGroup(),
        [&](Value sum, Value group) {
          t.store(sum, op.getInto().front(), {token, group});
        },
        [&](Value column) { return t.load(op.getInput(), {token, column}); });
  });
}

/// Stores a row's digits, whose lower bits `q` are: in one byte, or the low
/// byte and what it leaves to the high one. The sum of each four.
static SmallVector<Value> storeDigits(ThreadBuilder &t, BlockRow &row,
                                      ArrayRef<Value> q, ValueRange digits,
                                      BlockRow::Place place,
                                      std::optional<BitColumns> bits) {
  auto store = [&](ArrayRef<Value> from, int64_t byte, Value into) {
    SmallVector<Value> words;
    for (; !from.empty(); from = from.drop_front(4))
      words.push_back(t.packBytes(from.take_front(4), byte));
    row.storeBytes(words, into, place, bits);
    return llvm::map_to_vector(words,
                               [&](Value word) { return t.sumBytes(word); });
  };
  SmallVector<Value> sums = store(q, 0, digits.back());
  if (digits.size() == 1)
    return sums;
  // The low byte counts from -128 to 127.
  auto more = llvm::map_to_vector(
      q, [&](Value x) { return t.add(x, t.constantI32(128)); });
  SmallVector<Value> ofHigh = store(more, 1, digits.front());
  for (auto [sum, high] : llvm::zip_equal(sums, ofHigh))
    sum = t.add(sum, t.mul(high, t.constantI32(256)));
  return sums;
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

/// The largest of the elements' magnitudes.
static Value getLargest(ThreadBuilder &t, ArrayRef<Value> elements) {
  auto sizes = llvm::map_to_vector(elements, [&](Value x) -> Value {
    return math::AbsFOp::create(t.b, t.loc, x);
  });
  // Of pairs, again and again: one behind the other would wait for each other.
  while (sizes.size() > 1) {
    size_t half = sizes.size() / 2;
    for (size_t i = 0; i < half; ++i)
      sizes[i] = t.maximum(sizes[i], sizes[sizes.size() - 1 - i]);
    sizes.truncate(sizes.size() - half);
  }
  return sizes.front();
}

/// A row and the largest of its magnitudes. factor: what both are yet to be
/// multiplied with; null: nothing.
static void quantize(ThreadBuilder &t, QuantizeActivationsOp op, BlockRow &row,
                     ArrayRef<Value> elements, Value largest, Value factor,
                     Value token) {
  ValueRange digits = op.getInto().drop_back(2);
  Value scales = op.getInto().drop_back().back(), sums = op.getInto().back();
  Value steps = t.constant(digits.size() == 1 ? kSteps8 : kSteps16);
  if (factor)
    largest = t.mulf(largest, factor);
  largest = t.maxf(largest, t.constant(1e-5f));
  t.ifThen(t.equal(t.thread(), row.getLastThread()), [&] {
    t.store(t.divideNear(largest, steps), scales, {token, t.index(0)});
  });
  // Of a row that may be shown every digit is the reference's.
  Value inverse = factor ? t.mulf(t.mulf(t.inverse(largest), steps), factor)
                         : t.divideNear(steps, largest);
  auto q = llvm::map_to_vector(
      elements, [&](Value x) { return t.roundBelow(t.mulf(x, inverse)); });
  std::optional<TokenTiles> tiles = TokenTiles::get(op);
  std::optional<BitColumns> bits = BitColumns::get(op);
  // In tiles, an element's number is that of the buffer's, not of its row's.
  auto getPlace = [&](Value column) -> SmallVector<Value> {
    if (!tiles)
      return {token, bits ? bits->getPlace(t, column) : column};
    return {t.index(0),
            tiles->getDigits(t, token, column, getColumns(digits.front()))};
  };
  auto storeInTile = [&](Value sum, Value group) {
    t.store(SumForm(digits.size() > 1).split(t, sum), sums,
            {t.index(0), tiles->getSum(t, token, group, getColumns(sums))});
  };
  row.sumGroups(
      storeDigits(t, row, q, digits, getPlace, bits), op.getGroup(),
      [&](Value sum, Value group) {
        if (!tiles)
          return t.store(sum, sums, {token, group});
        storeInTile(sum, group);
      },
      [&](Value column) { return loadDigits(t, digits, getPlace(column)); });
  if (!tiles)
    return;
  // Those past the last group are multiplied too, with coefficients of 0.
  int64_t groups =
      llvm::divideCeil(op.getColumnsAttr().getInt(), op.getGroup());
  int64_t padded = llvm::alignTo(groups, kEightGroups);
  if (padded > groups)
    t.ifThen(t.less(t.thread(), t.index(padded - groups)),
             [&] { storeInTile(t.constantI32(0), t.add(t.thread(), groups)); });
}

/// All rows are written: copies that are asked for behind a barrier see them.
static void fenceTiles(ThreadBuilder &t, QuantizeActivationsOp op) {
  if (TokenTiles::get(op))
    fenceCopies(t);
}

void mlir::tbq::lowerQuantizeActivations(ThreadBuilder &t,
                                         QuantizeActivationsOp op) {
  BlockRow row(t, op.getColumnsAttr().getInt());
  auto part = [&](ArrayRef<Value> elements) { return getLargest(t, elements); };
  forEachRow(t, op, row, op, part, [&](Value token, const RowPart &loaded) {
    Value largest = t.reduceBlock(Reduction::Maximum, loaded.part, 0);
    quantize(t, op, row, loaded.elements, largest, /*factor=*/Value(), token);
  });
  fenceTiles(t, op);
}

template <typename NormOp>
static void lower(ThreadBuilder &t, NormOp norm, QuantizeActivationsOp op) {
  BlockRow row(t, norm.getFeatures());
  NormWeights with = loadWeights(t, norm, row);
  auto part = [&](ArrayRef<Value> elements) {
    return getPart(t, norm, row, elements);
  };
  forEachRow(t, op, row, norm, part, [&](Value token, const RowPart &loaded) {
    int64_t turn = 0;
    SmallVector<Value> elements = getNorm(t, norm, row, with, loaded, turn);
    Value largest =
        t.reduceBlock(Reduction::Maximum, getLargest(t, elements), turn);
    quantize(t, op, row, elements, largest, /*factor=*/Value(), token);
  });
  fenceTiles(t, op);
}

/// The threads meet once for both, the squares' sum and the largest.
static void lowerAtOnce(ThreadBuilder &t, RmsNormOp norm,
                        QuantizeActivationsOp op) {
  BlockRow row(t, norm.getFeatures());
  NormWeights with = loadWeights(t, norm, row);
  auto part = [&](ArrayRef<Value> elements) { return addSquares(t, elements); };
  forEachRow(t, op, row, norm, part, [&](Value token, const RowPart &loaded) {
    SmallVector<Value> elements = loaded.elements;
    for (auto [x, weight] : llvm::zip_equal(elements, with.weights))
      x = t.mulf(weight, x);
    auto [squares, largest] =
        t.reduceBoth(loaded.part, getLargest(t, elements));
    Value factor =
        getNormFactor(t, squares, norm.getFeatures(), norm.getEpsilon());
    quantize(t, op, row, elements, largest, factor, token);
  });
  fenceTiles(t, op);
}

void mlir::tbq::lowerNormAndQuantize(ThreadBuilder &t, StepOp norm,
                                     QuantizeActivationsOp op, bool atOnce) {
  if (auto rms = dyn_cast<RmsNormOp>(norm.getOperation()))
    atOnce ? lowerAtOnce(t, rms, op) : lower(t, rms, op);
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
    // Of a linear that is lowered already.
    bool isWritten = false;
    WalkResult found = op->walk([&](Operation *inner) {
      if (!uses(inner))
        return WalkResult::advance();
      isWritten = isa<memref::StoreOp, vector::StoreOp>(inner);
      return isWritten ? WalkResult::advance() : WalkResult::interrupt();
    });
    if (found.wasInterrupted() || isWritten)
      return found.wasInterrupted();
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
