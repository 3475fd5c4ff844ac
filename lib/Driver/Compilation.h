// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One run of the compiler: what its steps, in OpenInputs.cpp, RunStages.cpp and
// EmitOutput.cpp, hand to each other. Compile.cpp has their order.
#ifndef TBQ_LIB_DRIVER_COMPILATION_H
#define TBQ_LIB_DRIVER_COMPILATION_H

#include "Diagnostics.h"

#include "tbq/Checkpoint.h"
#include "tbq/Compile.h"
#include "tbq/CpuTable.h"

#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"

#include <optional>
#include <string>
#include <vector>

namespace mlir::tbq {

class Compilation {
public:
  explicit Compilation(const CompileOptions &options)
      : options(options), progress(options.verbose) {}

  ::tbq::Status run();
  /// Whose fault a failure of run() is: 1 the user's, 2 ours.
  int exitCode() const { return insideCompiler ? 2 : 1; }
  void endProgress() { progress.end(); }

private:
  bool isText() const { return StringRef(options.input).ends_with(".mlir"); }
  bool isArtifact() const { return options.kind == OutputKind::Artifact; }

  ::tbq::Status readSpecs();
  ::tbq::Status chooseTable();
  ::tbq::Status openInputs();
  ::tbq::Status readTokenizer();
  ::tbq::Status makeModule();
  ::tbq::Status runStage(Stage stage);
  ::tbq::Status runStages();
  ::tbq::Status saveQuantized();
  ::tbq::Status emit();
  ::tbq::Result<std::string> wrapKernels();
  ::tbq::Status addCubins(::tbq::Manifest &manifest, std::string &kernels);
  void recordGraph();
  std::string describeWriting(WeightsOp weights);
  ::tbq::Status emitArtifact(WeightsOp weights, std::string object,
                             std::string kernels);
  /// A failure that no input should cause.
  ::tbq::Status ours(::tbq::Error error) {
    insideCompiler = true;
    return error;
  }
  ::tbq::Status keepTemporary(StringRef name, StringRef content);
  std::string printModule();

  const CompileOptions &options;
  Progress progress;
  bool insideCompiler = false;
  CodeTarget target;
  std::optional<CodeTarget>
      device; // what the step is compiled for, not the host
  CpuTable table;
  MLIRContext context;
  std::optional<::tbq::Checkpoint> checkpoint;
  std::vector<PolicyRule> policy;
  bool quantizes = false; // by any of the options
  std::vector<uint8_t> tokenizer;
  nlohmann::json chat, record;
  OwningOpRef<ModuleOp> module;
};

} // namespace mlir::tbq

#endif // TBQ_LIB_DRIVER_COMPILATION_H
