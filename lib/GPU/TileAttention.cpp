// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From queries to each warp's part; see TileAttention.h. A token's own key and
// value, where the op has them, take the place of what is loaded at its
// position, so all that follows is the same, to the bit, as when they are read
// from the cache.

#include "TileAttention.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

/// Words of a tile that a lane has.
static constexpr int64_t kLaneWords = 4;

TileAttention::TileAttention(ThreadBuilder &t, AttentionOp op,
                             AttentionNeighbours around, AttentionPlace place,
                             Value token, Value head, int64_t tokens,
                             int64_t sets)
    : t(t), op(op), around(around), type(op.getCacheType()),
      cache(t.b, t.loc, type, place.layer,
            t.div(head, op.getHeads() / type.getKvHeads()),
            getPlace(t.b, t.loc, place.position, token).cache),
      token(token), head(head),
      kvHead(t.div(head, op.getHeads() / type.getKvHeads())),
      position(getPlace(t.b, t.loc, place.position, token).position),
      tokens(tokens), sets(sets), groups(llvm::divideCeil(tokens, kTokens)),
      padded(type.getPaddedHeadDim()), tiles(padded / kTile),
      // Two tokens' rows begin in different banks of the memory.
      rowWords(tokens == 1 ? padded : llvm::alignTo(padded, 32) + 16) {
  if (sets == 1)
    return;
  if (hasHeadSets(op))
    headStep = 1;
  else
    tokenStep = tokens;
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
    Value angles =
        t.mul(getPlace(t.b, t.loc, rope.getPosition(), token).position,
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

void TileAttention::stageQueries() {
  int64_t words = padded / 2;
  forEach(0, countQueries() * words, [&](Value item) {
    Value number = t.div(item, words), word = t.rem(item, words);
    Value row = token, of = head, inSet = number;
    if (sets > 1) {
      Value set = t.div(number, tokens);
      inSet = t.add(t.rem(number, tokens), t.mul(set, tokenStep));
      of = t.add(head, t.mul(set, headStep));
    }
    if (tokens > 1)
      row = t.min(t.add(token, inSet), t.sub(op.getCount(), 1));
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
// Keys and values
//===----------------------------------------------------------------------===//

/// The lane's words of each tile of a block.
SmallVector<Value> TileAttention::loadTiles(Value first) {
  Value at = t.add(first, t.mul(t.lane(), 4 * kLaneWords));
  SmallVector<Value> words;
  for (int64_t tile = 0; tile < tiles; ++tile)
    words.append(loadWords(op.getCache(), t.add(at, tile * type.getTileBytes()),
                           kLaneWords));
  return words;
}

SmallVector<Value> TileAttention::loadKeys(Value block) {
  return loadTiles(cache.getKeyTile(block, t.index(0)));
}

SmallVector<Value> TileAttention::loadValues(Value block) {
  return loadTiles(cache.getValueTile(block, t.index(0)));
}

SmallVector<Value> TileAttention::loadIf(Value exists, Value block) {
  auto loadAll = [&] {
    SmallVector<Value> words = loadKeys(block);
    words.append(loadValues(block));
    return words;
  };
  return t.ifElse(exists, loadAll, [&](Type) { return t.constantI32(0); });
}

SmallVector<Value> TileAttention::loadFirst(Value exists) {
  return loadIf(t.both(exists, t.less(t.warp(), countBlocks())), t.warp());
}

Value TileAttention::countBlocks() {
  Value last = position;
  if (tokens > 1) {
    Value behind = t.sub(t.sub(op.getCount(), 1), token);
    last = t.add(position, t.min(behind, t.index(tokens + tokenStep - 1)));
  }
  return t.add(t.div(last, CacheType::kBlock), 1);
}

/// What `put` makes of words of the token's own block, of others the same.
static SmallVector<Value> putIf(ThreadBuilder &t, Value isOwn, ValueRange words,
                                llvm::function_ref<SmallVector<Value>()> put) {
  size_t next = 0;
  return t.ifElse(isOwn, put, [&](Type) { return words[next++]; });
}

/// A lane that has the key, one of two, loads it into the registers of what it
/// takes the place of.
SmallVector<Value> TileAttention::putOwnKey(Value block, ValueRange keys) {
  Value place = t.sub(position, t.mul(block, CacheType::kBlock));
  SmallVector<Value> all(keys);
  for (int64_t i = 0; i < 2; ++i) {
    SmallVector<Value> words;
    for (int64_t tile = 0; tile < tiles; ++tile)
      words.append({all[4 * tile + 2 * i], all[4 * tile + 2 * i + 1]});
    auto put = [&] {
      SmallVector<Value> own;
      for (int64_t tile = 0; tile < tiles; ++tile)
        own.append(loadWords(getShared(),
                             t.add(t.mul(quarter(), 2), getOwnKey() + 8 * tile),
                             2));
      return own;
    };
    words = putIf(t, t.same(t.add(t.mul(row(), 2), i), place), words, put);
    for (int64_t tile = 0; tile < tiles; ++tile)
      for (int64_t part = 0; part < 2; ++part)
        all[4 * tile + 2 * i + part] = words[2 * tile + part];
  }
  return all;
}

/// A lane that has the position's values has them of two features in the one or
/// the other two words of each tile, in the one or the other half.
SmallVector<Value> TileAttention::putOwnValue(Value block, ValueRange values) {
  Value place = t.sub(position, t.mul(block, CacheType::kBlock));
  auto put = [&] {
    SmallVector<Value> all(values);
    Value isHigh = t.equal(t.rem(place, 2), 1), none = t.constantI32(0);
    Value half =
        t.select(isHigh, t.constantI32(0xffff0000), t.constantI32(0xffff));
    Value isSecond = t.equal(t.rem(t.div(place, 2), 2), 1);
    Value masks[] = {t.select(isSecond, none, half),
                     t.select(isSecond, half, none)};
    for (int64_t tile = 0; tile < tiles; ++tile) {
      Value at = t.add(row(), getOwnValue() + 8 * tile);
      Value two = loadWords(getShared(), at, 1)[0];
      for (int64_t feature = 0; feature < 2; ++feature) {
        // Both halves of a word, of which the mask takes one.
        Value own = feature ? t.shiftRight(two, 16) : t.andBits(two, 0xffff);
        own = arith::OrIOp::create(t.b, t.loc, own, t.shiftLeft(own, 16));
        for (int64_t pair = 0; pair < 2; ++pair) {
          Value &word = all[4 * tile + 2 * pair + feature];
          word = t.choose(masks[pair], own, word);
        }
      }
    }
    return all;
  };
  return putIf(t, t.same(t.div(place, 4), quarter()), values, put);
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
  Value scale = t.constant(op.getScale().convertToFloat());
  for (int64_t group = 0; group < groups; ++group) {
    Value own = position;
    if (tokens > 1)
      own = t.add(own, t.add(row(), group * kTokens));
    if (tokenStep)
      own = t.add(own, t.mul(set(), tokenStep));
    // Of four keys, those up to this one are not later than the token.
    Value last = t.toI32(t.sub(own, first));
    SmallVector<Value> &four = scores.emplace_back();
    for (int64_t i = 0; i < 4; ++i) {
      ArrayRef<Value> sum = sums[2 * group + i % 2];
      Value score = t.mulf(t.addf(sum[i / 2], sum[2 + i / 2]), scale);
      four.push_back(t.select(t.less(last, t.constantI32(i)),
                              t.constant(-INFINITY), score));
    }
  }
  return scores;
}

void TileAttention::addBlock(Value block, SmallVector<Value> keys,
                             llvm::function_ref<SmallVector<Value>()> getValues,
                             MutableArrayRef<State> states) {
  if (op.getKey())
    keys = putOwnKey(block, keys);
  SmallVector<SmallVector<Value>> scores = getScores(block, keys);
  SmallVector<Value> values = getValues();
  if (op.getKey())
    values = putOwnValue(block, values);
  SmallVector<SmallVector<Value>> weights; // two f16 a word, then their rests
  for (auto [state, four] : llvm::zip_equal(states, scores)) {
    Value largest = t.maxf(t.maxf(four[0], four[1]), t.maxf(four[2], four[3]));
    largest = t.maxf(state.largest,
                     t.reduceWarp(Reduction::Maximum, largest, kTileLanes));
    Value decay = t.exp(t.subf(state.largest, largest));
    for (Value &score : four)
      score = t.exp(t.subf(score, largest));
    // Keys past the token weigh 0; the cache holds zeros or older values there.
    Value sum = t.addf(t.addf(four[0], four[1]), t.addf(four[2], four[3]));
    state.total = t.fma(state.total, decay, sum);
    state.largest = largest;
    auto [low, lowRest] = t.splitHalves(four[0], four[1]);
    auto [high, highRest] = t.splitHalves(four[2], four[3]);
    weights.push_back({low, high, lowRest, highRest});
    // Alone, a token stands in all columns.
    Value decays[] = {decay, decay};
    if (tokens > 1)
      for (int64_t i = 0; i < 2; ++i)
        decays[i] = t.getFromLane(
            decay, t.add(t.mul(quarter(), 2 * kTileLanes), i * kTileLanes));
    for (auto [i, sum] : llvm::enumerate(state.sums))
      sum = t.mulf(sum, decays[i % 2]);
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
    values.append({state.largest, state.total});
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
  State none{t.constant(-1e30f), t.constant(0.0f),
             SmallVector<Value>(4 * tiles, t.constant(0.0f))};
  SmallVector<State> states(groups, none);
  SmallVector<Value> last;
  if (sets > 1) {
    // In two turns, of which the first one's sums are put aside.
    auto take = [&](Value turn, ValueRange) {
      t.renewThread();
      Value first = t.add(place(), t.mul(turn, kWarps / sets));
      found = unflatten(addBlocks(first, flatten(states)));
      t.renewThread();
      storeStatistics(t.add(place(), t.mul(turn, kWarps / sets)));
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
