// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Dot products of a packed linear on a GPU: from the digits of a stride to the
// integers of its terms. See WarpLinear.h.
// Invariant: with integer activations every sum is exact in int32.

#include "WarpLinear.h"

using namespace mlir;
using namespace mlir::tbq;

/// Steps of a stride that planes before `plane` have.
static int64_t stepsBefore(LayoutAttr layout, int64_t plane) {
  return layout.getStepOffset(plane, 0) / layout.getStepBytes();
}

/// The digits that a row has in a step of a plane of this stride.
Value WarpLinear::getWord(const Stride &stride, int64_t plane, int64_t step,
                          int64_t row) {
  return t.extract(stride.words[stepsBefore(layout, plane) + step], row);
}

/// `count` digits of activations, four a word.
Value WarpLinear::loadActivations(Value rows, Value token, Value column,
                                  int64_t count) {
  auto type = VectorType::get({count / 4}, t.b.getI32Type());
  return t.loadVector(rows, {token, column}, type);
}

/// The four rows' dot products of one plane.
SmallVector<Value> WarpLinear::getDots(const Stride &stride, Value token,
                                       int64_t plane) {
  int64_t bits = layout.getDigits()[plane], covers = 32 / bits;
  uint32_t mask = ((1u << bits) - 1) * 0x01010101u;
  auto sum = [&](Value rows) {
    SmallVector<Value> dots(kRows, t.constantI32(0));
    for (int64_t step = 0; step * covers < layout.getStepColumns(); ++step)
      for (int64_t from = 0; from < covers; from += 16) {
        // At most 16 bytes at a time.
        int64_t columns = std::min<int64_t>(covers - from, 16);
        Value x = loadActivations(
            rows, token, t.add(stride.column, step * covers + from), columns);
        for (int64_t row = 0; row < kRows; ++row)
          for (int64_t word = 0; word < columns / 4; ++word) {
            Value digits =
                t.andBits(t.shiftRight(getWord(stride, plane, step, row),
                                       bits * (from / 4 + word)),
                          mask);
            dots[row] = t.dot4(digits, t.extract(x, word), dots[row]);
          }
      }
    return dots;
  };
  SmallVector<Value> dots = sum(input);
  if (!low)
    return dots;
  SmallVector<Value> rest = sum(low);
  for (int64_t row = 0; row < kRows; ++row)
    dots[row] = t.add(t.mul(dots[row], t.constantI32(256)), rest[row]);
  return dots;
}

/// The same with float activations. What lies past the row's end is no number
/// that may be multiplied, not even by 0.
SmallVector<Value> WarpLinear::getFloatDots(const Stride &stride, Value token,
                                            int64_t plane) {
  int64_t bits = layout.getDigits()[plane], covers = 32 / bits;
  bool mayEnd = layout.getColumns() % layout.getStepColumns() != 0;
  SmallVector<Value> dots(kRows, t.constant(0.0f));
  for (int64_t step = 0; step * covers < layout.getStepColumns(); ++step)
    for (int64_t i = 0; i < covers; ++i) {
      Value column = t.add(stride.column, step * covers + i);
      Value x;
      if (mayEnd) {
        Value last = t.index(layout.getColumns() - 1);
        x = t.select(t.less(last, column), t.constant(0.0f),
                     t.load(input, {token, t.min(column, last)}));
      } else {
        x = t.load(input, {token, column});
      }
      int64_t place = 8 * (i % 4) + bits * (i / 4);
      for (int64_t row = 0; row < kRows; ++row) {
        Value digit =
            t.andBits(t.shiftRight(getWord(stride, plane, step, row), place),
                      (1u << bits) - 1);
        dots[row] = t.fma(t.toF32(digit), x, dots[row]);
      }
    }
  return dots;
}

/// The integer combination of a term, exact in int32, converted once. What a
/// mask adds to it comes with the salient digits.
Value WarpLinear::getBracket(int64_t term, ArrayRef<SmallVector<Value>> dots,
                             Value sum, int64_t row) {
  Value total = integer ? t.constantI32(0) : t.constant(0.0f);
  int64_t planes = dots.size();
  for (int64_t i = 0; i <= planes; ++i) {
    int64_t factor =
        layout.getTerm(term, i < planes ? i : layout.getNumPlanes());
    if (factor == 0)
      continue;
    Value part = i < planes ? dots[i][row] : sum;
    total = integer ? t.add(total, t.mul(part, t.constantI32(factor)))
                    : t.fma(part, t.constant(float(factor)), total);
  }
  return integer ? t.toF32(total) : total;
}
