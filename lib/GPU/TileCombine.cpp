// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a block's warps found of a head, put together in their order: each
// warp's sums times its factor, which makes them relative to the largest score
// of all and divides by the sum of all weights. See TileAttention.h.

#include "TileAttention.h"

using namespace mlir;
using namespace mlir::tbq;

/// Words of a product's sums, of a warp.
static constexpr int64_t kProductWords = 128;

int64_t TileAttention::getStatistics() const {
  return tokens == 1 ? getSums() + kWarps * padded
                     : std::max(kThreads * kWarps, tokens * rowWords);
}

/// Largest score and sum of weights, of each token by the lane that has it.
void TileAttention::storeStatistics() {
  SmallVector<Value> totals;
  for (const State &state : found)
    totals.push_back(t.reduceWarp(Reduction::Sum, state.total, kTileLanes));
  Value stores = t.equal(tokens == 1 ? t.lane() : quarter(), 0);
  t.ifThen(stores, [&] {
    for (auto [group, state] : llvm::enumerate(found)) {
      Value number = t.mul(t.warp(), tokens);
      if (tokens > 1)
        number = t.add(number, t.add(row(), group * kTokens));
      Value at = t.add(t.mul(number, 2), getStatistics());
      t.storeVector({state.largest, totals[group]}, getShared(), {at});
    }
  });
}

TileAttention::Statistics TileAttention::findStatistics(Value token,
                                                        Value warp) {
  auto type = VectorType::get({2}, t.b.getF32Type());
  Value number = t.add(t.mul(warp, tokens), token);
  Value both = t.loadVector(getShared(),
                            {t.add(t.mul(number, 2), getStatistics())}, type);
  Value largest = t.extract(both, 0);
  Value ofAll = t.reduceWarp(Reduction::Maximum, largest, kWarps);
  Value decay = t.exp(t.subf(largest, ofAll));
  Value total =
      t.reduceWarp(Reduction::Sum, t.mulf(decay, t.extract(both, 1)), kWarps);
  return {t.divf(decay, total), ofAll, total};
}

RangeMerge RangeMerge::add(ThreadBuilder &t, Value ofRange,
                           Value weights) const {
  Value larger = t.maxf(largest, ofRange);
  Value own = t.mulf(t.exp(t.subf(largest, larger)), total);
  Value its = t.mulf(t.exp(t.subf(ofRange, larger)), weights);
  Value sum = t.addf(own, its);
  return {larger, sum, t.divf(own, sum), t.divf(its, sum)};
}

Value RangeMerge::merge(ThreadBuilder &t, Value before, Value ofRange) const {
  return t.fma(ofRange, next, t.mulf(before, former));
}

/// Of token number `number`, where there is such; merged with what is there,
/// but the first range, and one that the token does not see.
void TileAttention::storeOutput(Value sum, Value number, Value feature,
                                const RangeMerge *merge) {
  int64_t headDim = type.getHeadDim();
  Value at = t.add(token, number), exists;
  if (tokens > 1)
    exists = t.less(at, op.getCount());
  if (padded > headDim) {
    Value isOfHead = t.less(feature, t.index(headDim));
    exists = exists ? t.both(exists, isOfHead) : isOfHead;
  }
  auto store = [&] {
    Value to[] = {at, t.add(t.mul(head, headDim), feature)};
    Value stored = sum, into = op.getInto().front();
    if (merge) {
      Value before = t.load(into, to);
      stored = t.select(t.equal(range, 0), sum, merge->merge(t, before, sum));
      if (tokens > 1)
        stored = t.select(seesRange(number), stored, before);
    }
    t.store(stored, into, to);
  };
  if (exists)
    t.ifThen(exists, store);
  else
    store();
}

Value TileAttention::seesRange(Value number) {
  return t.less(t.mul(range, CacheType::kRange),
                t.add(t.add(position, number), 1));
}

/// A lane has what all lanes of its row have. It stands where the threads that
/// add it up find it side by side.
void TileAttention::storeTokenSums() {
  int64_t most = padded % 32 ? 2 : 4;
  SmallVector<Value> sums; // in turn features 2 g and 2 g + 1 of a tile
  for (int64_t i = 0; i < 4 * tiles; i += 2)
    sums.push_back(found[0].sums[i]);
  Value first =
      t.add(t.add(t.mul(t.warp(), padded), getSums()), t.mul(row(), most));
  t.ifThen(t.equal(quarter(), 0), [&] {
    for (size_t i = 0; i < sums.size(); i += most)
      t.storeVector(ArrayRef(sums).slice(i, most), getShared(),
                    {t.add(first, 8 * i)});
  });
}

