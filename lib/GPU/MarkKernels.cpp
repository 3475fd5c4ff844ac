// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-mark-kernels: what the code generator must know of the entry points,
// and that the launch brings the worker's memory.

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

namespace {
struct MarkKernelsPass : tbq::impl::MarkKernelsPassBase<MarkKernelsPass> {
  void runOnOperation() override {
    Builder b(&getContext());
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
