// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-lower-step-to-gpu: the ops of a step that are not linears, as what one
// thread of a block does. Where an op has a row to reduce, or a head, that is
// the block's (LowerRows.cpp, LowerAttention.cpp); else each thread has
// elements. Invariant: sums run over a row in an order that depends on the row
// alone, never on the number of blocks or tokens.

#include "LowerStep.h"
#include "RowExchange.h"

#include "format/StepAbi.h"

#include "llvm/ADT/TypeSwitch.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_LOWERSTEPTOGPUPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

//===----------------------------------------------------------------------===//
// Element by element
//===----------------------------------------------------------------------===//

void mlir::tbq::mapElements(ThreadBuilder &t, StepOp op, int64_t columns,
                            ValueRange inputs,
                            llvm::function_ref<Value(ArrayRef<Value>)> body) {
  constexpr int64_t kFour = 4;
  assert(columns % kFour == 0 && "rows are padded");
  auto four = VectorType::get({kFour}, t.b.getF32Type());
  forEachElement(t, op, columns / kFour, [&](Value token, Value number) {
    Value at[] = {token, t.mul(number, kFour)};
    SmallVector<Value> vectors, results;
    for (Value input : inputs)
      vectors.push_back(t.loadVector(input, at, four));
    for (int64_t i = 0; i < kFour; ++i)
      results.push_back(body(llvm::map_to_vector(
          vectors, [&](Value vector) { return t.extract(vector, i); })));
    Value into = op.getInto().front();
    t.storeVector(results, into, at);
    if (auto exchange = RowExchange::get(t, op, into))
      for (auto [i, result] : llvm::enumerate(results))
        exchange->store(result, t.add(at[1], i));
  });
}

void mlir::tbq::lowerAdd(ThreadBuilder &t, AddOp op) {
  mapElements(t, op, op.getUnitColumns(), {op.getLhs(), op.getRhs()},
              [&](ArrayRef<Value> x) { return t.addf(x[0], x[1]); });
}

Value mlir::tbq::getGated(ThreadBuilder &t, Value gate, Value up) {
  constexpr float kMost = 88.0f, kLn2 = 0.693147182f; // e^kMost has no inverse
  Value x = arith::NegFOp::create(t.b, t.loc, gate);
  x = t.maxf(x, t.constant(-kMost));
  x = arith::MinNumFOp::create(t.b, t.loc, x, t.constant(kMost));
  Value power = t.mulf(x, t.constant(kLog2E));
  // What rounding that left, which is little: e^rest is 1 + rest.
  Value rest = t.fma(power, t.constant(-kLn2), x);
  Value exp = t.exp2(power);
  exp = t.fma(exp, rest, exp);
  // Nothing branches: of many, none waits for another.
  Value inverse = t.inverse(t.addf(t.constant(1.0f), exp));
  return t.mulf(t.mulf(gate, inverse), up);
}

void mlir::tbq::lowerGatedActivation(ThreadBuilder &t, GatedActivationOp op) {
  mapElements(t, op, op.getUnitColumns(), {op.getGate(), op.getUp()},
              [&](ArrayRef<Value> x) { return getGated(t, x[0], x[1]); });
}

/// A group is a warp's.
void mlir::tbq::lowerSummarizeLogits(ThreadBuilder &t, SummarizeLogitsOp op) {
  constexpr int64_t kGroup = TBQ_LOGITS_GROUP;
  int64_t columns = op.getColumns(), groups = op.getUnitsPerToken();
  Value into = op.getInto().front();
  t.loop(t.add(op.getRange()[0], t.warp()), op.getRange()[1], t.index(kWarps),
         [&](Value unit) {
           Value token = t.div(unit, groups), group = t.rem(unit, groups);
           Value largest = t.constant(-INFINITY);
           for (int64_t first = 0; first < kGroup; first += kWarpLanes) {
             Value column = t.add(t.add(t.mul(group, kGroup), t.lane()), first);
             Value logit = t.load(op.getInput(),
                                  {token, t.min(column, t.index(columns - 1))});
             // Past the end it is the last one's again.
             t.ifThen(t.less(column, t.index(columns)),
                      [&] { t.store(logit, into, {token, column}); });
             largest = t.maximum(largest, logit);
           }
           for (int64_t distance = kWarpLanes / 2; distance; distance /= 2)
             largest = t.maximum(largest, t.shuffle(largest, distance));
           Value at = t.add(group, llvm::alignTo<kGroup>(columns));
           t.ifThen(t.equal(t.lane(), 0),
                    [&] { t.store(largest, into, {token, at}); });
         });
}

