// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Rotary embedding, the KV cache and attention on a CPU. Sixteen keys are
// sixteen lanes (the cache holds them so), sixteen features of a value too; no
// score crosses lanes but for a block's maximum and the final sum.

#include "LowerStep.h"

using namespace mlir;
using namespace mlir::tbq;

void mlir::tbq::lowerRope(VectorBuilder &v, RopeOp op) {
  int64_t headDim = op.getHeadDim(), half = headDim / 2;
  // The widest vector that divides the half evenly: no tails.
  int64_t lanes = kLanes;
  while (half % lanes)
    lanes /= 2;
  LayoutAttr layout = cast<PackedType>(op.getTable().getType()).getLayout();
  Value table = getBytes(v, op.getTable());
  Value input = op.getInput(), into = op.getInto().front();
  VectorType type = v.f32Vector(lanes);
  forEachUnit(v, op, [&](Value token, Value head) {
    Value position = v.add(op.getPosition(), token);
    Value angles = v.mul(position, layout.getTileBytes());
    Value low = v.mul(head, headDim), high = v.add(low, half);
    v.loop(v.index(0), v.index(half), lanes, {}, [&](Value i, ValueRange) {
      Value cosines = v.loadBytes(table, v.add(angles, v.mul(i, 4)), type);
      Value sines =
          v.loadBytes(table, v.add(v.add(angles, v.mul(i, 4)), 4 * half), type);
      Value x = v.load(input, {token, v.add(low, i)}, type);
      Value y = v.load(input, {token, v.add(high, i)}, type);
      v.store(v.subf(v.mulf(x, cosines), v.mulf(y, sines)), into,
              {token, v.add(low, i)});
      v.store(v.addf(v.mulf(y, cosines), v.mulf(x, sines)), into,
              {token, v.add(high, i)});
      return SmallVector<Value>();
    });
  });
}

namespace {
/// Where one kv head of one layer lies in the cache.
struct CacheHead {
  CacheHead(VectorBuilder &v, CacheType type, Value layer, Value head)
      : v(v), type(type) {
    Value base = v.mul(layer, type.getLayerBytes());
    keys = v.add(base, v.mul(head, type.getKeyHeadBytes()));
    values = v.add(v.add(base, type.getValuesOffset()),
                   v.mul(head, type.getValueHeadBytes()));
  }
  /// Sixteen keys' values of one feature.
  Value getKeyOffset(Value block, Value feature) {
    Value row = v.add(v.mul(block, type.getHeadDim()), feature);
    return v.add(keys, v.mul(row, kLanes * type.getElementBytes()));
  }
  Value getValueOffset(Value position, int64_t feature) {
    int64_t rowBytes = type.getPaddedHeadDim() * type.getElementBytes();
    return v.add(v.add(values, v.mul(position, rowBytes)),
                 feature * type.getElementBytes());
  }

  VectorBuilder &v;
  CacheType type;
  Value keys, values; // byte offsets
};
} // namespace

void mlir::tbq::lowerAppendCache(VectorBuilder &v, AppendCacheOp op) {
  CacheType type = op.getCacheType();
  Type element = type.getElementType();
  int64_t headDim = type.getHeadDim();
  forEachUnit(v, op, [&](Value token, Value head) {
    CacheHead cache(v, type, op.getLayer(), head);
    Value position = v.add(op.getPosition(), token);
    Value first = v.mul(head, headDim);
    Value block = v.div(position, kLanes);
    Value lane = v.mul(v.rem(position, kLanes), type.getElementBytes());
    v.loop(v.index(0), v.index(headDim), [&](Value feature) {
      Value x =
          v.load(op.getKey(), {token, v.add(first, feature)}, v.f32Vector(1));
      v.storeF32As(x, op.getCache(),
                   v.add(cache.getKeyOffset(block, feature), lane), element);
    });
    for (int64_t feature = 0; feature < headDim; feature += kLanes) {
      Value x = v.loadFirst(op.getValue(), {token, v.add(first, feature)},
                            v.f32Vector(), headDim - feature);
      v.storeF32As(x, op.getCache(), cache.getValueOffset(position, feature),
                   element);
    }
  });
}

/// Scores of the sixteen keys of `block`, -inf where later than `position`.
static Value getScores(VectorBuilder &v, AttentionOp op, CacheHead &cache,
                       Value token, Value first, Value block, Value position) {
  SmallVector<Value> sums = v.unrolled(
      cache.type.getHeadDim(), 8, {v.splat(0.0f), v.splat(0.0f)},
      [&](Value feature, int64_t copy, ValueRange carried) {
        SmallVector<Value> next(carried);
        Value q =
            v.splat(v.load(op.getQuery(), {token, v.add(first, feature)}));
        Value k = v.loadAsF32(op.getCache(), cache.getKeyOffset(block, feature),
                              cache.type.getElementType());
        next[copy % 2] = v.fma(q, k, next[copy % 2]);
        return next;
      });
  Value scores =
      v.mulf(v.addf(sums[0], sums[1]), v.splat(op.getScale().convertToFloat()));
  // How many of the block's keys are visible: position + 1 - 16 block.
  Value visible = arith::SubIOp::create(v.b, v.loc, v.add(position, 1),
                                        v.mul(block, kLanes));
  Value count = arith::IndexCastOp::create(v.b, v.loc, v.b.getI32Type(),
                                           v.min(visible, v.index(kLanes)));
  auto numbers = llvm::to_vector(llvm::seq<int32_t>(0, kLanes));
  Value lanes = arith::ConstantOp::create(
      v.b, v.loc,
      DenseElementsAttr::get(v.i32Vector(), ArrayRef<int32_t>(numbers)));
  Value mask = arith::CmpIOp::create(v.b, v.loc, arith::CmpIPredicate::slt,
                                     lanes, v.splat(count));
  return arith::SelectOp::create(v.b, v.loc, mask, scores, v.splat(-INFINITY));
}

