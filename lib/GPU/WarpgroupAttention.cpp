// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Units, memory and queries; see WarpgroupAttention.h. What copies keys and
// values: WarpgroupKeys.cpp; what multiplies: WarpgroupScores.cpp.

#include "WarpgroupAttention.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

/// Stages that are enough to wait for none, and the fewest.
static constexpr int64_t kStages = 5, kLeastStages = 2;
/// Units of a block, in a full step: else blocks are too unequal.
static constexpr int64_t kLeast = 2;
/// Of a stage: full, empty.
static constexpr int64_t kStageBarriers = 2;

//===----------------------------------------------------------------------===//
// Units
//===----------------------------------------------------------------------===//

bool WarpgroupAttention::canTake(AttentionOp op, int64_t room, int64_t blocks) {
  int64_t headDim = op.getCacheType().getHeadDim();
  int64_t width =
      cast<MemRefType>(op.getInto().front().getType()).getShape().back();
  // Four warps copy whole pairs of tiles; outputs are 64 registers at most.
  if (!op.getPosition().getType().isIndex() || op.getKey() ||
      (headDim != 64 && headDim != 128) ||
      width != int64_t(op.getHeads()) * headDim)
    return false;
  int64_t rows = cast<MemRefType>(op.getQuery().getType()).getDimSize(0);
  if (rows * int64_t(op.getHeads()) <
      kOfWarp * kMultiplyingWarps * kLeast * blocks)
    return false;
  // Of no use but for its numbers.
  OpBuilder b(op);
  ThreadBuilder t(b, op.getLoc());
  return WarpgroupAttention(t, op, {}, room).stages >= kLeastStages;
}

WarpgroupAttention::WarpgroupAttention(ThreadBuilder &t, AttentionOp op,
                                       AttentionNeighbours around, int64_t room)
    : t(t), op(op), around(around), type(op.getCacheType()),
      features(type.getPaddedHeadDim()), tiles(features / kCoreRows / 2),
      heads(op.getHeads() / type.getKvHeads()), stages(kStages) {
  while (stages >= kLeastStages && countBytes() > room)
    --stages;
}

std::pair<Value, Value> WarpgroupAttention::getTile(const Unit &unit,
                                                    Value number) {
  Value tile = t.add(unit.first, number);
  return {t.mul(t.div(tile, heads), kOfWarp),
          t.add(t.mul(unit.kvHead, heads), t.rem(tile, heads))};
}

void WarpgroupAttention::forEachUnit(Value team, UnitBody body) {
  Type index = t.b.getIndexType();
  Value block = WorkerOp::create(t.b, t.loc, index, team);
  Value blocks = WorkersOp::create(t.b, t.loc, index, team);
  Value tiles = t.div(t.add(op.getCount(), kOfWarp - 1), kOfWarp);
  tiles = t.mul(tiles, heads);
  int64_t columns = type.getKvHeads();
  Value rows = t.div(t.add(tiles, kMultiplyingWarps - 1), kMultiplyingWarps);
  Value units = t.mul(rows, columns), zero = t.constantI32(0);
  // Blocks are dealt units there and back, those with the most keys first: one
  // that has more keys in a round has fewer in the next.
  t.loop(t.index(0), units, blocks, {block, zero, zero},
         [&](Value first, ValueRange carried) {
           Value number = t.add(first, carried[0]);
           ValueRange stage = carried.drop_front();
           auto take = [&] {
             Value at = t.sub(t.sub(units, number), 1);
             Unit unit;
             unit.first = t.mul(t.div(at, columns), kMultiplyingWarps);
             unit.kvHead = t.rem(at, columns);
             Value last = getTile(unit, t.index(kMultiplyingWarps - 1)).first;
             last = t.min(t.add(last, kOfWarp - 1), t.sub(op.getCount(), 1));
             unit.blocks =
                 t.toI32(t.add(t.div(getPosition(last), CacheType::kBlock), 1));
             return body(unit, stage);
           };
           size_t next = 0;
           SmallVector<Value> all =
               t.ifElse(t.less(number, units), take,
                        [&](Type) { return stage[next++]; });
           all.insert(all.begin(), t.sub(t.sub(blocks, carried[0]), 1));
           return all;
         });
}

Value WarpgroupAttention::getPosition(Value token) {
  return getPlace(t.b, t.loc, op.getPosition(), token).position;
}

CacheHead WarpgroupAttention::getCache(const Unit &unit) {
  return CacheHead(t.b, t.loc, type, op.getLayer(), unit.kvHead);
}

Value WarpgroupAttention::endsPart(Walk walk, const Unit &unit) {
  return t.less(t.sub(unit.blocks, 1), t.add(walk.block, kWarps));
}

WarpgroupAttention::Walk WarpgroupAttention::moveOn(Walk walk,
                                                    const Unit &unit) {
  Value ends = endsPart(walk, unit), part = t.add(walk.part, 1);
  return {t.select(ends, part, walk.part),
          t.select(ends, part, t.add(walk.block, kWarps))};
}

SmallVector<Value> WarpgroupAttention::forEachStage(const Unit &unit,
                                                    ValueRange init,
                                                    ThreadBuilder::Body body) {
  return t.loop(t.constantI32(0), unit.blocks, t.constantI32(kStageBlocks),
                init, body);
}

