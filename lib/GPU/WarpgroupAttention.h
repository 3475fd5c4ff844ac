// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention of many neighbouring tokens by products of warp groups (sm_90a), on
// a cache in tiles. A block has units of 128 queries that read the same keys:
// each of two groups of four warps 64 of them, a warp 16 neighbouring tokens'
// of a head. They go through the keys together, part by part, as the warps of a
// step of one token have them (TileAttention.h), and put each part to those
// before it when it is done: the bits are the same.
//
// Two other groups copy, one keys and one values, two blocks of 16 keys a
// stage, as long as there is one that nobody reads. Products take keys and
// values from there, and queries from memory, too; weights are registers. In
// memory are eight rows of eight f16 side by side, 16 bytes each: rows of K are
// keys, of V features, of Q queries. Columns of a block's scores are its keys
// 0, 1, 4, 5, 8, ... and then 2, 3, 6, 7, ...: so a lane has four neighbours,
// as in a step of one token.
#ifndef TBQ_GPU_WARPGROUPATTENTION_H
#define TBQ_GPU_WARPGROUPATTENTION_H

#include "TileAttention.h"
#include "Warpgroup.h"

#include <array>

namespace mlir::tbq {

class WarpgroupAttention {
public:
  /// room: bytes of shared memory that there are. blocks: that are expected.
  static bool canTake(AttentionOp op, int64_t room, int64_t blocks);
  /// An op that canTake allows, where `t` stands.
  WarpgroupAttention(ThreadBuilder &t, AttentionOp op,
                     AttentionNeighbours around, int64_t room);

  /// All that the block, one of a team, has to do, by all its threads.
  void run(Value team);

private:
  /// Of a product's operand in memory: rows together, their bytes, their f16.
  static constexpr int64_t kCoreRows = 8, kCoreBytes = 16, kCoreColumns = 8;
  static constexpr int64_t kOfWarp = 16, kRows = kOfWarp / kCoreRows;
  /// Lanes that have a row of a product.
  static constexpr int64_t kRowLanes = 4;
  /// Blocks of 16 keys that a stage has.
  static constexpr int64_t kStageBlocks = 2,
                           kStageKeys = kStageBlocks * CacheType::kBlock;

  /// As many tiles of 16 tokens of a head as warps multiply: neighbours in the
  /// order of tokens, and then of the heads that read the same keys.
  struct Unit {
    Value first, kvHead;
    Value blocks; // i32; that its last token sees
  };
  /// The first token and the head of a unit's tile.
  std::pair<Value, Value> getTile(const Unit &unit, Value number);
  /// The block of keys that one is at on the way, and the part it is of, whose
  /// blocks are kWarps from each other. i32
  struct Walk {
    Value part, block;
  };
  Walk moveOn(Walk walk, const Unit &unit);
  Value endsPart(Walk walk, const Unit &unit);
  /// Runs `body` with each of the block's units and what it carries from one to
  /// the next, its stage.
  using UnitBody =
      llvm::function_ref<SmallVector<Value>(const Unit &, ValueRange)>;
  void forEachUnit(Value team, UnitBody body);
  /// Runs `body` with the number of each stage's first block, i32.
  SmallVector<Value> forEachStage(const Unit &unit, ValueRange init,
                                  ThreadBuilder::Body body);
  CacheHead getCache(const Unit &unit);
  Value getPosition(Value token);

  using Blocks = std::array<Value, kStageBlocks>;

  // Memory.
  struct Stage {
    Value slot, parity; // i32; of the turn it is in
    Value keys, values; // offsets in memory
    Value full, empty;  // barriers
  };
  /// Values that a loop carries from a stage to the next.
  static constexpr int64_t kCarried = 2;
  int64_t countKeyBytes() const { return kStageKeys * features * 2; }
  int64_t countStageBytes() const { return 2 * countKeyBytes(); }
  int64_t countQueryBytes() const; // of a group
  int64_t getBarrierOffset() const;
  int64_t countBytes() const;
  Stage getStage(ValueRange carried);
  SmallVector<Value> moveOn(const Stage &stage);
  Value getQueries(); // the group's, an offset
  Value getQueriesBarrier();
  void makeBarriers();
  void endBarriers();
  void forEachBarrier(llvm::function_ref<void(Value, Value)> body);

  // Those that copy.
  void copyUnits(Value team, bool ofKeys);
  /// Load the thread's words of both blocks, and store them when the stage is
  /// left.
  void copyKeys(const Unit &unit, const Blocks &blocks, const Stage &stage);
  void copyValues(const Unit &unit, const Blocks &blocks, const Stage &stage);
  SmallVector<Value> loadChunk(Value at);

  // Those that multiply. Of a lane's two rows each:
  struct State {
    Value base[kRows], total[kRows];
  };
  /// What a warp has found: of the part that it is at, weighted sums of values
  /// as products have them, relative to the part's base; of those before it,
  /// put together.
  struct Found {
    State part, all;
    SmallVector<Value> sums, outputs;
  };
  SmallVector<Value> flatten(const Found &found);
  Found unflatten(ValueRange values);
  /// A block's weights, as products take them.
  struct Weights {
    SmallVector<Value> words;
    Value sums[kRows];   // of the lane's
    Value before[kRows]; // bases before
    Value isRebased;     // whether one has changed that anything is relative to
  };
  /// Of a stage's blocks, of a lane's rows and keys, not scaled.
  using Scores = SmallVector<Value>;
  void stageQueries(const Unit &unit);
  SmallVector<Value> attend(const Unit &unit, ValueRange stage);
  /// Products of queries, and of what these leave, with the stage's keys.
  std::array<SmallVector<Value>, 2> startScores(const Stage &stage,
                                                Value queries);
  /// Of the stage that `walk` stands at.
  Scores getScores(ArrayRef<Value> high, ArrayRef<Value> low, Walk walk,
                   const Unit &unit);
  Scores getLargest(const Scores &scores);
  /// adds: i32, 0 if the part has no sums yet.
  Weights weigh(const Scores &scores, const Scores &largest, int64_t number,
                Value adds, State &state);
  /// Of a stage, whose scores are there: its weighted sums, and the next one's
  /// scores. adds: i32, as of weigh.
  SmallVector<Value> addStage(const Unit &unit, Value queries,
                              const Stage &stage, Walk walk, Value first,
                              Value adds, const Scores &scores, Found found);
  /// Makes sums relative to the bases, where one has changed.
  void rebase(const Weights &weights, Found &found);
  /// Puts the part to those before, if it `isDone`. part: as it was then.
  void merge(Value isDone, Found &found, const State &part);
  void store(const Found &found);

  Value row() { return t.div(t.lane(), kRowLanes); }
  Value quarter() { return t.rem(t.thread(), kRowLanes); }
  Value group() { return t.div(t.warp(), kGroupWarps); }
  Value ofGroup() { return t.rem(t.warp(), kGroupWarps); }

  ThreadBuilder &t;
  AttentionOp op;
  AttentionNeighbours around;
  CacheType type;
  int64_t features, tiles; // of a head; of 16 of them
  int64_t heads;           // that read a kv head
  int64_t stages;          // that there is memory for
  Value memory, barriers;  // an address
  Value token, head;       // of a warp that multiplies
  Value position;          // i32; of that token
};

} // namespace mlir::tbq

#endif // TBQ_GPU_WARPGROUPATTENTION_H
