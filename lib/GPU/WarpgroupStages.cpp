// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The stages of a WarpgroupLinear. Two barriers say that all of a stage has
// come, and that all warps have left it. See WarpgroupLinear.h.

#include "WarpgroupLinear.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

static constexpr int64_t kSumBytes = 4; // two halves
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

int64_t WarpgroupLinear::countTokenBytes() const {
  return (low ? 2 : 1) * countDigitBytes();
}

int64_t WarpgroupLinear::countWeightBytes() const {
  return ofStage * layout.getGroupBytes(layout.getGroup());
}

int64_t WarpgroupLinear::countStageBytes() const {
  return llvm::alignTo(countTokenBytes() +
                           kMultiplyingWarps * tiles * countWeightBytes(),
                       kSwizzledAlignment);
}

/// Of a tile's tokens, and of all rows.
int64_t WarpgroupLinear::countStageEights() const {
  int64_t ofEight = kEightGroups * tokens * kSumBytes +
                    kMultiplyingWarps * tiles * layout.getSumEightBytes();
  int64_t most = 1;
  for (int64_t share = 0; share < usedShares; ++share) {
    auto [first, end] = getEights(share);
    most = std::max(most, end - first);
  }
  // As many in each, if they are several.
  int64_t stages = llvm::divideCeil(most, countStageBytes() / ofEight);
  return llvm::divideCeil(most, stages);
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
                t.select(isEmpty, t.constantI32(kMultiplyingWarps * kWarpLanes),
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
  return getNextStage(t, stage.slot, stage.parity, stages);
}

//===----------------------------------------------------------------------===//
// Copies
//===----------------------------------------------------------------------===//

SmallVector<Value>
WarpgroupLinear::fill(ValueRange carried,
                      llvm::function_ref<void(const Stage &)> tokens,
                      llvm::function_ref<void(const Stage &, Value)> weights) {
  Value number = t.rem(t.warp(), kGroupWarps);
  Stage stage = getStage(carried);
  // That of the turn before; there is none before the first.
  waitForTurn(t, stage.empty, t.exclusiveOr(stage.parity, t.constantI32(1)));
  t.ifThen(t.equal(number, 0), [&] { tokens(stage); });
  for (int64_t i = 0; i < kMultiplyingGroups; ++i)
    weights(stage, t.add(number, i * kGroupWarps));
  return moveOn(stage);
}

void WarpgroupLinear::copyTokens(const Stage &stage, Value unit,
                                 const Place &place) {
  arriveAndExpect(t, stage.full, countTokenBytes());
  Value to = t.getAddress(memory, stage.tokens);
  int64_t columns = getColumns(input), bytes = countDigitBytes();
  Value from =
      t.add(t.mul(place.token, columns), t.mul(t.toIndex(unit), bytes));
  for (Value digits : {Value(input), low})
    if (digits) {
      copyBulk(t, to, t.getAddress(digits, from), bytes, stage.full);
      to = t.add(to, bytes);
    }
}

Value WarpgroupLinear::getWeights(const Stage &stage, Value warp) {
  return t.add(stage.weights, t.mul(warp, tiles * countWeightBytes()));
}

void WarpgroupLinear::copyWeights(const Stage &stage, Value unit,
                                  const Place &place, Value warp) {
  int64_t ofTile = countWeightBytes();
  Value group = t.mul(t.toIndex(unit), ofStage);
  arriveAndExpect(t, stage.full, tiles * ofTile);
  copyOfTiles(stage, place, warp,
              t.add(getGroupPlace(group), t.index(layout.getGroupOffset(0))),
              getWeights(stage, warp), ofTile);
}

void WarpgroupLinear::copyOfTiles(const Stage &stage, const Place &place,
                                  Value warp, Value offset, Value to,
                                  int64_t ofTile) {
  // Neighbours are past the end both or none.
  Value tile = t.min(t.add(place.tile, t.mul(warp, shape.tiles)),
                     t.index(layout.getNumTiles() - shape.tiles));
  Value from = t.add(getTileOffset(tile), offset);
  to = t.getAddress(memory, to);
  for (int64_t i = 0; i < tiles; ++i) {
    Value own =
        group.inPairs
            ? t.getAddress(bytesOf[i], from)
            : t.getAddress(bytes, t.add(from, i * layout.getTileBytes()));
    copyBulk(t, t.add(to, i * ofTile), own, ofTile, stage.full);
  }
}

Value WarpgroupLinear::getStagedEight(Value first) {
  int64_t all = layout.getNumSumEights(), ofStage = countStageEights();
  bool isWhole = true;
  for (int64_t share = 0; share < usedShares; ++share)
    if (auto [first, end] = getEights(share); (end - first) % ofStage)
      isWhole = false;
  // All that is copied exists.
  return isWhole ? first : t.min(first, t.constantI32(all - ofStage));
}

void WarpgroupLinear::copySums(const Stage &stage, Value first,
                               const Place &place) {
  int64_t ofEight = kEightGroups * tokens * kSumBytes;
  int64_t bytes = countStageEights() * ofEight;
  arriveAndExpect(t, stage.full, bytes);
  Value from = t.add(t.mul(place.token, getColumns(op.getSums()) * kSumBytes),
                     t.mul(t.toIndex(getStagedEight(first)), ofEight));
  copyBulk(t, t.getAddress(memory, stage.tokens),
           t.getAddress(op.getSums(), from), bytes, stage.full);
}

Value WarpgroupLinear::getSumCoefficients(const Stage &stage, Value warp) {
  int64_t ofEight = kEightGroups * tokens * kSumBytes;
  Value ofWarps =
      t.mul(warp, tiles * countStageEights() * layout.getSumEightBytes());
  return t.add(t.add(stage.tokens, ofWarps), countStageEights() * ofEight);
}

void WarpgroupLinear::copySumCoefficients(const Stage &stage, Value first,
                                          const Place &place, Value warp) {
  int64_t ofEight = layout.getSumEightBytes();
  Value staged = t.toIndex(getStagedEight(first));
  Value to = getSumCoefficients(stage, warp);
  arriveAndExpect(t, stage.full, tiles * countStageEights() * ofEight);
  for (int64_t number = 0; number < countStageEights(); ++number) {
    Value from = t.add(getEightPlace(t.add(staged, number)),
                       t.index(layout.getGroupOffset(0)));
    copyOfTiles(stage, place, warp, from, t.add(to, number * tiles * ofEight),
                ofEight);
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

void WarpgroupLinear::leave(const Stage &stage) { arrive(t, stage.empty); }
