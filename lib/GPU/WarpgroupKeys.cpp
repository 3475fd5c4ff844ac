// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Keys and values on their way from the cache to where products of warp groups
// take them; see WarpgroupAttention.h. A tile's chunk 4 r + q of 16 bytes has,
// of keys, features 4 q to 4 q + 3 of 2 r and then of 2 r + 1; of values, keys
// 4 q and 4 q + 1 of feature 2 r, then of 2 r + 1, and 4 q + 2 and 4 q + 3 so.
// Lanes store so that half a warp's eight bytes are in different banks.

#include "WarpgroupAttention.h"

using namespace mlir;
using namespace mlir::tbq;

/// Bytes of a chunk; features of a tile.
static constexpr int64_t kChunk = 16, kTile = 16;

SmallVector<Value> WarpgroupAttention::loadChunk(Value at) {
  auto vector = VectorType::get({4}, t.b.getI32Type());
  Value words = t.loadVector(op.getCache(), {at}, vector);
  return llvm::map_to_vector(llvm::seq<int64_t>(4),
                             [&](int64_t i) { return t.extract(words, i); });
}

/// Stores both pairs of words, 16 bytes from each other; of lanes where
/// `isTurned` holds the second first.
static void storeTurned(ThreadBuilder &t, Value memory, Value at,
                        Value isTurned, ArrayRef<Value> first,
                        ArrayRef<Value> second) {
  Value offset = t.select(isTurned, t.index(kChunk), t.index(0));
  for (bool isLater : {false, true}) {
    SmallVector<Value> words;
    for (int64_t i = 0; i < 2; ++i)
      words.push_back(isLater ? t.select(isTurned, first[i], second[i])
                              : t.select(isTurned, second[i], first[i]));
    t.storeBytesOf(
        words, memory,
        t.add(at, isLater ? t.sub(t.index(kChunk), offset) : offset));
  }
}

void WarpgroupAttention::copyUnits(Value team, bool ofKeys) {
  t.renewThread();
  forEachUnit(team, [&](const Unit &unit, ValueRange carried) {
    SmallVector<Value> init(carried);
    Value begin = t.constantI32(0);
    init.append({begin, begin});
    SmallVector<Value> last = forEachStage(
        unit, init, [&](Value first, ValueRange old) -> SmallVector<Value> {
          Stage stage = getStage(old);
          Walk walk{old[kCarried], old[kCarried + 1]};
          Blocks blocks;
          for (auto [i, block] : llvm::enumerate(blocks)) {
            // In place of one that does not exist, any.
            block = walk.block;
            if (i)
              block =
                  t.select(t.less(t.add(first, i), unit.blocks), block, begin);
            block = t.toIndex(block);
            walk = moveOn(walk, unit);
          }
          if (ofKeys)
            copyKeys(unit, blocks, stage);
          else
            copyValues(unit, blocks, stage);
          // What threads write, products read past their proxy.
          fenceCopies(t);
          arrive(t, stage.full);
          SmallVector<Value> all = moveOn(stage);
          all.append({walk.part, walk.block});
          return all;
        });
    return SmallVector<Value>(ArrayRef(last).take_front(kCarried));
  });
}

/// A warp has a tile at a time: lane 16 h + 2 r + i its chunk 4 r + 2 h + i.
void WarpgroupAttention::copyKeys(const Unit &unit, const Blocks &blocks,
                                  const Stage &stage) {
  CacheHead cache = getCache(unit);
  Value i = t.rem(t.lane(), 2), r = t.rem(t.div(t.lane(), 2), 8),
        h = t.div(t.lane(), 16);
  Value chunk = t.add(t.mul(r, 4), t.add(t.mul(h, 2), i));
  struct Load {
    Value tile;
    int64_t block;
    SmallVector<Value> words;
  };
  SmallVector<Load> loads;
  for (int64_t block = 0; block < kStageBlocks; ++block)
    for (int64_t first = 0; first < tiles; first += kGroupWarps) {
      Value tile = t.add(ofGroup(), first);
      Value at =
          t.add(cache.getKeyTile(blocks[block], tile), t.mul(chunk, kChunk));
      loads.push_back({tile, block, loadChunk(at)});
    }
  waitForTurn(t, stage.empty, t.exclusiveOr(stage.parity, t.constantI32(1)));
  // Keys 2 r and 2 r + 1 are columns next to each other.
  Value isOdd = t.equal(t.rem(r, 2), 1);
  Value column = t.add(t.mul(t.div(r, 2), 2), t.mul(t.rem(r, 2), 8));
  for (const Load &load : loads) {
    Value core = t.add(t.mul(load.tile, 2), h);
    Value at = t.add(t.mul(core, kStageKeys * kChunk),
                     t.add(t.mul(column, kChunk), t.mul(i, kChunk / 2)));
    at = t.add(t.add(at, load.block * CacheType::kBlock * kChunk), stage.keys);
    ArrayRef<Value> words(load.words);
    storeTurned(t, memory, at, isOdd, words.take_front(2), words.drop_front(2));
  }
}

/// A warp has two tiles at a time: lane 16 h + 2 r + i chunks 4 r + 2 i and
/// 4 r + 2 i + 1 of tile h.
void WarpgroupAttention::copyValues(const Unit &unit, const Blocks &blocks,
                                    const Stage &stage) {
  CacheHead cache = getCache(unit);
  Value i = t.rem(t.lane(), 2), r = t.rem(t.div(t.lane(), 2), 8),
        h = t.div(t.lane(), 16);
  struct Load {
    Value tile, block; // the block's place in the stage
    SmallVector<Value> words;
  };
  SmallVector<Load> loads;
  const int64_t pairs = tiles / 2; // of a block
  for (int64_t first = 0; first < kStageBlocks * pairs; first += kGroupWarps) {
    Value pair = t.add(ofGroup(), first);
    Value block = t.div(pair, pairs);
    Value tile = t.add(t.mul(t.rem(pair, pairs), 2), h);
    Value from = t.select(t.equal(block, 0), blocks[0], blocks[1]);
    Value at = t.add(cache.getValueTile(from, tile),
                     t.mul(t.add(t.mul(r, 4), t.mul(i, 2)), kChunk));
    SmallVector<Value> words = loadChunk(at);
    words.append(loadChunk(t.add(at, kChunk)));
    loads.push_back({tile, block, words});
  }
  waitForTurn(t, stage.empty, t.exclusiveOr(stage.parity, t.constantI32(1)));
  Value isHigh = t.less(t.index(3), r);
  for (const Load &load : loads) {
    Value feature = t.add(t.mul(load.tile, kTile), t.mul(r, 2));
    Value at = t.add(t.mul(load.block, countKeyBytes() / kStageBlocks),
                     t.add(t.mul(feature, kChunk), t.mul(i, kChunk / 2)));
    at = t.add(at, stage.values);
    // The first two keys of each four, then the others.
    for (int64_t core = 0; core < 2; ++core) {
      auto get = [&](int64_t feature) {
        return SmallVector<Value>{load.words[2 * core + feature],
                                  load.words[4 + 2 * core + feature]};
      };
      storeTurned(t, memory, t.add(at, core * features * kChunk), isHigh,
                  get(0), get(1));
    }
  }
}
