// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See QueryGroup.h. Sixteen keys are sixteen lanes (the cache holds them so),
// sixteen features of a value too; no score crosses lanes but for a block's
// maximum and the final sum.

#include "QueryGroup.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

QueryGroup::QueryGroup(VectorBuilder &v, AttentionOp op, CacheHead &cache,
                       Value token, int64_t tokens, Value head, int64_t heads,
                       Value hasNext, Value scratch,
                       const AttentionTarget &target)
    : v(v), op(op), cache(cache), head(head), hasNext(hasNext),
      scratch(scratch), heads(heads), sums(getSums(target.registers)),
      parts(cache.type.getPaddedHeadDim() / kLanes),
      cacheBytes(target.cacheBytes) {
  int64_t headDim = cache.type.getHeadDim();
  Value first = v.mul(head, headDim);
  for (int64_t number = 0; number < tokens; ++number) {
    Value at = v.add(token, number);
    limits.push_back(
        v.add(getPlace(v.b, v.loc, op.getPosition(), at).position, 1));
    for (int64_t query = 0; query < heads; ++query)
      queries.push_back({at, v.add(first, query * headDim), number});
  }
}

SmallVector<Value> QueryGroup::getNone() {
  SmallVector<Value> state(1 + queries.size() * (1 + parts), v.splat(0.0f));
  state[0] = v.splat(kLowest);
  return state;
}

/// One lane in every lane.
static Value getLane(VectorBuilder &v, Value vector, int64_t lane) {
  SmallVector<int64_t> lanes(kLanes, lane);
  return vector::ShuffleOp::create(v.b, v.loc, vector, vector, lanes);
}

SmallVector<Value> QueryGroup::add(ValueRange seen, ValueRange span) {
  // Sums of the smaller largest score decay, the others stay as they are.
  Value isLarger = arith::CmpFOp::create(v.b, v.loc, arith::CmpFPredicate::OGT,
                                         span[0], seen[0]);
  auto select = [&](Value larger, Value other) -> Value {
    return arith::SelectOp::create(v.b, v.loc, isLarger, larger, other);
  };
  Value largest = select(span[0], seen[0]), one = v.splat(1.0f);
  Value decays = math::ExpOp::create(v.b, v.loc,
                                     v.subf(select(seen[0], span[0]), largest));
  Value seenDecays = select(decays, one), spanDecays = select(one, decays);
  SmallVector<Value> state = {largest};
  for (size_t query = 0; query < queries.size(); ++query) {
    Value seenDecay = getLane(v, seenDecays, query);
    Value spanDecay = getLane(v, spanDecays, query);
    for (int64_t part = 0; part < 1 + parts; ++part) {
      int64_t at = 1 + query * (1 + parts) + part;
      state.push_back(v.fma(seen[at], seenDecay, v.mulf(span[at], spanDecay)));
    }
  }
  return state;
}

QueryGroup::Distance QueryGroup::getDistance(Value blocks, int64_t blockBytes,
                                             int64_t headBytes) {
  int64_t most = llvm::divideCeil(cacheBytes, blockBytes);
  Value ahead = v.min(blocks, v.index(most)), last = v.sub(blocks, ahead);
  Value beyond = v.sub(v.index(headBytes), v.mul(last, blockBytes));
  beyond = arith::SelectOp::create(v.b, v.loc, hasNext, beyond, v.index(0));
  return {last, v.mul(ahead, blockBytes), beyond};
}

Value QueryGroup::Distance::get(VectorBuilder &v, Value block) const {
  return arith::SelectOp::create(v.b, v.loc, v.less(block, last), within,
                                 beyond);
}

void QueryGroup::prefetch(Value offset, Value distance) {
  if (!cacheBytes)
    return;
  memref::PrefetchOp::create(v.b, v.loc, op.getCache(), v.add(offset, distance),
                             /*isWrite=*/false, /*localityHint=*/2,
                             /*isDataCache=*/true);
}