void TileAttention::combineToken(
    const Statistics &all,
    llvm::function_ref<void(Value sum, Value feature)> store) {
  int64_t most = padded % 32 ? 2 : 4;
  SmallVector<Value> factors;
  for (int64_t w = 0; w < kWarps; ++w)
    factors.push_back(t.getFromLane(all.factor, t.index(w)));
  t.loop(t.thread(), t.index(padded), t.index(kThreads), [&](Value place) {
    Value sum = t.constant(0.0f), at = t.add(place, getSums());
    for (auto [w, factor] : llvm::enumerate(factors))
      sum = t.fma(factor, t.load(getShared(), {t.add(at, w * padded)}), sum);
    Value number =
        t.add(t.mul(t.div(place, 8 * most), most), t.rem(place, most));
    Value row = t.rem(t.div(place, most), 8);
    Value feature = t.add(t.add(t.mul(t.div(number, 2), kTile), t.mul(row, 2)),
                          t.rem(number, 2));
    store(sum, feature);
  });
}

void TileAttention::combinePart(Value isAlone) {
  t.renewThread();
  t.synchronize();
  Statistics all = findStatistics(t.index(0), t.rem(t.lane(), kWarps));
  Value parts = op.getInto()[1], part = findPart(range);
  combineToken(all, [&](Value sum, Value feature) {
    t.store(sum, parts, {part, feature});
    t.ifThen(isAlone, [&] { storeOutput(sum, t.index(0), feature); });
  });
  t.ifThen(t.equal(t.thread(), 0), [&] {
    t.store(all.largest, parts, {part, t.index(padded)});
    t.store(all.total, parts, {part, t.index(padded + 1)});
  });
}

Value TileAttention::findPart(Value range) {
  return t.add(t.mul(head, type.countRanges()), range);
}

void TileAttention::mergeParts() {
  constexpr int64_t kAtOnce = 4;
  t.renewThread();
  Value ranges = countRanges(), parts = op.getInto()[1];
  t.loop(t.thread(), t.index(padded), t.index(kThreads), [&](Value feature) {
    struct Part {
      Value largest, total, sum;
    };
    auto load = [&](Value range) {
      Value part = findPart(range);
      return Part{t.load(parts, {part, t.index(padded)}),
                  t.load(parts, {part, t.index(padded + 1)}),
                  t.load(parts, {part, feature})};
    };
    Part first = load(t.index(0));
    RangeMerge merge = RangeMerge::none(t).add(t, first.largest, first.total);
    SmallVector<Value> all = t.loop(
        t.index(1), ranges, t.index(kAtOnce),
        {merge.largest, merge.total, first.sum},
        [&](Value from, ValueRange before) {
          SmallVector<Part> loaded;
          for (int64_t i = 0; i < kAtOnce; ++i)
            loaded.push_back(load(t.min(t.add(from, i), t.sub(ranges, 1))));
          SmallVector<Value> now(before);
          for (auto [i, part] : llvm::enumerate(loaded)) {
            Value exists = t.less(t.add(from, i), ranges);
            RangeMerge next =
                RangeMerge{now[0], now[1]}.add(t, part.largest, part.total);
            Value merged[] = {next.largest, next.total,
                              next.merge(t, now[2], part.sum)};
            for (auto [value, more] : llvm::zip(now, merged))
              value = t.select(exists, more, value);
          }
          return now;
        });
    storeOutput(all[2], t.index(0), feature);
  });
}

