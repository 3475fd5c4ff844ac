// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Pieces times one token, bit by bit: weights are multiplied as they are stored
// (m16n8k256), with columns that are the bits of the token's digits
// (BitColumns.h). A lane counts for two of these; as the lower bits of an f16,
// which is no normal number but 2^-24 a count, they are rows of a second
// product, with powers of two, whose sums are the integers that products of
// bytes come to. See DigitLinear.h.

#include "DigitLinear.h"
#include "LowerStep.h"

#include <cmath>

using namespace mlir;
using namespace mlir::tbq;

/// Of an f16's lowest bit, inverted.
static constexpr float kCount = 1 << 24;

std::optional<BitColumns> DigitLinear::canTakeBits(PackedLinearOp op) {
  LayoutAttr layout = op.getWeight().getType().getLayout();
  if (!mayHaveRing(op) || !takesIntegers(op) ||
      cast<MemRefType>(op.getInput().getType()).getDimSize(0) > 1)
    return std::nullopt;
  int64_t planes = layout.getNumDensePlanes();
  ArrayRef<int64_t> digits = layout.getDigits().take_front(planes);
  PieceGeometry geometry(layout);
  if (geometry.width < BitColumns::kTogether / 2 || geometry.masked ||
      digits[0] > 2 || !llvm::all_equal(digits))
    return std::nullopt;
  // Words that stand together are, at a row's end, more than its columns.
  if (layout.getColumns() % BitColumns::kTogether && !isOwn(op.getInput()))
    return std::nullopt;
  // All integers are floats, so that none is rounded before its coefficient.
  float steps = op.getLow() ? kSteps16 : kSteps8;
  for (int64_t term = 0; term < layout.getNumTermsInGroups(); ++term) {
    int64_t most = std::abs(layout.getTerm(term, layout.getNumPlanes())) *
                   layout.getGroup();
    for (int64_t plane = 0; plane < planes; ++plane)
      most += std::abs(layout.getTerm(term, plane)) * geometry.width *
              ((1 << digits[plane]) - 1);
    if (float(most) * steps > kCount)
      return std::nullopt;
  }
  return BitColumns{geometry.width, digits[0]};
}

/// The products of a lane's rows with a row of digits, divided by kCount.
SmallVector<Value> DigitLinear::getBitDots(const Piece &piece,
                                           ArrayRef<Value> columns,
                                           int64_t plane) {
  SmallVector<Value> words;
  for (auto [one, other] : llvm::zip_equal(piece.tiles.front().words[plane],
                                           piece.tiles.back().words[plane]))
    words.append({one, other}); // without a second tile, it may be anything
  SmallVector<Value> counts, weights;
  for (int64_t bit = 0; bit < layout.getDigits()[plane]; ++bit) {
    auto ofBit = llvm::map_to_vector(
        columns, [&](Value column) { return t.shiftLeft(column, bit); });
    SmallVector<Value> own =
        t.multiplyBits(words, ofBit, SmallVector<Value>(4, t.constantI32(0)));
    for (int64_t row = 0; row < 2; ++row)
      counts.push_back(t.add(t.mul(own[2 * row + 1], t.constantI32(1 << 16)),
                             own[2 * row])); // neither has more bits
    weights.push_back(BitColumns::getWeights(t, quarter(), bit));
  }
  SmallVector<Value> sums = t.multiplyHalves(
      counts, weights, SmallVector<Value>(4, t.constant(0.0f)));
  return {sums[0], sums[2]};
}

/// An integer, exactly, in whatever order.
Value DigitLinear::getBitBracket(int64_t term, ArrayRef<Value> dots,
                                 Value sum) {
  Value total;
  if (int64_t factor = layout.getTerm(term, layout.getNumPlanes()))
    total = t.mulf(sum, t.constant(float(factor)));
  for (auto [plane, dot] : llvm::enumerate(dots)) {
    int64_t factor = layout.getTerm(term, plane);
    if (factor == 0)
      continue;
    Value scale = t.constant(float(factor) * kCount);
    total = total ? t.fma(dot, scale, total) : t.mulf(dot, scale);
  }
  return total ? total : t.constant(0.0f);
}