SmallVector<Value> QueryGroup::getProducts(Value block) {
  int64_t count = queries.size();
  // Rows of one feature that begin in a cache line.
  int64_t rows = std::max<int64_t>(
      1, kLineBytes / (kLanes * cache.type.getElementBytes()));
  Value distance = keysAhead.get(v, block);
  // Two sums of every other feature each.
  SmallVector<Value> sums = v.unrolled(
      cache.type.getHeadDim(), count < 4 ? 8 : 4,
      SmallVector<Value>(2 * count, v.splat(0.0f)),
      [&](Value feature, int64_t copy, ValueRange carried) {
        Value offset = cache.getKeyOffset(block, feature);
        if (copy % rows == 0)
          prefetch(offset, distance);
        Value key =
            v.loadAsF32(op.getCache(), offset, cache.type.getElementType());
        SmallVector<Value> next(carried);
        for (auto [i, query] : llvm::enumerate(queries)) {
          Value q = v.splat(v.load(
              op.getQuery(), {query.token, v.add(query.column, feature)}));
          Value &sum = next[2 * i + copy % 2];
          sum = v.fma(q, key, sum);
        }
        return next;
      });
  SmallVector<Value> products;
  for (int64_t i = 0; i < count; ++i)
    products.push_back(v.addf(sums[2 * i], sums[2 * i + 1]));
  return products;
}

/// Of each lane; where `y` is no number, `x`.
static Value getLarger(VectorBuilder &v, Value x, Value y) {
  Value isLarger =
      arith::CmpFOp::create(v.b, v.loc, arith::CmpFPredicate::OGT, y, x);
  return arith::SelectOp::create(v.b, v.loc, isLarger, y, x);
}

SmallVector<Value> QueryGroup::storeScores(Value span, Value end) {
  auto numbers = llvm::to_vector(llvm::seq<int32_t>(0, kLanes));
  Value lanes = arith::ConstantOp::create(
      v.b, v.loc,
      DenseElementsAttr::get(v.i32Vector(), ArrayRef<int32_t>(numbers)));
  Value scale = v.splat(op.getScale().convertToFloat());
  SmallVector<Value> none(queries.size(), v.splat(-INFINITY));
  return v.loop(span, end, 1, none, [&](Value block, ValueRange largest) {
    Value start = v.mul(block, kLanes), row = v.sub(block, span);
    // How many keys are visible from the block's first on: none if negative.
    auto isVisible = llvm::map_to_vector(limits, [&](Value limit) -> Value {
      Value visible = arith::IndexCastOp::create(v.b, v.loc, v.b.getI32Type(),
                                                 v.sub(limit, start));
      return arith::CmpIOp::create(v.b, v.loc, arith::CmpIPredicate::slt, lanes,
                                   v.splat(visible));
    });
    SmallVector<Value> next;
    for (auto [i, product] : llvm::enumerate(getProducts(block))) {
      Value scores =
          arith::SelectOp::create(v.b, v.loc, isVisible[queries[i].number],
                                  v.mulf(product, scale), v.splat(-INFINITY));
      v.store(scores, scratch, {row, v.index(i), v.index(0)});
      next.push_back(getLarger(v, largest[i], scores));
    }
    return next;
  });
}

/// The largest lane of each vector, in the lane of its number. With every step
/// two vectors become one that holds twice as many in half as many lanes each.
static Value getLargest(VectorBuilder &v, SmallVector<Value> vectors) {
  for (int64_t lanes = kLanes; lanes > 1; lanes /= 2) {
    SmallVector<int64_t> low, high;
    for (int64_t first = 0; first < 2 * kLanes; first += lanes)
      for (int64_t lane = 0; lane < lanes / 2; ++lane) {
        low.push_back(first + lane);
        high.push_back(first + lanes / 2 + lane);
      }
    SmallVector<Value> halved;
    for (size_t i = 0; i < vectors.size(); i += 2) {
      Value x = vectors[i], y = vectors[std::min(i + 1, vectors.size() - 1)];
      halved.push_back(arith::MaxNumFOp::create(
          v.b, v.loc, vector::ShuffleOp::create(v.b, v.loc, x, y, low),
          vector::ShuffleOp::create(v.b, v.loc, x, y, high)));
    }
    vectors = halved;
  }
  return vectors[0];
}

