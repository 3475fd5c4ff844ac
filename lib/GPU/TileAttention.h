// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention of one head by the tensor cores, on a cache in tiles: of a token,
// or of up to sixteen neighbouring ones. The block's warps take every kWarps-th
// block of 16 keys, by position alone, and what they found is put together in
// the order of the warps. A product's rows and columns do not depend on each
// other, so a token's bits are the same alone and among others.
//
// Where a block has two sets of sixteen queries that read the same keys, two
// neighbouring warps take what else is one's, each for a set: so keys come to
// the processor once for both. They take a second part behind the first, whose
// sums wait in memory that the block shares.
//
// Queries and weights are two f16 each, the second what the first leaves. Of a
// product m16n8k16, lane 4 g + q has row g and g + 8, columns 2 q and 2 q + 1.
// Scores: rows are eight tokens' queries and below them what these leave,
// columns are keys, 2 c of the one and 2 c + 1 of the other product, so a lane
// has token g's scores of keys 4 q to 4 q + 3. Outputs: rows are features, 2 g
// and 2 g + 1 of a tile, columns the tokens; a lane's weights are those that
// this product wants of it. A lane takes neighbours, 16 bytes of each tile:
// what a product adds up may stand in any order.
#ifndef TBQ_GPU_TILEATTENTION_H
#define TBQ_GPU_TILEATTENTION_H

#include "WarpAttention.h"

namespace mlir::tbq {

/// The base of what has seen no key.
inline constexpr float kNoBase = -1e30f;

/// What makes a score a logarithm to the base of 2, as bases are.
Value getScoreScale(ThreadBuilder &t, AttentionOp op);
/// Of a score that is not scaled.
Value getWeight(ThreadBuilder &t, AttentionOp op, Value score, Value base);

/// Whether a score, scaled, is so far above the base that it is to become that:
/// weights are 2^8 at most, well within f16.
Value isFarAbove(ThreadBuilder &t, Value score, Value base);

/// What puts a part of the keys to those before it: theirs and its own sums are
/// multiplied by these, and so become relative to the larger base.
struct PartFactors {
  Value ofBefore, own;

  /// larger: of both bases.
  static PartFactors get(ThreadBuilder &t, Value before, Value own,
                         Value larger);
  Value add(ThreadBuilder &t, Value before, Value sum) const {
    return t.fma(sum, own, t.mulf(before, ofBefore));
  }
};

class TileAttention {
public:
  /// For `head` of `tokens` tokens from `token` on, as many as there are: of
  /// one, or of 8 or 16. With two `sets`, of 16 tokens each, the second are
  /// those of the next head, if it has the same keys, or else the next tokens.
  /// Where `t` stands. `room`: bytes of shared memory that it may take, if it
  /// can do with so few. Of `heads` from `head` on, which have the same keys,
  /// and one token they stand where 8 tokens would.
  TileAttention(ThreadBuilder &t, AttentionOp op, AttentionNeighbours around,
                AttentionPlace place, Value token, Value head, int64_t tokens,
                int64_t sets = 1, int64_t room = 0, int64_t heads = 1);

  /// How many heads of one token have the same keys, as many as stand in a
  /// product.
  static int64_t countHeads(AttentionOp op);

  /// Whether two sets are of two heads.
  static bool hasHeadSets(AttentionOp op) {
    return op.getHeads() / op.getCacheType().getKvHeads() % 2 == 0;
  }
  /// Bytes of memory that the block shares.
  int64_t countBytes() const;

  /// What run takes as `loaded`: the warp's first block, if the head `exists`.
  /// See WarpAttention.
  SmallVector<Value> loadFirst(Value exists);
  /// The warp's part. `loaded`: the first block; the others, and of none all,
  /// are loaded each when it is its turn.
  void run(ValueRange loaded);
  /// What the block's warps found, put together and stored.
  void combine();

private:
  /// Columns of a product; lanes that have a row; features of a tile, and words
  /// of it that a lane has.
  static constexpr int64_t kTokens = 8, kTileLanes = 4, kTile = 16,
                           kLaneWords = 4;

  /// Of eight tokens: a base, which no score is far above, and the sum of
  /// weights of the lane's keys, of token g; the weighted sum of values, of two
  /// features of each tile, of columns 2 q and 2 q + 1. Weights are relative to
  /// the base.
  struct State {
    Value base, total;
    SmallVector<Value> sums;
  };

