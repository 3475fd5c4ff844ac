// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a program of this compiler knows: dialects, their translations to LLVM
// IR, passes and pipelines.

#include "tbq/Passes.h"
#include "tbq/Pipelines.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Transforms/Passes.h"

void mlir::tbq::registerDialects(DialectRegistry &registry) {
  registry.insert<TbqDialect, amx::AMXDialect, arith::ArithDialect,
                  cf::ControlFlowDialect, func::FuncDialect, LLVM::LLVMDialect,
                  math::MathDialect, memref::MemRefDialect, scf::SCFDialect,
                  vector::VectorDialect>();
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
}

/// Upstream's passes of the cpu stage, so that what --dump-pass-pipeline shows
/// of a stage can be run from any pass on.
static void registerConversions() {
  using namespace mlir;
  registerSCFToControlFlowPass();
  registerConvertVectorToLLVMPass();
  registerFinalizeMemRefToLLVMConversionPass();
  registerConvertMathToLLVMPass();
  registerArithToLLVMConversionPass();
  registerConvertFuncToLLVMPass();
  registerConvertControlFlowToLLVMPass();
  registerReconcileUnrealizedCastsPass();
}

void mlir::tbq::registerAll(DialectRegistry &registry) {
  registerDialects(registry);
  registerTransformsPasses();
  registerConversions();
  registerTbqPasses();
  PassPipelineRegistration<GraphOptions>(
      "tbq-graph", "what must be computed, fused", buildGraphPipeline);
  PassPipelineRegistration<PackOptions>(
      "tbq-pack", "how it is stored: layouts, shared layers",
      buildPackPipeline);
  PassPipelineRegistration<LowerOptions>(
      "tbq-lower", "how it is divided: memory, workers, barriers",
      buildLowerPipeline);
  PassPipelineRegistration<CPUOptions>(
      "tbq-cpu", "how it runs: vector code in the LLVM dialect",
      buildCPUPipeline);
}
