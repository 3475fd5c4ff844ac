// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From queries to each warp's part; see TileAttention.h.

#include "TileAttention.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

Value mlir::tbq::isFarAbove(ThreadBuilder &t, Value score, Value base) {
  constexpr float kRoom = 8.0f;
  return arith::CmpFOp::create(t.b, t.loc, arith::CmpFPredicate::OLT,
                               t.addf(base, t.constant(kRoom)), score);
}

Value mlir::tbq::getScoreScale(ThreadBuilder &t, AttentionOp op) {
  return t.constant(op.getScale().convertToFloat() * kLog2E);
}

Value mlir::tbq::getWeight(ThreadBuilder &t, AttentionOp op, Value score,
                           Value base) {
  Value negative = arith::NegFOp::create(t.b, t.loc, base);
  return t.exp2(t.fma(score, getScoreScale(t, op), negative));
}

TileAttention::TileAttention(ThreadBuilder &t, AttentionOp op,
                             AttentionNeighbours around, AttentionPlace place,
                             Value token, Value head, int64_t tokens,
                             int64_t sets, int64_t room, int64_t heads)
    : t(t), op(op), around(around), type(op.getCacheType()),
      cache(t.b, t.loc, type, place.layer,
            t.div(head, op.getHeads() / type.getKvHeads()),
            getPlace(t.b, t.loc, place.position, token).cache),
      token(token), head(head),
      kvHead(t.div(head, op.getHeads() / type.getKvHeads())),
      position(getPlace(t.b, t.loc, place.position, token).position),
      tokens(tokens), sets(sets), heads(heads),
      groups(llvm::divideCeil(tokens, kTokens)),
      padded(type.getPaddedHeadDim()), tiles(padded / kTile),
      // Two tokens' rows begin in different banks of the memory.
      rowWords(tokens == 1 ? padded : llvm::alignTo(padded, 32) + 16) {
  while (tokens > 1 && turns * countStepTiles() < tiles) {
    turns *= 2;
    if (countBytes() <= room)
      continue;
    turns /= 2;
    break;
  }
  if (sets == 1)
    return;
  if (hasHeadSets(op))
    headStep = 1;
  else
    tokenStep = tokens;
}

int64_t TileAttention::countHeads(AttentionOp op) {
  int64_t heads = op.getHeads() / op.getCacheType().getKvHeads();
  return heads <= kTokens || heads % kTokens == 0 ? std::min(heads, kTokens)
                                                  : 1;
}

//===----------------------------------------------------------------------===//
// What threads write for all warps
//===----------------------------------------------------------------------===//

Value TileAttention::getShared() {
  if (tokens == 1)
    return t.getShared("attention_token", getStatistics() + 2 * kWarps);
  auto type = MemRefType::get({countBytes() / 4}, t.b.getF32Type(), AffineMap(),
                              t.b.getI64IntegerAttr(kSharedMemory));
  return memref::ViewOp::create(t.b, t.loc, type, t.getScratch(countBytes()),
                                t.index(0), ValueRange());
}

SmallVector<Value> TileAttention::loadWords(Value memory, Value at,
                                            int64_t count) {
  auto type = VectorType::get({count}, t.b.getI32Type());
  Value words = t.loadVector(memory, {at}, type);
  return llvm::map_to_vector(llvm::seq(count),
                             [&](int64_t i) { return t.extract(words, i); });
}

void TileAttention::storeShared(Value word, Value at) {
  t.store(t.bitcast(word, t.b.getF32Type()), getShared(), {at});
}

void TileAttention::forEach(int64_t first, int64_t count,
                            llvm::function_ref<void(Value)> body) {
  Value begin = t.rem(t.add(t.thread(), kThreads - first % kThreads), kThreads);
  t.loop(begin, t.index(count), t.index(kThreads), body);
}