void mlir::tbq::lowerAddPositions(ThreadBuilder &t, AddPositionsOp op) {
  LayoutAttr layout = cast<PackedType>(op.getTable().getType()).getLayout();
  Value table = getBytes(t, op.getTable());
  forEachElement(t, op, kLanes, [&](Value token, Value column) {
    Value at[] = {token, column};
    Value position = getPlace(t.b, t.loc, op.getPosition(), token).position;
    Value row =
        t.mul(t.add(position, int64_t(op.getOffset())), layout.getTileBytes());
    Value learned =
        t.loadAsF32(table, t.add(row, t.mul(column, 4)), t.b.getF32Type());
    Value sum = t.addf(t.load(op.getInput(), at), learned);
    Value into = op.getInto().front();
    storeOfRow(t, op, sum, into, at);
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

/// Ops whose rows or heads each end where the block's threads meet. around: of
/// attention.
static bool lowerWithMeetings(ThreadBuilder &t, StepOp step,
                              AttentionNeighbours around, int64_t blocks,
                              int64_t sharedBytes, bool warpgroups) {
  return llvm::TypeSwitch<Operation *, bool>(step)
      .Case([&](RmsNormOp op) { return lowerRmsNorm(t, op), true; })
      .Case([&](LayerNormOp op) { return lowerLayerNorm(t, op), true; })
      .Case([&](GroupSumsOp op) { return lowerGroupSums(t, op), true; })
      .Case([&](QuantizeActivationsOp op) {
        return lowerQuantizeActivations(t, op), true;
      })
      .Case([&](AttentionOp op) {
        lowerAttention(t, op, around, blocks, sharedBytes, warpgroups);
        return true;
      })
      .Default([](Operation *) { return false; });
}

static void lowerElements(ThreadBuilder &t, StepOp step) {
  llvm::TypeSwitch<Operation *>(step)
      .Case([&](EmbeddingOp op) { lowerEmbedding(t, op); })
      .Case([&](AddPositionsOp op) { lowerAddPositions(t, op); })
      .Case([&](SelectRowsOp op) { lowerSelectRows(t, op); })
      .Case([&](SummarizeLogitsOp op) { lowerSummarizeLogits(t, op); })
      .Case([&](AddOp op) { lowerAdd(t, op); })
      .Case([&](GatedActivationOp op) { lowerGatedActivation(t, op); })
      .Case([&](ActivationOp op) { lowerActivation(t, op); })
      .Case([&](RopeOp op) { lowerRope(t, op); })
      .Case([&](AppendCacheOp op) { lowerAppendCache(t, op); });
}

/// Whether a norm's row is quantised, be it through memory.
static bool isQuantized(StepOp norm) {
  Value row = norm.getInto().front();
  return llvm::any_of(row.getUsers(), [&](Operation *user) {
    auto quantize = dyn_cast<QuantizeActivationsOp>(user);
    return quantize && quantize.getInput() == row;
  });
}

/// The thread's number, in a function of layers, anew for each phase, by a
/// shuffle that nobody looks through: else all that is computed of it, most of
/// it addresses, would be computed once, before the first layer, and held in
/// registers that there are not.
static void hideThread(func::FuncOp function) {
  Location loc = function.getLoc();
  OpBuilder b = OpBuilder::atBlockBegin(&function.front());
  Value number = NVVM::ThreadIdXOp::create(b, loc, b.getI32Type());
  auto hide = [&] { return ThreadBuilder(b, loc).hideNumber(number); };
  Value hidden = hide();
  for (Operation *op = &*b.getInsertionPoint(); op; op = op->getNextNode()) {
    if (isa<BarrierOp>(op) && !op->hasAttr(kArrivesOnly)) {
      b.setInsertionPoint(op);
      hidden = hide();
    }
    op->walk([&](NVVM::ThreadIdXOp thread) {
      thread.getResult().replaceAllUsesWith(hidden);
    });
  }
}

namespace {
struct LowerStepToGPUPass
    : tbq::impl::LowerStepToGPUPassBase<LowerStepToGPUPass> {
  using LowerStepToGPUPassBase::LowerStepToGPUPassBase;

  void runOnOperation() override {
    SmallVector<StepOp> ops;
    getOperation()->walk([&](StepOp op) { ops.push_back(op); });
    DenseSet<Operation *> lowered;
    DenseMap<Operation *, AttentionNeighbours> neighbours;
    for (StepOp op : ops)
      if (auto attention = dyn_cast<AttentionOp>(op.getOperation())) {
        AttentionNeighbours around = findNeighbours(attention);
        for (Operation *with :
             {around.query.getOperation(), around.key.getOperation(),
              around.append.getOperation()})
          lowered.insert(with);
        neighbours[op] = around;
      }
    // In all steps alike: what is not found at once has other bits.
    DenseMap<Operation *, QuantizeActivationsOp> quantized;
    bool atOnce = true;
    for (StepOp op : ops) {
      if (QuantizeActivationsOp quantize = findQuantize(op))
        quantized[op] = quantize;
      else if (isa<RmsNormOp>(op.getOperation()))
        atOnce &= !isQuantized(op);
    }
    for (StepOp op : ops) {
      if (QuantizeActivationsOp quantize = quantized.lookup(op)) {
        OpBuilder b(quantize);
        ThreadBuilder t(b, op->getLoc());
        lowerNormAndQuantize(t, op, quantize, atOnce);
        lowered.insert(op);
        lowered.insert(quantize);
      }
      if (!lowered.contains(op)) {
        OpBuilder b(op);
        ThreadBuilder t(b, op->getLoc());
        if (!lowerWithMeetings(t, op, neighbours.lookup(op), blocks,
                               sharedBytes, warpgroups)) {
          lowerElements(t, op);
          // The next op of this block may read what other threads wrote.
          t.synchronize();
        }
      }
    }
    for (StepOp op : ops)
      op->erase();
    getOperation()->walk([](func::FuncOp function) {
      if (function.isPrivate())
        hideThread(function);
    });
  }
};
} // namespace
