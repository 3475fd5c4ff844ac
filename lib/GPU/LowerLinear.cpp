// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-lower-linear-to-gpu: tiles, tokens and strides of a packed linear, and
// what follows the last stride. For a token, the order of all float operations
// is the same whatever the number of tokens in a step, and of blocks.

#include "WarpLinear.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_LOWERLINEARTOGPUPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

/// Columns of a float layout that are 16 bytes of a tile, or one.
static int64_t getFloatColumns(LayoutAttr layout) {
  int64_t columns = 16 / (layout.getTile() *
                          layout.getElementType().getIntOrFloatBitWidth() / 8);
  return layout.getColumns() % columns ? 1 : columns;
}

WarpLinear::WarpLinear(PackedLinearOp op, OpBuilder &b, int64_t blocks)
    : op(op), t(b, op.getLoc()), layout(op.getWeight().getType().getLayout()),
      input(op.getInput()), low(op.getLow()),
      integer(!cast<MemRefType>(input.getType()).getElementType().isF32()) {
  int64_t rows = cast<MemRefType>(input.getType()).getDimSize(0);
  tokens = std::min(rows, kTokens);
  // So that all warps have work, if the tile has strides for them.
  shares = 1;
  while (shares < kWarps && layout.getNumTiles() * shares < blocks * kWarps &&
         countStrides() > 2 * shares * kWarpLanes)
    shares *= 2;
}

int64_t WarpLinear::countStrides() const {
  if (layout.isFloat())
    return layout.getColumns() / getFloatColumns(layout);
  int64_t last = layout.getNumGroups() - 1, step = layout.getStepColumns();
  return last * (layout.getGroup() / step) +
         llvm::divideCeil(layout.getGroupColumns(last), step);
}

void WarpLinear::run() {
  bytes = getBytes(t, op.getWeight());
  Value begin = op.getRange()[0], end = op.getRange()[1];
  int64_t slots = kWarps / shares; // tiles that the block has at a time
  Value slot = t.div(t.warp(), shares), share = t.rem(t.warp(), shares);
  t.loop(begin, end, t.index(slots), [&](Value first) {
    Value tile = t.add(first, slot);
    Value active = t.less(tile, end);
    t.loop(t.index(0), op.getCount(), t.index(tokens),
           [&](Value token) { generateTile(tile, active, share, token); });
  });
}

Value WarpLinear::getTileOffset(Value tile) {
  if (!layout.getSalient())
    return t.mul(tile, layout.getTileBytes());
  return t.mul(t.loadIndex(bytes, t.mul(tile, 4)), kAlignment);
}

void WarpLinear::generateTile(Value tile, Value active, Value share,
                              Value token) {
  SmallVector<Value> sums = sumStrides(tile, active, share, token);
  if (layout.getSalient())
    sums = addSalient(tile, active, share, token, sums);
  for (Value &sum : sums)
    sum = t.reduceWarp(Reduction::Sum, sum);
  if (shares > 1) {
    combineWarps(sums, share);
    active = t.both(active, t.equal(share, 0));
  }
  t.ifThen(active, [&] { finish(tile, token, sums); });
}

/// The sums of this lane: rows of the tile times tokens.
SmallVector<Value> WarpLinear::sumStrides(Value tile, Value active, Value share,
                                          Value token) {
  int64_t step = shares * kWarpLanes;
  SmallVector<Value> carried(kRows * tokens, t.constant(0.0f));
  // A warp without a tile has no strides.
  Value count = t.select(active, t.index(countStrides()), t.index(0));
  Value first = t.add(t.mul(share, kWarpLanes), t.lane());
  carried.push_back(first);
  auto add = [&](int64_t ahead, ValueRange before) {
    SmallVector<Value> next(before);
    SmallVector<Stride> strides;
    for (int64_t i = 0; i < ahead; ++i)
      strides.push_back(loadStride(tile, t.add(next.back(), i * step)));
    for (const Stride &stride : strides)
      addStride(stride, token, MutableArrayRef(next).drop_back());
    next.back() = t.add(next.back(), ahead * step);
    return next;
  };
  if (countStrides() >= kAhead * step) {
    Value last = t.sub(count, t.index((kAhead - 1) * step));
    carried =
        t.loop(first, last, t.index(kAhead * step), carried,
               [&](Value, ValueRange before) { return add(kAhead, before); });
  }
  carried = t.loop(carried.back(), count, t.index(step), carried,
                   [&](Value, ValueRange before) { return add(1, before); });
  carried.pop_back();
  return carried;
}

