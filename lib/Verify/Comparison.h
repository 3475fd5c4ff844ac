// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How far results are from what is expected, and how far they may be.
#ifndef TBQ_VERIFY_COMPARISON_H
#define TBQ_VERIFY_COMPARISON_H

#include "tbq/Interpreter.h"
#include "tbq/Verify.h"

namespace mlir::tbq {

/// What a deviation is relative to: the expected value; the largest of its row;
/// for sums that may cancel, the sum of the magnitudes.
enum class Scale { Value, Row, Magnitudes };

/// What the results of an op are held to.
struct Tolerance {
  bool exact = true;
  Scale scale = Scale::Value;
  double relative = 0, absolute = 0;
};

/// The tolerance of an op in the packed form. `device`: of code for a GPU,
/// where a group's integer meets its coefficient in parts.
Tolerance getTolerance(StepOp op, const VerifyOptions &options, bool device);

/// Whether `found` is within the tolerance of `expected`. Adds to `worst`.
/// `magnitudes`: what the sums are of the magnitudes, where they are the scale.
bool compare(const Matrix &found, const Matrix &expected,
             const Matrix &magnitudes, const Tolerance &tolerance,
             Deviation &worst);

/// sum (found - expected)^2 / sum expected^2
double getNormalizedError(ArrayRef<float> found, const Matrix &expected);

} // namespace mlir::tbq

#endif // TBQ_VERIFY_COMPARISON_H
