// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Calls the closed forms (tbq/ClosedForm.h) on a mapped float matrix.
// Invariant: beside the results, memory for some rows, or for one block of
// columns where thresholds are sought, is all that is taken.

#include "tbq/ClosedForm.h"
#include "tbq/Weights.h"

#include <cmath>

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::makeError;
using ::tbq::QuantizedMatrix;
using ::tbq::Result;
using ::tbq::SalientMatrix;
using ::tbq::Status;
using ::tbq::TensorView;

/// Bytes of floats read at a time, unless one row is larger.
static constexpr int64_t kChunkBytes = 1 << 20;

ArrayRef<int64_t> mlir::tbq::getDigitBits(Scheme scheme) {
  static constexpr int64_t one[] = {1, 1}, two[] = {2}, four[] = {4},
                           eight[] = {8};
  switch (scheme) {
  case Scheme::Ternary:
    return two;
  case Scheme::DualBinary:
    return one;
  case Scheme::Binary:
  case Scheme::SalientMask:
    return ArrayRef(one).take_front();
  case Scheme::Int8:
    return eight;
  case Scheme::Int4:
    return four;
  }
  llvm_unreachable("all schemes are named");
}

int64_t mlir::tbq::getRowBytes(int64_t columns, int64_t bits) {
  return (columns * bits + 7) / 8;
}

static auto getQuantizer(Scheme scheme) {
  switch (scheme) {
  case Scheme::Ternary:
    return ::tbq::quantizeTernary;
  case Scheme::Binary:
    return ::tbq::quantizeBinary;
  case Scheme::DualBinary:
    return ::tbq::quantizeDualBinary;
  case Scheme::Int8:
    return ::tbq::quantizeInt8;
  case Scheme::Int4:
    return ::tbq::quantizeInt4;
  case Scheme::SalientMask:
    break;
  }
  llvm_unreachable("the verifier of tbq.quantize refuses a mask");
}

/// The magnitudes of one block of columns, over all rows.
static Status readMagnitudes(const TensorView &matrix, int64_t first,
                             int64_t count, std::vector<float> &magnitudes) {
  const int64_t rows = matrix.shape[0], columns = matrix.shape[1];
  magnitudes.resize(rows * count);
  for (int64_t row = 0; row < rows; ++row) {
    float *out = magnitudes.data() + row * count;
    readFloats(matrix, row * columns + first, count, out);
    for (int64_t i = 0; i < count; ++i) {
      out[i] = std::fabs(out[i]);
      if (!std::isfinite(out[i]))
        return makeError(matrix.file, matrix.name,
                         "element [" + std::to_string(row) + ", " +
                             std::to_string(first + i) +
                             "] is infinite or not a number");
    }
  }
  return Status::ok();
}

Result<SalientThresholds> mlir::tbq::findThresholds(QuantizeOp op,
                                                    const TensorView &matrix) {
  const int64_t columns = matrix.shape[1], group = op.getGroup();
  SalientThresholds result;
  std::vector<float> magnitudes;
  for (int64_t first = 0; first < columns; first += group) {
    Status status = readMagnitudes(
        matrix, first, std::min(group, columns - first), magnitudes);
    if (!status)
      return status.error();
    const float threshold =
        ::tbq::findSalientThreshold(magnitudes.data(), magnitudes.size(),
                                    op.getSalientFraction()->convertToDouble());
    result.blocks.push_back(threshold);
    result.above += llvm::count_if(
        magnitudes, [&](float magnitude) { return magnitude > threshold; });
  }
  return result;
}

/// Calls `quantize(weights, firstRow, rows)` with all rows, in order.
static Status forEachRows(
    const TensorView &matrix,
    llvm::function_ref<Status(const float *, int64_t, int64_t)> quantize) {
  const int64_t rows = matrix.shape[0], columns = matrix.shape[1];
  const int64_t most = std::max<int64_t>(1, kChunkBytes / (4 * columns));
  std::vector<float> weights;
  for (int64_t row = 0; row < rows; row += most) {
    const int64_t count = std::min(most, rows - row);
    weights.resize(count * columns);
    readFloats(matrix, row * columns, count * columns, weights.data());
    if (Status status = quantize(weights.data(), row, count); !status)
      return makeError(matrix.file, matrix.name, status.error().message);
  }
  return Status::ok();
}

static Status evaluateSalient(QuantizeOp op, const TensorView &matrix,
                              const QuantizedMatrix &binary,
                              QuantizedWeight &weight) {
  const int64_t rows = matrix.shape[0], columns = matrix.shape[1];
  weight.mask.resize(rows * getRowBytes(columns, 1));
  weight.offsets.resize(rows + 1);
  weight.valueScale.resize(rows);
  weight.zero.resize(rows);
  SalientMatrix salient{{},
                        weight.mask.data(),
                        {},
                        weight.offsets.data(),
                        weight.valueScale.data(),
                        weight.zero.data()};
  if (std::optional<ArrayRef<float>> thresholds = op.getThresholds()) {
    salient.thresholds = thresholds->vec();
  } else {
    auto found = findThresholds(op, matrix);
    if (!found)
      return found.error();
    salient.thresholds = std::move(found->blocks);
  }
  salient.values.reserve(
      cast<RankedTensorType>(op.getSalient()[1].getType()).getDimSize(0));
  Status status = forEachRows(
      matrix, [&](const float *weights, int64_t row, int64_t count) {
        return quantizeSalient(weights, row, count, binary, salient);
      });
  weight.values = std::move(salient.values);
  return status;
}

Result<QuantizedWeight> mlir::tbq::evaluate(QuantizeOp op,
                                            const TensorView &matrix) {
  const int64_t rows = matrix.shape[0], columns = matrix.shape[1];
  const int64_t group = op.getGroup();
  QuantizedWeight weight;
  QuantizedMatrix out{columns, group, {}, {}};
  for (auto [i, bits] : llvm::enumerate(getDigitBits(op.getScheme()))) {
    weight.planes.emplace_back(rows * getRowBytes(columns, bits));
    out.planes[i] = weight.planes.back().data();
  }
  for (size_t i = 0; i < op.getCoefficients().size(); ++i) {
    weight.coefficients.emplace_back(rows * ((columns + group - 1) / group));
    out.coefficients[i] = weight.coefficients.back().data();
  }
  Status status =
      op.getSalientFraction()
          ? evaluateSalient(op, matrix, out, weight)
          : forEachRows(
                matrix, [&](const float *weights, int64_t row, int64_t count) {
                  return getQuantizer(op.getScheme())(weights, row, count, out);
                });
  if (!status)
    return status.error();
  return weight;
}
