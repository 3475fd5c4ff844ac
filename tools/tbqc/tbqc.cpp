// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The compiler: a Hugging Face directory to model.so. Flags are in Flags.cpp,
// the work in lib/Driver/Compile.cpp and lib/Tuning/Tune.cpp.

#include "Flags.h"

#include "tbq/Tune.h"

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/Signals.h"
#include "llvm/Support/raw_ostream.h"

#include <unistd.h>

/// LLVM gives up: one line, no file left behind, and our exit code.
static void reportFatalError(void *, const char *reason, bool) {
  llvm::StringRef first = llvm::StringRef(reason).split('\n').first;
  llvm::errs() << "tbqc: error: inside LLVM: " << first << "\n";
  llvm::sys::RunInterruptHandlers();
  _exit(2);
}

int main(int argc, char **argv) {
  llvm::install_fatal_error_handler(reportFatalError);
  ParsedFlags flags = parseFlags(argc, argv);
  if (flags.exitCode >= 0)
    return flags.exitCode;
  if (!flags.tune.empty())
    return mlir::tbq::tune({flags.options, flags.tune, flags.tuneSeconds});
  return mlir::tbq::compile(flags.options);
}
