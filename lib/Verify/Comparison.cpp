// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Input: results of a compiled op and the interpreter's. Invariant: what is not
// a number where a number is expected breaks every bound.

#include "Comparison.h"

#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace mlir::tbq;

/// Of float32 sums of products, relative to their magnitudes. Two sums of K / 2
/// terms each are guaranteed K / 2 * 2^-24 (4.6e-5 for 1536); this is about
/// four times what SmolLM2's widest linear was measured at. Of layer norms too:
/// their mean is such a sum. Where all of a row is the same it is furthest off,
/// each addition rounding alike: by 2.3e-6 of 5120 values when emulated, by
/// 2.5e-7 at most in random graphs.
static constexpr double kSumBound = 4e-6;
/// Of attention, where the error of a score is an exponent's.
static constexpr double kAttentionBound = 2e-5;
/// Of a few operations and exp on one value.
static constexpr double kValueBound = 1e-6;
/// Below the smallest normal f32 there are no relative bounds.
static constexpr double kAbsoluteBound = 1e-36;

Tolerance mlir::tbq::getTolerance(StepOp op, const VerifyOptions &options,
                                  bool device) {
  Tolerance tolerance =
      llvm::TypeSwitch<Operation *, Tolerance>(op)
          .Case([&](PackedLinearOp linear) {
            if (linear.getActivationScale() && !device)
              return Tolerance();
            return Tolerance{false, Scale::Magnitudes, kSumBound,
                             kAbsoluteBound};
          })
          .Case([](AttentionOp) {
            return Tolerance{false, Scale::Row, kAttentionBound,
                             kAbsoluteBound};
          })
          .Case<GroupSumsOp, LayerNormOp>([](Operation *) {
            return Tolerance{false, Scale::Magnitudes, kSumBound,
                             kAbsoluteBound};
          })
          .Case([](ActivationOp activation) {
            if (activation.getFunction() == ActivationFunction::Relu)
              return Tolerance();
            return Tolerance{false, Scale::Value, kValueBound, kAbsoluteBound};
          })
          .Case<RmsNormOp, GatedActivationOp>([](Operation *) {
            return Tolerance{false, Scale::Value, kValueBound, kAbsoluteBound};
          })
          .Default(Tolerance());
  if (!tolerance.exact) {
    tolerance.relative = options.relative.value_or(tolerance.relative);
    tolerance.absolute = options.absolute.value_or(tolerance.absolute);
  }
  return tolerance;
}

/// The distance to the next f32 away from zero.
static double getUlp(double value) {
  const float magnitude = std::fabs(static_cast<float>(value));
  return double(std::nextafter(magnitude, INFINITY)) - double(magnitude);
}

/// What deviations of element i of a row are relative to.
static double getScale(const Tolerance &tolerance, ArrayRef<double> expected,
                       int64_t i, const double *magnitudes) {
  switch (tolerance.scale) {
  case Scale::Value:
    return std::fabs(expected[i]);
  case Scale::Magnitudes:
    return magnitudes[i];
  case Scale::Row:
    break;
  }
  double largest = 0;
  for (double value : expected)
    largest = std::max(largest, std::fabs(value));
  return largest;
}

bool mlir::tbq::compare(const Matrix &found, const Matrix &expected,
                        const Matrix &magnitudes, const Tolerance &tolerance,
                        Deviation &worst) {
  bool good = found.rows == expected.rows && found.columns == expected.columns;
  bool broken = false;
  for (int64_t at = 0; good && at < expected.rows; ++at) {
    ArrayRef<double> wanted(expected.row(at), expected.columns);
    double scale = getScale(tolerance, wanted, 0, magnitudes.row(at));
    for (auto [i, want] : llvm::enumerate(wanted)) {
      const double got = found.row(at)[i];
      ++worst.values;
      worst.differing += got != static_cast<float>(want);
      if (got == want || (std::isnan(got) && std::isnan(want)))
        continue;
      if (tolerance.scale != Scale::Row)
        scale = getScale(tolerance, wanted, i, magnitudes.row(at));
      double distance = std::fabs(got - want);
      if (std::isnan(distance))
        distance = INFINITY;
      worst.absolute = std::max(worst.absolute, distance);
      worst.ulp = std::max(worst.ulp, distance / getUlp(want));
      if (distance > tolerance.absolute)
        worst.relative = std::max(worst.relative, distance / scale);
      // Written so that infinite limits let no infinite distance pass.
      broken |= tolerance.exact || !std::isfinite(distance) ||
                distance > tolerance.absolute + tolerance.relative * scale;
    }
  }
  return good && !broken;
}

double mlir::tbq::getNormalizedError(ArrayRef<float> found,
                                     const Matrix &expected) {
  double error = 0, power = 0;
  for (auto [got, want] : llvm::zip_equal(found, expected.values)) {
    error += (got - want) * (got - want);
    power += want * want;
  }
  return error / power;
}