SmallVector<Value> QueryGroup::addValue(Value key, Value row, Value lane,
                                        Value distance, int64_t first,
                                        ValueRange sums, bool masked) {
  int64_t number = sums.size() / queries.size();
  SmallVector<Value> values, next;
  int64_t partBytes = kLanes * cache.type.getElementBytes();
  for (int64_t part = first; part < first + number; ++part) {
    Value offset = cache.getValueOffset(key, part * kLanes);
    if (part * partBytes % kLineBytes == 0)
      prefetch(offset, distance);
    values.push_back(
        v.loadAsF32(op.getCache(), offset, cache.type.getElementType()));
  }
  for (auto [i, query] : llvm::enumerate(queries)) {
    Value weight = v.splat(v.load(scratch, {row, v.index(i), lane}));
    for (auto [part, value] : llvm::enumerate(values)) {
      Value sum = sums[i * number + part], more = v.fma(weight, value, sum);
      // A later value may be infinite, which a weight of 0 does not hide.
      if (masked)
        more = arith::SelectOp::create(
            v.b, v.loc, v.less(key, limits[query.number]), more, sum);
      next.push_back(more);
    }
  }
  return next;
}

SmallVector<Value> QueryGroup::sumBlock(Value span, Value block, int64_t first,
                                        int64_t number) {
  Value row = v.sub(block, span), start = v.mul(block, kLanes);
  Value end = v.add(start, kLanes), distance = valuesAhead.get(v, block);
  auto addKeys = [&](Value from, Value to, ValueRange init, bool masked) {
    return v.loop(from, to, 1, init, [&](Value key, ValueRange sums) {
      return addValue(key, row, v.sub(key, start), distance, first, sums,
                      masked);
    });
  };
  // Keys that every query sees, and those that only later ones do.
  Value common = v.min(limits.front(), end);
  SmallVector<Value> none(queries.size() * number, v.splat(0.0f));
  SmallVector<Value> sums = addKeys(start, common, none, false);
  if (limits.size() > 1)
    sums = addKeys(v.max(start, common), v.min(limits.back(), end), sums, true);
  return sums;
}

SmallVector<Value> QueryGroup::sumParts(Value span, Value end, int64_t first,
                                        int64_t until, int64_t step) {
  int64_t count = queries.size();
  SmallVector<Value> none(count * (until - first), v.splat(0.0f));
  return v.loop(span, end, 1, none, [&](Value block, ValueRange seen) {
    SmallVector<Value> next(seen);
    for (int64_t from = first; from < until; from += step) {
      int64_t number = std::min(step, until - from);
      SmallVector<Value> sums = sumBlock(span, block, from, number);
      for (int64_t query = 0; query < count; ++query)
        for (int64_t part = 0; part < number; ++part) {
          Value &sum = next[query * (until - first) + from - first + part];
          sum = v.addf(sum, sums[query * number + part]);
        }
    }
    return next;
  });
}

SmallVector<Value> QueryGroup::sumValues(Value span, Value end) {
  int64_t count = queries.size();
  // Few queries wait for memory: all of a value at once, so that it is read in
  // order. Many have arithmetic to do: one part at a time, so that a weight is
  // used once and the multiplication itself reads it, and no more parts of all
  // blocks before the next than there are registers for.
  bool few = count < kLatency;
  auto divide = [&](int64_t most) {
    most = std::max<int64_t>(1, most);
    return llvm::divideCeil(parts, llvm::divideCeil(parts, most));
  };
  int64_t step = few ? divide(sums / count) : 1;
  int64_t round = few ? parts : divide((sums - count) / count);
  SmallVector<Value> result(count * parts);
  for (int64_t first = 0; first < parts; first += round) {
    int64_t number = std::min(round, parts - first);
    SmallVector<Value> sums = sumParts(span, end, first, first + number, step);
    for (int64_t query = 0; query < count; ++query)
      for (int64_t part = 0; part < number; ++part)
        result[query * parts + first + part] = sums[query * number + part];
  }
  return result;
}

SmallVector<Value> QueryGroup::storeWeights(Value span, Value end,
                                            Value largest) {
  SmallVector<Value> sums;
  for (size_t query = 0; query < queries.size(); ++query) {
    Value subtracted = getLane(v, largest, query);
    auto addBlock = [&](Value block, ValueRange sum) -> SmallVector<Value> {
      Value at[] = {v.sub(block, span), v.index(query), v.index(0)};
      Value score = v.load(scratch, at, v.f32Vector());
      Value weight = math::ExpOp::create(v.b, v.loc, v.subf(score, subtracted));
      v.store(weight, scratch, at);
      return {v.addf(sum[0], weight)};
    };
    sums.push_back(v.loop(span, end, 1, v.splat(0.0f), addBlock)[0]);
  }
  return sums;
}