/// As many products' sums at a time as threads can add up, one each.
void TileAttention::combineTile(RangeMerge *merge) {
  const int64_t ofTile = tokens * kTile, atOnce = kThreads / ofTile;
  const int64_t factorsAt = getStatistics() + 2 * kWarps * tokens;
  t.synchronize();
  if (merge)
    mergeTokens(*merge, factorsAt);
  else
    t.ifThen(t.less(t.thread(), t.index(kWarps * tokens)), [&] {
      Value factor =
          findStatistics(t.div(t.thread(), kWarps), t.rem(t.thread(), kWarps))
              .factor;
      t.store(factor, getShared(), {t.add(t.thread(), factorsAt)});
    });
  t.synchronize();
  // Where a lane writes four sums, and a thread finds one: so that neither the
  // lanes of a row nor features of a token lie in the same banks.
  auto getPlace = [&](Value row, Value quarter) {
    Value turned = t.exclusiveOr(quarter, t.div(row, 2));
    return t.add(t.mul(row, kTile), t.mul(turned, 4));
  };
  Value written =
      t.add(t.mul(t.warp(), kProductWords), getPlace(row(), quarter()));
  Value feature = t.rem(t.thread(), kTile);
  Value column = t.rem(t.div(t.thread(), kTile), kTokens);
  Value product = t.div(t.thread(), kProductWords);
  Value number = t.add(t.mul(t.rem(product, groups), kTokens), column);
  Value corner = t.add(t.mul(t.rem(feature, 2), 2), t.rem(column, 2));
  Value read =
      t.add(t.mul(product, kWarps * kProductWords),
            t.add(getPlace(t.div(feature, 2), t.div(column, 2)), corner));
  SmallVector<Value> factors;
  auto type = VectorType::get({4}, t.b.getF32Type());
  for (int64_t w = 0; w < kWarps; w += 4) {
    Value at = t.add(t.mul(number, kWarps), factorsAt + w);
    Value four = t.loadVector(getShared(), {at}, type);
    for (int64_t i = 0; i < 4; ++i)
      factors.push_back(t.extract(four, i));
  }
  RangeMerge ofToken;
  if (merge) {
    auto both = VectorType::get({2}, t.b.getF32Type());
    Value at = t.add(t.mul(number, 2), factorsAt + kWarps * tokens);
    Value weights = t.loadVector(getShared(), {at}, both);
    ofToken.former = t.extract(weights, 0);
    ofToken.next = t.extract(weights, 1);
  }
  for (int64_t first = 0; first < tiles; first += atOnce) {
    int64_t count = std::min(atOnce, tiles - first);
    for (int64_t i = 0; i < count * groups; ++i) {
      ArrayRef<Value> sums = found[i % groups].sums;
      t.storeVector(sums.slice(4 * (first + i / groups), 4), getShared(),
                    {t.add(written, i * kWarps * kProductWords)});
    }
    t.synchronize();
    Value sum = t.constant(0.0f);
    for (auto [w, factor] : llvm::enumerate(factors))
      sum = t.fma(factor, t.load(getShared(), {t.add(read, w * kProductWords)}),
                  sum);
    Value tile = t.add(t.div(product, groups), first);
    auto store = [&] {
      storeOutput(sum, number, t.add(t.mul(tile, kTile), feature),
                  merge ? &ofToken : nullptr);
    };
    if (count < atOnce)
      t.ifThen(t.less(tile, t.index(tiles)), store);
    else
      store();
    t.synchronize();
  }
}

void TileAttention::mergeTokens(RangeMerge &merge, int64_t factorsAt) {
  // Threads past the last token do as those of the last one.
  Value number = t.min(t.div(t.thread(), kWarps), t.index(tokens - 1));
  Value warp = t.rem(t.thread(), kWarps);
  Statistics own = findStatistics(number, warp);
  RangeMerge merged = merge.add(t, own.largest, own.total);
  Value sees = seesRange(number);
  merge.largest = t.select(sees, merged.largest, merge.largest);
  merge.total = t.select(sees, merged.total, merge.total);
  t.ifThen(t.less(t.thread(), t.index(kWarps * tokens)), [&] {
    t.store(own.factor, getShared(), {t.add(t.thread(), factorsAt)});
    Value at = t.add(t.mul(number, 2), factorsAt + kWarps * tokens);
    t.ifThen(t.equal(warp, 0), [&] {
      t.storeVector({merged.former, merged.next}, getShared(), {at});
    });
  });
}

void TileAttention::combine(RangeMerge *merge) {
  t.renewThread();
  if (tokens > 1)
    return combineTile(merge);
  t.synchronize();
  Statistics all = findStatistics(t.index(0), t.rem(t.lane(), kWarps));
  if (merge)
    *merge = merge->add(t, all.largest, all.total);
  combineToken(all, [&](Value sum, Value feature) {
    storeOutput(sum, t.index(0), feature, merge);
  });
}
