// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See StepMath.h. Plain loops in the order of the indices; no operation is
// contracted with another.

#include "StepMath.h"

#include "tbq/Weights.h"

#include <cmath>

using namespace mlir;
using namespace mlir::tbq;

template <class Real>
Matrix mlir::tbq::normalize(const Matrix &input, ArrayRef<float> weight,
                            float epsilon) {
  Matrix output(input.rows, input.columns);
  for (int64_t t = 0; t < input.rows; ++t) {
    const double *x = input.row(t);
    Real squares = 0;
    for (int64_t i = 0; i < input.columns; ++i)
      squares += Real(x[i]) * Real(x[i]);
    const Real root = std::sqrt(squares / Real(input.columns) + Real(epsilon));
    for (int64_t i = 0; i < input.columns; ++i)
      output.row(t)[i] = Real(weight[i]) * (Real(x[i]) * (Real(1) / root));
  }
  return output;
}

namespace {
/// A row's mean and 1 / sqrt(variance + epsilon), as a layer norm has them.
template <class Real> struct RowStatistics {
  RowStatistics(ArrayRef<double> row, float epsilon) {
    const Real columns = row.size();
    Real sum = 0, squares = 0;
    for (double x : row)
      sum += Real(x);
    mean = sum / columns;
    for (double x : row) {
      const Real distance = Real(x) - mean;
      squares += distance * distance;
    }
    factor = Real(1) / std::sqrt(squares / columns + Real(epsilon));
  }

  Real mean, factor;
};
} // namespace

template <class Real>
Matrix mlir::tbq::normalize(const Matrix &input, ArrayRef<float> weight,
                            ArrayRef<float> bias, float epsilon) {
  Matrix output(input.rows, input.columns);
  for (int64_t t = 0; t < input.rows; ++t) {
    const ArrayRef<double> row(input.row(t), input.columns);
    const RowStatistics<Real> statistics(row, epsilon);
    for (auto [i, x] : llvm::enumerate(row))
      output.row(t)[i] =
          Real(weight[i]) * ((Real(x) - statistics.mean) * statistics.factor) +
          Real(bias[i]);
  }
  return output;
}

Matrix mlir::tbq::getNormMagnitudes(const Matrix &input, ArrayRef<float> weight,
                                    ArrayRef<float> bias, float epsilon) {
  Matrix output(input.rows, input.columns);
  for (int64_t t = 0; t < input.rows; ++t) {
    const ArrayRef<double> row(input.row(t), input.columns);
    const auto [mean, factor] = RowStatistics<double>(row, epsilon);
    double magnitude = 0; // of the mean's terms
    for (double x : row)
      magnitude += std::fabs(x) / double(input.columns);
    for (auto [i, x] : llvm::enumerate(row)) {
      const double normal = std::fabs(x - mean) * factor;
      output.row(t)[i] = std::fabs(weight[i]) * factor *
                             (std::fabs(x) + magnitude + normal * magnitude) +
                         std::fabs(bias[i]);
    }
  }
  return output;
}

template <class Real>
Matrix mlir::tbq::rotate(const Matrix &input, ArrayRef<float> frequencies,
                         int64_t position, int64_t heads, int64_t headDim) {
  const int64_t half = headDim / 2;
  Matrix output(input.rows, input.columns);
  std::vector<float> angles(headDim);
  for (int64_t t = 0; t < input.rows; ++t) {
    fillRopeRow(position + t, frequencies, angles.data());
    for (int64_t head = 0; head < heads; ++head) {
      const double *x = input.row(t) + head * headDim;
      double *y = output.row(t) + head * headDim;
      for (int64_t i = 0; i < half; ++i) {
        const Real low = x[i], high = x[half + i];
        const Real cosine = angles[i], sine = angles[half + i];
        y[i] = low * cosine - high * sine;
        y[half + i] = high * cosine + low * sine;
      }
    }
  }
  return output;
}

template <class Real>
Matrix mlir::tbq::gate(const Matrix &gate, const Matrix &up) {
  Matrix output(gate.rows, gate.columns);
  for (size_t i = 0; i < output.values.size(); ++i) {
    const Real x = gate.values[i];
    output.values[i] = x / (Real(1) + std::exp(-x)) * Real(up.values[i]);
  }
  return output;
}

template <class Real> static Real apply(ActivationFunction function, Real x) {
  switch (function) {
  case ActivationFunction::Relu:
    return x < 0 ? Real(0) : x;
  case ActivationFunction::Gelu:
    return x * (std::erfc(-x * Real(M_SQRT1_2)) / 2);
  }
  llvm_unreachable("all functions are named");
}

template <class Real>
Matrix mlir::tbq::activate(const Matrix &input, ActivationFunction function) {
  Matrix output(input.rows, input.columns);
  for (size_t i = 0; i < output.values.size(); ++i)
    output.values[i] = apply<Real>(function, input.values[i]);
  return output;
}