  // Words that threads write and all warps read: queries, in turn a pair of
  // features and what it leaves, of one token also its key and value; later
  // what warps found, instead of a tile's queries.
  Value getShared();
  int64_t countQueries() const { return sets * tokens; }
  int64_t getOwnKey() const { return padded; }
  int64_t getOwnValue() const { return padded + padded / 2; }
  int64_t getSums() const { return tokens == 1 ? 2 * padded : 0; }
  /// Tiles of which each thread adds up an output, and how many such there are
  /// between two meetings.
  int64_t countStepTiles() const { return kThreads / (countQueries() * kTile); }
  int64_t turns = 1;
  int64_t getStatistics() const;
  int64_t getFactors() const {
    return getStatistics() + 2 * kWarps * countQueries();
  }
  // Of each query: those of a part, before it and its own; one of all.
  int64_t getInverses() const {
    return getFactors() + 2 * kWarps * countQueries();
  }
  int64_t getKept() const { return getInverses() + countQueries(); }
  SmallVector<Value> loadWords(Value memory, Value at, int64_t count);
  void storeShared(Value word, Value at);
  /// The row and head of query `number` of the unit.
  std::pair<Value, Value> getQueryPlace(Value number);
  void stageQueries();
  void stageWholeQueries();
  void stageOwnRows();
  /// A feature of a head of a row, rotated if by `rope`, 0 past its end.
  Value loadFeature(Value rows, RopeOp rope, Value row, Value head,
                    Value feature);
  /// Runs `body` for each of `count`, each by a thread, from number `first` on.
  void forEach(int64_t first, int64_t count,
               llvm::function_ref<void(Value)> body);

  SmallVector<Value> loadTiles(Value first);
  SmallVector<Value> loadKeys(Value block);
  SmallVector<Value> loadValues(Value block);
  SmallVector<Value> loadIf(Value exists, Value block);
  /// Put the token's own key and value in their place, in its block.
  SmallVector<Value> putOwnKey(Value block, ValueRange keys);
  SmallVector<Value> putOwnValue(Value block, ValueRange values);
  Value countBlocks();

  /// The warp's set, and the first part of the keys that it takes.
  Value set() { return t.rem(t.warp(), sets); }
  Value part() { return t.div(t.warp(), sets); }
  /// Of the lane's token in a group of eight, among the unit's queries.
  Value getQuery(int64_t group) {
    Value query = t.add(row(), group * kTokens);
    return sets > 1 ? t.add(query, t.mul(set(), tokens)) : query;
  }

  /// Of each eight tokens, those of the lane's token and keys 4 q to 4 q + 3.
  SmallVector<SmallVector<Value>> getScores(Value block, ArrayRef<Value> keys);
  /// Where a score is far above the base, makes the largest the base.
  void rebase(ArrayRef<SmallVector<Value>> scores,
              MutableArrayRef<State> states);
  void addBlock(Value block, SmallVector<Value> keys,
                llvm::function_ref<SmallVector<Value>()> getValues,
                MutableArrayRef<State> states);
  SmallVector<Value> addBlocks(Value first, ValueRange states);
  SmallVector<Value> flatten(ArrayRef<State> states);
  SmallVector<State> unflatten(ValueRange values);

  struct Part {
    PartFactors factors;
    Value total; // its sum of weights
  };
  /// By sixteen lanes that have the parts', each of one.
  Part getPart(Value query);
  /// From what lanes from `first` on have of a part each: all factors, and one
  /// over the sum of all weights.
  SmallVector<PartFactors> getAllFactors(const Part &part, Value first);
  Value invertTotal(ArrayRef<PartFactors> factors, Value total, Value first);
  void storeStatistics(Value part);
  // A tile's products, each of a group of eight tokens of a set; of each what
  // all warps of the set found.
  Value getPlaceOf(Value row, Value quarter);
  Value getWritten();
  void storeSums(Value first, int64_t tile, int64_t number);
  void keepSums();
  void storeTokenSums();
  void combineToken();
  void combineTile();
  void storeOutput(Value sum, Value token, Value head, Value feature);

  Value row() { return t.div(t.lane(), kTileLanes); }       // g
  Value quarter() { return t.rem(t.thread(), kTileLanes); } // q
  ThreadBuilder t; // whose thread is renewed
  AttentionOp op;
  AttentionNeighbours around;
  CacheType type;
  CacheHead cache;
  Value token, head, kvHead, position;
  int64_t tokens, sets, heads;
  int64_t headStep = 0, tokenStep = 0; // from one set to the next
  int64_t groups;                      // of eight tokens
  int64_t padded;                      // features
  int64_t tiles;                       // of 16 features
  int64_t rowWords;                    // of a token's query
  SmallVector<State> found;            // by the warp
};

} // namespace mlir::tbq

#endif // TBQ_GPU_TILEATTENTION_H
