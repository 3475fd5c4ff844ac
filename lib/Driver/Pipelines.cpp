// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The whole road, stage by stage, top to bottom. Above each stage stands what
// is legal in and out; CheckStage enforces it in every run.

#include "tbq/Pipelines.h"

#include "tbq/Passes.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/TargetParser/Triple.h"

using namespace mlir;
using namespace mlir::tbq;

static void addCheck(OpPassManager &manager, StringRef stage) {
  CheckStagePassOptions options;
  options.stage = stage.str();
  manager.addPass(createCheckStagePass(options));
}

// graph: what must be computed.
//   in   func.func @forward of tbq ops on tensors; weights by name
//   out  the same, fused; linears quantised as asked
void mlir::tbq::buildGraphPipeline(OpPassManager &manager,
                                   const GraphOptions &options) {
  QuantizePassOptions quantize;
  quantize.rules.assign(options.policy.begin(), options.policy.end());
  if (!options.quantize.empty())
    quantize.rules.push_back(".*=" + options.quantize);
  quantize.embedding = options.embedding;
  quantize.activations = options.activations;
  if (!quantize.rules.empty() || options.embedding != "float")
    manager.addPass(createQuantizePass(quantize));
  manager.addPass(createFuseResidualPass());
  manager.addPass(createCanonicalizerPass());
  manager.addPass(createCSEPass());
  addCheck(manager, "graph");
}

void mlir::tbq::buildPackedFormPipeline(OpPassManager &manager,
                                        const PackOptions &options) {
  PackWeightsPassOptions pack;
  pack.tileRows = options.tileRows;
  pack.panelBytes = options.panelBytes;
  pack.tripleColumns = options.tripleColumns;
  pack.tripleWeights = options.tripleWeights;
  pack.threads = options.threads;
  manager.addPass(createPackWeightsPass(pack));
  if (options.tileCache)
    manager.addPass(createTileCachePass());
  manager.addPass(createCSEPass());
}

// pack: how it is stored.
//   in   what graph leaves
//   out  @decode, @prefill, @batch if asked for, and one function a run of
//        equal layers, of tbq ops on tensors of static shape and packed
//        weights; one tbq.weights
void mlir::tbq::buildPackPipeline(OpPassManager &manager,
                                  const PackOptions &options) {
  buildPackedFormPipeline(manager, options);
  manager.addPass(createPlaceWeightsPass());
  SpecializeEntriesPassOptions entries;
  entries.prefillTokens = options.prefillTokens;
  entries.maxBatch = options.maxBatch;
  manager.addPass(createSpecializeEntriesPass(entries));
  manager.addPass(createShareLayersPass());
  addCheck(manager, "pack");
}

// lower: how it is divided.
//   in   what pack leaves
//   out  the same functions on memory: tbq ops in buffer form with a worker's
//        range, barriers, and scf, arith, memref around them
void mlir::tbq::buildLowerPipeline(OpPassManager &manager,
                                   const LowerOptions &options) {
  manager.addNestedPass<func::FuncOp>(createMatchUnitsPass());
  // Values are shown as the graph has them: with each key in the cache.
  if (options.ownKey && !options.observe)
    manager.addNestedPass<func::FuncOp>(createAttendOwnKeyPass());
  if (options.divideKeys && !options.observe)
    manager.addNestedPass<func::FuncOp>(createDivideKeysPass());
  if (options.summarizeLogits && !options.observe)
    manager.addPass(createSummarizeLogitsPass());
  PlanMemoryPassOptions memory;
  memory.workerBytes = options.workerBytes;
  manager.addPass(createPlanMemoryPass(memory));
  manager.addPass(createDistributePass());
  if (options.observe)
    manager.addPass(createObserveStepsPass());
  if (options.timePhases)
    manager.addPass(createTimePhasesPass());
  manager.addPass(createCanonicalizerPass());
  manager.addPass(createCSEPass());
  addCheck(manager, "lower");
}

/// Upstream's conversions, which every target ends with.
static void addConversionToLLVM(OpPassManager &manager, bool amx) {
  manager.addPass(createSCFToControlFlowPass());
  ConvertVectorToLLVMPassOptions vector;
  vector.amx = amx;
  manager.addPass(createConvertVectorToLLVMPass(vector));
  FinalizeMemRefToLLVMConversionPassOptions memref;
  manager.addPass(createFinalizeMemRefToLLVMConversionPass(memref));
  manager.addPass(createConvertMathToLLVMPass());
  manager.addPass(createArithToLLVMConversionPass());
  ConvertFuncToLLVMPassOptions func;
  func.useBarePtrCallConv = true;
  manager.addPass(createConvertFuncToLLVMPass(func));
  manager.addPass(createConvertControlFlowToLLVMPass());
  manager.addPass(createReconcileUnrealizedCastsPass());
  manager.addPass(createCanonicalizerPass());
}

