// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Salient digits of a packed linear on a GPU: a list behind the tile's groups,
// an entry a lane. An entry stands for the float that its digit is and that its
// place in the mask is in the terms of its group; nothing is done for weights
// that are not salient. See DigitLinear.h.

#include "DigitLinear.h"

using namespace mlir;
using namespace mlir::tbq;

/// The activation of a column, of both digits if it has two.
Value DigitLinear::loadActivation(Value token, Value column) {
  Value x = t.load(input, {token, column});
  if (!integer)
    return x;
  auto widen = [&](Value digit) -> Value {
    return arith::ExtSIOp::create(t.b, t.loc, t.b.getI32Type(), digit);
  };
  x = widen(x);
  if (low)
    x = t.add(t.mul(x, t.constantI32(256)),
              widen(t.load(low, {token, column})));
  return t.toF32(x);
}

/// coefficient (digit - zero point), and for each term of the group its
/// coefficient as often as it counts the mask.
Value DigitLinear::getSalientWeight(Value tile, Value row, Value column,
                                    Value digit) {
  int64_t group = layout.getGroup();
  int64_t last = layout.getColumns() % group;
  Value number = t.div(column, group);
  Value groupOffset = t.add(t.add(tile, layout.getGroupOffset(0)),
                            t.mul(number, layout.getGroupBytes(group)));
  auto loadCoefficient = [&](Value offset) {
    return t.loadAsF32(bytes, t.add(offset, t.mul(row, 2)), t.b.getF16Type());
  };
  Value zero = t.extract(
      t.loadBytes(
          bytes, t.add(tile, t.add(t.mul(row, 2), layout.getZeroPointOffset())),
          VectorType::get({1}, t.b.getI16Type())),
      0);
  zero = arith::ExtSIOp::create(t.b, t.loc, t.b.getI32Type(), zero);
  Value weight =
      t.mulf(t.toF32(t.sub(digit, zero)),
             loadCoefficient(t.add(tile, layout.getRowCoefficientOffset())));
  for (int64_t term = 0; term < layout.getNumGroupTerms(); ++term) {
    int64_t factor = layout.getTerm(term, layout.getNumDensePlanes());
    if (factor == 0)
      continue;
    Value at = t.index(layout.getCoefficientOffset(term, group));
    if (last)
      at = t.select(t.less(number, t.index(layout.getColumns() / group)), at,
                    t.index(layout.getCoefficientOffset(term, last)));
    weight = t.fma(t.constant(float(factor)),
                   loadCoefficient(t.add(groupOffset, at)), weight);
  }
  return weight;
}

/// To each sum what salient digits add to it: the lanes go through the list,
/// and are added up for every token and row.
void DigitLinear::addSalient(Value tile, Value active, Value token,
                             MutableArrayRef<LaneSum> sums) {
  // A warp without a tile looks at the last one and does nothing.
  Value offset = getTileOffset(t.min(tile, t.index(layout.getNumTiles() - 1)));
  Value count = t.select(
      active, t.loadIndex(bytes, t.add(offset, layout.getListSizeOffset())),
      t.index(0));
  Value first = t.add(t.mul(getPart(), kWarpLanes), t.lane());
  SmallVector<Value> none(tokens * kRows, t.constant(0.0f));
  SmallVector<Value> parts = t.loop(
      first, count, t.index(shares * kWarpLanes), none,
      [&](Value i, ValueRange before) {
        Value word =
            t.extract(t.loadBytes(bytes,
                                  t.add(t.add(offset, layout.getListOffset()),
                                        t.mul(i, 4)),
                                  VectorType::get({1}, t.b.getI32Type())),
                      0);
        auto getIndex = [&](Value number) -> Value {
          return arith::IndexCastUIOp::create(t.b, t.loc, t.b.getIndexType(),
                                              number);
        };
        Value row = getIndex(t.andBits(t.shiftRight(word, 8), kRows - 1));
        Value column = getIndex(t.shiftRight(word, 11));
        Value weight =
            getSalientWeight(offset, row, column, t.andBits(word, 255));
        SmallVector<Value> next(before);
        for (int64_t number = 0; number < tokens; ++number) {
          Value x = loadActivation(getToken(token, number), column);
          Value product = t.mulf(weight, x);
          for (int64_t r = 0; r < kRows; ++r) {
            Value &sum = next[number * kRows + r];
            sum = t.addf(sum,
                         t.select(t.equal(row, r), product, t.constant(0.0f)));
          }
        }
        return next;
      });
  for (auto [i, part] : llvm::enumerate(parts)) {
    Value total = t.reduceWarp(Reduction::Sum, part);
    for (LaneSum &sum : sums) {
      Value own =
          t.both(t.equal(sum.row, i % kRows), t.equal(sum.token, i / kRows));
      sum.sum = t.select(own, t.addf(sum.sum, total), sum.sum);
    }
  }
}
