// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A linear of digits whose weights a ring brings, for as many tokens as a
// product has columns. The lanes of a warp go through its shares one after the
// other, each with float sums of its own, as a lane of one token has them
// (DigitShares.cpp); at a tile's end they are added in the same order. See
// DigitLinear.h.

#include "DigitLinear.h"

using namespace mlir;
using namespace mlir::tbq;

/// The pieces of a round that has come, of each share, into registers.
std::vector<DigitLinear::TokensPiece> DigitLinear::readTokens(Value slot,
                                                              Value round) {
  std::vector<TokensPiece> read;
  t.waitForCopies(ring.slots - 1);
  t.synchronizeWarp();
  Value first = t.add(ring.first, slot);
  for (int64_t i = 0; i < ring.rounds.pieces; ++i)
    for (int64_t share = 0; share < countOfWarp(); ++share) {
      auto [number, exists] =
          getNumber(ring.rounds, t.add(getFirstShare(), share), round, i);
      Piece piece = getPiece(number);
      Value coefficients = geometry.perGroup == 1 ? getCoefficientOffset(piece)
                                                  : t.index(geometry.bytes);
      for (int64_t tile = 0; tile < tiles; ++tile) {
        Value at =
            t.add(first, (tile * countOfWarp() + share) * getRoundBytes() +
                             i * geometry.ofRing);
        piece.tiles.push_back(
            loadTile(piece, {ring.memory, at, t.add(at, coefficients)}));
      }
      read.push_back({share, piece, exists});
    }
  t.synchronizeWarp();
  return read;
}

void DigitLinear::addTokens(const TokensPiece &piece, Value token,
                            MutableArrayRef<Value> sums) {
  MutableArrayRef<Value> own =
      sums.slice(piece.share * countSums(), countSums());
  SmallVector<Value> more(own);
  addProducts(piece.piece, token, more);
  for (auto [sum, added] : llvm::zip_equal(own, more))
    sum = piece.exists ? t.select(piece.exists, added, sum) : added;
}

/// The sums of all shares of a tile's rows, to the first of its warps. `sums`:
/// of each of the warp's shares.
SmallVector<LaneSum> DigitLinear::finishTokens(ArrayRef<Value> sums,
                                               Value other) {
  SmallVector<Value> totals(countSums());
  const int64_t ofWarp = countOfWarp() * kWarpLanes;
  Value shared, own, first;
  if (tileWarps > 1) {
    shared = t.getShared("shares", kWarps * kMostShares * kWarpLanes);
    own = t.add(t.mul(t.warp(), ofWarp), t.lane());
    first = t.sub(own, t.mul(getPart(), ofWarp));
  }
  for (int64_t i = 0; i < countSums(); ++i) {
    auto addUp = [&](int64_t count, llvm::function_ref<Value(int64_t)> get) {
      Value total = get(0);
      for (int64_t share = 1; share < count; ++share)
        total = t.addf(total, get(share));
      return total;
    };
    auto getOwn = [&](int64_t share) { return sums[share * countSums() + i]; };
    if (tileWarps == 1) {
      totals[i] = addUp(shares, getOwn);
      continue;
    }
    t.synchronize();
    for (int64_t share = 0; share < countOfWarp(); ++share)
      t.store(getOwn(share), shared, {t.add(own, share * kWarpLanes)});
    t.synchronize();
    auto addAll = [&] {
      return SmallVector<Value>{addUp(shares, [&](int64_t share) {
        return t.load(shared, {t.add(first, share * kWarpLanes)});
      })};
    };
    totals[i] = t.ifElse(t.equal(getPart(), 0), addAll, [&](Type) {
                   return t.constant(0.0f);
                 }).front();
  }
  return getLaneSums(totals, other);
}
