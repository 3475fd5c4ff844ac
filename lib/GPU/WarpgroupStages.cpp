// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The stages of a WarpgroupLinear. Two barriers say that all of a stage has
// come, and that all warps have left it. See WarpgroupLinear.h.

#include "WarpgroupLinear.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

static constexpr int64_t kSumBytes = 4; // f32
static constexpr int64_t kBarrierBytes = 8;
/// Of a stage: full, empty.
static constexpr int64_t kBarriers = 2;
/// At the first, when they have asked: who copies tokens, and who copies a
/// warp's weights.
static constexpr int64_t kArrivals = 1 + kMultiplyingWarps;

//===----------------------------------------------------------------------===//
// What there is
//===----------------------------------------------------------------------===//

int64_t WarpgroupLinear::countDigitBytes() const {
  return tokens * ofStage * geometry.width;
}

/// Of the groups of a stage, if a term is of them alone.
int64_t WarpgroupLinear::countSumBytes() const {
  for (int64_t term = 0; term < layout.getNumGroupTerms(); ++term) {
    bool ofPlanes = false;
    for (int64_t plane = 0; plane < layout.getNumPlanes(); ++plane)
      ofPlanes |= layout.getTerm(term, plane) != 0;
    if (!ofPlanes)
      return ofStage * tokens * kSumBytes;
  }
  return 0;
}

int64_t WarpgroupLinear::countTokenBytes() const {
  return (low ? 2 : 1) * countDigitBytes() + countSumBytes();
}

int64_t WarpgroupLinear::countWeightBytes() const {
  return ofStage * layout.getGroupBytes(layout.getGroup());
}

int64_t WarpgroupLinear::countStageBytes() const {
  return llvm::alignTo(countTokenBytes() +
                           kMultiplyingWarps * tiles * countWeightBytes(),
                       kSwizzledAlignment);
}

int64_t WarpgroupLinear::countKeptBytes() const {
  return shares == 1 ? 0 : shape.warps * kWarpLanes * countWarpSums() * 4;
}

int64_t WarpgroupLinear::countBytes() const {
  return kSwizzledAlignment + stages * countStageBytes() + countKeptBytes() +
         stages * kBarriers * kBarrierBytes;
}

void WarpgroupLinear::makeBarriers() {
  int64_t ofStages = stages * countStageBytes();
  memory = t.getScratch(countBytes());
  Value address = t.getAddress(memory, t.index(0));
  first = t.sub(
      t.mul(t.div(t.add(address, kSwizzledAlignment - 1), kSwizzledAlignment),
            kSwizzledAlignment),
      address);
  barriers = t.getAddress(memory, t.add(first, ofStages));
  kept = t.add(first, ofStages + stages * kBarriers * kBarrierBytes);
  forEachBarrier([&](Value barrier, Value isEmpty) {
    initBarrier(t, barrier,
                t.select(isEmpty, t.constantI32(kMultiplyingWarps),
                         t.constantI32(kArrivals)));
    // Rows that other threads have written are copied, too.
    fenceCopies(t);
  });
  t.synchronize();
}

void WarpgroupLinear::endBarriers() {
  forEachBarrier([&](Value barrier, Value) { endBarrier(t, barrier); });
}

void WarpgroupLinear::forEachBarrier(
    llvm::function_ref<void(Value, Value)> body) {
  t.ifThen(t.less(t.thread(), t.index(stages * kBarriers)), [&] {
    body(t.add(barriers, t.mul(t.thread(), kBarrierBytes)),
         t.equal(t.rem(t.thread(), kBarriers), 1));
  });
}

WarpgroupLinear::Stage WarpgroupLinear::getStage(ValueRange carried) {
  Value slot = carried[0];
  Value begin = t.add(first, t.toIndex(t.mul(slot, countStageBytes())));
  Value full =
      t.add(barriers, t.toIndex(t.mul(slot, kBarriers * kBarrierBytes)));
  return {slot,  carried[1],
          begin, t.add(begin, countTokenBytes()),
          full,  t.add(full, kBarrierBytes)};
}

