// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-summarize-logits: what @decode and @batch return has the largest of each
// group of logits behind them. A prefill's many rows stay as they are: most are
// read by whoever scores a text, who wants them all.

#include "StepArguments.h"
#include "tbq/Passes.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_SUMMARIZELOGITSPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

static void summarizeLogits(func::FuncOp entry) {
  Operation *end = entry.getBody().front().getTerminator();
  OpBuilder b(end);
  Value logits = end->getOperand(0);
  auto type = cast<RankedTensorType>(logits.getType());
  int64_t columns = type.getDimSize(1);
  Type summary = type.clone(
      {type.getDimSize(0), SummarizeLogitsOp::getSummaryColumns(columns)});
  auto op = SummarizeLogitsOp::create(
      b, logits.getLoc(), summary, logits, b.getI64IntegerAttr(columns),
      /*into=*/ValueRange(), /*count=*/Value(), /*range=*/ValueRange());
  end->setOperand(0, op->getResult(0));
  entry.setType(b.getFunctionType(entry.getArgumentTypes(), summary));
}

namespace {
struct SummarizeLogitsPass
    : tbq::impl::SummarizeLogitsPassBase<SummarizeLogitsPass> {
  void runOnOperation() override {
    FailureOr<SmallVector<func::FuncOp>> entries = getEntries(getOperation());
    if (failed(entries))
      return signalPassFailure();
    for (func::FuncOp entry : *entries)
      if (entry.getName() != "prefill")
        summarizeLogits(entry);
    getOperation()->setAttr("tbq.summarizes_logits",
                            UnitAttr::get(&getContext()));
  }
};
} // namespace