void WarpgroupAttention::run(Value team) {
  makeBarriers();
  divideGroups(
      t,
      [&] {
        forEachUnit(team, [&](const Unit &unit, ValueRange stage) {
          return attend(unit, stage);
        });
      },
      [&](Value number) {
        for (bool ofKeys : {true, false})
          t.ifThen(t.equal(number, ofKeys ? 0 : 1),
                   [&] { copyUnits(team, ofKeys); });
      });
  endBarriers();
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

// Stages, each group's queries, the stages' barriers, the groups'.

int64_t WarpgroupAttention::countQueryBytes() const {
  return kGroupRows * features * 2 * sizeof(uint16_t);
}

int64_t WarpgroupAttention::getBarrierOffset() const {
  return stages * countStageBytes() + kMultiplyingGroups * countQueryBytes();
}

int64_t WarpgroupAttention::countBytes() const {
  return getBarrierOffset() +
         (stages * kStageBarriers + kMultiplyingGroups) * kBarrierBytes;
}

void WarpgroupAttention::makeBarriers() {
  memory = t.getScratch(countBytes());
  barriers = t.getAddress(memory, t.index(getBarrierOffset()));
  forEachBarrier([&](Value barrier, Value ofQueries) {
    // By all threads of a group, or of both.
    initBarrier(t, barrier,
                t.select(ofQueries, t.constantI32(kGroupWarps * kWarpLanes),
                         t.constantI32(kMultiplyingWarps * kWarpLanes)));
    fenceCopies(t);
  });
  t.synchronize();
}

void WarpgroupAttention::endBarriers() {
  forEachBarrier([&](Value barrier, Value) { endBarrier(t, barrier); });
}

void WarpgroupAttention::forEachBarrier(
    llvm::function_ref<void(Value, Value)> body) {
  int64_t ofStages = stages * kStageBarriers;
  t.ifThen(t.less(t.thread(), t.index(ofStages + kMultiplyingGroups)), [&] {
    body(t.add(barriers, t.mul(t.thread(), kBarrierBytes)),
         t.less(t.index(ofStages - 1), t.thread()));
  });
}

WarpgroupAttention::Stage WarpgroupAttention::getStage(ValueRange carried) {
  Value slot = carried[0], number = t.toIndex(slot);
  Value keys = t.mul(number, countStageBytes());
  Value full = t.add(barriers, t.mul(number, kStageBarriers * kBarrierBytes));
  return {slot, carried[1],
          keys, t.add(keys, countKeyBytes()),
          full, t.add(full, kBarrierBytes)};
}

SmallVector<Value> WarpgroupAttention::moveOn(const Stage &stage) {
  return getNextStage(t, stage.slot, stage.parity, stages);
}

Value WarpgroupAttention::getQueries() {
  return t.add(t.mul(group(), countQueryBytes()), stages * countStageBytes());
}

Value WarpgroupAttention::getQueriesBarrier() {
  return t.add(barriers,
               t.mul(t.add(group(), stages * kStageBarriers), kBarrierBytes));
}

//===----------------------------------------------------------------------===//
// Queries
//===----------------------------------------------------------------------===//

/// Of each tile of 16 features those of all rows, and then what these leave.
/// Of tokens that do not exist, the last one's.
void WarpgroupAttention::stageQueries(const Unit &unit) {
  RopeOp rope = around.query;
  auto vector = VectorType::get({4}, t.b.getF32Type());
  // A warp stores fours of eight rows at once, of half the lanes in different
  // banks: lane 16 h + 2 r + i has four 2 h + i of row r.
  Value four = t.add(t.mul(t.div(t.lane(), 16), 2), t.rem(t.lane(), 2));
  const int64_t ofRows =
      rope ? tiles / 2 : tiles; // tiles that are gone through
  const int64_t parts = kGroupRows / kCoreRows * ofRows / kGroupWarps;
  for (int64_t i = 0; i < parts; ++i) {
    Value each = t.add(ofGroup(), i * kGroupWarps);
    Value tile = t.rem(each, ofRows);
    Value query = t.add(t.mul(t.div(each, ofRows), kCoreRows),
                        t.rem(t.div(t.lane(), 2), kCoreRows));
    auto [token, of] = getTile(
        unit, t.add(t.mul(group(), kGroupWarps), t.div(query, kOfWarp)));
    Value row =
        t.min(t.add(token, t.rem(query, kOfWarp)), t.sub(op.getCount(), 1));
    Value feature = t.add(t.mul(tile, 16), t.mul(four, 4));
    auto stage = [&](ArrayRef<Value> values, Value tile) {
      auto [two, rest] = t.splitHalves(values[0], values[1]);
      auto [next, restNext] = t.splitHalves(values[2], values[3]);
      // Cores of 64 rows: two of queries, two of what they leave.
      Value core = t.add(t.mul(tile, 4), t.div(four, 2));
      Value at =
          t.add(t.add(getQueries(), t.mul(core, kGroupRows * kCoreBytes)),
                t.add(t.mul(query, kCoreBytes),
                      t.mul(t.rem(four, 2), kCoreBytes / 2)));
      t.storeBytesOf({two, next}, memory, at);
      t.storeBytesOf({rest, restNext}, memory,
                     t.add(at, 2 * kGroupRows * kCoreBytes));
    };
    if (rope) {
      auto [low, high] = Rotation(t, rope, row, of, feature, 4).rotate(t);
      stage(low, tile);
      stage(high, t.add(tile, ofRows));
      continue;
    }
    Value loaded = t.loadVector(
        op.getQuery(), {row, t.add(t.mul(of, features), feature)}, vector);
    SmallVector<Value> values;
    for (int64_t j = 0; j < 4; ++j)
      values.push_back(t.extract(loaded, j));
    stage(values, tile);
  }
}
