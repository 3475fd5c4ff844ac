// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-lower-step-to-cpu: the ops of a step that are not linears, as loops over
// vectors of 16 lanes. Rows are padded with zeros to whole vectors, so there
// are no tails; reductions run over a row in one fixed order.

#include "LowerStep.h"

#include "llvm/ADT/TypeSwitch.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_LOWERSTEPTOCPUPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

static int64_t getColumns(Value rows) {
  return cast<MemRefType>(rows.getType()).getShape().back();
}

Value mlir::tbq::getBytes(VectorBuilder &v, Value packed) {
  int64_t bytes = cast<PackedType>(packed.getType()).getLayout().getBytes();
  return PackedBytesOp::create(
      v.b, v.loc, MemRefType::get({bytes}, v.b.getI8Type()), packed);
}

/// for each vector of a row of `columns`: body(column), carrying values.
static SmallVector<Value> forEachVector(VectorBuilder &v, int64_t columns,
                                        ValueRange init,
                                        VectorBuilder::Body body) {
  return v.loop(v.index(0), v.index(columns), kLanes, init, body);
}

void mlir::tbq::lowerEmbedding(VectorBuilder &v, EmbeddingOp op) {
  LayoutAttr layout = cast<PackedType>(op.getTable().getType()).getLayout();
  Type element = layout.getElementType();
  int64_t elementBytes = element.getIntOrFloatBitWidth() / 8;
  Value bytes = getBytes(v, op.getTable());
  Value into = op.getInto().front();
  forEachUnit(v, op, [&](Value token, Value) {
    Value id = arith::IndexCastUIOp::create(v.b, v.loc, v.b.getIndexType(),
                                            v.load(op.getTokens(), {token}));
    // The row's lane in its tile: one element a column.
    Value lane = v.add(v.mul(v.div(id, kLanes), layout.getTileBytes()),
                       v.mul(v.rem(id, kLanes), elementBytes));
    v.loop(v.index(0), v.index(layout.getColumns()), [&](Value column) {
      Value offset = v.add(lane, v.mul(column, kLanes * elementBytes));
      v.storeFirst(v.loadAsF32(bytes, offset, element, 1), into,
                   {token, column}, 1);
    });
    Value zero = v.constant(0);
    for (int64_t pad = layout.getColumns(); pad < getColumns(into); ++pad)
      v.storeScalar(zero, into, {token, v.index(pad)});
  });
}

void mlir::tbq::lowerRmsNorm(VectorBuilder &v, RmsNormOp op) {
  Value input = op.getInput(), into = op.getInto().front();
  Value weight = getBytes(v, op.getWeight());
  int64_t columns = getColumns(input);
  forEachUnit(v, op, [&](Value token, Value) {
    Value squares = forEachVector(
        v, columns, {v.splat(0.0f)}, [&](Value column, ValueRange carried) {
          Value x = v.load(input, {token, column}, v.f32Vector());
          return SmallVector<Value>{v.fma(x, x, carried[0])};
        })[0];
    Value sum = v.reduce(vector::CombiningKind::ADD, squares);
    Value mean = v.divf(sum, v.constant(float(op.getFeatures())));
    Value root = math::SqrtOp::create(
        v.b, v.loc, v.addf(mean, v.constant(op.getEpsilon().convertToFloat())));
    Value factor = v.splat(v.divf(v.constant(1.0f), root));
    forEachVector(v, columns, {}, [&](Value column, ValueRange) {
      Value x = v.load(input, {token, column}, v.f32Vector());
      Value w = v.loadBytes(weight, v.mul(column, 4), v.f32Vector());
      v.store(v.mulf(w, v.mulf(x, factor)), into, {token, column});
      return SmallVector<Value>();
    });
  });
}

void mlir::tbq::lowerSelectRows(VectorBuilder &v, SelectRowsOp op) {
  Value input = op.getInput(), into = op.getInto().front();
  forEachUnit(v, op, [&](Value token, Value) {
    Value from = v.add(token, op.getFirst());
    forEachVector(v, getColumns(input), {}, [&](Value column, ValueRange) {
      v.store(v.load(input, {from, column}, v.f32Vector()), into,
              {token, column});
      return SmallVector<Value>();
    });
  });
}

void mlir::tbq::lowerAdd(VectorBuilder &v, AddOp op) {
  forEachUnit(v, op, [&](Value token, Value part) {
    Value at[] = {token, v.mul(part, kLanes)};
    v.store(v.addf(v.load(op.getLhs(), at, v.f32Vector()),
                   v.load(op.getRhs(), at, v.f32Vector())),
            op.getInto().front(), at);
  });
}

void mlir::tbq::lowerGatedActivation(VectorBuilder &v, GatedActivationOp op) {
  forEachUnit(v, op, [&](Value token, Value part) {
    Value at[] = {token, v.mul(part, kLanes)};
    Value gate = v.load(op.getGate(), at, v.f32Vector());
    Value up = v.load(op.getUp(), at, v.f32Vector());
    Value one = v.splat(1.0f);
    Value negative = arith::NegFOp::create(v.b, v.loc, gate);
    Value exp = math::ExpOp::create(v.b, v.loc, negative);
    Value silu = v.divf(gate, v.addf(one, exp));
    v.store(v.mulf(silu, up), op.getInto().front(), at);
  });
}

