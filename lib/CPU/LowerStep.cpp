// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-lower-step-to-cpu: the ops of a step that are not linears, as loops over
// vectors of 16 lanes. Rows are padded with zeros to whole vectors, so there
// are no tails; reductions run over a row in one fixed order.

#include "LowerStep.h"

#include "tbq/Target/CacheHead.h"

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

/// Adds up `body(offset, valid, sum)` over the vectors of a group of `columns`,
/// of whose last one only the first `valid` lanes belong to it.
static Value sumVectors(VectorBuilder &v, int64_t columns, Value zero,
                        llvm::function_ref<Value(Value, int64_t, Value)> body) {
  int64_t whole = columns / kLanes * kLanes;
  Value sum = zero;
  if (whole)
    sum =
        forEachVector(v, whole, {zero}, [&](Value offset, ValueRange carried) {
          return SmallVector<Value>{body(offset, kLanes, carried[0])};
        })[0];
  return whole < columns ? body(v.index(whole), columns - whole, sum) : sum;
}

/// 1 / sqrt(square + epsilon), in every lane.
static Value getNormFactor(VectorBuilder &v, Value square,
                           const APFloat &epsilon) {
  Value root = math::SqrtOp::create(
      v.b, v.loc, v.addf(square, v.constant(epsilon.convertToFloat())));
  return v.splat(v.divf(v.constant(1.0f), root));
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
    Value sum = v.addLanes(squares);
    Value mean = v.divf(sum, v.constant(float(op.getFeatures())));
    Value factor = getNormFactor(v, mean, op.getEpsilon());
    forEachVector(v, columns, {}, [&](Value column, ValueRange) {
      Value x = v.load(input, {token, column}, v.f32Vector());
      Value w = v.loadBytes(weight, v.mul(column, 4), v.f32Vector());
      v.store(v.mulf(w, v.mulf(x, factor)), into, {token, column});
      return SmallVector<Value>();
    });
  });
}

/// The first `valid` lanes of a vector, and zeros.
static Value keepFirst(VectorBuilder &v, Value vector, int64_t valid) {
  if (valid >= kLanes)
    return vector;
  SmallVector<bool> kept(kLanes, false);
  std::fill_n(kept.begin(), valid, true);
  Value mask = arith::ConstantOp::create(
      v.b, v.loc,
      DenseElementsAttr::get(VectorType::get({kLanes}, v.b.getI1Type()),
                             ArrayRef<bool>(kept)));
  return arith::SelectOp::create(v.b, v.loc, mask, vector, v.splat(0.0f));
}

