// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-lower-step-to-gpu: the ops of a step that are not linears, as what one
// thread of a block does. Where an op has a row to reduce, the block has the
// row; else each thread has elements. Invariant: sums run over a row in an
// order that depends on the row alone, never on the number of blocks or tokens.

#include "LowerStep.h"

#include "llvm/ADT/TypeSwitch.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_LOWERSTEPTOGPUPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

static int64_t getColumns(Value rows) {
  return cast<MemRefType>(rows.getType()).getShape().back();
}

//===----------------------------------------------------------------------===//
// Element by element
//===----------------------------------------------------------------------===//

void mlir::tbq::lowerAdd(ThreadBuilder &t, AddOp op) {
  forEachElement(t, op, op.getUnitColumns(), [&](Value token, Value column) {
    Value at[] = {token, column};
    t.store(t.addf(t.load(op.getLhs(), at), t.load(op.getRhs(), at)),
            op.getInto().front(), at);
  });
}

void mlir::tbq::lowerGatedActivation(ThreadBuilder &t, GatedActivationOp op) {
  forEachElement(t, op, op.getUnitColumns(), [&](Value token, Value column) {
    Value at[] = {token, column};
    Value gate = t.load(op.getGate(), at);
    Value exp = t.exp(arith::NegFOp::create(t.b, t.loc, gate));
    Value silu = t.divf(gate, t.addf(t.constant(1.0f), exp));
    t.store(t.mulf(silu, t.load(op.getUp(), at)), op.getInto().front(), at);
  });
}

void mlir::tbq::lowerAddPositions(ThreadBuilder &t, AddPositionsOp op) {
  LayoutAttr layout = cast<PackedType>(op.getTable().getType()).getLayout();
  Value table = getBytes(t, op.getTable());
  Value first = t.add(op.getPosition(), int64_t(op.getOffset()));
  forEachElement(t, op, kLanes, [&](Value token, Value column) {
    Value at[] = {token, column};
    Value row = t.mul(t.add(first, token), layout.getTileBytes());
    Value position =
        t.loadAsF32(table, t.add(row, t.mul(column, 4)), t.b.getF32Type());
    t.store(t.addf(t.load(op.getInput(), at), position), op.getInto().front(),
            at);
  });
}

void mlir::tbq::lowerSelectRows(ThreadBuilder &t, SelectRowsOp op) {
  forEachElement(t, op, getColumns(op.getInput()),
                 [&](Value token, Value column) {
                   Value from = t.add(token, op.getFirst());
                   t.store(t.load(op.getInput(), {from, column}),
                           op.getInto().front(), {token, column});
                 });
}

//===----------------------------------------------------------------------===//
// Row by row
//===----------------------------------------------------------------------===//

/// Runs `body` with this thread's columns of `columns`, carrying one value.
static Value overColumns(ThreadBuilder &t, int64_t columns, Value init,
                         llvm::function_ref<Value(Value, Value)> body) {
  return t.loop(t.thread(), t.index(columns), t.index(kThreads), {init},
                [&](Value column, ValueRange carried) {
                  return SmallVector<Value>{body(column, carried[0])};
                })[0];
}

static void overColumns(ThreadBuilder &t, int64_t columns,
                        llvm::function_ref<void(Value)> body) {
  t.loop(t.thread(), t.index(columns), t.index(kThreads), body);
}

/// What pads a row of `columns` is 0: linears read whole words.
static void writePadding(ThreadBuilder &t, Value into, Value token,
                         int64_t columns) {
  int64_t padded = getColumns(into);
  if (columns < padded)
    t.ifThen(t.equal(t.thread(), 0), [&] {
      for (int64_t column = columns; column < padded; ++column)
        t.store(t.constant(0.0f), into, {token, t.index(column)});
    });
}

/// 1 / sqrt(square + epsilon)
static Value getNormFactor(ThreadBuilder &t, Value square,
                           const APFloat &epsilon) {
  Value root = math::SqrtOp::create(
      t.b, t.loc, t.addf(square, t.constant(epsilon.convertToFloat())));
  return t.divf(t.constant(1.0f), root);
}

