// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-check-stage: the contract between stages, enforced in every run. It is
// also the list of which ops belong to which stage.

#include "tbq/Passes.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

#include "llvm/ADT/StringSwitch.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_CHECKSTAGEPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

static bool isWeightRecipe(Operation *op) {
  return isa<WeightOp, QuantizeOp, RopeTableOp, PackOp, PlaceOp>(op);
}

static bool isFrame(Operation *op) {
  return isa<ModuleOp, func::FuncOp, func::ReturnOp>(op);
}

static bool isLegalAfterGraph(Operation *op) {
  return isFrame(op) ||
         isa<WeightOp, QuantizeOp, RopeTableOp, EmbeddingOp, AddPositionsOp,
             RmsNormOp, LayerNormOp, LinearOp, RopeOp, AppendCacheOp,
             AttentionOp, GatedActivationOp, ActivationOp, AddOp, SelectRowsOp,
             LayerOp, YieldOp>(op);
}

static bool isLegalAfterPack(Operation *op) {
  return isFrame(op) ||
         isa<EmbeddingOp, AddPositionsOp, RmsNormOp, LayerNormOp,
             PackedLinearOp, GroupSumsOp, QuantizeActivationsOp, RopeOp,
             AppendCacheOp, AttentionOp, GatedActivationOp, ActivationOp, AddOp,
             SelectRowsOp, PlacedWeightOp, LayersOp, arith::ConstantOp,
             arith::SubIOp>(op);
}

static bool isLegalAfterLower(Operation *op) {
  if (auto step = dyn_cast<StepOp>(op))
    return op->getNumResults() == 0 && step.getRange().size() == 2 &&
           (isLegalAfterPack(op) || isa<SummarizeLogitsOp>(op));
  return isFrame(op) ||
         isa<PlacedWeightOp, WorkerOp, WorkersOp, BarrierOp, ObserveOp,
             scf::ForOp, scf::YieldOp, func::CallOp>(op) ||
         isa<arith::ArithDialect, memref::MemRefDialect>(op->getDialect());
}

static bool isLegalAfterCPU(Operation *op) {
  return isa<ModuleOp>(op) || isa<LLVM::LLVMDialect>(op->getDialect());
}

static bool isLegalAfterGPU(Operation *op) {
  return isLegalAfterCPU(op) || isa<NVVM::NVVMDialect>(op->getDialect());
}

namespace {
struct CheckStagePass : tbq::impl::CheckStagePassBase<CheckStagePass> {
  using CheckStagePassBase::CheckStagePassBase;

  void runOnOperation() override {
    auto isLegal = llvm::StringSwitch<bool (*)(Operation *)>(stage)
                       .Case("graph", isLegalAfterGraph)
                       .Case("pack", isLegalAfterPack)
                       .Case("lower", isLegalAfterLower)
                       .Case("cpu", isLegalAfterCPU)
                       .Case("gpu", isLegalAfterGPU)
                       .Default(nullptr);
    if (!isLegal) {
      getOperation().emitError("unknown stage '") << stage << "'";
      return signalPassFailure();
    }
    WalkResult result = getOperation().walk<WalkOrder::PreOrder>(
        [&](Operation *op) -> WalkResult {
          if (auto weights = dyn_cast<WeightsOp>(op)) {
            for (Operation &inner : weights.getBody().front())
              if (!isWeightRecipe(&inner)) {
                inner.emitOpError("does not belong into tbq.weights");
                return WalkResult::interrupt();
              }
            return WalkResult::skip();
          }
          if (isLegal(op))
            return WalkResult::advance();
          op->emitOpError("does not belong into a module after stage '")
              << stage << "'";
          return WalkResult::interrupt();
        });
    if (result.wasInterrupted())
      signalPassFailure();
  }
};
} // namespace
