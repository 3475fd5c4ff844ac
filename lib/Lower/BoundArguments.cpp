// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-bound-arguments: what the host gives a step is as large as the model
// allows, which is said in the entry point of one token. Of a range that is
// known all through, arithmetic takes 32 bits and half the registers (see
// arith-int-range-narrowing, which upstream has).

#include "tbq/Passes.h"

#include "StepArguments.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_BOUNDARGUMENTSPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

/// Positions of the module's cache; none where nothing attends.
static std::optional<int64_t> getPositions(ModuleOp module) {
  std::optional<int64_t> positions;
  module.walk([&](AttentionOp op) {
    positions = op.getCacheType().getPositions();
    return WalkResult::interrupt();
  });
  return positions;
}

/// Says that a number is at most `most`.
static void bound(BlockArgument argument, int64_t most) {
  if (!argument.getType().isIndex() || argument.use_empty())
    return;
  auto b = OpBuilder::atBlockBegin(argument.getOwner());
  Location loc = argument.getLoc();
  Value limit = arith::ConstantIndexOp::create(b, loc, most);
  auto bounded = arith::MinUIOp::create(b, loc, argument, limit);
  argument.replaceAllUsesExcept(bounded, bounded);
}

namespace {
struct BoundArgumentsPass
    : tbq::impl::BoundArgumentsPassBase<BoundArgumentsPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    FailureOr<SmallVector<func::FuncOp>> entries = getEntries(module);
    if (failed(entries))
      return signalPassFailure();
    func::FuncOp entry = entries->front();
    auto tokens = cast<MemRefType>(entry.getArgument(kTokens).getType());
    for (StepArgument each : {kCount, kFirst})
      bound(entry.getArgument(each), tokens.getDimSize(0));
    if (std::optional<int64_t> positions = getPositions(module))
      bound(entry.getArgument(kPosition), *positions - 1);
  }
};
} // namespace