Value TileAttention::loadFeature(Value rows, RopeOp rope, Value row, Value head,
                                 Value feature) {
  int64_t headDim = type.getHeadDim(), half = headDim / 2;
  Value exists;
  if (padded > headDim) {
    exists = t.less(feature, t.index(headDim));
    feature = t.min(feature, t.index(headDim - 1));
  }
  Value input = rope ? rope.getInput() : rows;
  auto load = [&](Value feature) {
    return t.load(input, {row, t.add(t.mul(head, headDim), feature)});
  };
  Value x = load(feature);
  if (rope) {
    LayoutAttr layout = cast<PackedType>(rope.getTable().getType()).getLayout();
    Value isLow = t.less(feature, t.index(half));
    Value pair = t.select(isLow, feature, t.sub(feature, half));
    Value other = load(t.select(isLow, t.add(feature, half), pair));
    Value angles = t.mul(getPlace(t.b, t.loc, rope.getPosition(), row).position,
                         layout.getTileBytes());
    Value at = t.add(angles, t.mul(pair, 4)),
          table = getBytes(t, rope.getTable());
    Value cosine = t.loadAsF32(table, at, t.b.getF32Type());
    Value sine = t.loadAsF32(table, t.add(at, 4 * half), t.b.getF32Type());
    Value part = t.mulf(other, sine);
    Value negative = arith::NegFOp::create(t.b, t.loc, part);
    x = t.addf(t.mulf(x, cosine), t.select(isLow, negative, part));
  }
  return exists ? t.select(exists, x, t.constant(0.0f)) : x;
}

/// Of several tokens, four features a load, all of them before the first is
/// used; of those that are rotated the four half a head on, too.
void TileAttention::stageWholeQueries() {
  RopeOp rope = around.query;
  const int64_t half = padded / 2, ofRow = (rope ? half : padded) / 4,
                count = countQueries() * ofRow;
  auto vector = VectorType::get({4}, t.b.getF32Type());
  struct Load {
    Value at; // where it goes
    std::optional<Rotation> rotation;
    Value four;
  };
  SmallVector<Load> loads;
  for (int64_t first = 0; first < count; first += kThreads) {
    Value item = t.add(t.thread(), first);
    if (first + kThreads > count) // others have the last one's again
      item = t.min(item, t.index(count - 1));
    Value number = t.div(item, ofRow), feature = t.mul(t.rem(item, ofRow), 4);
    auto [place, of] = getQueryPlace(number);
    Value row = t.min(place, t.sub(op.getCount(), 1));
    Load load{t.add(t.mul(number, rowWords), feature), {}, {}};
    if (rope)
      load.rotation.emplace(t, rope, row, of, feature, 4);
    else
      load.four = t.loadVector(
          op.getQuery(), {row, t.add(t.mul(of, padded), feature)}, vector);
    loads.push_back(load);
  }
  auto stage = [&](ArrayRef<Value> four, Value at) {
    SmallVector<Value> words;
    for (int64_t i = 0; i < 4; i += 2) {
      auto [two, rest] = t.splitHalves(four[i], four[i + 1]);
      for (Value word : {two, rest})
        words.push_back(t.bitcast(word, t.b.getF32Type()));
    }
    t.storeVector(words, getShared(), {at});
  };
  for (const Load &load : loads) {
    if (load.rotation) {
      auto [low, high] = load.rotation->rotate(t);
      stage(low, load.at);
      stage(high, t.add(load.at, half));
      continue;
    }
    SmallVector<Value> four;
    for (int64_t i = 0; i < 4; ++i)
      four.push_back(t.extract(load.four, i));
    stage(four, load.at);
  }
}

std::pair<Value, Value> TileAttention::getQueryPlace(Value number) {
  Value of = head;
  if (heads > 1) // behind the last one it again
    return {token, t.add(of, t.min(number, t.index(heads - 1)))};
  if (sets > 1) {
    Value set = t.div(number, tokens);
    number = t.add(t.rem(number, tokens), t.mul(set, tokenStep));
    of = t.add(head, t.mul(set, headStep));
  }
  return {t.add(token, number), of};
}

void TileAttention::stageQueries() {
  if (tokens > 1 && padded == type.getHeadDim())
    return stageWholeQueries();
  int64_t words = padded / 2;
  forEach(0, countQueries() * words, [&](Value item) {
    Value number = t.div(item, words), word = t.rem(item, words);
    auto [row, of] = getQueryPlace(number);
    if (tokens > 1)
      row = t.min(row, t.sub(op.getCount(), 1));
    Value feature = t.mul(word, 2);
    Value low = loadFeature(op.getQuery(), around.query, row, of, feature);
    Value high =
        loadFeature(op.getQuery(), around.query, row, of, t.add(feature, 1));
    auto [two, rest] = t.splitHalves(low, high);
    Value at = t.add(t.mul(number, rowWords), t.mul(word, 2));
    t.storeVector(
        {t.bitcast(two, t.b.getF32Type()), t.bitcast(rest, t.b.getF32Type())},
        getShared(), {at});
  });
}

