// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a block's warps found of a head, put together in their order: each
// warp's part to those before it, both times what makes them relative to the
// larger base; what comes of all, divided by the sum of their weights. See
// TileAttention.h.

#include "RowExchange.h"
#include "TileAttention.h"

using namespace mlir;
using namespace mlir::tbq;

/// Words of a product's sums, of a warp.
static constexpr int64_t kProductWords = 128;

PartFactors PartFactors::get(ThreadBuilder &t, Value before, Value own,
                             Value larger) {
  return {t.exp2(t.subf(before, larger)), t.exp2(t.subf(own, larger))};
}

int64_t TileAttention::getStatistics() const {
  return tokens == 1 ? getSums() + kWarps * padded
                     : std::max(turns * kThreads * kWarps / sets,
                                countQueries() * rowWords);
}

int64_t TileAttention::countBytes() const {
  int64_t kept = (sets - 1) * tiles * groups * kWarps * kProductWords;
  return 4 * (getKept() + kept);
}

/// Base and sum of weights, of each token by the lane that has it.
void TileAttention::storeStatistics(Value part) {
  SmallVector<Value> totals;
  for (const State &state : found)
    totals.push_back(t.reduceWarp(Reduction::Sum, state.total, kTileLanes));
  Value stores = t.equal(tokens == 1 ? t.lane() : quarter(), 0);
  t.ifThen(stores, [&] {
    for (auto [group, state] : llvm::enumerate(found)) {
      Value number = t.mul(part, countQueries());
      if (tokens > 1)
        number = t.add(number, getQuery(group));
      Value at = t.add(t.mul(number, 2), getStatistics());
      t.storeVector({state.base, totals[group]}, getShared(), {at});
    }
  });
}

TileAttention::Part TileAttention::getPart(Value query) {
  auto type = VectorType::get({2}, t.b.getF32Type());
  Value part = t.rem(t.lane(), kWarps);
  Value number = t.add(t.mul(part, countQueries()), query);
  Value both = t.loadVector(getShared(),
                            {t.add(t.mul(number, 2), getStatistics())}, type);
  Value base = t.extract(both, 0);
  // Of the lane so far before this one, if its part is of the same query.
  auto getBefore = [&](Value x, int64_t distance, Value otherwise) {
    Value isThere = t.less(t.index(distance - 1), part);
    Value lane = t.select(isThere, t.sub(t.lane(), distance), t.lane());
    Value before = t.getFromLane(x, lane);
    return otherwise ? t.select(isThere, before, otherwise) : before;
  };
  Value largest = base;
  for (int64_t distance = 1; distance < kWarps; distance *= 2)
    largest = t.maxf(largest, getBefore(largest, distance, nullptr));
  Value before = getBefore(largest, 1, t.constant(kNoBase));
  auto factors = PartFactors::get(t, before, base, largest);
  return {factors, t.extract(both, 1)};
}

SmallVector<PartFactors> TileAttention::getAllFactors(const Part &part,
                                                      Value first) {
  return llvm::map_to_vector(llvm::seq(kWarps), [&](int64_t w) {
    Value lane = t.add(first, w);
    Value ofBefore = t.getFromLane(part.factors.ofBefore, lane);
    return PartFactors{ofBefore, t.getFromLane(part.factors.own, lane)};
  });
}

Value TileAttention::invertTotal(ArrayRef<PartFactors> factors, Value total,
                                 Value first) {
  Value all = t.constant(0.0f);
  for (auto [w, each] : llvm::enumerate(factors))
    all = each.add(t, all, t.getFromLane(total, t.add(first, w)));
  return t.divf(t.constant(1.0f), all);
}

