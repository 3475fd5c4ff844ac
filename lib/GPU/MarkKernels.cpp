// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-mark-kernels: what the code generator must know of the entry points, that
// the launch brings the worker's memory, and which of them suits how many
// sequences.

#include "DigitLinear.h"
#include "ThreadBuilder.h"

#include "format/DeviceAbi.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_MARKKERNELSPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

/// Of tbq_step_fn's arguments.
static constexpr unsigned kWeightsArgument = 1, kCountArgument = 6;

/// So many sequences are faster in a step of up to `most` than one after the
/// other. By what both took on an H200, of models of 576 to 8,192 features
/// (docs/gpu-performance.md, "Several sequences in a step"): a step of many is
/// cut for many tokens, one of up to eight has its weights by rings, as decode.
static int64_t getBatchFrom(int64_t most, int64_t hidden) {
  if (most <= kProductTokens)
    return 3;
  if (hidden < 1024 || hidden >= 8192)
    return 4;
  return hidden < 4096 ? 5 : 6;
}

namespace {
struct MarkKernelsPass : tbq::impl::MarkKernelsPassBase<MarkKernelsPass> {
  void runOnOperation() override {
    Builder b(&getContext());
    auto batch = getOperation()->getAttrOfType<IntegerAttr>("tbq.batch_tokens");
    auto model = getOperation()->getAttrOfType<DictionaryAttr>("tbq.model");
    if (batch && model) {
      auto hidden = cast<IntegerAttr>(model.get("hidden"));
      int64_t from = getBatchFrom(batch.getInt(), hidden.getInt());
      getOperation()->setAttr("tbq.batch_from", b.getI64IntegerAttr(from));
    }
    for (auto global : getOperation().getOps<LLVM::GlobalOp>())
      if (global.getSymName() == kWorkerMemory) {
        global.setGlobalType(LLVM::LLVMArrayType::get(b.getI8Type(), 0));
        global.setLinkage(LLVM::Linkage::External);
        global.getInitializerRegion().getBlocks().clear();
        global.removeValueAttr();
      }
    for (auto function : getOperation().getOps<LLVM::LLVMFuncOp>()) {
      if (function.isExternal() ||
          !llvm::is_contained(
              {TBQ_DEVICE_DECODE, TBQ_DEVICE_PREFILL, TBQ_DEVICE_BATCH},
              function.getName()))
        continue;
      function->setAttr(NVVM::NVVMDialect::getKernelFuncAttrName(),
                        b.getUnitAttr());
      function->setAttr(NVVM::NVVMDialect::getReqntidAttrName(),
                        b.getDenseI32ArrayAttr({int32_t(kThreads)}));
      // Without it warps cannot take each other's registers.
      function->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(),
                        b.getI32IntegerAttr(1));
      // A step that takes one token has one.
      auto most =
          getOperation()->getAttrOfType<IntegerAttr>("tbq.decode_tokens");
      if (function.getName() == "decode" && most && most.getInt() == 1) {
        OpBuilder at = OpBuilder::atBlockBegin(&function.getBody().front());
        BlockArgument count = function.getArgument(kCountArgument);
        count.replaceAllUsesWith(LLVM::ConstantOp::create(at, function.getLoc(),
                                                          count.getType(), 1));
      }
      // Weights alone: the arena is written by other blocks too, and what is
      // read through a cache that nobody invalidates would be stale.
      function.setArgAttr(kWeightsArgument,
                          LLVM::LLVMDialect::getNoAliasAttrName(),
                          b.getUnitAttr());
      function.setArgAttr(kWeightsArgument,
                          LLVM::LLVMDialect::getReadonlyAttrName(),
                          b.getUnitAttr());
    }
  }
};
} // namespace
