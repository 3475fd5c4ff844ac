// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One warp's part of a head's attention: every kWarps-th block of 16 keys. Keys
// lie with a feature's 16 side by side, values with a key's features; a lane
// loads 16 bytes of either at a time, all of a block before it uses any. So it
// has some features of a few keys, then one key's score, then a few features of
// some keys; what lanes have in common is added by shuffles.
#ifndef TBQ_GPU_WARPATTENTION_H
#define TBQ_GPU_WARPATTENTION_H

#include "ThreadBuilder.h"

#include "tbq/Target/CacheHead.h"

namespace mlir::tbq {

/// The op's layer and its first token's position, or a place for each token,
/// where they are known.
struct AttentionPlace {
  Value layer, position;
};

/// What stands around an attention and is done with it, head by head; each null
/// if it is not there. Of several tokens the query's rotation alone; what has
/// to do with the key, where it takes the token's key as it is.
struct AttentionNeighbours {
  RopeOp query, key; // rotate rows that nothing else reads
  AppendCacheOp append;
};

/// Neighbouring pairs of a head's features, loaded where it is made, and the
/// angles that rope turns them by.
class Rotation {
public:
  /// Pairs i to i + width - 1 of `head` in row `token`.
  Rotation(ThreadBuilder &t, RopeOp op, Value token, Value head, Value i,
           int64_t width);
  /// Their lower features and their higher ones, half a head on.
  std::pair<SmallVector<Value>, SmallVector<Value>>
  rotate(ThreadBuilder &t) const;

private:
  int64_t width;
  Value low, high, cosines, sines;
};

class WarpAttention {
public:
  /// For a query head of a token, where `t` stands.
  WarpAttention(ThreadBuilder &t, AttentionOp op, AttentionNeighbours around,
                AttentionPlace place, Value token, Value head);

  /// What run takes as `loaded`: the warp's first block, if the head `exists`.
  /// An op that has the token's own key may have it loaded before the barrier
  /// that its query waits for: what was there before is all it reads.
  SmallVector<Value> loadFirst(Value exists);

  /// Visits the warp's blocks and stores what they come to, relative to their
  /// largest score, in shared memory: that score, the sum of weights, the
  /// weighted sum of values by features.
  /// `loaded`: the first block, and every other is loaded behind the one
  /// before; empty: each is when it is its turn.
  void run(ValueRange loaded);
  /// What the block's warps found, put together in their order and stored.
  void combine();

private:
  /// A block's keys and values as they were loaded: vectors of elements.
  struct Block {
    SmallVector<Value> keys, values;
  };

  /// What the warps found, one behind the other.
  Value getShared() {
    return t.getShared("attention", kWarps * getStateFloats());
  }
  int64_t getStateFloats() { return 2 + type.getPaddedHeadDim(); }

  void loadOwnRows();
  /// The lane's features of a head of a row, rotated if by `rope`.
  SmallVector<Value> loadKeyFeatures(Value rows, RopeOp rope, Value head);
  void loadOwnValue();
  /// Of the first query head that reads a kv head, the last warp stores the
  /// token's key and value in the cache: it is the last to have keys to read.
  void append();
  Block load(Value block);
  SmallVector<Value> loadIf(Value exists, Value block);
  Value countBlocks() { return t.add(t.div(position, keys), 1); }
  Value getScore(Value block, const Block &loaded);
  SmallVector<Value> addBlock(Value block, const Block &loaded,
                              ValueRange state);

  /// Of keys: the feature of this lane's load number `load`, one of the head's
  /// in any case, and whether it is that (null: it always is).
  std::pair<Value, Value> getKeyFeature(int64_t load);
  /// Of values: the number of the lane's vector in a piece of a row, likewise.
  std::pair<Value, Value> getValueVector(int64_t piece);
  /// The key, of 16, whose value the lane has of load number `load`.
  Value getValueKey(int64_t load);

  /// As the cache holds it.
  Value roundToCache(Value x);
  /// Adds up over the lanes that are `first`, 2 `first` .. 16 apart, to all of
  /// them. They divide the sums they have, as far as these go: a lane keeps
  /// each n-th, of n lanes the one in whose place it stands.
  SmallVector<Value> addLanes(SmallVector<Value> sums, int64_t first);

  ThreadBuilder &t;
  AttentionOp op;
  AttentionNeighbours around;
  CacheType type;
  CacheHead cache;
  Value token, head, kvHead, position;
  int64_t perLoad;          // elements of 16 bytes
  int64_t valueVectors;     // of a key's value
  int64_t valueLanes;       // that have a key's value, or a piece of it
  int64_t valuePieces;      // of a key's value
  int64_t keys;             // of a block
  int64_t valueLoads;       // of a block's values, by a lane, each a piece
  int64_t keyLanes;         // that share a feature of a block's keys
  int64_t keyLoads;         // of a block's keys, by a lane
  SmallVector<Value> query; // of the lane's features of keys
  SmallVector<Value> ownKey, ownValue; // the token's, if the op has them
};

} // namespace mlir::tbq

#endif // TBQ_GPU_WARPATTENTION_H
