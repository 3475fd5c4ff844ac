// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The stages of a WarpgroupLinear. Three barriers say that a stage's tokens
// have come, that all warps have left them, and, one for each warp, that its
// weights have come. See WarpgroupLinear.h.

#include "WarpgroupLinear.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

static constexpr int64_t kSumBytes = 4; // f32
static constexpr int64_t kBarrierBytes = 8;
/// Of a stage: full, empty.
static constexpr int64_t kOfTokens = 2;

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
  return llvm::alignTo(countTokenBytes() + kWarps * tiles * countWeightBytes(),
                       kSwizzledAlignment);
}

int64_t WarpgroupLinear::countBarriers() const {
  return stages * (kOfTokens + kWarps);
}

int64_t WarpgroupLinear::countKeptBytes() const {
  return shares == 1 ? 0 : kThreads * countWarpSums() * 4;
}

int64_t WarpgroupLinear::countBytes() const {
  return kSwizzledAlignment + stages * countStageBytes() + countKeptBytes() +
         countBarriers() * kBarrierBytes;
}

void WarpgroupLinear::makeBarriers() {
  int64_t ofStages = stages * countStageBytes();
  memory = t.getScratch(countBytes());
  Value address = t.getAddress(memory, t.index(0));
  first = t.sub(
      t.mul(t.div(t.add(address, kSwizzledAlignment - 1), kSwizzledAlignment),
            kSwizzledAlignment),
      address);
  kept = t.add(first, ofStages);
  barriers = t.getAddress(memory, t.add(kept, countKeptBytes()));
  t.ifThen(t.less(t.thread(), t.index(countBarriers())), [&] {
    Value isEmpty = t.equal(t.rem(t.thread(), kOfTokens + kWarps), 1);
    initBarrier(t, t.add(barriers, t.mul(t.thread(), kBarrierBytes)),
                t.select(isEmpty, t.constantI32(kWarps), t.constantI32(1)));
    // Rows that other threads have written are copied, too.
    fenceCopies(t);
  });
  t.synchronize();
}

void WarpgroupLinear::endBarriers() {
  t.synchronize();
  t.ifThen(t.less(t.thread(), t.index(countBarriers())), [&] {
    endBarrier(t, t.add(barriers, t.mul(t.thread(), kBarrierBytes)));
  });
}

WarpgroupLinear::Stage WarpgroupLinear::getStage(Value slot, Value parity) {
  int64_t ofWarp = tiles * countWeightBytes();
  Value begin = t.add(first, t.toIndex(t.mul(slot, countStageBytes())));
  Value full = t.add(
      barriers, t.toIndex(t.mul(slot, (kOfTokens + kWarps) * kBarrierBytes)));
  Value ofWarps = t.add(full, kOfTokens * kBarrierBytes);
  return {slot,
          parity,
          begin,
          t.add(t.add(begin, countTokenBytes()), t.mul(t.warp(), ofWarp)),
          full,
          t.add(full, kBarrierBytes),
          t.add(ofWarps, t.mul(t.warp(), kBarrierBytes))};
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
                                 const Turn &turn) {
  arriveAndExpect(t, stage.full, countTokenBytes());
  Value to = t.getAddress(memory, stage.tokens);
  int64_t columns = getColumns(input);
  auto copy = [&](Value rows, int64_t ofToken, int64_t bytes) {
    Value from =
        t.add(t.mul(turn.place.token, ofToken), t.mul(t.toIndex(unit), bytes));
    copyBulk(t, to, t.getAddress(rows, from), bytes, stage.full);
    to = t.add(to, bytes);
  };
  copy(input, columns, countDigitBytes());
  if (low)
    copy(low, columns, countDigitBytes());
  if (int64_t bytes = countSumBytes())
    copy(op.getSums(), getColumns(op.getSums()) * kSumBytes, bytes);
}

void WarpgroupLinear::copyWeights(const Stage &stage, Value unit,
                                  const Turn &turn) {
  int64_t ofTile = countWeightBytes();
  arriveAndExpect(t, stage.hasWeights, tiles * ofTile);
  Value to = t.getAddress(memory, stage.weights);
  Value from = t.add(turn.weights, t.mul(t.toIndex(unit), ofTile));
  for (int64_t i = 0; i < tiles; ++i) {
    Value own =
        group.inPairs
            ? t.getAddress(bytesOf[i], from)
            : t.getAddress(bytes, t.add(from, i * layout.getTileBytes()));
    copyBulk(t, t.add(to, i * ofTile), own, ofTile, stage.hasWeights);
  }
}

