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

    // Carried: the maximum so far, the sixteen lanes' sums of weights, and the
    // weighted sum of values, all relative to that maximum.
    SmallVector<Value> init(2 + parts, v.splat(0.0f));
    init[0] = v.splat(-1e30f);
    SmallVector<Value> state = v.loop(
        v.index(0), blocks, 1, init, [&](Value block, ValueRange carried) {
          SmallVector<Value> next(carried);
          Value scores = getScores(v, op, cache, token, first, block, position);
          Value largest = arith::MaxNumFOp::create(
              v.b, v.loc, carried[0],
              v.splat(v.reduce(vector::CombiningKind::MAXNUMF, scores)));
          Value decay =
              math::ExpOp::create(v.b, v.loc, v.subf(carried[0], largest));
          Value weights =
              math::ExpOp::create(v.b, v.loc, v.subf(scores, largest));
          next[0] = largest;
          for (int64_t i = 1; i < 2 + parts; ++i)
            next[i] = v.mulf(carried[i], decay);
          next[1] = v.addf(next[1], weights);
          v.store(weights, scratch, {v.index(0)});
          Value start = v.mul(block, kLanes);
          Value visible =
              arith::SubIOp::create(v.b, v.loc, v.add(position, 1), start);
          SmallVector<Value> sums = v.loop(
              v.index(0), v.min(visible, v.index(kLanes)), 1,
              ArrayRef(next).drop_front(2), [&](Value key, ValueRange values) {
                Value weight = v.splat(v.load(scratch, {key}));
                SmallVector<Value> sums(values);
                for (int64_t part = 0; part < parts; ++part)
                  sums[part] =
                      v.fma(weight,
                            v.loadAsF32(op.getCache(),
                                        cache.getValueOffset(v.add(start, key),
                                                             part * kLanes),
                                        type.getElementType()),
                            sums[part]);
                return sums;
              });
          llvm::copy(sums, next.begin() + 2);
          return next;
        });
    Value total = v.reduce(vector::CombiningKind::ADD, state[1]);
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