/// 16 floats on the stack, once a function.
static Value getScratch(AttentionOp op) {
  auto function = op->getParentOfType<func::FuncOp>();
  OpBuilder b = OpBuilder::atBlockBegin(&function.getBody().front());
  return memref::AllocaOp::create(
      b, op.getLoc(), MemRefType::get({kLanes}, b.getF32Type()), ValueRange(),
      ValueRange(), b.getI64IntegerAttr(kAlignment));
}

namespace {
/// The softmax of one head's scores over keys seen so far, and with it the sum
/// of values: the largest score, the sixteen lanes' sums of weights and the
/// parts of the weighted sum of values, all relative to that largest score.
/// Sums are made in three levels (a block of 16 keys, a span of blocks, all
/// spans): their error grows with the number of terms at a level, so it stays
/// below R20's bound for thousands of keys. The levels are absolute positions.
struct Softmax {
  static constexpr int64_t kSpan = 16; // blocks

  VectorBuilder &v;
  AttentionOp op;
  CacheHead &cache;
  Value token, first, position, scratch;
  int64_t parts;

  SmallVector<Value> getNone(Value largest) {
    SmallVector<Value> state(2 + parts, v.splat(0.0f));
    state[0] = largest;
    return state;
  }

  /// `seen` and the sums of later keys, relative to their `largest` score.
  SmallVector<Value> add(ValueRange seen, Value largest, ValueRange sums) {
    Value decay = math::ExpOp::create(v.b, v.loc, v.subf(seen[0], largest));
    SmallVector<Value> state = {largest};
    for (auto [before, sum] : llvm::zip(seen.drop_front(), sums))
      state.push_back(v.fma(before, decay, sum));
    return state;
  }

  SmallVector<Value> addBlock(Value block, ValueRange seen) {
    Value scores = getScores(v, op, cache, token, first, block, position);
    Value largest =
        arith::MaxNumFOp::create(v.b, v.loc, seen[0], v.maxOfLanes(scores));
    Value weights = math::ExpOp::create(v.b, v.loc, v.subf(scores, largest));
    v.store(weights, scratch, {v.index(0)});
    Value start = v.mul(block, kLanes);
    Value visible =
        arith::SubIOp::create(v.b, v.loc, v.add(position, 1), start);
    SmallVector<Value> sums =
        v.loop(v.index(0), v.min(visible, v.index(kLanes)), 1,
               SmallVector<Value>(parts, v.splat(0.0f)),
               [&](Value key, ValueRange values) {
                 Value weight = v.splat(v.load(scratch, {key}));
                 Value at = v.add(start, key);
                 SmallVector<Value> next(values);
                 for (auto [part, sum] : llvm::enumerate(next)) {
                   Value offset = cache.getValueOffset(at, part * kLanes);
                   sum = v.fma(weight,
                               v.loadAsF32(op.getCache(), offset,
                                           cache.type.getElementType()),
                               sum);
                 }
                 return next;
               });
    sums.insert(sums.begin(), weights);
    return add(seen, largest, sums);
  }

  SmallVector<Value> addSpan(Value span, Value blocks, ValueRange seen) {
    SmallVector<Value> state = v.loop(
        span, v.min(v.add(span, kSpan), blocks), 1, getNone(seen[0]),
        [&](Value block, ValueRange state) { return addBlock(block, state); });
    return add(seen, state[0], ArrayRef(state).drop_front());
  }
};
} // namespace

void mlir::tbq::lowerAttention(VectorBuilder &v, AttentionOp op) {
  CacheType type = op.getCacheType();
  int64_t headDim = type.getHeadDim();
  int64_t parts = type.getPaddedHeadDim() / kLanes;
  int64_t sharing = op.getHeads() / type.getKvHeads();
  Value into = op.getInto().front(), scratch = getScratch(op);
  forEachUnit(v, op, [&](Value token, Value head) {
    CacheHead cache(v, type, op.getLayer(), v.div(head, sharing));
    Value position = v.add(op.getPosition(), token);
    Value first = v.mul(head, headDim);
    Value blocks = v.add(v.div(position, kLanes), 1);
    Softmax softmax{v, op, cache, token, first, position, scratch, parts};
    SmallVector<Value> state = v.loop(
        v.index(0), blocks, Softmax::kSpan, softmax.getNone(v.splat(-1e30f)),
        [&](Value span, ValueRange seen) {
          return softmax.addSpan(span, blocks, seen);
        });
    Value total = v.addLanes(state[1]);
    Value factor = v.splat(v.divf(v.constant(1.0f), total));
    for (int64_t part = 0; part < parts; ++part)
      v.storeFirst(v.mulf(state[2 + part], factor), into,
                   {token, v.add(first, part * kLanes)},
                   headDim - part * kLanes);
    // What pads the row is read by whoever sums over it; one head writes it.
    int64_t columns = op.getHeads() * headDim;
    int64_t padded = cast<MemRefType>(into.getType()).getShape().back();
    if (columns == padded)
      return;
    Value isLast = v.less(v.index(op.getHeads() - 1), v.add(head, 1));
    v.ifThen(isLast, [&] {
      for (int64_t pad = columns; pad < padded; ++pad)
        v.storeScalar(v.constant(0.0f), into, {token, v.index(pad)});
    });
  });
}
