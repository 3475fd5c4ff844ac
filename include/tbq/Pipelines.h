// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The stages as pipelines. Each is a pure function of its options; the order
// graph, pack, lower, then cpu or gpu, is fixed, and each ends with a check of
// what it leaves behind. lib/Driver/Pipelines.cpp is the file to read.
#ifndef TBQ_PIPELINES_H
#define TBQ_PIPELINES_H

#include "tbq/IR/Tbq.h"
#include "tbq/Tuning.h"

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"

#include <optional>
#include <string>

namespace mlir {
class DialectRegistry;
}

namespace mlir::tbq {

struct GraphOptions : PassPipelineOptions<GraphOptions> {
  /// Quantise all float linears after training; see parseQuantizeSpec.
  Option<std::string> quantize{*this, "quantize",
                               llvm::cl::desc("post-training scheme")};
  /// The same for some: rules as tbq-quantize takes them.
  ListOption<std::string> policy{*this, "policy",
                                 llvm::cl::desc("PATTERN=SPEC, ...")};
  /// The embedding and the head; see parseEmbeddingSpec.
  Option<std::string> embedding{*this, "embedding",
                                llvm::cl::desc("scheme of embedding and head"),
                                llvm::cl::init("float")};
  Option<std::string> activations{*this, "activations",
                                  llvm::cl::desc("f32, i16 or i8"),
                                  llvm::cl::init("i16")};
};

struct PackOptions : PassPipelineOptions<PackOptions> {
  Option<int64_t> prefillTokens{*this, "prefill-tokens",
                                llvm::cl::desc("tokens of a prefill chunk"),
                                llvm::cl::init(64)};
  Option<int64_t> maxBatch{*this, "max-batch",
                           llvm::cl::desc("sequences that a step can carry"),
                           llvm::cl::init(1)};
  /// What the target's linears read: 16 on a CPU, 4 on a GPU.
  Option<int64_t> tileRows{*this, "tile-rows",
                           llvm::cl::desc("rows of a packed tile"),
                           llvm::cl::init(kLanes)};
  /// Of the first cache; a table of the CPU's family decides. 0: no panels.
  Option<int64_t> panelBytes{
      *this, "panel-bytes",
      llvm::cl::desc("most bytes of a tile and its activations in a panel"),
      llvm::cl::init(0)};
  /// Of digits by threes; the same table decides. 0: none.
  Option<int64_t> tripleColumns{
      *this, "triple-columns",
      llvm::cl::desc("columns of a panel of digits by threes"),
      llvm::cl::init(0)};
  Option<int64_t> tripleWeights{
      *this, "triple-weights",
      llvm::cl::desc("weights of a matrix from which on they stand so"),
      llvm::cl::init(0)};
  Option<int64_t> threads{
      *this, "threads",
      llvm::cl::desc("workers that will share the tiles; 0: any number"),
      llvm::cl::init(0)};
  /// What the target's attention reads, where the cache is of f16: on a GPU.
  Option<bool> tileCache{*this, "tile-cache",
                         llvm::cl::desc("keys and values lie in tiles"),
                         llvm::cl::init(false)};
};

struct LowerOptions : PassPipelineOptions<LowerOptions> {
  /// On the stack of a thread, less than the scratch memory of a block of
  /// tokens; on a GPU in memory that a block's threads share.
  Option<int64_t> workerBytes{
      *this, "worker-bytes",
      llvm::cl::desc("most bytes of a worker's own buffers in a function"),
      llvm::cl::init(1 << 18)};
  /// Where a barrier costs more than what it saves to compute: on a GPU.
  Option<bool> ownKey{
      *this, "own-key",
      llvm::cl::desc("attention of one token takes its key as it is"),
      llvm::cl::init(false)};
  /// Where workers are few and barriers cheap: on a CPU.
  Option<bool> divideKeys{
      *this, "divide-keys",
      llvm::cl::desc("workers may divide the keys of one token's attention"),
      llvm::cl::init(false)};
  /// Where logits are far from whoever reads them: on a GPU.
  Option<bool> summarizeLogits{
      *this, "summarize-logits",
      llvm::cl::desc("behind logits stand the largest of each group"),
      llvm::cl::init(false)};
  Option<bool> observe{*this, "observe",
                       llvm::cl::desc("show the values of each op"),
                       llvm::cl::init(false)};
  Option<bool> timePhases{
      *this, "time-phases",
      llvm::cl::desc("note when workers come to barriers and go on"),
      llvm::cl::init(false)};
};

/// What the target CPU has; see getCPUOptions.
struct CPUOptions : PassPipelineOptions<CPUOptions> {
  Option<std::string> dot{
      *this, "dot",
      llvm::cl::desc("int8 dot products: plain, vnni, amx, avx2 or dotprod"),
      llvm::cl::init("plain")};
  Option<bool> permute{*this, "permute",
                       llvm::cl::desc("permutations of bytes (AVX-512 VBMI)"),
                       llvm::cl::init(false)};
  Option<bool> fma{*this, "fma", llvm::cl::desc("fused multiply-add"),
                   llvm::cl::init(false)};
  Option<bool> f16{*this, "f16", llvm::cl::desc("f16 conversions"),
                   llvm::cl::init(false)};
  Option<int64_t> registers{
      *this, "registers",
      llvm::cl::desc("vectors of 16 lanes that the registers hold"),
      llvm::cl::init(8)};
  Option<bool> floor{*this, "floor", llvm::cl::desc("rounding instructions"),
                     llvm::cl::init(false)};
  /// What a table of the CPU's family decides: no text of the pipeline, but of
  /// its passes.
  Tuning tuning;
  Roofline roofline;
};

struct GPUOptions : PassPipelineOptions<GPUOptions> {
  Option<int64_t> blocks{
      *this, "blocks", llvm::cl::desc("blocks the step is expected to run on"),
      llvm::cl::init(132)};
  Option<bool> delayBlocks{
      *this, "delay-blocks",
      llvm::cl::desc("warps come late to barriers, at random"),
      llvm::cl::init(false)};
  Option<int64_t> sharedBytes{
      *this, "shared-bytes",
      llvm::cl::desc("most bytes that the threads of a block may share"),
      llvm::cl::init(99 << 10)};
  Option<bool> bits{
      *this, "bits",
      llvm::cl::desc("products of bits, which GPUs before sm_100 have"),
      llvm::cl::init(false)};
  Option<bool> warpgroups{
      *this, "warpgroups",
      llvm::cl::desc("products of four warps, which sm_90a alone has"),
      llvm::cl::init(false)};
};

/// What `dot` may be on a target, the best first.
llvm::SmallVector<llvm::StringRef>
getDotProducts(llvm::StringRef triple, llvm::ArrayRef<std::string> features);

/// Sets what lowering asks of a CPU from LLVM's feature names ("avx512vnni").
void setTargetFeatures(CPUOptions &options, llvm::StringRef triple,
                       llvm::ArrayRef<std::string> features);

void buildGraphPipeline(OpPassManager &manager, const GraphOptions &options);
void buildPackPipeline(OpPassManager &manager, const PackOptions &options);
/// The first part of pack: every linear in the one form, its weights still by
/// name in @forward. What the interpreter replays a step's ops with.
void buildPackedFormPipeline(OpPassManager &manager,
                             const PackOptions &options);
void buildLowerPipeline(OpPassManager &manager, const LowerOptions &options);
void buildCPUPipeline(OpPassManager &manager, const CPUOptions &options);
void buildGPUPipeline(OpPassManager &manager, const GPUOptions &options);

/// Dialects, interfaces, passes and pipelines: all a program needs.
void registerAll(DialectRegistry &registry);
/// Dialects and interfaces alone.
void registerDialects(DialectRegistry &registry);

} // namespace mlir::tbq

#endif // TBQ_PIPELINES_H