void WarpgroupLinear::requestFirst(const Turn &turn) {
  auto request = [&](int64_t count, llvm::function_ref<void(Stage, Value)> of) {
    for (int64_t i = 0; i < count; ++i)
      of(getStage(t.constantI32(i), Value()), t.constantI32(i));
  };
  t.ifThen(t.both(turn.exists, isElected(t)), [&] {
    request(stages,
            [&](Stage stage, Value unit) { copyWeights(stage, unit, turn); });
    t.ifThen(t.equal(t.warp(), 0), [&] {
      request(stages - 1,
              [&](Stage stage, Value unit) { copyTokens(stage, unit, turn); });
    });
  });
}

/// Runs `body` with the stage's number and its tile.
template <typename Turn>
static void ofTurn(ThreadBuilder &t, Value unit, int64_t ofTile,
                   const Turn &turn, const Turn &next,
                   llvm::function_ref<void(Value, const Turn &)> body) {
  Value isNext = t.less(t.constantI32(ofTile - 1), unit);
  Value exists = t.select(isNext, next.exists, turn.exists);
  Turn chosen = turn;
  chosen.place.token = t.select(isNext, next.place.token, turn.place.token);
  chosen.weights = t.select(isNext, next.weights, turn.weights);
  Value inTile = t.select(isNext, t.sub(unit, ofTile), unit);
  t.ifThen(exists, [&] { body(inTile, chosen); });
}

void WarpgroupLinear::requestWeights(const Stage &stage, Value unit,
                                     const Turn &turn, const Turn &next) {
  // All lanes have read what is there.
  t.synchronizeWarp();
  t.ifThen(isElected(t), [&] {
    ofTurn<Turn>(t, unit, ofTile, turn, next,
                 [&](Value inTile, const Turn &chosen) {
                   copyWeights(stage, inTile, chosen);
                 });
  });
}

void WarpgroupLinear::requestTokens(const Stage &stage, Value unit,
                                    const Turn &turn, const Turn &next) {
  t.synchronizeWarp();
  t.ifThen(isElected(t), [&] {
    arrive(t, stage.empty);
    t.ifThen(t.equal(t.warp(), 0), [&] {
      ofTurn<Turn>(
          t, unit, ofTile, turn, next, [&](Value inTile, const Turn &chosen) {
            // Where the stage before this one was, in its turn.
            Value isFirst = t.equal(stage.slot, 0);
            Stage before = getStage(
                t.select(isFirst, t.constantI32(stages - 1),
                         t.sub(stage.slot, 1)),
                t.select(isFirst, t.exclusiveOr(stage.parity, t.constantI32(1)),
                         stage.parity));
            waitForTurn(t, before.empty, before.parity);
            copyTokens(before, inTile, chosen);
          });
    });
  });
}

//===----------------------------------------------------------------------===//
// What is there
//===----------------------------------------------------------------------===//

DigitLinear::Piece WarpgroupLinear::loadStaged(const Stage &stage,
                                               int64_t number) {
  Piece piece;
  int64_t ofPiece = countWeightBytes() / ofStage;
  for (int64_t i = 0; i < tiles; ++i) {
    Value begin =
        t.add(stage.weights, i * countWeightBytes() + number * ofPiece);
    piece.tiles.push_back(
        loadTile(piece, {memory, begin, t.add(begin, geometry.bytes)}));
  }
  return piece;
}

/// Of the lane's tokens: two of each eight.
SmallVector<Value> WarpgroupLinear::loadSums(const Stage &stage,
                                             int64_t number) {
  auto type = VectorType::get({4}, t.b.getF32Type());
  Value begin = t.add(stage.tokens, (low ? 2 : 1) * countDigitBytes() +
                                        number * tokens * kSumBytes);
  SmallVector<Value> sums;
  for (int64_t pair = 0; pair < tokens / 16; ++pair) {
    Value at = TokenTiles::getSums(t, quarter(), pair);
    Value four = t.loadBytes(memory, t.add(begin, t.mul(at, kSumBytes)), type);
    for (int64_t i = 0; i < 4; ++i)
      sums.push_back(t.extract(four, i));
  }
  return sums;
}
