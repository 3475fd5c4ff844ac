// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Keys and values of a block, as products take them; see TileAttention.h. A
// token's own key and value, where the op has them, take the place of what is
// loaded at its position, so all that follows is the same, to the bit, as when
// they are read from the cache.

#include "TileAttention.h"

using namespace mlir;
using namespace mlir::tbq;

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
  if (tokens > 1 && heads == 1) {
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