// cpu: how it runs.
//   in   what lower leaves
//   out  LLVM dialect (and tbq.weights, which emit reads)
void mlir::tbq::buildCPUPipeline(OpPassManager &manager,
                                 const CPUOptions &options) {
  LowerLinearToCPUPassOptions linear;
  linear.dot = options.dot;
  linear.permute = options.permute;
  linear.fma = options.fma;
  linear.farBytes = options.tuning.farBytes;
  linear.nearBytes = options.tuning.nearBytes;
  linear.unrolledSteps = options.tuning.unrolledSteps;
  linear.fewTokens = options.tuning.fewTokens;
  linear.tokenTile = options.tuning.tokenTile;
  linear.rowTiles = options.tuning.rowTiles;
  linear.blockTokens = options.tuning.blockTokens;
  linear.unrolledQuads = options.tuning.unrolledQuads;
  linear.unrolledTokens = options.tuning.unrolledTokens;
  linear.readRate = options.roofline.read;
  linear.peakRate = options.roofline.peak;
  linear.decodeRate = options.roofline.decode;
  linear.prefillRate = options.roofline.prefill;
  OpPassManager &function = manager.nest<func::FuncOp>();
  function.addPass(createLowerLinearToCPUPass(linear));
  LowerStepToCPUPassOptions step;
  step.fma = options.fma;
  step.registers = options.registers;
  step.cacheBytes = options.tuning.cacheBytes;
  function.addPass(createLowerStepToCPUPass(step));
  ExpandMathPassOptions math;
  math.fma = options.fma;
  math.f16 = options.f16;
  math.floor = options.floor;
  function.addPass(createExpandMathPass(math));
  // Blocks and dead code are LLVM's to tidy, which is faster at it.
  GreedyRewriteConfig config;
  config.setRegionSimplificationLevel(GreedySimplifyRegionLevel::Disabled);
  manager.addPass(createCanonicalizerPass(config));
  manager.addPass(createCSEPass());
  manager.addPass(createLoopInvariantCodeMotionPass());
  manager.addPass(createResolveWeightsPass());
  manager.addPass(createLowerTeamToCPUPass());
  addConversionToLLVM(manager, /*amx=*/options.dot == "amx");
  addCheck(manager, "cpu");
}

// gpu: how it runs, on another target.
//   in   what lower leaves
//   out  LLVM and NVVM dialects, kernels of the entry points (and tbq.weights,
//        which emit reads)
void mlir::tbq::buildGPUPipeline(OpPassManager &manager,
                                 const GPUOptions &options) {
  LowerLinearToGPUPassOptions linear;
  linear.blocks = options.blocks;
  linear.sharedBytes = options.sharedBytes;
  linear.bits = options.bits;
  linear.warpgroups = options.warpgroups;
  // One after the other: buffers that a block shares are the module's.
  manager.addPass(createBoundArgumentsPass());
  manager.addPass(createShareWorkerMemoryPass());
  manager.addPass(createExchangeRowsPass());
  manager.addPass(createLowerLinearToGPUPass(linear));
  LowerStepToGPUPassOptions step;
  step.blocks = options.blocks;
  step.sharedBytes = options.sharedBytes;
  step.warpgroups = options.warpgroups;
  manager.addPass(createLowerStepToGPUPass(step));
  ExpandMathPassOptions math;
  math.fma = math.f16 = math.floor = true;
  manager.addNestedPass<func::FuncOp>(createExpandMathPass(math));
  manager.addPass(createCanonicalizerPass());
  manager.addPass(createCSEPass());
  manager.addPass(createLoopInvariantCodeMotionPass());
  manager.addPass(createResolveWeightsPass());
  if (options.delayBlocks)
    manager.addPass(createDelayBlocksPass());
  manager.addPass(createLowerTeamToGPUPass());
  manager.addPass(createNarrowLoopsPass());
  manager.addPass(arith::createArithIntRangeOpts());
  arith::ArithIntRangeNarrowingOptions narrow;
  narrow.bitwidthsSupported = {32};
  manager.addPass(arith::createArithIntRangeNarrowing(narrow));
  manager.addPass(createCanonicalizerPass());
  manager.addPass(createCSEPass());
  addConversionToLLVM(manager, /*amx=*/false);
  manager.addPass(createMarkKernelsPass());
  addCheck(manager, "gpu");
}

SmallVector<StringRef>
mlir::tbq::getDotProducts(StringRef triple, ArrayRef<std::string> features) {
  auto has = [&](StringRef name) { return llvm::is_contained(features, name); };
  SmallVector<StringRef> products;
  if (has("avx512vnni") && has("avx512bw") && has("avx512f")) {
    if (has("amx-tile") && has("amx-int8"))
      products.push_back("amx");
    products.push_back("vnni");
  }
  if (has("avx2"))
    products.push_back("avx2");
  if (llvm::Triple(triple).isAArch64() && has("dotprod"))
    products.push_back("dotprod");
  products.push_back("plain");
  return products;
}

void mlir::tbq::setTargetFeatures(CPUOptions &options, StringRef triple,
                                  ArrayRef<std::string> features) {
  auto has = [&](StringRef name) { return llvm::is_contained(features, name); };
  bool arm = llvm::Triple(triple).isAArch64();
  options.dot = getDotProducts(triple, features).front().str();
  options.permute = has("avx512vbmi");
  if (has("avx512f"))
    options.registers = 32;
  options.fma = arm || has("fma") || has("avx512f");
  options.f16 = arm || has("f16c") || has("avx512f");
  options.floor = arm || has("sse4.1") || has("avx");
}
