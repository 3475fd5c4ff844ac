// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Chooses the next token from logits. Order: repeat penalty, top-k, top-p,
// min-p, temperature (llama-cli's order), then one draw.
// Invariant: the same options, history and logits give the same token on every
// machine: own generator, own exp, no fused operations; after construction
// nothing is allocated.
#ifndef TBQ_RUNTIME_SAMPLER_H
#define TBQ_RUNTIME_SAMPLER_H

#include "format/Manifest.h"
#include "runtime/Outcome.h"
#include "runtime/Random.h"

#include <memory>
#include <utility>
#include <vector>

namespace tbq {

/// llama-cli's defaults, overridden by what the generation config says.
tbq_sampler_options samplerDefaults(const Manifest::Generation *generation);

class Sampler {
public:
  static Outcome create(int64_t vocab, const tbq_sampler_options &options,
                        std::unique_ptr<Sampler> &sampler);

  /// Ties go to the lower token. Fails on logits that are NaN or all -inf.
  /// `largest`, if not null: of each TBQ_LOGITS_GROUP of them, or NaN; then few
  /// of the others are read, and the token is the same.
  Outcome sample(const float *logits, int32_t &token,
                 const float *largest = nullptr);

  /// `token` is now part of the text that the repeat penalty looks at.
  Outcome accept(int32_t token);

  int64_t vocabulary() const { return vocab; }

  /// Back to what create made.
  void reset();

  /// exp(x) for x <= 0, within 2 ULP; 0 below -700.
  static double expOfNegative(double x);

private:
  struct Candidate {
    float logit;
    int32_t token;
    double weight;
  };

  Sampler(int64_t vocab, const tbq_sampler_options &options);

  /// Logits in groups, of which the largest may be known.
  struct Logits {
    const float *values;
    int32_t count;
    const float *largest;

    int32_t groupSize() const;
    /// Of the group that begins at `first`.
    int32_t end(int32_t first) const;
    float largestFrom(int32_t first) const;
  };

  bool isPenalised() const { return !adjusted.empty() && recentCount != 0; }
  const float *penalised(const float *logits);
  static Outcome check(const Logits &logits);
  static std::pair<float, int32_t> findHighest(const Logits &logits);
  static bool better(const Candidate &a, const Candidate &b);
  void keepTopK(const Logits &logits);
  void keepMinP();
  void keepTopP(double total);
  int32_t draw();
  void weigh(double highest, double temperature);
  double totalWeight() const;

  const int32_t vocab;
  const tbq_sampler_options options;
  Random random;
  std::vector<Candidate> candidates; // likeliest first, in the end
  std::vector<int32_t> recent;       // ring of the last repeat_last tokens
  size_t recentNext = 0, recentCount = 0;
  std::vector<float> adjusted; // logits, if there is a repeat penalty
};

} // namespace tbq

#endif // TBQ_RUNTIME_SAMPLER_H
