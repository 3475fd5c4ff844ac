// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-lower-linear-to-gpu: which generator each packed linear gets, and what
// must stand around it. See WarpLinear.h.

#include "BlockLinear.h"
#include "FloatLinear.h"
#include "LowerStep.h"
#include "WarpgroupLinear.h"

#include "llvm/Support/MathExtras.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_LOWERLINEARTOGPUPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

static LayoutAttr getLayout(PackedLinearOp op) {
  return op.getWeight().getType().getLayout();
}

static bool calls(Operation *op) {
  return op->walk([](func::CallOp) { return WalkResult::interrupt(); })
      .wasInterrupted();
}

/// Before what a linear may ask for what its ring holds: the first barrier
/// behind whoever used the ring before it, `user` of its function or a function
/// that it calls, or itself. Attention does not, so what comes behind it is
/// asked for before it waits.
static Operation *findEarly(Operation *linear, Operation *user) {
  Operation *early = linear;
  for (Operation *op = linear->getPrevNode(); op && op != user && !calls(op);
       op = op->getPrevNode())
    if (isa<BarrierOp>(op) && !op->hasAttr(kArrivesOnly))
      early = op;
  return isa<BarrierOp>(early) ? findBarrier(early) : early;
}

/// Where nothing is timed, of which the barrier has a part.
static void removeBarrier(Operation *barrier) {
  if (!cast<BarrierOp>(barrier).getPhase())
    barrier->erase();
}

namespace {
struct LowerLinearToGPUPass
    : tbq::impl::LowerLinearToGPUPassBase<LowerLinearToGPUPass> {
  using LowerLinearToGPUPassBase::LowerLinearToGPUPassBase;

  /// Whether linears of one input, whose tiles blocks divide as if they were
  /// one's, are done sooner by warp groups: by what a warp issues.
  bool gain(ArrayRef<PackedLinearOp> readers, TokenTiles tiles,
            DenseMap<Operation *, int64_t> &units) {
    SmallVector<BlockLinear, 0> ofBlocks, ofGroups; // as they are dealt
    for (PackedLinearOp op : readers) {
      OpBuilder b(op);
      ofBlocks.emplace_back(op, b, units[op], blocks, sharedBytes);
      ofGroups.push_back(
          WarpgroupLinear({{op}}, b, units[op], blocks, sharedBytes, tiles));
      if (!ofGroups.back().isPossible())
        return false;
    }
    auto weigh = [&](ArrayRef<BlockLinear> linears) {
      int64_t cost = 0;
      for (const BlockLinear &each : linears)
        cost = std::max(cost, each.getShape().cost);
      auto countTiles = [&](int64_t tokens) {
        int64_t count = 0;
        for (const BlockLinear &each : linears)
          count += each.countTiles(each.getShape(), tokens);
        return count;
      };
      return countTurns(linears.front().countRows(), blocks, countTiles) * cost;
    };
    return weigh(ofGroups) <= weigh(ofBlocks);
  }

  /// Has rows of one token lie for products of bits, where rings bring the
  /// weights of all that reads them.
  void placeBits(DenseMap<Operation *, int64_t> &units) {
    auto takes = [&](PackedLinearOp op) {
      OpBuilder b(op);
      std::optional<BitColumns> form = DigitLinear::canTakeBits(op);
      bool hasRing =
          form &&
          DigitLinear({{op}}, b, units[op], blocks).makeRing(sharedBytes);
      return hasRing ? form : std::nullopt;
    };
    getOperation()->walk([&](QuantizeActivationsOp op) {
      SmallVector<PackedLinearOp> readers = findReaders(op);
      if (auto form = findForm<BitColumns>(op, readers, takes)) {
        form->set(op);
        for (PackedLinearOp reader : readers)
          form->set(reader);
      }
    });
  }

  void runOnOperation() override {
    SmallVector<PackedLinearOp> ops;
    getOperation()->walk([&](PackedLinearOp op) { ops.push_back(op); });
    DenseMap<Operation *, int64_t> units;
    Operation *user = nullptr;
    DealtTiles dealt;
    DenseMap<Operation *, TokenTiles> placed;
    for (PackedLinearOp op : ops)
      units[op] = DigitLinear::countUnits(findAlike(op), blocks);
    if (bits)
      placeBits(units);
    if (warpgroups)
      placed =
          placeInTiles(getOperation(), WarpgroupLinear::canTake,
                       [&](ArrayRef<PackedLinearOp> readers, TokenTiles tiles) {
                         return gain(readers, tiles, units);
                       });
    for (ArrayRef<PackedLinearOp> rest = ops; !rest.empty();) {
      auto tiles = placed.find(rest.front());
      bool isPlaced = tiles != placed.end();
      LinearGroup group =
          isPlaced ? findGatedPair(rest) : findLinearGroup(rest);
      // Linears are one only as a ring brings them.
      if (OpBuilder b(rest.front());
          !isPlaced && group.ops.size() > 1 &&
          !DigitLinear(group, b, units[rest.front()], blocks)
               .makeRing(sharedBytes))
        group = {{rest.front()}};
      rest = rest.drop_front(group.ops.size());
      // All that they read stands before the last one.
      PackedLinearOp op = group.ops.back();
      LayoutAttr layout = getLayout(op);
      if (layout.getTile() != kWarpRows) {
        op.emitOpError("on a GPU needs tiles of eight rows, not ") << layout;
        return signalPassFailure();
      }
      OpBuilder b(op);
      if (layout.isFloat()) {
        FloatLinear(op, b, blocks).run();
      } else if (isPlaced) {
        Operation *at = group.gated ? group.gated.getOperation() : op;
        b.setInsertionPoint(at);
        // What is written is read behind the next one.
        if (group.gated)
          removeBarrier(findEffect(op, /*isBehind=*/true));
        WarpgroupLinear linear(group, b, units[op], blocks, sharedBytes,
                               tiles->second);
        dealt.meet(at);
        linear.run(dealt);
        dealt.add(op, linear.getShape());
        user = at->getPrevNode();
      } else {
        DigitLinear linear(group, b, units[op], blocks);
        BlockLinear ofBlock(group.ops.front(), b, units[op], blocks,
                            sharedBytes);
        if (ofBlock.isPossible()) {
          dealt.meet(op);
          ofBlock.run(dealt);
          dealt.add(op, ofBlock.getShape());
          user = op->getPrevNode();
        } else if (linear.makeRing(sharedBytes)) {
          linear.runAhead(findEarly(op, user));
          user = op->getPrevNode();
        } else {
          linear.run();
        }
      }
      // The next op of this block may read what its other threads have written,
      // which a barrier sees to by itself.
      Operation *last = group.gated ? group.gated.getOperation() : op;
      if (!isa_and_nonnull<BarrierOp>(findEffect(last, /*isBehind=*/true)))
        ThreadBuilder(b, op.getLoc()).synchronize();
      for (PackedLinearOp each : group.ops)
        each.erase();
      if (group.gated)
        group.gated.erase();
    }
  }
};
} // namespace
