// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See WarpAttention.h. A token's own key and value, where the op has them, take
// the place of what is loaded at its position, so all that follows is the same,
// to the bit, as when they are read from the cache.

#include "WarpAttention.h"

#include "RowExchange.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

static constexpr int64_t kFewKeys = 8; // of a block

WarpAttention::WarpAttention(ThreadBuilder &t, AttentionOp op,
                             AttentionNeighbours around, AttentionPlace place,
                             Value token, Value head)
    : t(t), op(op), around(around), type(op.getCacheType()),
      cache(t.b, t.loc, type, place.layer,
            t.div(head, op.getHeads() / type.getKvHeads()),
            getPlace(t.b, t.loc, place.position, token).cache),
      token(token), head(head),
      kvHead(t.div(head, op.getHeads() / type.getKvHeads())),
      position(getPlace(t.b, t.loc, place.position, token).position),
      perLoad(16 / type.getElementBytes()),
      valueVectors(type.getPaddedHeadDim() / perLoad),
      valueLanes(
          std::min<int64_t>(llvm::PowerOf2Ceil(valueVectors), kWarpLanes)),
      valuePieces(llvm::divideCeil(valueVectors, valueLanes)),
      // So few that many warps have some, if all lanes have a value to load.
      keys(std::clamp<int64_t>(kWarpLanes / valueLanes, kFewKeys,
                               CacheType::kBlock)),
      valueLoads(keys * valueLanes / kWarpLanes), keyLanes(keys / perLoad),
      keyLoads(llvm::divideCeil(type.getHeadDim() * keyLanes, kWarpLanes)) {}

SmallVector<Value> WarpAttention::loadKeyFeatures(Value rows, RopeOp rope,
                                                  Value head) {
  int64_t headDim = type.getHeadDim(), half = headDim / 2;
  Value input = rope ? rope.getInput() : rows;
  auto load = [&](Value feature) {
    return t.load(input, {token, t.add(t.mul(head, headDim), feature)});
  };
  SmallVector<Value> features, values;
  for (int64_t number = 0; number < keyLoads; ++number) {
    features.push_back(getKeyFeature(number).first);
    values.push_back(load(features.back()));
  }
  if (!rope)
    return values;
  LayoutAttr layout = cast<PackedType>(rope.getTable().getType()).getLayout();
  Value table = getBytes(t, rope.getTable());
  Value position = getPlace(t.b, t.loc, rope.getPosition(), token).position;
  Value angles = t.mul(position, layout.getTileBytes());
  // A pair's other feature is the lane's too, where halves have as many loads.
  const bool hasPairs = half % (kWarpLanes / keyLanes) == 0;
  SmallVector<Value> rotated;
  for (int64_t number = 0; number < keyLoads; ++number) {
    Value feature = features[number];
    Value isLow = t.less(feature, t.index(half));
    Value pair = t.select(isLow, feature, t.sub(feature, t.index(half)));
    Value other = hasPairs ? values[(number + keyLoads / 2) % keyLoads]
                           : load(t.select(isLow, t.add(feature, half), pair));
    Value at = t.add(angles, t.mul(pair, 4));
    Value cosine = t.loadAsF32(table, at, t.b.getF32Type());
    Value sine = t.loadAsF32(table, t.add(at, 4 * half), t.b.getF32Type());
    Value part = t.mulf(other, sine);
    Value negative = arith::NegFOp::create(t.b, t.loc, part);
    rotated.push_back(t.addf(t.mulf(values[number], cosine),
                             t.select(isLow, negative, part)));
  }
  return rotated;
}

void WarpAttention::loadOwnValue() {
  // As many as stand side by side whatever the head.
  int64_t headDim = type.getHeadDim(), most = headDim % 4 ? 1 : 4;
  auto vector = VectorType::get({most}, t.b.getF32Type());
  Value head = t.mul(kvHead, headDim);
  for (int64_t piece = 0; piece < valuePieces; ++piece) {
    Value first = t.mul(getValueVector(piece).first, perLoad);
    for (int64_t i = 0; i < perLoad; i += most) {
      Value feature = t.min(t.add(first, i), t.index(headDim - most));
      Value four =
          t.loadVector(op.getValue(), {token, t.add(head, feature)}, vector);
      for (int64_t part = 0; part < most; ++part)
        ownValue.push_back(t.extract(four, part));
    }
  }
  for (Value &value : ownValue)
    value = roundToCache(value);
}

