// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a row of logits says of the token that comes next, and the mean of such
// scores with its error.
#ifndef TBQ_TOOLS_TBQPPL_SCORES_H
#define TBQ_TOOLS_TBQPPL_SCORES_H

#include <cstddef>
#include <cstdint>

namespace tbq {

/// A mean of scores and the standard error of that mean:
/// sqrt((mean(x^2) - mean(x)^2) / (n - 1)).
class Mean {
public:
  void add(double value);
  double value() const;
  double error() const;
  int64_t count() const { return added; }

private:
  double sum = 0, squares = 0;
  int64_t added = 0;
};

/// One row of logits, read as log probabilities.
class LogProbabilities {
public:
  LogProbabilities(const float *logits, size_t vocab);

  double operator[](size_t token) const { return logits[token] - logSum; }
  /// The likeliest token, the first of equals.
  size_t best() const { return largest; }
  /// False where a logit is not a number or all of them are infinite.
  bool isFinite() const;
  /// KL(this || other), in nats.
  double divergenceFrom(const LogProbabilities &other) const;

private:
  const float *logits;
  size_t vocab, largest = 0;
  double logSum = 0;
};

/// The sums of all windows. `divergence` and `agreement` are of the other
/// model to this one, where there is another.
struct Scores {
  Mean surprise; // -log p of the token that comes, in nats
  Mean otherSurprise;
  Mean divergence;
  Mean agreement; // 1 where both find the same token likeliest, else 0
};

} // namespace tbq

#endif // TBQ_TOOLS_TBQPPL_SCORES_H
