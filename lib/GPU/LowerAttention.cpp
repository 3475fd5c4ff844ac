// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Rotary embedding, the KV cache and attention on a GPU. A block has a query
// head of a token; its warps divide the keys, sixteen at a time (the cache
// holds them so), by position alone, and what they found is put together in
// the order of the warps: the same whatever the number of blocks or tokens.

#include "LowerStep.h"

#include "tbq/Target/CacheHead.h"

using namespace mlir;
using namespace mlir::tbq;

void mlir::tbq::lowerRope(ThreadBuilder &t, RopeOp op) {
  int64_t headDim = op.getHeadDim(), half = headDim / 2;
  LayoutAttr layout = cast<PackedType>(op.getTable().getType()).getLayout();
  Value table = getBytes(t, op.getTable());
  Value input = op.getInput(), into = op.getInto().front();
  forEachElement(t, op, half, [&](Value token, Value pair) {
    Value head = t.div(pair, half), i = t.rem(pair, half);
    Value angles =
        t.add(t.mul(t.add(op.getPosition(), token), layout.getTileBytes()),
              t.mul(i, 4));
    Value cosine = t.loadAsF32(table, angles, t.b.getF32Type());
    Value sine = t.loadAsF32(table, t.add(angles, 4 * half), t.b.getF32Type());
    Value low[] = {token, t.add(t.mul(head, headDim), i)};
    Value high[] = {token, t.add(low[1], half)};
    Value x = t.load(input, low), y = t.load(input, high);
    t.store(t.subf(t.mulf(x, cosine), t.mulf(y, sine)), into, low);
    t.store(t.addf(t.mulf(y, cosine), t.mulf(x, sine)), into, high);
  });
}

/// Of a feature of one key.
static Value getKeyOffset(ThreadBuilder &t, CacheHead &cache, Value position,
                          Value feature) {
  Value block = t.div(position, CacheType::kBlock);
  Value lane = t.rem(position, CacheType::kBlock);
  return t.add(cache.getKeyOffset(block, feature),
               t.mul(lane, cache.type.getElementBytes()));
}

void mlir::tbq::lowerAppendCache(ThreadBuilder &t, AppendCacheOp op) {
  CacheType type = op.getCacheType();
  Type element = type.getElementType();
  int64_t headDim = type.getHeadDim();
  forEachElement(t, op, headDim, [&](Value token, Value column) {
    Value feature = t.rem(column, headDim);
    CacheHead cache(t.b, t.loc, type, op.getLayer(), t.div(column, headDim));
    Value position = t.add(op.getPosition(), token);
    t.storeF32As(t.load(op.getKey(), {token, column}), op.getCache(),
                 getKeyOffset(t, cache, position, feature), element);
    t.storeF32As(t.load(op.getValue(), {token, column}), op.getCache(),
                 cache.getValueOffset(position, feature), element);
  });
}

namespace {
/// One warp's part of a head's attention: every kWarps-th block of 16 keys.
/// Two lanes share a key, one the even features and one the odd ones; of the
/// values, each lane has every 32nd feature. State: the largest score, the sum
/// of weights and the parts of the weighted sum of values, relative to it.
struct WarpAttention {
  ThreadBuilder &t;
  AttentionOp op;
  CacheHead cache;
  Value token, head, position;
  int64_t parts; // features a lane has

  static constexpr int64_t kBlock = CacheType::kBlock;
  static_assert(2 * kBlock == kWarpLanes, "two lanes share a key");

  /// The score of this lane's key of a block, -inf where it is later than the
  /// token.
  Value getScore(Value block) {
    int64_t headDim = cache.type.getHeadDim();
    Value key = t.add(t.mul(block, kBlock), t.rem(t.lane(), kBlock));
    Value first = t.mul(head, headDim);
    Value part = t.loop(
        t.div(t.lane(), kBlock), t.index(headDim), t.index(2),
        {t.constant(0.0f)}, [&](Value feature, ValueRange sum) {
          Value q = t.load(op.getQuery(), {token, t.add(first, feature)});
          Value k =
              t.loadAsF32(op.getCache(), getKeyOffset(t, cache, key, feature),
                          cache.type.getElementType());
          return SmallVector<Value>{t.fma(q, k, sum[0])};
        })[0];
    Value dot = t.addf(part, t.shuffle(part, kBlock));
    Value visible = t.less(key, t.add(position, 1));
    return t.select(visible,
                    t.mulf(dot, t.constant(op.getScale().convertToFloat())),
                    t.constant(-INFINITY));
  }

