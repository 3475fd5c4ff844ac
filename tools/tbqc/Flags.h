// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbqc's command line. Invariant: options that come out of it are in range;
// every value that is not known is refused with the nearest one that is.
#ifndef TBQ_TOOLS_TBQC_FLAGS_H
#define TBQ_TOOLS_TBQC_FLAGS_H

#include "tbq/Compile.h"

/// The options of a compilation, or the exit code to end with at once (help, a
/// list that was asked for, or a flag that was refused).
struct ParsedFlags {
  mlir::tbq::CompileOptions options;
  std::string tune; // empty, or the table that --tune writes
  int64_t tuneSeconds = 0;
  int exitCode = -1;
};

ParsedFlags parseFlags(int argc, char **argv);

#endif // TBQ_TOOLS_TBQC_FLAGS_H