void WarpAttention::loadOwnRows() {
  query = loadKeyFeatures(op.getQuery(), around.query, head);
  for (int64_t number = 0; number < keyLoads; ++number)
    if (Value exists = getKeyFeature(number).second)
      query[number] = t.select(exists, query[number], t.constant(0.0f));
  if (!op.getKey())
    return;
  ownKey = loadKeyFeatures(op.getKey(), around.key, kvHead);
  for (Value &key : ownKey)
    key = roundToCache(key);
  loadOwnValue();
}

Value WarpAttention::roundToCache(Value x) {
  Type element = type.getElementType();
  return element.isF32()
             ? x
             : t.toF32(arith::TruncFOp::create(t.b, t.loc, element, x));
}

std::pair<Value, Value> WarpAttention::getKeyFeature(int64_t load) {
  int64_t features = kWarpLanes / keyLanes, headDim = type.getHeadDim();
  Value feature = t.add(t.div(t.lane(), keyLanes), load * features);
  if ((load + 1) * features <= headDim)
    return {feature, Value()};
  return {t.min(feature, t.index(headDim - 1)),
          t.less(feature, t.index(headDim))};
}

std::pair<Value, Value> WarpAttention::getValueVector(int64_t piece) {
  Value vector = t.add(t.rem(t.lane(), valueLanes), piece * valueLanes);
  if ((piece + 1) * valueLanes <= valueVectors)
    return {vector, Value()};
  return {t.min(vector, t.index(valueVectors - 1)),
          t.less(vector, t.index(valueVectors))};
}

Value WarpAttention::getValueKey(int64_t load) {
  return t.add(t.div(t.lane(), valueLanes), load * (kWarpLanes / valueLanes));
}

WarpAttention::Block WarpAttention::load(Value block) {
  auto vector = VectorType::get({perLoad}, type.getElementType());
  Block loaded;
  int64_t inCache = CacheType::kBlock / keys;
  for (int64_t load = 0; load < keyLoads; ++load) {
    Value row =
        cache.getKeyOffset(t.div(block, inCache), getKeyFeature(load).first);
    Value vectors = t.add(t.mul(t.rem(block, inCache), keyLanes),
                          t.rem(t.lane(), keyLanes));
    Value offset = t.add(row, t.mul(vectors, 16));
    loaded.keys.push_back(t.loadBytes(op.getCache(), offset, vector));
  }
  for (int64_t load = 0; load < valueLoads; ++load) {
    Value at = t.add(t.mul(block, keys), getValueKey(load));
    for (int64_t piece = 0; piece < valuePieces; ++piece) {
      Value first = t.mul(getValueVector(piece).first, perLoad);
      loaded.values.push_back(
          t.loadBytes(op.getCache(), cache.getValueOffset(at, first), vector));
    }
  }
  return loaded;
}

SmallVector<Value> WarpAttention::addLanes(SmallVector<Value> sums,
                                           int64_t first) {
  for (int64_t distance = first; distance < kWarpLanes; distance *= 2) {
    if (sums.size() == 1) {
      sums[0] = t.addf(sums[0], t.shuffle(sums[0], distance));
      continue;
    }
    Value upper = t.equal(t.rem(t.div(t.lane(), distance), 2), 1);
    SmallVector<Value> kept;
    for (size_t i = 0; i < sums.size(); i += 2) {
      Value own = t.select(upper, sums[i + 1], sums[i]);
      Value given = t.select(upper, sums[i], sums[i + 1]);
      kept.push_back(t.addf(own, t.shuffle(given, distance)));
    }
    sums = kept;
  }
  return sums;
}

