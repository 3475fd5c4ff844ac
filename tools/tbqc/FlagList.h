// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Every flag of tbqc with its help text. What they must hold is in Flags.cpp.
#ifndef TBQ_TOOLS_TBQC_FLAGLIST_H
#define TBQ_TOOLS_TBQC_FLAGLIST_H

#include "tbq/Compile.h"

#include "llvm/Support/CommandLine.h"

namespace mlir::tbq {

struct Flags {
  using Text = llvm::cl::opt<std::string>;
  using Number = llvm::cl::opt<long>;
  using Switch = llvm::cl::opt<bool>;
  using Options = std::initializer_list<const llvm::cl::Option *>;

  llvm::cl::OptionCategory all{"tbqc flags"};
  Text input{llvm::cl::Positional, llvm::cl::desc("MODEL_DIR or MODULE.mlir"),
             llvm::cl::cat(all)};
  Text output{"o",
              llvm::cl::desc("what is written (default model.so; - for text)"),
              llvm::cl::value_desc("file"), llvm::cl::cat(all)};
  Text target{"target",
              llvm::cl::desc("where the step runs: cpu (default) or cuda"),
              llvm::cl::init("cpu"), llvm::cl::cat(all)};
  Text gpuArch{
      "gpu-arch",
      llvm::cl::desc("with --target=cuda, the oldest GPU that the artifact "
                     "is for (default sm_80); of several, with commas, each "
                     "gets its machine code, if there is a ptxas"),
      llvm::cl::value_desc("arch"), llvm::cl::init("sm_80"),
      llvm::cl::cat(all)};
  Number gpuBlocks{
      "gpu-blocks",
      llvm::cl::desc("with --target=cuda, the GPU's multiprocessors, by which "
                     "work is divided; any number runs (default 132)"),
      llvm::cl::init(132), llvm::cl::cat(all)};
  Text ptxas{
      "ptxas",
      llvm::cl::desc("with --target=cuda, NVIDIA's assembler (default: the "
                     "one on the PATH, if --gpu-arch names several)"),
      llvm::cl::value_desc("program"), llvm::cl::cat(all)};
  Text mcpu{
      "mcpu",
      llvm::cl::desc("processor, by LLVM's name (default native, or generic "
                     "where --mtriple is another architecture)"),
      llvm::cl::value_desc("cpu"), llvm::cl::cat(all)};
  Text mtriple{"mtriple",
               llvm::cl::desc("target triple (default: this machine's)"),
               llvm::cl::value_desc("triple"), llvm::cl::cat(all)};
  Text mattr{"mattr",
             llvm::cl::desc("features to add and drop: +a,-b (default none)"),
             llvm::cl::value_desc("features"), llvm::cl::cat(all)};
  Number level{"O", llvm::cl::desc("optimisation, 0 to 3 (default 3)"),
               llvm::cl::Prefix, llvm::cl::init(3), llvm::cl::cat(all)};
  Text activations{
      "activations",
      llvm::cl::desc(
          "what quantised weights are multiplied with: f32, i16 or i8 "
          "(default: what the checkpoint says, else i16)"),
      llvm::cl::cat(all)};
  Text quantize{
      "quantize",
      llvm::cl::desc(
          "quantise a float checkpoint: SCHEME:gN, coefficients for N "
          "columns, or SCHEME:row; SCHEME is ternary, binary or "
          "dual-binary; after binary:gN or binary:row, ',salient=R' keeps "
          "the fraction R of largest weights in 8 bits (default none)"),
      llvm::cl::value_desc("spec"), llvm::cl::cat(all)};
  Text policy{
      "policy",
      llvm::cl::desc(
          "a file of lines PATTERN SPEC: linears whose name the regular "
          "expression matches get that spec, or 'float'; first match "
          "wins, before --quantize (default none)"),
      llvm::cl::value_desc("file"), llvm::cl::cat(all)};
  Text embedding{
      "embedding",
      llvm::cl::desc(
          "quantise the embedding and the head of a float checkpoint: "
          "int8:gN, int8:row, int4:gN, int4:row or float (default float)"),
      llvm::cl::value_desc("spec"), llvm::cl::cat(all)};
  Text saveQuantized{
      "save-quantized",
      llvm::cl::desc(
          "write what --quantize, --policy and --embedding make of the "
          "model as a quantised checkpoint into this directory (default "
          "none)"),
      llvm::cl::value_desc("dir"), llvm::cl::cat(all)};
  Number context{
      "context",
      llvm::cl::desc("positions the cache has room for (default: the "
                     "model's maximum, at most 4096)"),
      llvm::cl::cat(all)};
  Number chunk{
      "prefill-chunk",
      llvm::cl::desc("tokens of a prefill step (default: what the table of "
                     "the CPU's family says; 2048 on a GPU)"),
      llvm::cl::cat(all)};
  Text tuning{"tuning",
              llvm::cl::desc("a table of the CPU's family, as --tune writes it "
                             "(default: the one shipped for the family)"),
              llvm::cl::value_desc("file"), llvm::cl::cat(all)};
  Number threads{
      "threads",
      llvm::cl::desc("threads the model is to run with, for which layouts are "
                     "chosen and --tune measures; others run too (default: "
                     "any number; --tune: all)"),
      llvm::cl::cat(all)};
  Number batch{"max-batch",
               llvm::cl::desc("sequences a step can carry, a token of each "
                              "(default 1)"),
               llvm::cl::init(1), llvm::cl::cat(all)};
  Text cache{
      "kv-cache",
      llvm::cl::desc("f32 or f16 (default f32 with f32 activations, else f16)"),
      llvm::cl::cat(all)};
  Text weights{
      "weights",
      llvm::cl::desc("embed (default), or sidecar: in a file FILE.weights "
                     "beside the artifact"),
      llvm::cl::init("embed"), llvm::cl::cat(all)};
  Switch shapeOnly{"shape-only",
                   llvm::cl::desc("an artifact without weights, for tbq-bench "
                                  "--random-weights (default: no)"),
                   llvm::cl::cat(all)};
  Text tune{
      "tune",
      llvm::cl::desc("instead of compiling, measure on this machine which "
                     "numbers of the table of its family are fastest, and "
                     "write the table; without MODEL_DIR, of a made-up model"),
      llvm::cl::value_desc("file"), llvm::cl::cat(all)};
  Number tuneSeconds{
      "tune-seconds",
      llvm::cl::desc("how long --tune measures, beside what compiling "
                     "takes (default 90)"),
      llvm::cl::init(90), llvm::cl::cat(all)};
  Text record{
      "record",
      llvm::cl::desc("a JSON file, how the model was made, that goes into "
                     "the manifest as it is (default none)"),
      llvm::cl::value_desc("file"), llvm::cl::cat(all)};
  Text checkpoint{"checkpoint",
                  llvm::cl::desc("where the weights of a MODULE.mlir are"),
                  llvm::cl::value_desc("dir"), llvm::cl::cat(all)};
  Text startAfter{
      "start-after",
      llvm::cl::desc("the stage that a MODULE.mlir comes from: import "
                     "(default), graph, pack, lower, cpu or gpu"),
      llvm::cl::value_desc("stage"), llvm::cl::cat(all)};
  Text stopAfter{
      "stop-after",
      llvm::cl::desc("print the module after a stage: import, graph, "
                     "pack, lower, cpu or gpu (default: go on to the "
                     "artifact)"),
      llvm::cl::value_desc("stage"), llvm::cl::cat(all)};
  Text emit{"emit", llvm::cl::desc("mlir, llvm, asm, obj or so (default so)"),
            llvm::cl::value_desc("kind"), llvm::cl::cat(all)};
  Text temporaries{"save-temps",
                   llvm::cl::desc("keep what each stage leaves (default: no)"),
                   llvm::cl::value_desc("dir"), llvm::cl::cat(all)};
  Switch dumpTensors{
      "dump-tensors",
      llvm::cl::desc(
          "an artifact that shows the values of each operation to a "
          "program that asks, for tbq-verify; it is slower (default: no)"),
      llvm::cl::cat(all)};
  Switch timePhases{
      "time-phases",
      llvm::cl::desc(
          "with --target=cuda, an artifact that notes when blocks come to "
          "each barrier and go on, for tbq-bench (default: no)"),
      llvm::cl::cat(all)};
  Switch delayBlocks{
      "delay-blocks",
      llvm::cl::desc("with --target=cuda, an artifact whose blocks come late "
                     "to barriers at random, to test with (default: no)"),
      llvm::cl::cat(all)};
  Text remarks{
      "remarks", llvm::cl::ValueOptional,
      llvm::cl::desc("say what became of each layer and why: graph, pack, "
                     "or a regular expression (default none; alone: all)"),
      llvm::cl::value_desc("categories"), llvm::cl::cat(all)};
  Switch verbose{"v",
                 llvm::cl::desc("show times and peak memory (default: no)"),
                 llvm::cl::cat(all)};
  Switch printTargets{"print-targets",
                      llvm::cl::desc("list targets and this machine"),
                      llvm::cl::cat(all)};

  ::tbq::Status toOptions(CompileOptions &options) const;
  ::tbq::Status checkTune() const;

private:
  ::tbq::Status setNumbers(CompileOptions &options) const;
  ::tbq::Status setStages(CompileOptions &options) const;
  ::tbq::Status setTarget(CompileOptions &options) const;
  ::tbq::Status setKind(CompileOptions &options) const;
};

} // namespace mlir::tbq

#endif // TBQ_TOOLS_TBQC_FLAGLIST_H
