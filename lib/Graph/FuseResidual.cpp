// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-fuse-residual: add(h, linear(x)) becomes linear(x) residual(h), where the
// linear has no other use. The sum is the same; a trip through memory is saved.

#include "tbq/Passes.h"

#include "mlir/Transforms/WalkPatternRewriteDriver.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_FUSERESIDUALPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

namespace {
struct FuseResidual : OpRewritePattern<AddOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(AddOp add,
                                PatternRewriter &rewriter) const override {
    for (bool onRight : {true, false}) {
      Value value = onRight ? add.getRhs() : add.getLhs();
      Value residual = onRight ? add.getLhs() : add.getRhs();
      auto linear = value.getDefiningOp<LinearOp>();
      if (!linear || !value.hasOneUse() || linear.getResidual())
        continue;
      // The linear moves down to the add: the residual is defined there.
      rewriter.moveOpBefore(linear, add);
      rewriter.modifyOpInPlace(
          linear, [&] { linear.getResidualMutable().assign(residual); });
      rewriter.replaceOp(add, linear->getResults());
      return success();
    }
    return rewriter.notifyMatchFailure(add, "no linear used here alone");
  }
};

struct FuseResidualPass : tbq::impl::FuseResidualPassBase<FuseResidualPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseResidual>(&getContext());
    walkAndApplyPatterns(getOperation(), std::move(patterns));
  }
};
} // namespace