  SmallVector<Value> addBlock(Value block, ValueRange state) {
    Value score = getScore(block);
    Value largest =
        t.maxf(state[0], t.reduceWarp(Reduction::Maximum, score, kBlock));
    Value weight = t.exp(t.subf(score, largest));
    Value decay = t.exp(t.subf(state[0], largest));
    SmallVector<Value> next = {
        largest,
        t.fma(state[1], decay, t.reduceWarp(Reduction::Sum, weight, kBlock))};
    for (Value sum : state.drop_front(2))
      next.push_back(t.mulf(sum, decay));
    // Keys past the token weigh 0; the cache holds zeros or older values there.
    for (int64_t key = 0; key < kBlock; ++key) {
      Value own = getFromLane(weight, key);
      Value at = t.add(t.mul(block, kBlock), key);
      for (int64_t part = 0; part < parts; ++part) {
        Value value = t.loadAsF32(op.getCache(),
                                  cache.getValueOffset(at, getFeature(part)),
                                  cache.type.getElementType());
        next[2 + part] = t.fma(own, value, next[2 + part]);
      }
    }
    return next;
  }

  /// Of a padded row of values; the last part may be repeated by lanes that
  /// have none.
  Value getFeature(int64_t part) {
    Value feature = t.add(t.lane(), part * kWarpLanes);
    return t.min(feature, t.index(cache.type.getPaddedHeadDim() - 1));
  }

  Value getFromLane(Value x, int64_t lane) {
    return NVVM::ShflOp::create(t.b, t.loc, x.getType(), t.constantI32(-1), x,
                                t.constantI32(lane), t.constantI32(31),
                                NVVM::ShflKind::idx, UnitAttr());
  }
};
} // namespace

void mlir::tbq::lowerAttention(ThreadBuilder &t, AttentionOp op) {
  CacheType type = op.getCacheType();
  int64_t headDim = type.getHeadDim(), padded = type.getPaddedHeadDim();
  int64_t parts = llvm::divideCeil(headDim, kWarpLanes);
  int64_t sharing = op.getHeads() / type.getKvHeads();
  int64_t stateFloats = 2 + padded; // of a warp
  Value shared = t.getShared("attention", kWarps * stateFloats);
  Value into = op.getInto().front();
  t.loop(op.getRange()[0], op.getRange()[1], t.index(1), [&](Value unit) {
    Value token = t.div(unit, op.getHeads()), head = t.rem(unit, op.getHeads());
    Value position = t.add(op.getPosition(), token);
    WarpAttention warp{
        t,
        op,
        CacheHead(t.b, t.loc, type, op.getLayer(), t.div(head, sharing)),
        token,
        head,
        position,
        parts};
    SmallVector<Value> none(2 + parts, t.constant(0.0f));
    none[0] = t.constant(-1e30f);
    Value blocks = t.add(t.div(position, CacheType::kBlock), 1);
    SmallVector<Value> state = t.loop(t.warp(), blocks, t.index(kWarps), none,
                                      [&](Value block, ValueRange seen) {
                                        return warp.addBlock(block, seen);
                                      });

    // Each warp's state, and then each feature's sum over them.
    t.synchronize();
    Value base = t.mul(t.warp(), stateFloats);
    t.ifThen(t.equal(t.lane(), 0), [&] {
      t.store(state[0], shared, {base});
      t.store(state[1], shared, {t.add(base, 1)});
    });
    for (int64_t part = 0; part < parts; ++part) {
      Value feature = t.add(t.lane(), part * kWarpLanes);
      t.ifThen(t.less(feature, t.index(padded)), [&] {
        t.store(state[2 + part], shared, {t.add(t.add(base, 2), feature)});
      });
    }
    t.synchronize();
    t.loop(t.thread(), t.index(headDim), t.index(kThreads), [&](Value feature) {
      auto load = [&](int64_t warp, Value place) {
        return t.load(shared, {t.add(place, warp * stateFloats)});
      };
      Value largest = load(0, t.index(0));
      for (int64_t w = 1; w < kWarps; ++w)
        largest = t.maxf(largest, load(w, t.index(0)));
      Value total = t.constant(0.0f), sum = t.constant(0.0f);
      for (int64_t w = 0; w < kWarps; ++w) {
        Value decay = t.exp(t.subf(load(w, t.index(0)), largest));
        total = t.fma(decay, load(w, t.index(1)), total);
        sum = t.fma(decay, load(w, t.add(feature, 2)), sum);
      }
      t.store(t.divf(sum, total), into,
              {token, t.add(t.mul(head, headDim), feature)});
    });
    // What pads the row is read by whoever sums over it; one head writes it.
    int64_t columns = op.getHeads() * headDim;
    int64_t width = cast<MemRefType>(into.getType()).getShape().back();
    if (columns < width)
      t.ifThen(t.both(t.equal(head, 0), t.equal(t.thread(), 0)), [&] {
        for (int64_t pad = columns; pad < width; ++pad)
          t.store(t.constant(0.0f), into, {token, t.index(pad)});
      });
  });
}