/// Runs `body(group, columns)` for every group of a row; the last may be
/// shorter.
static void forEachGroup(VectorBuilder &v, int64_t columns, int64_t group,
                         llvm::function_ref<void(Value, int64_t)> body) {
  int64_t whole = columns / group;
  v.loop(v.index(0), v.index(whole),
         [&](Value number) { body(number, group); });
  if (columns % group)
    body(v.index(whole), llvm::alignTo(columns % group, kLanes));
}

void mlir::tbq::lowerGroupSums(VectorBuilder &v, GroupSumsOp op) {
  Value input = op.getInput();
  int64_t columns = op.getColumnsAttr().getInt(), group = op.getGroup();
  forEachUnit(v, op, [&](Value token, Value) {
    forEachGroup(v, columns, group, [&](Value number, int64_t size) {
      Value first = v.mul(number, group);
      Value lanes =
          forEachVector(v, llvm::alignTo(size, kLanes), {v.splat(0.0f)},
                        [&](Value column, ValueRange carried) {
                          Value x = v.load(input, {token, v.add(first, column)},
                                           v.f32Vector());
                          return SmallVector<Value>{v.addf(carried[0], x)};
                        })[0];
      v.storeScalar(v.reduce(vector::CombiningKind::ADD, lanes),
                    op.getInto().front(), {token, number});
    });
  });
}

void mlir::tbq::lowerQuantizeActivations(VectorBuilder &v,
                                         QuantizeActivationsOp op) {
  Value input = op.getInput(), digits = op.getInto()[0],
        scales = op.getInto()[1], sums = op.getInto()[2];
  int64_t columns = op.getColumnsAttr().getInt(), group = op.getGroup();
  // x + 1.5 * 2^23 has x, rounded to an integer (ties to even), in its low
  // bits.
  constexpr float kRound = 12582912.0f;
  forEachUnit(v, op, [&](Value token, Value) {
    Value lanes =
        forEachVector(v, getColumns(input), {v.splat(0.0f)},
                      [&](Value column, ValueRange carried) {
                        Value x = v.load(input, {token, column}, v.f32Vector());
                        Value magnitude = math::AbsFOp::create(v.b, v.loc, x);
                        return SmallVector<Value>{arith::MaxNumFOp::create(
                            v.b, v.loc, carried[0], magnitude)};
                      })[0];
    Value largest = arith::MaxNumFOp::create(
        v.b, v.loc, v.reduce(vector::CombiningKind::MAXNUMF, lanes),
        v.constant(1e-5f));
    v.storeScalar(v.divf(largest, v.constant(127.0f)), scales,
                  {token, v.index(0)});
    Value factor = v.splat(v.divf(v.constant(127.0f), largest));
    forEachGroup(v, columns, group, [&](Value number, int64_t size) {
      Value first = v.mul(number, group);
      Value sum = forEachVector(
          v, llvm::alignTo(size, kLanes), {v.splatI32(0)},
          [&](Value offset, ValueRange carried) {
            Value at[] = {token, v.add(first, offset)};
            Value x = v.load(input, at, v.f32Vector());
            Value rounded = v.addf(v.mulf(x, factor), v.splat(kRound));
            Value q = arith::SubIOp::create(
                v.b, v.loc, v.bitcast(rounded, v.i32Vector()),
                v.bitcast(v.splat(kRound), v.i32Vector()));
            v.store(arith::TruncIOp::create(v.b, v.loc, v.i8Vector(kLanes), q),
                    digits, at);
            return SmallVector<Value>{v.add(carried[0], q)};
          })[0];
      v.storeScalar(v.reduce(vector::CombiningKind::ADD, sum), sums,
                    {token, number});
    });
  });
}

namespace {
struct LowerStepToCPUPass
    : tbq::impl::LowerStepToCPUPassBase<LowerStepToCPUPass> {
  using LowerStepToCPUPassBase::LowerStepToCPUPassBase;

  void runOnOperation() override {
    SmallVector<StepOp> ops;
    getOperation()->walk([&](StepOp op) { ops.push_back(op); });
    for (StepOp op : ops) {
      OpBuilder b(op);
      VectorBuilder v(b, op->getLoc(), fma);
      llvm::TypeSwitch<Operation *>(op)
          .Case([&](EmbeddingOp op) { lowerEmbedding(v, op); })
          .Case([&](RmsNormOp op) { lowerRmsNorm(v, op); })
          .Case([&](SelectRowsOp op) { lowerSelectRows(v, op); })
          .Case([&](AddOp op) { lowerAdd(v, op); })
          .Case([&](GatedActivationOp op) { lowerGatedActivation(v, op); })
          .Case([&](GroupSumsOp op) { lowerGroupSums(v, op); })
          .Case([&](QuantizeActivationsOp op) {
            lowerQuantizeActivations(v, op);
          })
          .Case([&](RopeOp op) { lowerRope(v, op); })
          .Case([&](AppendCacheOp op) { lowerAppendCache(v, op); })
          .Case([&](AttentionOp op) { lowerAttention(v, op); });
      op->erase();
    }
  }
};
} // namespace