/// Sums of the warps that share a tile, in their order; to all of them.
void WarpLinear::combineWarps(MutableArrayRef<Value> sums, Value share) {
  Value shared = t.getShared("linear", kWarps * kRows * kTokens);
  Value own = t.mul(t.warp(), kRows * kTokens);
  t.synchronize();
  t.ifThen(t.equal(t.lane(), 0), [&] {
    for (auto [i, sum] : llvm::enumerate(sums))
      t.store(sum, shared, {t.add(own, i)});
  });
  t.synchronize();
  Value first = t.mul(t.sub(t.warp(), share), kRows * kTokens);
  for (auto [i, sum] : llvm::enumerate(sums)) {
    sum = t.load(shared, {t.add(first, i)});
    for (int64_t other = 1; other < shares; ++other)
      sum = t.addf(sum,
                   t.load(shared, {t.add(first, other * kRows * kTokens + i)}));
  }
}

/// Activation scale, bias, residual. Each lane stores one row of one token, if
/// both exist.
void WarpLinear::finish(Value tile, Value token, ArrayRef<Value> sums) {
  Value row = t.rem(t.lane(), kRows), number = t.div(t.lane(), kRows);
  Value y = sums[0];
  for (int64_t i = 1; i < int64_t(sums.size()); ++i)
    y = t.select(t.equal(t.lane(), i), sums[i], y);
  Value at = t.add(token, number);
  Value column = t.add(t.mul(tile, kRows), row);
  Value stored = t.both(t.less(number, t.index(tokens)),
                        t.both(t.less(at, op.getCount()),
                               t.less(column, t.index(layout.getRows()))));
  t.ifThen(stored, [&] {
    if (Value scale = op.getActivationScale())
      y = t.mulf(y, t.load(scale, {at, t.index(0)}));
    if (layout.getBias()) {
      Value offset = t.add(getTileOffset(tile),
                           t.add(t.mul(row, 4), layout.getBiasOffset()));
      y = t.addf(y, t.loadAsF32(bytes, offset, t.b.getF32Type()));
    }
    if (Value residual = op.getResidual())
      y = t.addf(y, t.load(residual, {at, column}));
    t.store(y, op.getInto().front(), {at, column});
  });
}

/// The bytes of stride `number` of a tile, all of them, before any is used.
WarpLinear::Stride WarpLinear::loadStride(Value tile, Value number) {
  Stride stride;
  Value start = t.add(getTileOffset(tile), layout.getGroupOffset(0));
  if (layout.isFloat()) {
    int64_t columns = getFloatColumns(layout);
    Type element = layout.getElementType();
    stride.column = t.mul(number, columns);
    int64_t columnBytes = kRows * element.getIntOrFloatBitWidth() / 8;
    stride.offset = t.add(start, t.mul(stride.column, columnBytes));
    auto type = VectorType::get({kRows * columns}, element);
    stride.words.push_back(t.loadBytes(bytes, stride.offset, type));
    return stride;
  }
  int64_t group = layout.getGroup(), columns = layout.getStepColumns();
  // A row that is one group may end within a stride.
  int64_t perGroup = llvm::divideCeil(group, columns);
  Value inGroup = t.rem(number, perGroup);
  stride.group = t.div(number, perGroup);
  stride.first = t.equal(inGroup, 0);
  stride.column = t.add(t.mul(stride.group, group), t.mul(inGroup, columns));
  Value groupOffset =
      t.add(start, t.mul(stride.group, layout.getGroupBytes(group)));
  stride.offset = t.add(groupOffset, t.mul(inGroup, layout.getStrideBytes()));
  auto four = VectorType::get({kRows}, t.b.getI32Type());
  for (int64_t step = 0; step < layout.getStrideBytes() / layout.getStepBytes();
       ++step)
    stride.words.push_back(t.loadBytes(
        bytes, t.add(stride.offset, step * layout.getStepBytes()), four));
  Value whole = t.index(layout.getColumns() / group);
  int64_t last = layout.getColumns() % group;
  for (int64_t term = 0; term < layout.getNumGroupTerms(); ++term) {
    Value at = t.index(layout.getCoefficientOffset(term, group));
    if (last)
      at = t.select(t.less(stride.group, whole), at,
                    t.index(layout.getCoefficientOffset(term, last)));
    stride.coefficients.push_back(
        t.loadBytes(bytes, t.add(groupOffset, at),
                    VectorType::get({kRows}, t.b.getF16Type())));
  }
  return stride;
}