/// The score of key number lane % keyLanes * perLoad + lane % 16 / keyLanes of
/// the block, -inf where it is later than the token.
Value WarpAttention::getScore(Value block, const Block &loaded) {
  SmallVector<Value> dots(perLoad, t.constant(0.0f));
  Value first =
      t.add(t.mul(block, keys), t.mul(t.rem(t.lane(), keyLanes), perLoad));
  for (int64_t load = 0; load < keyLoads; ++load)
    for (int64_t i = 0; i < perLoad; ++i)
      dots[i] =
          t.fma(query[load], t.toF32(t.extract(loaded.keys[load], i)), dots[i]);
  if (op.getKey()) {
    Value own = t.constant(0.0f);
    for (auto [q, key] : llvm::zip_equal(query, ownKey))
      own = t.fma(q, key, own);
    for (int64_t i = 0; i < perLoad; ++i)
      dots[i] = t.select(t.same(t.add(first, i), position), own, dots[i]);
  }
  Value dot = addLanes(dots, keyLanes)[0];
  Value key = t.add(first, t.div(t.rem(t.lane(), keys), keyLanes));
  return t.select(t.less(key, t.add(position, 1)),
                  t.mulf(dot, t.constant(op.getScale().convertToFloat())),
                  t.constant(-INFINITY));
}

/// State: the largest score, the sum of weights and the lane's parts of the
/// weighted sum of values, relative to it.
SmallVector<Value> WarpAttention::addBlock(Value block, const Block &loaded,
                                           ValueRange state) {
  Value score = getScore(block, loaded);
  Value largest =
      t.maxf(state[0], t.reduceWarp(Reduction::Maximum, score, keys));
  Value weight = t.exp(t.subf(score, largest));
  Value decay = t.exp(t.subf(state[0], largest));
  SmallVector<Value> next = {
      largest,
      t.fma(state[1], decay, t.reduceWarp(Reduction::Sum, weight, keys))};
  for (Value sum : state.drop_front(2))
    next.push_back(t.mulf(sum, decay));
  // Keys past the token weigh 0; the cache holds zeros or older values there.
  for (int64_t load = 0; load < valueLoads; ++load) {
    Value key = getValueKey(load);
    Value lane = t.add(t.mul(t.rem(key, perLoad), keyLanes),
                       t.div(key, perLoad)); // that has its score
    Value own = t.getFromLane(weight, lane);
    Value isOwn = t.same(t.add(t.mul(block, keys), key), position);
    for (int64_t i = 0; i < valuePieces * perLoad; ++i) {
      Value vector = loaded.values[load * valuePieces + i / perLoad];
      Value value = t.toF32(t.extract(vector, i % perLoad));
      if (op.getValue())
        value = t.select(isOwn, ownValue[i], value);
      next[2 + i] = t.fma(own, value, next[2 + i]);
    }
  }
  return next;
}

SmallVector<Value> WarpAttention::loadIf(Value exists, Value block) {
  auto loadAll = [&] {
    Block loaded = load(block);
    loaded.keys.append(loaded.values);
    return loaded.keys;
  };
  return t.ifElse(exists, loadAll, [&](Type type) -> Value {
    return arith::ConstantOp::create(t.b, t.loc, t.b.getZeroAttr(type));
  });
}

SmallVector<Value> WarpAttention::loadFirst(Value exists) {
  return loadIf(t.both(exists, t.less(t.warp(), countBlocks())), t.warp());
}