/// Those of the first query head that reads a kv head store them in the cache.
void TileAttention::stageOwnRows() {
  int64_t words = padded / 2, group = op.getHeads() / type.getKvHeads();
  Value stores = t.equal(t.rem(head, group), 0);
  for (bool isKey : {true, false}) {
    int64_t first = isKey ? getOwnKey() : getOwnValue();
    forEach(isKey ? words : 2 * words, words, [&](Value word) {
      Value features[] = {t.mul(word, 2), t.add(t.mul(word, 2), 1)}, found[2];
      for (auto [x, feature] : llvm::zip(found, features))
        x = loadFeature(isKey ? op.getKey() : op.getValue(),
                        isKey ? around.key : nullptr, token, kvHead, feature);
      storeShared(t.packHalves(found[0], found[1]), t.add(word, first));
      if (!around.append)
        return;
      t.ifThen(stores, [&] {
        for (auto [x, feature] : llvm::zip(found, features))
          t.storeF32As(x, op.getCache(),
                       isKey ? cache.getKeyElement(position, feature)
                             : cache.getValueElement(position, feature),
                       type.getElementType());
      });
    });
  }
}

//===----------------------------------------------------------------------===//
// A block of keys
//===----------------------------------------------------------------------===//

SmallVector<SmallVector<Value>> TileAttention::getScores(Value block,
                                                         ArrayRef<Value> keys) {
  SmallVector<SmallVector<Value>> sums(2 * groups,
                                       SmallVector<Value>(4, t.constant(0.0f)));
  for (int64_t tile = 0; tile < tiles; ++tile)
    for (int64_t group = 0; group < groups; ++group) {
      Value at = t.add(t.mul(quarter(), 4), 16 * tile);
      if (tokens > 1)
        at = t.add(at, t.mul(getQuery(group), rowWords));
      SmallVector<Value> query = loadWords(getShared(), at, kLaneWords);
      for (int64_t i = 0; i < 2; ++i) {
        SmallVector<Value> &sum = sums[2 * group + i];
        sum = t.multiplyHalves(query, keys.slice(4 * tile + 2 * i, 2), sum);
      }
    }
  SmallVector<SmallVector<Value>> scores;
  Value first = t.add(t.mul(block, CacheType::kBlock), t.mul(quarter(), 4));
  for (int64_t group = 0; group < groups; ++group) {
    Value own = position;
    if (tokens > 1 && heads == 1)
      own = t.add(own, t.add(row(), group * kTokens));
    if (tokenStep)
      own = t.add(own, t.mul(set(), tokenStep));
    // Of four keys, those up to this one are not later than the token.
    Value last = t.toI32(t.sub(own, first));
    SmallVector<Value> &four = scores.emplace_back();
    for (int64_t i = 0; i < 4; ++i) {
      ArrayRef<Value> sum = sums[2 * group + i % 2];
      Value score = t.addf(sum[i / 2], sum[2 + i / 2]);
      four.push_back(t.select(t.less(last, t.constantI32(i)),
                              t.constant(-INFINITY), score));
    }
  }
  return scores;
}

void TileAttention::rebase(ArrayRef<SmallVector<Value>> scores,
                           MutableArrayRef<State> states) {
  Value isAny;
  SmallVector<Value> bases;
  for (auto [state, four] : llvm::zip_equal(states, scores)) {
    Value most = t.maxf(t.maxf(four[0], four[1]), t.maxf(four[2], four[3]));
    most = t.mulf(t.reduceWarp(Reduction::Maximum, most, kTileLanes),
                  getScoreScale(t, op));
    Value isAbove = isFarAbove(t, most, state.base);
    bases.push_back(t.select(isAbove, most, state.base));
    isAny = isAny ? t.either(isAny, isAbove) : isAbove;
  }
  // Most blocks change none.
  auto scaled = [&] {
    SmallVector<State> own(states);
    for (auto [state, base] : llvm::zip_equal(own, bases)) {
      Value decay = t.exp2(t.subf(state.base, base));
      state.base = base;
      state.total = t.mulf(state.total, decay);
      // Alone, a token stands in all columns.
      Value decays[] = {decay, decay};
      if (tokens > 1)
        for (int64_t i = 0; i < 2; ++i)
          decays[i] = t.getFromLane(
              decay, t.add(t.mul(quarter(), 2 * kTileLanes), i * kTileLanes));
      for (auto [i, sum] : llvm::enumerate(state.sums))
        sum = t.mulf(sum, decays[i % 2]);
    }
    return flatten(own);
  };
  SmallVector<Value> same = flatten(states);
  size_t next = 0;
  llvm::copy(unflatten(t.ifElse(t.inAnyLane(isAny), scaled,
                                [&](Type) { return same[next++]; })),
             states.begin());
}

