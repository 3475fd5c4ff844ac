// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// `tbqc --tune`: measures candidates for the numbers of a table (CpuTable.h) on
// this machine, each an artifact of the product's own pipeline in the product's
// own runtime, and writes the table of what was fastest.
// Invariant: a number differs from the table it began with only where steps
// were faster by more than noise; the file is written whole or not at all.
#ifndef TBQ_TUNE_H
#define TBQ_TUNE_H

#include "tbq/Compile.h"

namespace mlir::tbq {

struct TuneOptions {
  /// How candidates are compiled, and what is to be fast: an empty `input` is a
  /// made-up model. Their weights are made up in any case.
  CompileOptions compile;
  std::string output;   // the table
  int64_t seconds = 90; // in which candidates are measured
};

/// The program's exit code, as compile's.
int tune(const TuneOptions &options);

} // namespace mlir::tbq

#endif // TBQ_TUNE_H