template <class Real>
Matrix mlir::tbq::add(const Matrix &lhs, const Matrix &rhs) {
  Matrix output(lhs.rows, lhs.columns);
  for (size_t i = 0; i < output.values.size(); ++i)
    output.values[i] = Real(lhs.values[i]) + Real(rhs.values[i]);
  return output;
}

/// One head of one token over `visible` positions, into `output`.
template <class Real>
static void attendHead(const double *query, const KeyValues &cache,
                       int64_t layer, int64_t head, int64_t visible,
                       float scale, double *output) {
  const int64_t headDim = cache.getType().getHeadDim();
  std::vector<Real> weights(visible), mixed(headDim);
  Real largest = -INFINITY, total = 0;
  for (int64_t p = 0; p < visible; ++p) {
    const double *key = cache.key(layer, head, p);
    Real score = 0;
    for (int64_t i = 0; i < headDim; ++i)
      score += Real(query[i]) * Real(key[i]);
    weights[p] = score * Real(scale);
    largest = std::max(largest, weights[p]);
  }
  for (int64_t p = 0; p < visible; ++p) {
    weights[p] = std::exp(weights[p] - largest);
    total += weights[p];
    const double *value = cache.value(layer, head, p);
    for (int64_t i = 0; i < headDim; ++i)
      mixed[i] += weights[p] * Real(value[i]);
  }
  for (int64_t i = 0; i < headDim; ++i)
    output[i] = mixed[i] / total;
}

template <class Real>
Matrix mlir::tbq::attend(const Matrix &query, const KeyValues &cache,
                         int64_t layer, int64_t position, int64_t heads,
                         float scale) {
  const int64_t headDim = cache.getType().getHeadDim();
  const int64_t sharing = heads / cache.getType().getKvHeads();
  Matrix output(query.rows, query.columns);
  for (int64_t t = 0; t < query.rows; ++t)
    for (int64_t head = 0; head < heads; ++head)
      attendHead<Real>(query.row(t) + head * headDim, cache, layer,
                       head / sharing, position + t + 1, scale,
                       output.row(t) + head * headDim);
  return output;
}

template <class Real>
Matrix mlir::tbq::sumGroups(const Matrix &input, int64_t group) {
  Matrix sums(input.rows, (input.columns + group - 1) / group);
  for (int64_t t = 0; t < input.rows; ++t)
    for (int64_t i = 0; i < input.columns; ++i) {
      double &sum = sums.row(t)[i / group];
      sum = Real(sum) + Real(input.row(t)[i]);
    }
  return sums;
}

template <class Real>
QuantizedRows mlir::tbq::quantizeRows(const Matrix &input, int64_t steps) {
  QuantizedRows rows{Matrix(input.rows, input.columns), Matrix(input.rows, 1)};
  for (int64_t t = 0; t < input.rows; ++t) {
    const double *x = input.row(t);
    Real largest = 1e-5f;
    for (int64_t i = 0; i < input.columns; ++i)
      largest = std::fmax(largest, std::fabs(Real(x[i])));
    rows.scale.row(t)[0] = largest / Real(steps);
    const Real factor = Real(steps) / largest;
    for (int64_t i = 0; i < input.columns; ++i)
      rows.digits.row(t)[i] = std::nearbyint(Real(x[i]) * factor);
  }
  return rows;
}

#define TBQ_INSTANTIATE(REAL)                                                  \
  template Matrix mlir::tbq::normalize<REAL>(const Matrix &, ArrayRef<float>,  \
                                             float);                           \
  template Matrix mlir::tbq::normalize<REAL>(const Matrix &, ArrayRef<float>,  \
                                             ArrayRef<float>, float);          \
  template Matrix mlir::tbq::rotate<REAL>(const Matrix &, ArrayRef<float>,     \
                                          int64_t, int64_t, int64_t);          \
  template Matrix mlir::tbq::gate<REAL>(const Matrix &, const Matrix &);       \
  template Matrix mlir::tbq::activate<REAL>(const Matrix &,                    \
                                            ActivationFunction);               \
  template Matrix mlir::tbq::add<REAL>(const Matrix &, const Matrix &);        \
  template Matrix mlir::tbq::attend<REAL>(const Matrix &, const KeyValues &,   \
                                          int64_t, int64_t, int64_t, float);   \
  template Matrix mlir::tbq::sumGroups<REAL>(const Matrix &, int64_t);         \
  template QuantizedRows mlir::tbq::quantizeRows<REAL>(const Matrix &, int64_t);
TBQ_INSTANTIATE(float)
TBQ_INSTANTIATE(double)
#undef TBQ_INSTANTIATE
