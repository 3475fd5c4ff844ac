// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-delay-blocks: each warp comes late to barriers and goes on late from
// them, by times that nobody can foresee. Input: a lowered step whose barriers
// are still ops. To test with only: what a step computes must not change.

#include "ThreadBuilder.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_DELAYBLOCKSPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

/// Bits of a delay in nanoseconds: up to four times what a barrier takes.
static constexpr int64_t kDelayBits = 12;

/// Sleeps as long as bits say of the clock, the block and the warp, mixed as by
/// a multiplicative hash (Knuth, TAOCP 3, 6.4).
static void delay(OpBuilder &b, BarrierOp barrier) {
  ThreadBuilder t(b, barrier.getLoc());
  Value clock = NVVM::ClockOp::create(b, t.loc, b.getI32Type());
  Value worker =
      WorkerOp::create(b, t.loc, b.getIndexType(), barrier.getTeam());
  Value warp = t.toI32(t.add(t.mul(worker, kWarps), t.warp()));
  Value mixed = t.mul(t.add(clock, t.mul(warp, t.constantI32(40503))),
                      t.constantI32(int32_t(2654435761u)));
  NVVM::NanosleepOp::create(b, t.loc, t.shiftRight(mixed, 32 - kDelayBits));
}

namespace {
struct DelayBlocksPass : tbq::impl::DelayBlocksPassBase<DelayBlocksPass> {
  void runOnOperation() override {
    getOperation()->walk([](BarrierOp op) {
      OpBuilder b(op);
      if (!op->hasAttr(kWaitsOnly))
        delay(b, op);
      if (!op->hasAttr(kArrivesOnly)) {
        b.setInsertionPointAfter(op);
        delay(b, op);
      }
    });
  }
};
} // namespace