SmallVector<Value> QueryGroup::sumSpan(Value span, Value blocks) {
  Value end = v.min(v.add(span, kSpan), blocks);
  Value largest = arith::MaxNumFOp::create(
      v.b, v.loc, v.splat(kLowest), getLargest(v, storeScores(span, end)));
  SmallVector<Value> weights = storeWeights(span, end, largest);
  SmallVector<Value> values = sumValues(span, end);
  SmallVector<Value> sums = {largest};
  for (auto [query, weight] : llvm::enumerate(weights)) {
    sums.push_back(weight);
    llvm::append_range(sums, ArrayRef(values).slice(query * parts, parts));
  }
  return sums;
}

void QueryGroup::storeOutput(ValueRange state) {
  Value into = op.getInto().front();
  int64_t headDim = cache.type.getHeadDim();
  for (auto [number, query] : llvm::enumerate(queries)) {
    ValueRange sums = state.slice(1 + number * (1 + parts), 1 + parts);
    Value total = v.addLanes(sums[0]);
    Value factor = v.splat(v.divf(v.constant(1.0f), total));
    for (int64_t part = 0; part < parts; ++part)
      v.storeFirst(v.mulf(sums[1 + part], factor), into,
                   {query.token, v.add(query.column, part * kLanes)},
                   headDim - part * kLanes);
  }
  // What pads the row is read by whoever sums over it; one head writes it.
  int64_t columns = op.getHeads() * headDim;
  int64_t padded = cast<MemRefType>(into.getType()).getShape().back();
  if (columns == padded)
    return;
  Value isLast = v.less(v.index(op.getHeads() - 1), v.add(head, heads));
  v.ifThen(isLast, [&] {
    for (size_t query = 0; query < queries.size(); query += heads)
      for (int64_t pad = columns; pad < padded; ++pad)
        v.storeScalar(v.constant(0.0f), into,
                      {queries[query].token, v.index(pad)});
  });
}

Value QueryGroup::prepare() {
  Value last = v.sub(limits.back(), 1);
  Value blocks = v.add(v.div(last, kLanes), 1);
  const CacheType &type = cache.type;
  keysAhead = getDistance(blocks, type.getHeadDim() * type.getKeyRowBytes(),
                          type.getKeyHeadBytes());
  valuesAhead = getDistance(blocks, kLanes * type.getValueRowBytes(),
                            type.getValueHeadBytes());
  return blocks;
}

void QueryGroup::run() {
  Value blocks = prepare();
  storeOutput(v.loop(v.index(0), blocks, kSpan, getNone(),
                     [&](Value span, ValueRange seen) {
                       return add(seen, sumSpan(span, blocks));
                     }));
}

/// Where a head's sums of a span are, of which `part` is one vector.
SmallVector<Value> QueryGroup::getSumPlace(Value span, Value head,
                                           int64_t part) {
  Value row = v.add(v.mul(span, op.getHeads()), head);
  Value column = v.add(v.mul(row, op.getSumColumns()), part * kLanes);
  return {v.index(0), column};
}

void QueryGroup::storeSpans(Value from, Value to) {
  Value blocks = prepare(), into = op.getInto().back();
  v.loop(from, to, [&](Value span) {
    SmallVector<Value> sums = sumSpan(v.mul(span, kSpan), blocks);
    for (int64_t query = 0; query < heads; ++query) {
      Value own = v.add(head, query);
      v.store(getLane(v, sums[0], query), into, getSumPlace(span, own, 0));
      for (int64_t part = 1; part < 2 + parts; ++part)
        v.store(sums[query * (1 + parts) + part], into,
                getSumPlace(span, own, part));
    }
  });
}

void QueryGroup::addSpans(Value spans) {
  storeOutput(
      v.loop(v.index(0), spans, 1, getNone(), [&](Value span, ValueRange seen) {
        SmallVector<Value> sums;
        for (int64_t part = 0; part < 2 + parts; ++part)
          sums.push_back(v.load(op.getInto().back(),
                                getSumPlace(span, head, part), v.f32Vector()));
        return add(seen, sums);
      }));
}