static Value loadParameter(ThreadBuilder &t, Value bytes, Value column) {
  return t.loadAsF32(bytes, t.mul(column, 4), t.b.getF32Type());
}

void mlir::tbq::lowerRmsNorm(ThreadBuilder &t, RmsNormOp op) {
  Value input = op.getInput(), into = op.getInto().front();
  Value weight = getBytes(t, op.getWeight());
  int64_t features = op.getFeatures();
  forEachToken(t, op, [&](Value token) {
    Value squares = overColumns(t, features, t.constant(0.0f),
                                [&](Value column, Value sum) {
                                  Value x = t.load(input, {token, column});
                                  return t.fma(x, x, sum);
                                });
    Value sum = t.reduceBlock(Reduction::Sum, squares);
    Value mean = t.divf(sum, t.constant(float(features)));
    Value factor = getNormFactor(t, mean, op.getEpsilon());
    overColumns(t, features, [&](Value column) {
      Value x = t.mulf(t.load(input, {token, column}), factor);
      t.store(t.mulf(loadParameter(t, weight, column), x), into,
              {token, column});
    });
    writePadding(t, into, token, features);
  });
}

void mlir::tbq::lowerLayerNorm(ThreadBuilder &t, LayerNormOp op) {
  Value input = op.getInput(), into = op.getInto().front();
  Value weight = getBytes(t, op.getWeight()), bias = getBytes(t, op.getBias());
  int64_t features = op.getFeatures();
  Value count = t.constant(float(features)), zero = t.constant(0.0f);
  forEachToken(t, op, [&](Value token) {
    auto load = [&](Value column) { return t.load(input, {token, column}); };
    Value parts = overColumns(t, features, zero, [&](Value column, Value sum) {
      return t.addf(sum, load(column));
    });
    Value mean = t.divf(t.reduceBlock(Reduction::Sum, parts), count);
    Value squares =
        overColumns(t, features, zero, [&](Value column, Value sum) {
          Value x = t.subf(load(column), mean);
          return t.fma(x, x, sum);
        });
    Value variance = t.divf(t.reduceBlock(Reduction::Sum, squares), count);
    Value factor = getNormFactor(t, variance, op.getEpsilon());
    overColumns(t, features, [&](Value column) {
      Value x = t.mulf(t.subf(load(column), mean), factor);
      t.store(t.fma(loadParameter(t, weight, column), x,
                    loadParameter(t, bias, column)),
              into, {token, column});
    });
    writePadding(t, into, token, features);
  });
}

/// Runs `body` with the groups of a row, a warp a group: its number, its first
/// column and the column after its last.
static void forEachGroup(ThreadBuilder &t, int64_t columns, int64_t group,
                         llvm::function_ref<void(Value, Value, Value)> body) {
  int64_t groups = llvm::divideCeil(columns, group);
  t.loop(t.warp(), t.index(groups), t.index(kWarps), [&](Value number) {
    Value first = t.mul(number, group);
    body(number, first, t.min(t.add(first, group), t.index(columns)));
  });
}

/// Sums `body(column)` over the columns of a group, by a warp.
static Value sumGroup(ThreadBuilder &t, Value first, Value last, Value zero,
                      llvm::function_ref<Value(Value, Value)> body) {
  Value part = t.loop(t.add(first, t.lane()), last, t.index(kWarpLanes), {zero},
                      [&](Value column, ValueRange carried) {
                        return SmallVector<Value>{body(column, carried[0])};
                      })[0];
  return t.reduceWarp(Reduction::Sum, part);
}

void mlir::tbq::lowerGroupSums(ThreadBuilder &t, GroupSumsOp op) {
  int64_t columns = op.getColumnsAttr().getInt();
  forEachToken(t, op, [&](Value token) {
    forEachGroup(
        t, columns, op.getGroup(), [&](Value number, Value first, Value last) {
          Value sum = sumGroup(
              t, first, last, t.constant(0.0f), [&](Value column, Value sum) {
                return t.addf(sum, t.load(op.getInput(), {token, column}));
              });
          t.ifThen(t.equal(t.lane(), 0), [&] {
            t.store(sum, op.getInto().front(), {token, number});
          });
        });
  });
}