void WarpLinear::addStride(const Stride &stride, Value token,
                           MutableArrayRef<Value> sums) {
  for (int64_t i = 0; i < tokens; ++i) {
    Value at = t.add(token, i);
    auto own = sums.slice(i * kRows, kRows);
    if (layout.isFloat())
      addFloats(stride, at, own);
    else
      addDigits(stride, at, own);
  }
}

void WarpLinear::addFloats(const Stride &stride, Value token,
                           MutableArrayRef<Value> sums) {
  for (int64_t column = 0; column < getFloatColumns(layout); ++column) {
    Value x = t.load(input, {token, t.add(stride.column, column)});
    for (int64_t row = 0; row < kRows; ++row) {
      Value w = t.toF32(t.extract(stride.words[0], column * kRows + row));
      sums[row] = t.fma(w, x, sums[row]);
    }
  }
}

/// Each term's integer of this stride, converted once, times the coefficient
/// of its group. The sum of the group's activations counts in its first stride.
void WarpLinear::addDigits(const Stride &stride, Value token,
                           MutableArrayRef<Value> sums) {
  SmallVector<SmallVector<Value>> dots; // of each plane, four rows'
  for (int64_t plane = 0; plane < layout.getNumDensePlanes(); ++plane)
    dots.push_back(integer ? getDots(stride, token, plane)
                           : getFloatDots(stride, token, plane));
  Value sum;
  if (layout.usesSums()) {
    Value zero = integer ? t.constantI32(0) : t.constant(0.0f);
    sum = t.select(stride.first, t.load(op.getSums(), {token, stride.group}),
                   zero);
  }
  for (int64_t row = 0; row < kRows; ++row)
    for (int64_t term = 0; term < layout.getNumGroupTerms(); ++term) {
      Value coefficient = t.toF32(t.extract(stride.coefficients[term], row));
      sums[row] =
          t.fma(getBracket(term, dots, sum, row), coefficient, sums[row]);
    }
}

namespace {
struct LowerLinearToGPUPass
    : tbq::impl::LowerLinearToGPUPassBase<LowerLinearToGPUPass> {
  using LowerLinearToGPUPassBase::LowerLinearToGPUPassBase;

  void runOnOperation() override {
    SmallVector<PackedLinearOp> ops;
    getOperation()->walk([&](PackedLinearOp op) { ops.push_back(op); });
    for (PackedLinearOp op : ops) {
      LayoutAttr layout = op.getWeight().getType().getLayout();
      if (layout.getTile() != kThreadRows) {
        op.emitOpError("on a GPU needs tiles of four rows, not ") << layout;
        return signalPassFailure();
      }
      OpBuilder b(op);
      WarpLinear(op, b, blocks).run();
      // The next op of this block may read what its other threads have written.
      ThreadBuilder(b, op.getLoc()).synchronize();
      op.erase();
    }
  }
};
} // namespace
