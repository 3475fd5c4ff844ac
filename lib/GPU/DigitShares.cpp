// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From the pieces of a warp's shares to sums, of one token. A product has room
// for eight: lane 4 r + q has the share that q is, of as many as the warp has,
// so columns 2 q and 2 q + 1 are that share's activations, and all shares'
// products go into one sum: to a share's columns the others add 0. What follows
// is done for all shares at once. Of two tiles a lane has neighbouring rows of
// one, whose digits and coefficients are loaded together: lanes of rows 0 .. 3
// of the first, the others of the second. See DigitLinear.h.

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

int64_t DigitLinear::countHeld() const {
  if (!integer || tokens > 1 || countOfWarp() == 1)
    return 0;
  return (low ? 2 : 1) * countOfWarp() * countFours();
}

/// The fours of each share's activations: in the columns of its own lanes, in
/// others 0, as they have been in `held` from the beginning. With one share,
/// all lanes load them.
void DigitLinear::holdActivations(ArrayRef<Piece> ofShares, Value rows,
                                  Value token, MutableArrayRef<Value> held,
                                  SmallVector<Value> &activations) {
  auto load = [&](int64_t share) {
    return loadActivations(ofShares[share], rows, token, 0);
  };
  if (held.empty()) {
    activations = load(0);
    return;
  }
  for (int64_t share = 0; share < countOfWarp(); ++share) {
    MutableArrayRef<Value> own = held.slice(share * countFours(), countFours());
    size_t other = 0;
    SmallVector<Value> loaded = t.ifElse(
        t.same(t.toI32(t.rem(t.div(row(), 2), countOfWarp())),
               t.constantI32(share)),
        [&] { return load(share); }, [&](Type) { return own[other++]; });
    llvm::copy(loaded, own.begin());
    activations.append(loaded);
  }
}

/// The products of a lane's rows with its share's activations. Digits stay
/// where they are in bytes: their sums are shifted instead.
SmallVector<Value> DigitLinear::getShareDots(ArrayRef<Piece> ofShares,
                                             ArrayRef<Value> activations,
                                             int64_t plane) {
  SmallVector<Stream> streams = getStreams(plane);
  SmallVector<SmallVector<Value>> sums(streams.size(),
                                       SmallVector<Value>(4, t.constantI32(0)));
  for (const Piece &piece : ofShares) {
    const TilePiece &one = piece.tiles.front(), &other = piece.tiles.back();
    for (auto [sum, stream] : llvm::zip_equal(sums, streams))
      for (size_t i = 0; i < stream.fours.size(); i += 2) {
        int64_t first = stream.fours[i], next = stream.fours[i + 1];
        // Without a second tile, its rows may have anything.
        Value digits[] = {getDigits(one, plane, first, stream.bits),
                          getDigits(other, plane, first, stream.bits),
                          getDigits(one, plane, next, stream.bits),
                          getDigits(other, plane, next, stream.bits)};
        sum = t.multiplyBytes(digits, {activations[first], activations[next]},
                              sum);
      }
    activations = activations.drop_front(countFours());
  }
  SmallVector<Value> dots(2);
  for (auto [sum, stream] : llvm::zip_equal(sums, streams))
    for (int64_t row = 0; row < 2; ++row) {
      Value part = sum[2 * row];
      if (stream.bits > 0)
        part = arith::ShRSIOp::create(t.b, t.loc, part,
                                      t.constantI32(stream.bits));
      dots[row] = dots[row] ? t.add(dots[row], part) : part;
    }
  return dots;
}

/// Adds a piece of each share, if it exists.
void DigitLinear::addShared(const SharesPiece &piece, Value token,
                            MutableArrayRef<Value> held,
                            MutableArrayRef<Value> sums) {
  SmallVector<Value> more(sums);
  if (!integer) {
    addFloats(piece.own, token, more);
  } else {
    SmallVector<Value> high, rest;
    size_t ofHigh = low ? held.size() / 2 : held.size();
    holdActivations(piece.ofShares, input, token, held.take_front(ofHigh),
                    high);
    if (low)
      holdActivations(piece.ofShares, low, token, held.drop_front(ofHigh),
                      rest);
    SmallVector<SmallVector<Value>> own(tiles); // of each row, by planes
    for (int64_t plane = 0; plane < layout.getNumDensePlanes(); ++plane) {
      SmallVector<Value> dots = getShareDots(piece.ofShares, high, plane);
      if (low)
        for (auto [dot, added] :
             llvm::zip_equal(dots, getShareDots(piece.ofShares, rest, plane)))
          dot = t.add(t.mul(dot, t.constantI32(256)), added);
      for (auto [ofRow, dot] : llvm::zip(own, dots))
        ofRow.push_back(dot);
    }
    Value sum;
    if (layout.usesSums()) {
      sum = t.load(op.getSums(), {token, piece.own.group});
      if (piece.own.first)
        sum = t.select(piece.own.first, sum, t.constantI32(0));
    }
    for (auto [ofRow, tile, total] :
         llvm::zip_equal(own, piece.own.tiles, more))
      addTerms(tile, ofRow, sum, total);
  }
  for (auto [sum, added] : llvm::zip_equal(sums, more))
    sum = piece.exists ? t.select(piece.exists, added, sum) : added;
}

/// The sums of all shares of a tile's rows: a lane's own row of each tile.
SmallVector<LaneSum> DigitLinear::finishShares(SmallVector<Value> sums,
                                               Value other) {
  addQuarters(sums);
  addShares(sums, {}, countOfWarp());
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
