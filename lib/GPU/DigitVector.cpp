// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From pieces to sums, of one token, which is all eight columns of a product.
// Of two tiles a lane has neighbouring rows of one, whose digits and
// coefficients are loaded together: lanes of rows 0 .. 3 of the first, the
// others of the second. See DigitLinear.h.

#include "DigitLinear.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

Value DigitLinear::firstRow() {
  return hasNeighbours() ? t.mul(t.rem(row(), kRows / 2), 2) : row();
}

Value DigitLinear::lastRow() {
  return hasNeighbours() ? t.add(firstRow(), t.div(row(), kRows / 2)) : row();
}

/// As few shifts of words as bring the two fours that a product takes, those of
/// neighbouring registers of activations, as far up in their bytes. Shifts are
/// to the left, which a GPU may do by multiplying, beside masks.
SmallVector<DigitLinear::Stream> DigitLinear::getStreams(int64_t plane) const {
  constexpr int64_t kByte = 8;
  auto isApart = [&](int64_t width) {
    for (int64_t four = 0; four < countFours(); four += 2)
      if (getPosition(plane, four) / width !=
          getPosition(plane, four + 1) / width)
        return true;
    return false;
  };
  int64_t width = layout.getDigits()[plane];
  while (isApart(width))
    width *= 2;
  SmallVector<Stream> streams(llvm::divideCeil(kByte, width));
  for (int64_t four = 0; four < countFours(); ++four) {
    int64_t number = getPosition(plane, four) / width;
    streams[number].bits = (number + 1) * width - layout.getDigits()[plane];
    streams[number].fours.push_back(four);
  }
  llvm::erase_if(streams,
                 [](const Stream &each) { return each.fours.empty(); });
  return streams;
}

/// The products of a lane's rows with the token. Digits stay where they are in
/// bytes: their sums are shifted instead.
SmallVector<Value> DigitLinear::getDots(const Piece &piece,
                                        ArrayRef<Value> activations,
                                        int64_t plane) {
  const TilePiece &one = piece.tiles.front(), &other = piece.tiles.back();
  SmallVector<Value> dots(2);
  for (const Stream &stream : getStreams(plane)) {
    SmallVector<Value> sum(4, t.constantI32(0));
    for (size_t i = 0; i < stream.fours.size(); i += 2) {
      int64_t first = stream.fours[i], next = stream.fours[i + 1];
      // Without a second tile, its rows may have anything.
      Value digits[] = {getDigits(one, plane, first, stream.bits),
                        getDigits(other, plane, first, stream.bits),
                        getDigits(one, plane, next, stream.bits),
                        getDigits(other, plane, next, stream.bits)};
      sum =
          t.multiplyBytes(digits, {activations[first], activations[next]}, sum);
    }
    for (int64_t row = 0; row < 2; ++row) {
      Value part = sum[2 * row];
      if (stream.bits > 0)
        part = arith::ShRSIOp::create(t.b, t.loc, part,
                                      t.constantI32(stream.bits));
      dots[row] = dots[row] ? t.add(dots[row], part) : part;
    }
  }
  return dots;
}

/// What the group's activations come to, which counts in its first piece; null:
/// in none.
Value DigitLinear::loadSum(const Piece &piece, Value token) {
  if (!layout.usesSumsInGroups())
    return Value();
  Value sum = t.load(op.getSums(), {token, piece.group});
  return piece.first ? t.select(piece.first, sum, t.constantI32(0)) : sum;
}

void DigitLinear::addOne(const Piece &piece, Value token,
                         MutableArrayRef<Value> sums) {
  if (!integer)
    return addFloats(piece, token, sums);
  auto load = [&](Value rows) {
    return bits ? bits->load(t, rows, token, piece.begin)
                : loadActivations(piece, rows, token, 0);
  };
  auto multiply = [&](ArrayRef<Value> columns, int64_t plane) {
    return bits ? getBitDots(piece, columns, plane)
                : getDots(piece, columns, plane);
  };
  SmallVector<Value> high = load(input), rest;
  if (low)
    rest = load(low);
  SmallVector<SmallVector<Value>> own(tiles); // of each row, by planes
  for (int64_t plane = 0; plane < layout.getNumDensePlanes(); ++plane) {
    SmallVector<Value> dots = multiply(high, plane);
    if (low)
      for (auto [dot, added] : llvm::zip_equal(dots, multiply(rest, plane)))
        dot = bits ? t.fma(dot, t.constant(256.0f), added)
                   : t.add(t.mul(dot, t.constantI32(256)), added);
    for (auto [ofRow, dot] : llvm::zip(own, dots))
      ofRow.push_back(dot);
  }
  Value sum = loadSum(piece, token);
  if (bits && sum)
    sum = t.toF32(sum);
  for (auto [ofRow, tile, total] : llvm::zip_equal(own, piece.tiles, sums))
    addTerms(tile, ofRow, sum, total);
}

/// The sums of a tile's rows: a lane's own row of each tile.
SmallVector<LaneSum> DigitLinear::finishOne(SmallVector<Value> sums,
                                            Value other) {
  if (hasNeighbours()) {
    // What one of two lanes has of the first tile, the other has of the second.
    Value isFirst = t.less(row(), t.index(kRows / 2));
    Value taken =
        t.shuffle(t.select(isFirst, sums[1], sums[0]), kWarpLanes / 2);
    sums = {t.select(isFirst, sums[0], taken),
            t.select(isFirst, taken, sums[1])};
  }
  SmallVector<LaneSum> results;
  for (auto [number, sum] : llvm::enumerate(sums)) {
    Value stores = t.equal(quarter(), 0);
    if (number > 0 && other)
      stores = t.both(other, stores);
    results.push_back(
        {sum, lastRow(), t.index(0), stores, Value(), int64_t(number)});
  }
  return results;
}
