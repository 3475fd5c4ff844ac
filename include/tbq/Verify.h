// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A compiled artifact against the interpreter: its logits, and, if it shows the
// values of its operations (tbqc --dump-tensors), each operation of each step
// on the very values that the step gave it. Invariant: the graph is built from
// the checkpoint and from what the manifest says was asked of the compiler,
// never from the artifact's code or weights.
#ifndef TBQ_VERIFY_H
#define TBQ_VERIFY_H

#include "format/Result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mlir::tbq {

struct VerifyOptions {
  std::string artifact;
  std::string model;           // a model directory, or the .mlir file compiled
  std::string checkpoint;      // where a .mlir file's weights are
  std::vector<int32_t> tokens; // empty: a fixed sequence
  int64_t threads = 1;
  /// Instead of each kind's own bound, for ops that may differ.
  std::optional<double> relative, absolute;
};

/// How far the results of an operation are from the interpreter's. Those of
/// integers, and floats that are rounded once, must be equal bit for bit.
struct Deviation {
  int64_t values = 0, differing = 0; // compared; not bitwise equal
  double absolute = 0;
  /// In terms of the expected value; of attention, of the largest one of the
  /// row; of linears, group sums and layer norms, of their terms' magnitudes.
  double relative = 0;
  double ulp = 0; // in units of the last place of the expected f32
};

struct OperationReport {
  std::string kind; // "packed_linear i8", "rms_norm", ...
  std::string layer;
  bool exact = false; // must be equal bit for bit
  double bound = 0;   // of the relative deviation; 0: exact
  int64_t runs = 0;
  Deviation worst; // of all runs; the numbers of values are sums
  bool broken = false;
};

struct VerifyReport {
  int64_t tokens = 0, steps = 0;
  /// In the order of the model; empty: the artifact shows nothing.
  std::vector<OperationReport> operations;
  std::vector<double> logits; // the interpreter's, a row a token
  double logitsError = 0;     // normalised mean square error
  /// Nothing: integer activations amplify the last bit of any float, so the
  /// error is only stated.
  std::optional<double> logitsBound;

  bool isLogitsBroken() const {
    return logitsBound && !(logitsError <= *logitsBound);
  }
};

/// Errors: files that cannot be read, an artifact that is not this model's.
::tbq::Result<VerifyReport> verify(const VerifyOptions &options);

} // namespace mlir::tbq

#endif // TBQ_VERIFY_H