SmallVector<Value> WarpgroupLinear::moveOn(const Stage &stage) {
  Value isLast = t.equal(stage.slot, stages - 1);
  return {t.select(isLast, t.constantI32(0), t.add(stage.slot, 1)),
          t.select(isLast, t.exclusiveOr(stage.parity, t.constantI32(1)),
                   stage.parity)};
}

//===----------------------------------------------------------------------===//
// Copies
//===----------------------------------------------------------------------===//

void WarpgroupLinear::copyTokens(const Stage &stage, Value unit,
                                 const Place &place) {
  arriveAndExpect(t, stage.full, countTokenBytes());
  Value to = t.getAddress(memory, stage.tokens);
  int64_t columns = getColumns(input);
  auto copy = [&](Value rows, int64_t ofToken, int64_t bytes) {
    Value from =
        t.add(t.mul(place.token, ofToken), t.mul(t.toIndex(unit), bytes));
    copyBulk(t, to, t.getAddress(rows, from), bytes, stage.full);
    to = t.add(to, bytes);
  };
  copy(input, columns, countDigitBytes());
  if (low)
    copy(low, columns, countDigitBytes());
  if (int64_t bytes = countSumBytes())
    copy(op.getSums(), getColumns(op.getSums()) * kSumBytes, bytes);
}

Value WarpgroupLinear::getWeights(const Stage &stage, Value warp) {
  return t.add(stage.weights, t.mul(warp, tiles * countWeightBytes()));
}

void WarpgroupLinear::copyWeights(const Stage &stage, Value unit,
                                  const Place &place, Value warp) {
  int64_t ofTile = countWeightBytes();
  // Neighbours are past the end both or none.
  Value tile = t.min(t.add(place.tile, t.mul(warp, shape.tiles)),
                     t.index(layout.getNumTiles() - shape.tiles));
  Value from = t.add(t.add(getTileOffset(tile), layout.getGroupOffset(0)),
                     t.mul(t.toIndex(unit), ofTile));
  arriveAndExpect(t, stage.full, tiles * ofTile);
  Value to = t.getAddress(memory, getWeights(stage, warp));
  for (int64_t i = 0; i < tiles; ++i) {
    Value own =
        group.inPairs
            ? t.getAddress(bytesOf[i], from)
            : t.getAddress(bytes, t.add(from, i * layout.getTileBytes()));
    copyBulk(t, t.add(to, i * ofTile), own, ofTile, stage.full);
  }
}

//===----------------------------------------------------------------------===//
// What is there
//===----------------------------------------------------------------------===//

DigitLinear::Piece WarpgroupLinear::loadStaged(const Stage &stage,
                                               int64_t number) {
  Piece piece;
  int64_t ofPiece = countWeightBytes() / ofStage;
  Value weights = getWeights(stage, t.warp());
  for (int64_t i = 0; i < tiles; ++i) {
    Value begin = t.add(weights, i * countWeightBytes() + number * ofPiece);
    piece.tiles.push_back(
        loadTile(piece, {memory, begin, t.add(begin, geometry.bytes)}));
  }
  return piece;
}

/// Two of each eight tokens.
SmallVector<Value> WarpgroupLinear::loadSums(const Stage &stage,
                                             const Products &products) {
  auto type = VectorType::get({4}, t.b.getF32Type());
  Value begin = t.add(stage.tokens, (low ? 2 : 1) * countDigitBytes() +
                                        products.number * tokens * kSumBytes);
  int64_t count = products.sums.size() / (2 * tiles);
  SmallVector<Value> sums;
  Value four;
  for (int64_t eight = products.half * count, end = eight + count; eight < end;
       ++eight) {
    if (sums.empty() || eight % 2 == 0) {
      Value at = TokenTiles::getSums(t, quarter(), eight / 2);
      four = t.loadBytes(memory, t.add(begin, t.mul(at, kSumBytes)), type);
    }
    for (int64_t i = 0; i < 2; ++i)
      sums.push_back(t.extract(four, eight % 2 * 2 + i));
  }
  return sums;
}