void TileAttention::addBlock(Value block, SmallVector<Value> keys,
                             llvm::function_ref<SmallVector<Value>()> getValues,
                             MutableArrayRef<State> states) {
  if (op.getKey())
    keys = putOwnKey(block, keys);
  SmallVector<SmallVector<Value>> scores = getScores(block, keys);
  rebase(scores, states);
  SmallVector<Value> values = getValues();
  if (op.getKey())
    values = putOwnValue(block, values);
  SmallVector<SmallVector<Value>> weights; // two f16 a word, then their rests
  for (auto [state, four] : llvm::zip_equal(states, scores)) {
    for (Value &score : four)
      score = getWeight(t, op, score, state.base);
    // Keys past the token weigh 0; the cache holds zeros or older values there.
    Value sum = t.addf(t.addf(four[0], four[1]), t.addf(four[2], four[3]));
    state.total = t.addf(state.total, sum);
    auto [low, lowRest] = t.splitHalves(four[0], four[1]);
    auto [high, highRest] = t.splitHalves(four[2], four[3]);
    weights.push_back({low, high, lowRest, highRest});
  }
  for (int64_t tile = 0; tile < tiles; ++tile) {
    ArrayRef<Value> features = ArrayRef(values).slice(4 * tile, 4);
    for (auto [state, weight] : llvm::zip_equal(states, weights)) {
      MutableArrayRef<Value> sums(state.sums.data() + 4 * tile, 4);
      for (int64_t part = 0; part < 2; ++part)
        llvm::copy(t.multiplyHalves(features,
                                    ArrayRef(weight).slice(2 * part, 2), sums),
                   sums.begin());
    }
  }
}

SmallVector<Value> TileAttention::flatten(ArrayRef<State> states) {
  SmallVector<Value> values;
  for (const State &state : states) {
    values.append({state.base, state.total});
    values.append(state.sums);
  }
  return values;
}

SmallVector<TileAttention::State> TileAttention::unflatten(ValueRange values) {
  SmallVector<State> states;
  int64_t size = values.size() / groups;
  for (int64_t group = 0; group < groups; ++group) {
    ValueRange own = values.slice(group * size, size);
    states.push_back({own[0], own[1], SmallVector<Value>(own.drop_front(2))});
  }
  return states;
}

/// The blocks from `first` on, each loaded when it is its turn.
SmallVector<Value> TileAttention::addBlocks(Value first, ValueRange states) {
  return t.loop(first, countBlocks(), t.index(kWarps), states,
                [&](Value block, ValueRange seen) {
                  SmallVector<State> own = unflatten(seen);
                  addBlock(
                      block, loadKeys(block), [&] { return loadValues(block); },
                      own);
                  return flatten(own);
                });
}

void TileAttention::run(ValueRange loaded) {
  t.renewThread();
  stageQueries();
  if (op.getKey())
    stageOwnRows();
  t.synchronize();
  t.renewThread();
  State none{t.constant(kNoBase), t.constant(0.0f),
             SmallVector<Value>(4 * tiles, t.constant(0.0f))};
  SmallVector<State> states(groups, none);
  SmallVector<Value> last;
  if (sets > 1) {
    // In two turns, of which the first one's sums are put aside.
    auto take = [&](Value turn, ValueRange) {
      t.renewThread();
      Value first = t.add(part(), t.mul(turn, kWarps / sets));
      found = unflatten(addBlocks(first, flatten(states)));
      t.renewThread();
      storeStatistics(t.add(part(), t.mul(turn, kWarps / sets)));
      t.ifThen(t.less(turn, t.index(sets - 1)), [&] { keepSums(); });
      return flatten(found);
    };
    found = unflatten(
        t.loop(t.index(0), t.index(sets), t.index(1), flatten(states), take));
    return;
  }
  if (loaded.empty()) {
    last = addBlocks(t.warp(), flatten(states));
  } else {
    // By itself, so that sums take no registers while it waits.
    auto visit = [&] {
      SmallVector<Value> keys(loaded.take_front(4 * tiles));
      SmallVector<Value> values(loaded.drop_front(4 * tiles));
      addBlock(t.warp(), keys, [&] { return values; }, states);
      return addBlocks(t.add(t.warp(), kWarps), flatten(states));
    };
    SmallVector<Value> nothing = flatten(states);
    size_t next = 0;
    last = t.ifElse(t.less(t.warp(), countBlocks()), visit,
                    [&](Type) { return nothing[next++]; });
  }
  found = unflatten(last);
  t.renewThread();
  storeStatistics(t.warp());
  if (tokens == 1)
    storeTokenSums();
}
