// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "FloatLinear.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

/// Tokens whose sums a lane keeps at once, and pieces that it has loaded before
/// it computes.
static constexpr int64_t kTokens = 4, kAhead = 4;

/// Columns of a float layout that are 16 bytes of a tile, or one.
static int64_t getLaneColumns(LayoutAttr layout) {
  int64_t bytes =
      layout.getTile() * layout.getElementType().getIntOrFloatBitWidth() / 8;
  int64_t columns = std::max<int64_t>(16 / bytes, 1);
  return layout.getColumns() % columns ? 1 : columns;
}

static int64_t countPieces(LayoutAttr layout) {
  return llvm::divideCeil(layout.getColumns(),
                          kWarpLanes * getLaneColumns(layout));
}

FloatLinear::FloatLinear(PackedLinearOp op, OpBuilder &b, int64_t blocks)
    : WarpLinear({{op}}, b, countPieces(op.getWeight().getType().getLayout()),
                 /*tiles=*/1, kTokens,
                 op.getWeight().getType().getLayout().getNumTiles(), blocks),
      columns(getLaneColumns(layout)) {}

FloatLinear::Weights FloatLinear::load(Value start, Value piece) {
  Type element = layout.getElementType();
  Weights weights;
  weights.column = t.mul(t.add(t.mul(piece, kWarpLanes), t.lane()), columns);
  int64_t columnBytes = kRows * element.getIntOrFloatBitWidth() / 8;
  // Lanes past the row's end take its last columns again, and add nothing.
  Value column = t.min(weights.column, t.index(layout.getColumns() - columns));
  weights.elements =
      t.loadBytes(bytes, t.add(start, t.mul(column, columnBytes)),
                  VectorType::get({kRows * columns}, element));
  return weights;
}

void FloatLinear::add(const Weights &weights, Value token,
                      MutableArrayRef<Value> sums) {
  Value last = t.index(layout.getColumns() - columns);
  Value inside = t.less(weights.column, t.index(layout.getColumns()));
  bool whole = layout.getColumns() % (kWarpLanes * columns) == 0;
  Value first = whole ? weights.column : t.min(weights.column, last);
  for (int64_t i = 0; i < tokens; ++i)
    for (int64_t column = 0; column < columns; ++column) {
      Value x = t.load(input, {getToken(token, i), t.add(first, column)});
      if (!whole)
        x = t.select(inside, x, t.constant(0.0f));
      for (int64_t row = 0; row < kRows; ++row) {
        Value w = t.toF32(t.extract(weights.elements, column * kRows + row));
        Value &sum = sums[i * kRows + row];
        sum = t.fma(w, x, sum);
      }
    }
}

SmallVector<Value> FloatLinear::sumPieces(Value tile, Value, Value active,
                                          Value token) {
  Value start = t.add(getTileOffset(tile), layout.getGroupOffset(0));
  SmallVector<Value> none(kRows * tokens, t.constant(0.0f));
  SmallVector<Value> sums = loopOverPieces<Weights>(
      active, none, kAhead, [&](Value piece) { return load(start, piece); },
      [&](const Weights &weights, MutableArrayRef<Value> sums) {
        add(weights, token, sums);
      });
  // Each lane stores one row of one token, if both exist.
  Value y = t.constant(0.0f);
  for (auto [i, sum] : llvm::enumerate(sums)) {
    Value total = t.reduceWarp(Reduction::Sum, sum);
    y = i == 0 ? total : t.select(t.equal(t.lane(), i), total, y);
  }
  return {y};
}

SmallVector<LaneSum> FloatLinear::getLaneSums(ArrayRef<Value> sums, Value,
                                              Value) {
  return {{sums[0], t.rem(t.lane(), kRows), t.div(t.lane(), kRows),
           t.less(t.lane(), t.index(kRows * tokens))}};
}
