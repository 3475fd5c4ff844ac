// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// All sums are double: a vocabulary of 50,000 and a million tokens lose nothing
// that is printed.
#include "Scores.h"

#include <cmath>

using namespace tbq;

void Mean::add(double value) {
  sum += value;
  squares += value * value;
  ++added;
}

double Mean::value() const { return sum / static_cast<double>(added); }

double Mean::error() const {
  auto count = static_cast<double>(added);
  double variance = squares / count - value() * value();
  // Equal scores may leave a variance just below zero.
  return variance > 0 ? std::sqrt(variance / (count - 1)) : 0;
}

LogProbabilities::LogProbabilities(const float *logits, size_t vocab)
    : logits(logits), vocab(vocab) {
  for (size_t i = 1; i < vocab; ++i)
    if (logits[i] > logits[largest])
      largest = i;
  double sum = 0;
  for (size_t i = 0; i < vocab; ++i)
    sum += std::exp(static_cast<double>(logits[i]) - logits[largest]);
  logSum = logits[largest] + std::log(sum);
}

bool LogProbabilities::isFinite() const { return std::isfinite(logSum); }

double LogProbabilities::divergenceFrom(const LogProbabilities &other) const {
  double sum = 0;
  for (size_t i = 0; i < vocab; ++i) {
    double own = (*this)[i], p = std::exp(own);
    if (p > 0) // what is never chosen adds nothing, even where own is -inf
      sum += p * (own - other[i]);
  }
  return sum;
}
