// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The whole compiler as a function: a model directory, or a module as text, to
// an artifact or to what a stage leaves behind.
// Invariant: a pure function of its options and input files; on failure the
// output is what it was, and one line was printed.
#ifndef TBQ_COMPILE_H
#define TBQ_COMPILE_H

#include "tbq/Emit.h"
#include "tbq/Import.h"
#include "tbq/QuantizeSpec.h"

#include <optional>
#include <string>

namespace mlir::tbq {

/// In their order; the last is one of two, as the target asks.
enum class Stage { Import, Graph, Pack, Lower, CPU, GPU };
inline constexpr Stage kStages[] = {Stage::Import, Stage::Graph, Stage::Pack,
                                    Stage::Lower,  Stage::CPU,   Stage::GPU};
/// "import", "graph", ...
llvm::StringRef stageName(Stage stage);

/// Whether the step is made for a GPU, and if so its last stage.
inline constexpr Stage lastStage(bool onDevice) {
  return onDevice ? Stage::GPU : Stage::CPU;
}

enum class OutputKind { Mlir, Llvm, Assembly, Object, Artifact };

struct CompileOptions {
  std::string input;      // a model directory, or a .mlir file
  std::string output;     // "-": stdout
  std::string checkpoint; // where a .mlir file's weights are
  OutputKind kind = OutputKind::Artifact;
  Stage startAfter = Stage::Import; // the stage that made the .mlir file
  Stage stopAfter = Stage::CPU;
  TargetFlags target;
  std::string assembler; // ptxas; empty: the one on the PATH, if needed
  ImportOptions import;
  std::string quantize;       // empty, or what parseQuantizeSpec reads
  std::string policy;         // empty, or a file of lines PATTERN SPEC
  std::string embedding;      // empty, or what parseEmbeddingSpec reads
  std::string saveQuantized;  // empty, or where our checkpoint goes
  std::string record;         // empty, or a JSON file for the manifest
  std::string tuning;         // empty, or a table of the CPU's family
  int64_t threads = 0;        // that a CPU runs it with; 0: any number
  int64_t prefillTokens = 0;  // 0: what the table says
  int64_t maxBatch = 1;       // sequences that a step can carry
  int64_t deviceBlocks = 132; // that a GPU is expected to run
  bool observe = false;       // the step shows the values of its operations
  bool timePhases = false;    // and when its blocks come to barriers
  bool delayBlocks = false;   // which they do late, at random
  WeightsPlace weights = WeightsPlace::Embedded;
  std::string temporaries; // a folder for what each stage leaves; may be empty
  std::string remarks;  // categories shown, a regular expression; may be empty
  bool verbose = false; // times and memory
};

/// The program's exit code: 0 done, 1 the input or an option was wrong, 2 a
/// defect of the compiler. Messages and progress go to stderr.
int compile(const CompileOptions &options);

/// The rules of a policy file. Errors name the file and the line.
::tbq::Result<std::vector<PolicyRule>> readPolicy(const std::string &path);

/// The JSON object of a file that goes into the manifest as it is; at most a
/// MiB. Errors name the file.
::tbq::Result<nlohmann::json> readRecord(const std::string &path);

/// A module from text. Errors name the file, line and column.
::tbq::Result<OwningOpRef<ModuleOp>> readModule(MLIRContext &context,
                                                const std::string &path);

} // namespace mlir::tbq

#endif // TBQ_COMPILE_H
