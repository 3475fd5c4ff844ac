// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Linears, a row of the weight at a time: the row is dequantised, or its
// integers are read, and meets every token. Rows are shared out to threads;
// what a row gives depends on nothing else.

#include "LinearMath.h"

#include "llvm/Support/Parallel.h"

#include <cmath>

using namespace mlir;
using namespace mlir::tbq;

/// Rows that a thread takes at once.
static constexpr int64_t kBlock = 32;
/// Independent sums of a float dot product, which become vectors.
static constexpr int64_t kSums = 16;
/// Products that an int32 holds: of digits up to 32767 and integers up to 383.
static constexpr int64_t kExact = 128;

static void forEachBlock(int64_t rows,
                         llvm::function_ref<void(int64_t, int64_t)> body) {
  llvm::parallelFor(0, llvm::divideCeil(rows, kBlock), [&](size_t block) {
    const int64_t first = block * kBlock;
    body(first, std::min(first + kBlock, rows));
  });
}

template <class Real>
static Real dot(const Real *a, const Real *b, int64_t count) {
  Real sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= count; i += kSums)
    for (int64_t j = 0; j < kSums; ++j)
      sums[j] += a[i + j] * b[i + j];
  for (; i < count; ++i)
    sums[0] += a[i] * b[i];
  for (int64_t j = 1; j < kSums; ++j)
    sums[0] += sums[j];
  return sums[0];
}

static int64_t dot(const int16_t *a, const int16_t *b, int64_t count) {
  int64_t total = 0;
  for (int64_t first = 0; first < count; first += kExact) {
    int32_t sum = 0;
    for (int64_t i = first; i < std::min(first + kExact, count); ++i)
      sum += int32_t(a[i]) * int32_t(b[i]);
    total += sum;
  }
  return total;
}

/// The weights of a row, dequantised.
template <class Real>
static void dequantize(const WeightRows &weight, int64_t row,
                       std::vector<float> &floats,
                       std::vector<int16_t> &integers, Real *out) {
  if (weight.isFloat()) {
    floats.resize(weight.columns);
    weight.readFloats(row, floats.data());
    std::copy(floats.begin(), floats.end(), out);
    return;
  }
  weight.readIntegers(row, integers);
  std::fill_n(out, weight.columns, Real(0));
  for (int64_t term = 0; term < weight.getNumTerms(); ++term)
    for (int64_t group = 0; group < weight.getNumGroups(); ++group) {
      const Real coefficient = weight.getCoefficient(row, group, term);
      const int64_t first = group * weight.group;
      const int64_t end = std::min(first + weight.group, weight.columns);
      const int16_t *integer = integers.data() + term * weight.columns;
      for (int64_t i = first; i < end; ++i)
        out[i] += coefficient * Real(integer[i]);
    }
}

template <class Real>
void mlir::tbq::readRow(const WeightRows &weight, int64_t row, double *out) {
  std::vector<float> floats;
  std::vector<int16_t> integers;
  std::vector<Real> values(weight.columns);
  dequantize(weight, row, floats, integers, values.data());
  std::copy(values.begin(), values.end(), out);
}

template <class Real>
static Real finish(Real sum, const WeightRows &weight, int64_t row,
                   const Matrix *residual, int64_t token) {
  sum += Real(weight.getBias(row));
  return residual ? sum + Real(residual->row(token)[row]) : sum;
}

template <class Real>
Matrix mlir::tbq::multiply(const Matrix &input, const WeightRows &weight,
                           const Matrix *residual) {
  const int64_t columns = weight.columns;
  Matrix output(input.rows, weight.rows);
  const std::vector<Real> x(input.values.begin(), input.values.end());
  forEachBlock(weight.rows, [&](int64_t first, int64_t end) {
    std::vector<float> floats;
    std::vector<int16_t> integers;
    std::vector<Real> w(columns);
    for (int64_t row = first; row < end; ++row) {
      dequantize(weight, row, floats, integers, w.data());
      for (int64_t t = 0; t < input.rows; ++t)
        output.row(t)[row] =
            finish(dot(x.data() + t * columns, w.data(), columns), weight, row,
                   residual, t);
    }
  });
  return output;
}

/// The brackets of a row and a token with their coefficients.
template <class Real>
static Real sumBrackets(const WeightRows &weight, ArrayRef<int16_t> integers,
                        ArrayRef<Real> coefficients, const int16_t *digits,
                        bool fused) {
  Real sum = 0;
  const int64_t columns = weight.columns, terms = weight.getNumTerms();
  for (int64_t group = 0, next = 0; group < weight.getNumGroups(); ++group) {
    const int64_t first = group * weight.group;
    const int64_t count = std::min(weight.group, columns - first);
    for (int64_t term = 0; term < terms; ++term, ++next) {
      const Real bracket =
          dot(integers.data() + term * columns + first, digits + first, count);
      sum = fused ? std::fma(bracket, coefficients[next], sum)
                  : bracket * coefficients[next] + sum;
    }
  }
  return sum;
}

template <class Real>
Matrix mlir::tbq::multiply(const QuantizedRows &input, const WeightRows &weight,
                           const Matrix *residual, bool fused) {
  const int64_t columns = weight.columns, tokens = input.digits.rows;
  Matrix output(tokens, weight.rows);
  const std::vector<int16_t> digits(input.digits.values.begin(),
                                    input.digits.values.end());
  forEachBlock(weight.rows, [&](int64_t first, int64_t end) {
    std::vector<int16_t> integers;
    std::vector<Real> coefficients;
    for (int64_t row = first; row < end; ++row) {
      weight.readIntegers(row, integers);
      coefficients.clear();
      for (int64_t group = 0; group < weight.getNumGroups(); ++group)
        for (int64_t term = 0; term < weight.getNumTerms(); ++term)
          coefficients.push_back(weight.getCoefficient(row, group, term));
      for (int64_t t = 0; t < tokens; ++t) {
        const Real sum = sumBrackets<Real>(weight, integers, coefficients,
                                           digits.data() + t * columns, fused) *
                         Real(input.scale.row(t)[0]);
        output.row(t)[row] = finish(sum, weight, row, residual, t);
      }
    }
  });
  return output;
}

#define TBQ_INSTANTIATE(REAL)                                                  \
  template Matrix mlir::tbq::multiply<REAL>(                                   \
      const Matrix &, const WeightRows &, const Matrix *);                     \
  template Matrix mlir::tbq::multiply<REAL>(                                   \
      const QuantizedRows &, const WeightRows &, const Matrix *, bool);        \
  template void mlir::tbq::readRow<REAL>(const WeightRows &, int64_t, double *);
TBQ_INSTANTIATE(float)
TBQ_INSTANTIATE(double)
#undef TBQ_INSTANTIATE