void WarpAttention::run(ValueRange loaded) {
  Value shared = getShared(), base = t.mul(t.warp(), getStateFloats());
  loadOwnRows();
  if (around.append)
    append();
  SmallVector<Value> none(2 + valuePieces * perLoad, t.constant(0.0f));
  none[0] = t.constant(-1e30f);
  Value blocks = countBlocks();
  const size_t size = none.size();
  none.append(loaded.begin(), loaded.end());
  SmallVector<Value> state = t.loop(
      t.warp(), blocks, t.index(kWarps), none,
      [&](Value block, ValueRange seen) {
        if (loaded.empty())
          return addBlock(block, load(block), seen);
        SmallVector<Value> held(seen.drop_front(size));
        Block own = {SmallVector<Value>(ArrayRef(held).take_front(keyLoads)),
                     SmallVector<Value>(ArrayRef(held).drop_front(keyLoads))};
        SmallVector<Value> next = addBlock(block, own, seen.take_front(size));
        Value behind = t.add(block, kWarps);
        next.append(loadIf(t.less(behind, blocks), behind));
        return next;
      });
  state.truncate(size);
  t.ifThen(t.equal(t.lane(), 0), [&] {
    t.store(state[0], shared, {base});
    t.store(state[1], shared, {t.add(base, 1)});
  });
  for (int64_t piece = 0; piece < valuePieces; ++piece) {
    auto parts = ArrayRef(state).slice(2 + piece * perLoad, perLoad);
    SmallVector<Value> sums = addLanes(SmallVector<Value>(parts), valueLanes);
    int64_t shares = perLoad / sums.size();
    auto [vector, exists] = getValueVector(piece);
    Value first = t.add(t.add(base, 2),
                        t.add(t.mul(vector, perLoad),
                              t.rem(t.div(t.lane(), valueLanes), shares)));
    auto store = [&] {
      for (auto [i, sum] : llvm::enumerate(sums))
        t.store(sum, shared, {t.add(first, i * shares)});
    };
    if (exists)
      t.ifThen(exists, store);
    else
      store();
  }
}

void WarpAttention::append() {
  int64_t headDim = type.getHeadDim(),
          group = op.getHeads() / type.getKvHeads();
  Type element = type.getElementType();
  Value stores =
      t.both(t.equal(t.rem(head, group), 0), t.equal(t.warp(), kWarps - 1));
  t.ifThen(stores, [&] {
    Value block = t.div(position, CacheType::kBlock);
    Value place =
        t.mul(t.rem(position, CacheType::kBlock), type.getElementBytes());
    // A feature's lanes have the same.
    for (int64_t load = 0; load < keyLoads; ++load) {
      Value feature = getKeyFeature(load).first;
      t.storeF32As(ownKey[load], op.getCache(),
                   t.add(cache.getKeyOffset(block, feature), place), element);
    }
    for (int64_t i = 0; i < valuePieces * perLoad; ++i) {
      Value vector = getValueVector(i / perLoad).first;
      Value feature = t.add(t.mul(vector, perLoad), i % perLoad);
      auto store = [&] {
        t.storeF32As(ownValue[i], op.getCache(),
                     cache.getValueOffset(position, feature), element);
      };
      if (headDim % perLoad)
        t.ifThen(t.less(feature, t.index(headDim)), store);
      else
        store();
    }
  });
}

/// Each lane has a warp's share to tell to the others.
void WarpAttention::combine() {
  t.synchronize();
  Value shared = getShared();
  int64_t stateFloats = getStateFloats();
  Value own = t.mul(t.rem(t.lane(), kWarps), stateFloats);
  Value largest = t.load(shared, {own});
  Value decay =
      t.exp(t.subf(largest, t.reduceWarp(Reduction::Maximum, largest, kWarps)));
  Value total = t.reduceWarp(
      Reduction::Sum, t.mulf(decay, t.load(shared, {t.add(own, 1)})), kWarps);
  SmallVector<Value> decays;
  for (int64_t w = 0; w < kWarps; ++w)
    decays.push_back(t.getFromLane(decay, t.index(w)));
  Value first = t.mul(head, type.getHeadDim());
  t.loop(t.thread(), t.index(type.getHeadDim()), t.index(kThreads),
         [&](Value feature) {
           Value sum = t.constant(0.0f);
           for (auto [w, decay] : llvm::enumerate(decays))
             sum = t.fma(decay,
                         t.load(shared, {t.add(feature, 2 + w * stateFloats)}),
                         sum);
           Value output = t.divf(sum, total), into = op.getInto().front();
           Value column = t.add(first, feature);
           storeOfRow(t, op, output, into, {token, column});
         });
}
