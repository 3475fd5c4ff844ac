// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The sampling chain over the final logits. Compiled without contraction of
// a * b + c, so that every machine rounds alike.
// Invariant: `candidates` is never empty once its first filter ran, and sorted,
// likeliest first, for the last.
#include "runtime/Sampler.h"

#include "format/StepAbi.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

using namespace tbq;

// What follows walks through a whole vocabulary for every token. Lanes that do
// not wait for each other become vectors; what decides by value, element by
// element, is left to the few blocks that can matter.
static constexpr int32_t lanes = 16;
static constexpr int32_t block = 256;

static bool areBelowInfinity(const float *values, int32_t count) {
  int32_t others[lanes] = {};
  for (; count >= lanes; values += lanes, count -= lanes)
    for (int32_t lane = 0; lane < lanes; ++lane)
      others[lane] |= !(values[lane] < INFINITY);
  for (int32_t lane = 0; lane < count; ++lane)
    others[lane] |= !(values[lane] < INFINITY);
  return std::all_of(others, others + lanes, [](int32_t o) { return !o; });
}

/// Of values that are not NaN; -inf of none.
static float highestOf(const float *values, int32_t count) {
  float highest[lanes];
  std::fill(highest, highest + lanes, -INFINITY);
  for (; count >= lanes; values += lanes, count -= lanes)
    for (int32_t lane = 0; lane < lanes; ++lane)
      highest[lane] =
          values[lane] > highest[lane] ? values[lane] : highest[lane];
  for (int32_t lane = 0; lane < count; ++lane)
    highest[lane] = std::max(highest[lane], values[lane]);
  return *std::max_element(highest, highest + lanes);
}

tbq_sampler_options
tbq::samplerDefaults(const Manifest::Generation *generation) {
  tbq_sampler_options options = {0.8f, 40, 0.95f, 0.05f, 1.0f, 64, 0};
  if (!generation)
    return options;
  auto number = [](const std::optional<double> &from, float &to) {
    if (from)
      to = static_cast<float>(*from);
  };
  number(generation->temperature, options.temperature);
  number(generation->topP, options.top_p);
  number(generation->minP, options.min_p);
  number(generation->repetitionPenalty, options.repeat_penalty);
  if (generation->topK)
    options.top_k =
        static_cast<int32_t>(std::min<int64_t>(*generation->topK, INT32_MAX));
  if (generation->doSample == false)
    options.temperature = 0;
  return options;
}

Outcome Sampler::create(int64_t vocab, const tbq_sampler_options &options,
                        std::unique_ptr<Sampler> &sampler) {
  auto check = [](bool good, const char *field, const char *wanted,
                  double value) {
    std::string got = std::to_string(value);
    return good ? Outcome::ok()
                : Outcome::failure(TBQ_ERROR_ARGUMENT, field,
                                   std::string("must be ") + wanted + " (got " +
                                       got + ")");
  };
  const tbq_sampler_options &o = options;
  for (const Outcome &checked :
       {check(o.temperature >= 0 && std::isfinite(o.temperature), "temperature",
              "0 or more", o.temperature),
        check(o.top_k >= 0, "top_k", "0 (all) or more", o.top_k),
        check(o.top_p >= 0 && o.top_p <= 1, "top_p", "in [0, 1]", o.top_p),
        check(o.min_p >= 0 && o.min_p <= 1, "min_p", "in [0, 1]", o.min_p),
        check(o.repeat_penalty > 0 && std::isfinite(o.repeat_penalty),
              "repeat_penalty", "above 0", o.repeat_penalty),
        check(o.repeat_last >= 0 && o.repeat_last <= 1 << 24, "repeat_last",
              "in [0, 16777216]", o.repeat_last)})
    if (!checked)
      return checked;
  sampler.reset(new Sampler(vocab, options));
  return Outcome::ok();
}

Sampler::Sampler(int64_t vocab, const tbq_sampler_options &options)
    : vocab(static_cast<int32_t>(vocab)), options(options),
      random(options.seed), recent(options.repeat_last),
      adjusted(options.repeat_penalty == 1 ? 0 : static_cast<size_t>(vocab)) {
  candidates.reserve(static_cast<size_t>(vocab));
}

Outcome Sampler::accept(int32_t token) {
  if (token < 0 || token >= vocab)
    return Outcome::failure(TBQ_ERROR_ARGUMENT, "token",
                            "must be in [0, " + std::to_string(vocab) +
                                ") (got " + std::to_string(token) + ")");
  if (recent.empty())
    return Outcome::ok();
  recent[recentNext] = token;
  recentNext = (recentNext + 1) % recent.size();
  recentCount = std::min(recentCount + 1, recent.size());
  return Outcome::ok();
}

void Sampler::reset() {
  random = Random(options.seed);
  recentNext = recentCount = 0;
}

/// The logits after the repeat penalty (CTRL, Keskar et al. 2019).
const float *Sampler::penalised(const float *logits) {
  std::copy(logits, logits + vocab, adjusted.begin());
  for (size_t i = 0; i < recentCount; ++i) {
    float logit = logits[recent[i]];
    adjusted[recent[i]] = logit > 0 ? logit / options.repeat_penalty
                                    : logit * options.repeat_penalty;
  }
  return adjusted.data();
}

int32_t Sampler::Logits::groupSize() const {
  return largest ? TBQ_LOGITS_GROUP : block;
}

int32_t Sampler::Logits::end(int32_t first) const {
  return first + std::min(groupSize(), count - first);
}

float Sampler::Logits::largestFrom(int32_t first) const {
  return largest ? largest[first / TBQ_LOGITS_GROUP]
                 : highestOf(values + first, end(first) - first);
}

