// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention of a few queries that read the same kv head: consecutive heads of
// consecutive tokens. A key or value is loaded and converted once for all of
// them. Each query's float operations and their order are the same in any
// group, so that no bit depends on how a step's queries are grouped.
//
// Softmax and the sum of values are made in three levels (a block of 16 keys, a
// span of blocks, all spans): their error grows with the number of terms at a
// level, so it stays below R20's bound for thousands of keys. The levels are
// absolute positions, and a span's sums need none of another: workers may make
// them apart, and whoever adds them does so in the order of their positions.
#ifndef TBQ_CPU_QUERYGROUP_H
#define TBQ_CPU_QUERYGROUP_H

#include "LowerStep.h"

#include "tbq/Target/CacheHead.h"

namespace mlir::tbq {

class QueryGroup {
public:
  static constexpr int64_t kSpan = AttentionOp::kSpan; // blocks

  /// `tokens` tokens from `token` on, `heads` heads of each from `head` on.
  /// `hasNext`: then this worker goes on to the next kv head's keys and values.
  /// `scratch` holds scores: kSpan blocks, of as many queries, of 16 keys.
  QueryGroup(VectorBuilder &v, AttentionOp op, CacheHead &cache, Value token,
             int64_t tokens, Value head, int64_t heads, Value hasNext,
             Value scratch, const AttentionTarget &target);

  void run();
  /// Of spans `from` to `to` only the sums, to memory that workers share.
  void storeSpans(Value from, Value to);
  /// Adds up what was stored of one head's first `spans`.
  void addSpans(Value spans);

  /// The sums of 16 lanes that stay in registers beside what is added to them.
  static int64_t getSums(int64_t registers) {
    return std::max<int64_t>(2, registers * 3 / 4);
  }
  /// The most queries of a group: a query has two sums while it is multiplied
  /// with keys.
  static int64_t getMostQueries(int64_t registers) {
    return getSums(registers) / 2;
  }

private:
  static constexpr int64_t kLineBytes = 64;
  /// Less than any score; what is seen of no key.
  static constexpr float kLowest = -1e30f;
  /// Multiply-adds that are begun before the first one's sum is there.
  static constexpr int64_t kLatency = 4;

  struct Query {
    Value token, column; // where its row of features begins
    int64_t number;      // of the token within the group
  };

  /// How far ahead of a block keys or values are asked for, in bytes: of the
  /// last blocks, those of the next head.
  struct Distance {
    Value last, within, beyond;
    Value get(VectorBuilder &v, Value block) const;
  };

  /// The largest score of each query, in the lane of its number; then each
  /// query's sums: of weights, in sixteen lanes, and the parts of the weighted
  /// sum of values, all relative to that largest score.
  SmallVector<Value> getNone();
  /// Of one span.
  SmallVector<Value> sumSpan(Value span, Value blocks);
  /// Of what was `seen` and of a later span.
  SmallVector<Value> add(ValueRange seen, ValueRange span);
  /// Each query's products with a block's keys.
  SmallVector<Value> getProducts(Value block);
  /// Stores a span's scores, -inf of keys that come later than the query. The
  /// result is the largest of each query's in each lane.
  SmallVector<Value> storeScores(Value span, Value end);
  /// Makes a span's scores weights, relative to the `largest`, and adds them up
  /// for each query.
  SmallVector<Value> storeWeights(Value span, Value end, Value largest);
  /// Each query's weighted sum of a span's values, part by part.
  SmallVector<Value> sumValues(Value span, Value end);
  /// Parts `first` to `until` of that, `step` of a block at once.
  SmallVector<Value> sumParts(Value span, Value end, int64_t first,
                              int64_t until, int64_t step);
  /// The same of a block's values, for `number` parts from `first` on.
  SmallVector<Value> sumBlock(Value span, Value block, int64_t first,
                              int64_t number);
  /// One key's part of that, its weight in `lane` of the block's scores, for
  /// as many parts as there are sums from `first` on. `masked`: of those
  /// queries only that are not earlier than the key.
  SmallVector<Value> addValue(Value key, Value row, Value lane, Value distance,
                              int64_t first, ValueRange sums, bool masked);
  void storeOutput(ValueRange state);
  SmallVector<Value> getSumPlace(Value span, Value head, int64_t part);
  /// How many blocks the last query sees, and how far ahead of each to ask.
  Value prepare();
  /// Asks for keys and values that come later, into the second cache: reading
  /// the cache waits for memory, not for arithmetic.
  void prefetch(Value offset, Value distance);
  Distance getDistance(Value blocks, int64_t blockBytes, int64_t headBytes);

  VectorBuilder &v;
  AttentionOp op;
  CacheHead &cache;
  Value head, hasNext, scratch;
  Distance keysAhead, valuesAhead;
  int64_t heads, sums, parts, cacheBytes;
  SmallVector<Query> queries;
  SmallVector<Value> limits; // of each token: its position + 1
};

} // namespace mlir::tbq

#endif // TBQ_CPU_QUERYGROUP_H