void mlir::tbq::lowerLayerNorm(VectorBuilder &v, LayerNormOp op) {
  Value input = op.getInput(), into = op.getInto().front();
  Value weight = getBytes(v, op.getWeight()), bias = getBytes(v, op.getBias());
  int64_t columns = getColumns(input), features = op.getFeatures();
  Value count = v.constant(float(features));
  auto load = [&](Value token, Value column) {
    return v.load(input, {token, column}, v.f32Vector());
  };
  forEachUnit(v, op, [&](Value token, Value) {
    Value lanes = forEachVector(
        v, columns, {v.splat(0.0f)}, [&](Value column, ValueRange carried) {
          return SmallVector<Value>{v.addf(carried[0], load(token, column))};
        })[0];
    Value sum = v.addLanes(lanes);
    Value mean = v.splat(v.divf(sum, count));
    // What pads the row is not as far from the mean as it seems.
    Value squares =
        sumVectors(v, features, v.splat(0.0f),
                   [&](Value column, int64_t valid, Value squares) {
                     Value x =
                         keepFirst(v, v.subf(load(token, column), mean), valid);
                     return v.fma(x, x, squares);
                   });
    Value variance = v.divf(v.addLanes(squares), count);
    Value factor = getNormFactor(v, variance, op.getEpsilon());
    forEachVector(v, columns, {}, [&](Value column, ValueRange) {
      Value x = v.mulf(v.subf(load(token, column), mean), factor);
      Value w = v.loadBytes(weight, v.mul(column, 4), v.f32Vector());
      Value b = v.loadBytes(bias, v.mul(column, 4), v.f32Vector());
      v.store(v.fma(w, x, b), into, {token, column});
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
  forEachElementVector(v, op, [&](Value token, Value column) {
    Value at[] = {token, column};
    v.store(v.addf(v.load(op.getLhs(), at, v.f32Vector()),
                   v.load(op.getRhs(), at, v.f32Vector())),
            op.getInto().front(), at);
  });
}

void mlir::tbq::lowerGatedActivation(VectorBuilder &v, GatedActivationOp op) {
  forEachElementVector(v, op, [&](Value token, Value column) {
    Value at[] = {token, column};
    Value gate = v.load(op.getGate(), at, v.f32Vector());
    Value up = v.load(op.getUp(), at, v.f32Vector());
    Value one = v.splat(1.0f);
    Value negative = arith::NegFOp::create(v.b, v.loc, gate);
    Value exp = math::ExpOp::create(v.b, v.loc, negative);
    Value silu = v.divf(gate, v.addf(one, exp));
    v.store(v.mulf(silu, up), op.getInto().front(), at);
  });
}

void mlir::tbq::lowerAddPositions(VectorBuilder &v, AddPositionsOp op) {
  LayoutAttr layout = cast<PackedType>(op.getTable().getType()).getLayout();
  Value table = getBytes(v, op.getTable());
  forEachUnit(v, op, [&](Value token, Value part) {
    Value column = v.mul(part, kLanes);
    Value position = getPlace(v.b, v.loc, op.getPosition(), token).position;
    Value row =
        v.mul(v.add(position, int64_t(op.getOffset())), layout.getTileBytes());
    Value learned =
        v.loadBytes(table, v.add(row, v.mul(column, 4)), v.f32Vector());
    v.store(
        v.addf(v.load(op.getInput(), {token, column}, v.f32Vector()), learned),
        op.getInto().front(), {token, column});
  });
}

/// Runs `body(group, columns)` for every group of a row. The last may be
/// shorter and goes on to the end of the row's padding.
static void forEachGroup(VectorBuilder &v, int64_t columns, int64_t group,
                         llvm::function_ref<void(Value, int64_t)> body) {
  int64_t padded = llvm::alignTo(columns, kLanes);
  // Groups that fill the row leave no padding.
  int64_t whole = columns == padded && columns % group == 0
                      ? columns / group
                      : (columns - 1) / group;
  if (whole)
    v.loop(v.index(0), v.index(whole),
           [&](Value number) { body(number, group); });
  if (whole * group < padded)
    body(v.index(whole), padded - whole * group);
}

void mlir::tbq::lowerGroupSums(VectorBuilder &v, GroupSumsOp op) {
  Value input = op.getInput();
  int64_t columns = op.getColumnsAttr().getInt(), group = op.getGroup();
  forEachUnit(v, op, [&](Value token, Value) {
    forEachGroup(v, columns, group, [&](Value number, int64_t size) {
      Value first = v.mul(number, group);
      Value lanes = sumVectors(
          v, size, v.splat(0.0f), [&](Value offset, int64_t valid, Value sum) {
            Value at[] = {token, v.add(first, offset)};
            return v.addf(sum, v.loadFirst(input, at, v.f32Vector(), valid));
          });
      v.storeScalar(v.addLanes(lanes), op.getInto().front(), {token, number});
    });
  });
}

/// Stores 16 activations as the op's digits: in one byte each, or the low byte
/// and what it leaves to the high one.
static void storeDigits(VectorBuilder &v, Value q, ValueRange digits,
                        ValueRange at, int64_t valid) {
  auto store = [&](Value number, Value into) {
    v.storeFirst(
        arith::TruncIOp::create(v.b, v.loc, v.i8Vector(kLanes), number), into,
        at, valid);
  };
  store(q, digits.back());
  if (digits.size() == 1)
    return;
  // The low byte counts from -128 to 127.
  Value high = arith::ShRSIOp::create(v.b, v.loc, v.add(q, v.splatI32(128)),
                                      v.splatI32(8));
  store(high, digits.front());
}

void mlir::tbq::lowerQuantizeActivations(VectorBuilder &v,
                                         QuantizeActivationsOp op) {
  ValueRange digits = op.getInto().drop_back(2);
  Value input = op.getInput(), scales = op.getInto().drop_back().back(),
        sums = op.getInto().back();
  float steps = digits.size() == 1 ? kSteps8 : kSteps16;
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
        v.b, v.loc,
        vector::ExtractOp::create(v.b, v.loc, v.maxOfLanes(lanes), 0),
        v.constant(1e-5f));
    v.storeScalar(v.divf(largest, v.constant(steps)), scales,
                  {token, v.index(0)});
    Value factor = v.splat(v.divf(v.constant(steps), largest));
    forEachGroup(v, columns, group, [&](Value number, int64_t size) {
      Value first = v.mul(number, group);
      Value sum = sumVectors(
          v, size, v.splatI32(0), [&](Value offset, int64_t valid, Value sum) {
            Value at[] = {token, v.add(first, offset)};
            Value x = v.loadFirst(input, at, v.f32Vector(), valid);
            Value rounded = v.addf(v.mulf(x, factor), v.splat(kRound));
            Value q = arith::SubIOp::create(
                v.b, v.loc, v.bitcast(rounded, v.i32Vector()),
                v.bitcast(v.splat(kRound), v.i32Vector()));
            storeDigits(v, q, digits, at, valid);
            return v.add(sum, q);
          });
      v.storeScalar(v.addLanes(sum), sums, {token, number});
    });
  });
}

/// Forms that the lower stage makes for a GPU, or does not make.
static LogicalResult checkForm(StepOp op) {
  if (op.readsEarlierCache())
    return op->emitOpError("on a CPU finds its token's key in the cache");
  if (isa<AttentionOp>(op.getOperation()) && op.getInto().size() == 2 &&
      !getTeam(op))
    return op->emitOpError("on a CPU needs workers for sums of spans");
  const bool byElement =
      isa<GatedActivationOp, ActivationOp, AddOp>(op.getOperation());
  if (byElement && op.getUnitColumns() % kLanes != 0)
    return op->emitOpError("on a CPU needs units of whole ")
           << kLanes << " columns, not " << op.getUnitColumns();
  return success();
}

namespace {
struct LowerStepToCPUPass
    : tbq::impl::LowerStepToCPUPassBase<LowerStepToCPUPass> {
  using LowerStepToCPUPassBase::LowerStepToCPUPassBase;

  void runOnOperation() override {
    SmallVector<StepOp> ops;
    getOperation()->walk([&](StepOp op) { ops.push_back(op); });
    for (StepOp op : ops) {
      if (failed(checkForm(op)))
        return signalPassFailure();
      OpBuilder b(op);
      VectorBuilder v(b, op->getLoc(), fma);
      llvm::TypeSwitch<Operation *>(op)
          .Case([&](EmbeddingOp op) { lowerEmbedding(v, op); })
          .Case([&](AddPositionsOp op) { lowerAddPositions(v, op); })
          .Case([&](RmsNormOp op) { lowerRmsNorm(v, op); })
          .Case([&](LayerNormOp op) { lowerLayerNorm(v, op); })
          .Case([&](SelectRowsOp op) { lowerSelectRows(v, op); })
          .Case([&](AddOp op) { lowerAdd(v, op); })
          .Case([&](GatedActivationOp op) { lowerGatedActivation(v, op); })
          .Case([&](ActivationOp op) { lowerActivation(v, op); })
          .Case([&](GroupSumsOp op) { lowerGroupSums(v, op); })
          .Case([&](QuantizeActivationsOp op) {
            lowerQuantizeActivations(v, op);
          })
          .Case([&](RopeOp op) { lowerRope(v, op); })
          .Case([&](AppendCacheOp op) { lowerAppendCache(v, op); })
          .Case([&](AttentionOp op) {
            lowerAttention(v, op, {registers, cacheBytes});
          });
      op->erase();
    }
  }
};
} // namespace