/// Refuses NaN, and +inf, from which no probability follows.
Outcome Sampler::check(const Logits &logits) {
  const float *values = logits.largest ? logits.largest : logits.values;
  int32_t count = logits.largest
                      ? (logits.count + TBQ_LOGITS_GROUP - 1) / TBQ_LOGITS_GROUP
                      : logits.count;
  if (areBelowInfinity(values, count))
    return Outcome::ok();
  int32_t i = 0;
  while (i < logits.count - 1 && logits.values[i] < INFINITY)
    ++i;
  return Outcome::failure(TBQ_ERROR_ARGUMENT,
                          "logits[" + std::to_string(i) + "]",
                          "is " + std::to_string(logits.values[i]));
}

/// And where the first group begins that has it; -inf if all are.
std::pair<float, int32_t> Sampler::findHighest(const Logits &logits) {
  std::pair<float, int32_t> highest = {-INFINITY, 0};
  for (int32_t i = 0; i < logits.count; i = logits.end(i))
    if (float found = logits.largestFrom(i); found > highest.first)
      highest = {found, i};
  return highest;
}

Outcome Sampler::sample(const float *values, int32_t &token,
                        const float *largest) {
  Logits logits = {values, vocab, largest};
  if (Outcome good = check(logits); !good)
    return good;
  if (isPenalised())
    logits = {penalised(values), vocab, nullptr};
  const auto [highest, first] = findHighest(logits);
  if (highest == -INFINITY)
    return Outcome::failure(TBQ_ERROR_ARGUMENT, "logits", "are all -inf");
  if (options.temperature == 0) {
    const float *group = logits.values + first;
    token = static_cast<int32_t>(
        std::find(group, logits.values + vocab, highest) - logits.values);
    return Outcome::ok();
  }
  keepTopK(logits);
  weigh(highest, 1);
  double total = totalWeight();
  // Whatever top-p keeps, min-p would take these; so they need no sorting.
  keepMinP();
  std::sort(candidates.begin(), candidates.end(), better);
  keepTopP(total);
  token = draw();
  return Outcome::ok();
}

bool Sampler::better(const Candidate &a, const Candidate &b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

void Sampler::keepTopK(const Logits &logits) {
  int32_t keep = vocab;
  if (options.top_k > 0)
    keep = std::min(options.top_k, vocab);
  candidates.clear();
  for (int32_t i = 0; i < keep; ++i)
    candidates.push_back({logits.values[i], i, 0});
  if (keep == vocab)
    return;
  // A heap of the best so far with the worst of them in front.
  std::make_heap(candidates.begin(), candidates.end(), better);
  for (int32_t first = keep / logits.groupSize() * logits.groupSize();
       first < vocab; first = logits.end(first)) {
    if (!(logits.largestFrom(first) > candidates.front().logit))
      continue;
    for (int32_t i = std::max(first, keep); i < logits.end(first); ++i) {
      if (!(logits.values[i] > candidates.front().logit))
        continue;
      std::pop_heap(candidates.begin(), candidates.end(), better);
      candidates.back() = {logits.values[i], i, 0};
      std::push_heap(candidates.begin(), candidates.end(), better);
    }
  }
}

/// Softmax without its divisor; the likeliest has weight 1.
void Sampler::weigh(double highest, double temperature) {
  for (Candidate &candidate : candidates)
    candidate.weight = expOfNegative((candidate.logit - highest) / temperature);
}

double Sampler::totalWeight() const {
  double total = 0;
  for (const Candidate &candidate : candidates)
    total += candidate.weight;
  return total;
}

void Sampler::keepMinP() {
  // At most 1, so the likeliest stays.
  double least = static_cast<double>(options.min_p);
  candidates.erase(std::remove_if(candidates.begin(), candidates.end(),
                                  [&](const Candidate &candidate) {
                                    return candidate.weight < least;
                                  }),
                   candidates.end());
}

void Sampler::keepTopP(double total) {
  if (options.top_p >= 1)
    return;
  double sum = 0;
  size_t kept = 0;
  do
    sum += candidates[kept++].weight;
  while (kept < candidates.size() &&
         sum < static_cast<double>(options.top_p) * total);
  candidates.resize(kept);
}

int32_t Sampler::draw() {
  weigh(candidates.front().logit, options.temperature);
  double left = random.unit() * totalWeight();
  for (const Candidate &candidate : candidates) {
    left -= candidate.weight;
    if (left < 0)
      return candidate.token;
  }
  // Only rounding leads here; the likeliest is never wrong.
  return candidates.front().token;
}

double Sampler::expOfNegative(double x) {
  if (!(x >= -700))
    return 0;
  // x = k ln 2 + r, |r| <= ln 2 / 2; exp(x) = 2^k exp(r).
  auto k = static_cast<int64_t>(x * 0x1.71547652b82fep0 - 0.5);
  auto kd = static_cast<double>(k);
  double r = (x - kd * 0x1.62e42fee00000p-1) - kd * 0x1.a39ef35793c76p-33;
  // The series, by products with 1 / n: a division takes four times as long.
  static constexpr int terms = 14;
  static constexpr auto inverses = [] {
    std::array<double, terms + 1> found = {};
    for (int n = 1; n <= terms; ++n)
      found[n] = 1.0 / n;
    return found;
  }();
  double sum = 1;
  for (int n = terms; n >= 1; --n)
    sum = 1 + r * inverses[n] * sum;
  uint64_t bits = static_cast<uint64_t>(k + 1023) << 52;
  double power;
  std::memcpy(&power, &bits, sizeof(power));
  return power * sum;
}