/// Where there is such.
void TileAttention::storeOutput(Value sum, Value at, Value head,
                                Value feature) {
  int64_t headDim = type.getHeadDim();
  Value exists;
  if (tokens > 1)
    exists = t.less(at, op.getCount());
  if (padded > headDim) {
    Value isOfHead = t.less(feature, t.index(headDim));
    exists = exists ? t.both(exists, isOfHead) : isOfHead;
  }
  auto store = [&] {
    Value into = op.getInto().front();
    Value column = t.add(t.mul(head, headDim), feature);
    storeOfRow(t, op, sum, into, {at, column});
  };
  if (exists)
    t.ifThen(exists, store);
  else
    store();
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

void TileAttention::combineToken() {
  int64_t most = padded % 32 ? 2 : 4;
  t.synchronize();
  // By the warps that have an output.
  Value first = t.sub(t.thread(), t.lane());
  t.ifThen(t.less(first, t.index(padded)), [&] {
    Part own = getPart(t.index(0));
    SmallVector<PartFactors> parts = getAllFactors(own, t.index(0));
    Value inverse = invertTotal(parts, own.total, t.index(0));
    Value sum = t.constant(0.0f), place = t.thread();
    if (padded % kWarpLanes)
      place = t.min(place, t.index(padded - 1));
    Value at = t.add(place, getSums());
    for (auto [w, part] : llvm::enumerate(parts))
      sum = part.add(t, sum, t.load(getShared(), {t.add(at, w * padded)}));
    Value number =
        t.add(t.mul(t.div(place, 8 * most), most), t.rem(place, most));
    Value row = t.rem(t.div(place, most), 8);
    Value feature = t.add(t.add(t.mul(t.div(number, 2), kTile), t.mul(row, 2)),
                          t.rem(number, 2));
    Value exists;
    if (padded % kWarpLanes)
      exists = t.less(t.thread(), t.index(padded));
    t.ifThen(exists,
             [&] { storeOutput(t.mulf(sum, inverse), token, head, feature); });
  });
}

// A product's sums lie so that neither the lanes of a row nor features of a
// token are in the same banks.
Value TileAttention::getPlaceOf(Value row, Value quarter) {
  Value turned = t.exclusiveOr(quarter, t.div(row, 2));
  return t.add(t.mul(row, kTile), t.mul(turned, 4));
}

Value TileAttention::getWritten() {
  Value product = t.mul(set(), groups * (kWarps / sets));
  return t.add(t.mul(t.add(product, part()), kProductWords),
               getPlaceOf(row(), quarter()));
}

void TileAttention::keepSums() {
  Value first = t.add(getWritten(), getKept());
  for (int64_t tile = 0; tile < tiles; ++tile)
    storeSums(first, tile, tile * sets * groups);
}

/// Of a tile, from product `number` on, behind what stands `first`.
void TileAttention::storeSums(Value first, int64_t tile, int64_t number) {
  for (auto [group, state] : llvm::enumerate(found))
    t.storeVector(
        ArrayRef(state.sums).slice(4 * tile, 4), getShared(),
        {t.add(first, (number + group) * (kWarps / sets) * kProductWords)});
}

/// As many products' sums at a time as threads can add up, one each.
void TileAttention::combineTile() {
  const int64_t queries = countQueries(), products = sets * groups;
  const int64_t ofStep = countStepTiles(), atOnce = turns * ofStep;
  const int64_t warps = kWarps / sets;
  t.synchronize();
  t.ifThen(t.less(t.thread(), t.index(kWarps * queries)), [&] {
    Value query = t.div(t.thread(), kWarps), number = t.rem(t.lane(), kWarps);
    Part part = getPart(query);
    Value place = t.add(t.thread(), getFactors());
    t.store(part.factors.ofBefore, getShared(), {place});
    t.store(part.factors.own, getShared(), {t.add(place, kWarps * queries)});
    Value first = t.sub(t.lane(), number);
    Value inverse = invertTotal(getAllFactors(part, first), part.total, first);
    t.ifThen(t.equal(number, 0), [&] {
      t.store(inverse, getShared(), {t.add(query, getInverses())});
    });
  });
  t.synchronize();
  Value written = getWritten();
  Value feature = t.rem(t.thread(), kTile);
  Value column = t.rem(t.div(t.thread(), kTile), kTokens);
  Value product = t.div(t.thread(), kProductWords);
  Value query = t.add(t.mul(t.rem(product, products), kTokens), column);
  Value corner = t.add(t.mul(t.rem(feature, 2), 2), t.rem(column, 2));
  Value read =
      t.add(t.mul(product, warps * kProductWords),
            t.add(getPlaceOf(t.div(feature, 2), t.div(column, 2)), corner));
  SmallVector<PartFactors> parts;
  auto type = VectorType::get({4}, t.b.getF32Type());
  for (int64_t w = 0; w < kWarps; w += 4) {
    Value at = t.add(t.mul(query, kWarps), getFactors() + w);
    Value ofBefore = t.loadVector(getShared(), {at}, type);
    Value own = t.loadVector(getShared(), {t.add(at, kWarps * queries)}, type);
    for (int64_t i = 0; i < 4; ++i)
      parts.push_back({t.extract(ofBefore, i), t.extract(own, i)});
  }
  Value inverse = t.load(getShared(), {t.add(query, getInverses())});
  std::pair<Value, Value> place = getQueryPlace(query);
  for (int64_t first = 0; first < tiles; first += atOnce) {
    int64_t count = std::min(atOnce, tiles - first);
    for (int64_t i = 0; i < count; ++i)
      storeSums(written, first + i, i * products);
    t.synchronize();
    for (int64_t own = 0; own < count; own += ofStep) {
      Value sum = t.constant(0.0f);
      auto addParts = [&](int64_t firstPart, int64_t at) {
        for (int64_t w = 0; w < warps; ++w) {
          Value from = t.add(read, at + w * kProductWords);
          sum = parts[firstPart + w].add(t, sum, t.load(getShared(), {from}));
        }
      };
      const int64_t ofTile = products * warps * kProductWords;
      if (sets > 1)
        addParts(0, getKept() + (first + own) * ofTile);
      addParts(kWarps - warps, own * ofTile);
      Value tile = t.add(t.div(product, products), first + own);
      auto store = [&] {
        storeOutput(t.mulf(sum, inverse), place.first, place.second,
                    t.add(t.mul(tile, kTile), feature));
      };
      Value exists;
      if (first + own + ofStep > tiles)
        exists = t.less(tile, t.index(tiles));
      if (heads > 1 && heads < tokens) {
        Value isHead = t.less(query, t.index(heads));
        exists = exists ? t.both(exists, isHead) : isHead;
      }
      t.ifThen(exists, store);
    }
    t.synchronize();
  }
}

void TileAttention::combine() {
  t.renewThread();
  if (tokens == 1)
    combineToken();
  else
    combineTile();
}
