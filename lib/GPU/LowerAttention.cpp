// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Rotary embedding, the KV cache and attention on a GPU. A block has a query
// head of a token; its warps divide the keys, sixteen at a time (the cache
// holds them so), by position alone, and what they found is put together in
// the order of the warps: the same whatever the number of blocks or tokens.

#include "LinearGroup.h"
#include "LowerStep.h"
#include "WarpAttention.h"

using namespace mlir;
using namespace mlir::tbq;

void mlir::tbq::lowerRope(ThreadBuilder &t, RopeOp op) {
  int64_t headDim = op.getHeadDim(), half = headDim / 2;
  LayoutAttr layout = cast<PackedType>(op.getTable().getType()).getLayout();
  Value table = getBytes(t, op.getTable());
  Value input = op.getInput(), into = op.getInto().front();
  // Neighbours that a thread loads at once.
  const int64_t width = half % 4 == 0 ? 4 : 1;
  auto vector = VectorType::get({width}, t.b.getF32Type());
  forEachElement(t, op, half / width, [&](Value token, Value number) {
    Value pair = t.mul(number, width);
    Value head = t.div(pair, half), i = t.rem(pair, half);
    Value angles =
        t.add(t.mul(t.add(op.getPosition(), token), layout.getTileBytes()),
              t.mul(i, 4));
    Value cosines = t.loadBytes(table, angles, vector);
    Value sines = t.loadBytes(table, t.add(angles, 4 * half), vector);
    Value low[] = {token, t.add(t.mul(head, headDim), i)};
    Value high[] = {token, t.add(low[1], half)};
    Value first = t.loadVector(input, low, vector);
    Value second = t.loadVector(input, high, vector);
    SmallVector<Value> ofLow, ofHigh;
    for (int64_t lane = 0; lane < width; ++lane) {
      Value x = t.extract(first, lane), y = t.extract(second, lane);
      Value cosine = t.extract(cosines, lane), sine = t.extract(sines, lane);
      ofLow.push_back(t.subf(t.mulf(x, cosine), t.mulf(y, sine)));
      ofHigh.push_back(t.addf(t.mulf(y, cosine), t.mulf(x, sine)));
    }
    t.storeVector(ofLow, into, low);
    t.storeVector(ofHigh, into, high);
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

/// The rope that alone makes a row for `reader`, in the block's own memory.
static RopeOp findRope(AttentionOp reader, Value row, Operation *last) {
  Operation *op = reader->getPrevNode();
  while (op && (isMemoryEffectFree(op) || isa<RopeOp>(op)) &&
         !(isa<RopeOp>(op) && cast<RopeOp>(op).getInto().front() == row))
    op = op->getPrevNode();
  auto rope = dyn_cast_or_null<RopeOp>(op);
  return rope && isOwn(row) && !isReadBehind(last, row) ? rope : nullptr;
}

AttentionNeighbours mlir::tbq::findNeighbours(AttentionOp op) {
  AttentionNeighbours around;
  if (!op.getKey())
    return around;
  auto append =
      dyn_cast_or_null<AppendCacheOp>(findEffect(op, /*isBehind=*/true));
  if (!append || append.getKey() != op.getKey() ||
      append.getValue() != op.getValue())
    return around;
  around.append = append;
  around.query = findRope(op, op.getQuery(), append);
  around.key = findRope(op, op.getKey(), append);
  return around;
}

/// The first keys and values of a block's first head, before the barrier that
/// its query waits for, where the op reads none that this step stores.
static SmallVector<Value> loadAhead(ThreadBuilder &t, AttentionOp op,
                                    AttentionNeighbours around) {
  Operation *barrier = findBarrier(op);
  if (!op.getKey() || !barrier)
    return {};
  OpBuilder::InsertionGuard guard(t.b);
  t.b.setInsertionPoint(barrier);
  IRMapping copies;
  Value unit = getAt(t.b, op.getRange()[0], copies);
  Value end = getAt(t.b, op.getRange()[1], copies);
  AttentionPlace place = {getAt(t.b, op.getLayer(), copies),
                          getAt(t.b, op.getPosition(), copies)};
  return WarpAttention(t, op, around, place, t.div(unit, op.getHeads()),
                       t.rem(unit, op.getHeads()))
      .loadFirst(t.less(unit, end));
}

/// What the block's warps found, put together in their order, in row `token` of
/// `into`. Each lane has a warp's share to tell to the others.
static void combineWarps(ThreadBuilder &t, Value shared, CacheType type,
                         Value into, Value token, Value firstColumn) {
  int64_t stateFloats = WarpAttention::getStateFloats(type);
  Value own = t.mul(t.rem(t.lane(), kWarps), stateFloats);
  Value largest = t.load(shared, {own});
  Value decay =
      t.exp(t.subf(largest, t.reduceWarp(Reduction::Maximum, largest, kWarps)));
  Value total = t.reduceWarp(
      Reduction::Sum, t.mulf(decay, t.load(shared, {t.add(own, 1)})), kWarps);
  SmallVector<Value> decays;
  for (int64_t w = 0; w < kWarps; ++w)
    decays.push_back(t.getFromLane(decay, t.index(w)));
  t.loop(t.thread(), t.index(type.getHeadDim()), t.index(kThreads),
         [&](Value feature) {
           Value sum = t.constant(0.0f);
           for (auto [w, decay] : llvm::enumerate(decays))
             sum = t.fma(decay,
                         t.load(shared, {t.add(feature, 2 + w * stateFloats)}),
                         sum);
           t.store(t.divf(sum, total), into,
                   {token, t.add(firstColumn, feature)});
         });
}

void mlir::tbq::lowerAttention(ThreadBuilder &t, AttentionOp op,
                               AttentionNeighbours around) {
  CacheType type = op.getCacheType();
  int64_t headDim = type.getHeadDim();
  int64_t stateFloats = WarpAttention::getStateFloats(type);
  Value shared = t.getShared("attention", kWarps * stateFloats);
  Value into = op.getInto().front();
  auto getHead = [&](Value unit) {
    return WarpAttention(t, op, around, {op.getLayer(), op.getPosition()},
                         t.div(unit, op.getHeads()),
                         t.rem(unit, op.getHeads()));
  };
  auto attend = [&](Value unit, ValueRange loaded) {
    Value token = t.div(unit, op.getHeads()), head = t.rem(unit, op.getHeads());
    // Each warp's state, and then each feature's sum over them.
    getHead(unit).run(shared, t.mul(t.warp(), stateFloats), loaded);
    SmallVector<Value> next;
    if (!loaded.empty()) {
      Value behind = t.add(unit, 1);
      next = getHead(behind).loadFirst(t.less(behind, op.getRange()[1]));
    }
    t.synchronize();
    combineWarps(t, shared, type, into, token, t.mul(head, headDim));
    // What pads the row is read by whoever sums over it; one head writes it.
    int64_t columns = op.getHeads() * headDim;
    int64_t width = cast<MemRefType>(into.getType()).getShape().back();
    if (columns < width)
      t.ifThen(t.both(t.equal(head, 0), t.equal(t.thread(), 0)), [&] {
        for (int64_t pad = columns; pad < width; ++pad)
          t.store(t.constant(0.0f), into, {token, t.index(pad)});
      });
    t.synchronize();
    return next;
  };
  t.loop(op.getRange()[0], op.getRange()[1], t.index(1),
         loadAhead(t, op, around), attend);
}