/// Stores an activation as the op's digits: in one byte, or the low byte and
/// what it leaves to the high one.
static void storeDigits(ThreadBuilder &t, Value q, ValueRange digits,
                        ValueRange at) {
  auto store = [&](Value number, Value into) {
    t.store(arith::TruncIOp::create(t.b, t.loc, t.b.getI8Type(), number), into,
            at);
  };
  store(q, digits.back());
  if (digits.size() == 1)
    return;
  // The low byte counts from -128 to 127.
  Value high = arith::ShRSIOp::create(t.b, t.loc, t.add(q, t.constantI32(128)),
                                      t.constantI32(8));
  store(high, digits.front());
}

void mlir::tbq::lowerQuantizeActivations(ThreadBuilder &t,
                                         QuantizeActivationsOp op) {
  ValueRange digits = op.getInto().drop_back(2);
  Value input = op.getInput(), scales = op.getInto().drop_back().back(),
        sums = op.getInto().back();
  float steps = digits.size() == 1 ? kSteps8 : kSteps16;
  int64_t columns = op.getColumnsAttr().getInt();
  forEachToken(t, op, [&](Value token) {
    Value part = overColumns(
        t, columns, t.constant(0.0f), [&](Value column, Value most) {
          Value x = t.load(input, {token, column});
          return t.maxf(most, math::AbsFOp::create(t.b, t.loc, x));
        });
    Value largest =
        t.maxf(t.reduceBlock(Reduction::Maximum, part), t.constant(1e-5f));
    t.ifThen(t.equal(t.thread(), 0), [&] {
      t.store(t.divf(largest, t.constant(steps)), scales, {token, t.index(0)});
    });
    Value factor = t.divf(t.constant(steps), largest);
    forEachGroup(
        t, columns, op.getGroup(), [&](Value number, Value first, Value last) {
          Value sum = sumGroup(t, first, last, t.constantI32(0),
                               [&](Value column, Value sum) {
                                 Value x = t.load(input, {token, column});
                                 Value q = t.roundToI32(t.mulf(x, factor));
                                 storeDigits(t, q, digits, {token, column});
                                 return t.add(sum, q);
                               });
          t.ifThen(t.equal(t.lane(), 0),
                   [&] { t.store(sum, sums, {token, number}); });
        });
  });
}

namespace {
struct LowerStepToGPUPass
    : tbq::impl::LowerStepToGPUPassBase<LowerStepToGPUPass> {
  using LowerStepToGPUPassBase::LowerStepToGPUPassBase;

  void runOnOperation() override {
    SmallVector<StepOp> ops;
    getOperation()->walk([&](StepOp op) { ops.push_back(op); });
    for (StepOp op : ops) {
      OpBuilder b(op);
      ThreadBuilder t(b, op->getLoc());
      llvm::TypeSwitch<Operation *>(op)
          .Case([&](EmbeddingOp op) { lowerEmbedding(t, op); })
          .Case([&](AddPositionsOp op) { lowerAddPositions(t, op); })
          .Case([&](RmsNormOp op) { lowerRmsNorm(t, op); })
          .Case([&](LayerNormOp op) { lowerLayerNorm(t, op); })
          .Case([&](SelectRowsOp op) { lowerSelectRows(t, op); })
          .Case([&](AddOp op) { lowerAdd(t, op); })
          .Case([&](GatedActivationOp op) { lowerGatedActivation(t, op); })
          .Case([&](ActivationOp op) { lowerActivation(t, op); })
          .Case([&](GroupSumsOp op) { lowerGroupSums(t, op); })
          .Case([&](QuantizeActivationsOp op) {
            lowerQuantizeActivations(t, op);
          })
          .Case([&](RopeOp op) { lowerRope(t, op); })
          .Case([&](AppendCacheOp op) { lowerAppendCache(t, op); })
          .Case([&](AttentionOp op) { lowerAttention(t, op); });
      // The next op of this block may read what its other threads have written.
      t.synchronize();
      op->erase();
    }
  }
};
} // namespace
