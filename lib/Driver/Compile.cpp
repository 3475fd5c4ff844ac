// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Inputs, the stages, emit: in this order, each with its errors. Input and
// output: CompileOptions.

#include "Compilation.h"

#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::Status;

StringRef mlir::tbq::stageName(Stage stage) {
  const StringRef names[] = {"import", "graph", "pack", "lower", "cpu", "gpu"};
  return names[static_cast<int>(stage)];
}

std::string Compilation::printModule() {
  std::string text;
  llvm::raw_string_ostream out(text);
  module->print(out);
  out << "\n";
  return text;
}

Status Compilation::keepTemporary(StringRef name, StringRef content) {
  if (options.temporaries.empty())
    return Status::ok();
  llvm::SmallString<128> path(options.temporaries);
  llvm::sys::path::append(path, name);
  return writeOutput(path.str().str(), content);
}

Status Compilation::run() {
  if (Status status = openInputs(); !status)
    return status;
  if (Status status = makeModule(); !status)
    return status;
  if (Status status = runStages(); !status)
    return status;
  return emit();
}

int mlir::tbq::compile(const CompileOptions &options) {
  Compilation compilation(options);
  Status status = compilation.run();
  if (status)
    return 0;
  compilation.endProgress();
  llvm::errs() << "tbqc: error: " << status.error().message << "\n";
  return compilation.exitCode();
}
