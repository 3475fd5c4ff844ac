// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The sampler keeps exactly the tokens its filters say, draws them with the
// softmax's probabilities, and gives the same tokens on every machine.
#include "runtime/Sampler.h"

#include "format/StepAbi.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <map>
#include <numeric>

using namespace tbq;

namespace {

using Tokens = std::vector<int32_t>;

// Options that filter nothing.
constexpr tbq_sampler_options plain = {1, 0, 1, 0, 1, 64, 1};

std::unique_ptr<Sampler> newSampler(const std::vector<float> &logits,
                                    const tbq_sampler_options &options) {
  std::unique_ptr<Sampler> sampler;
  EXPECT_TRUE(Sampler::create(int64_t(logits.size()), options, sampler));
  return sampler;
}

/// How often each token comes in `draws`.
std::map<int32_t, int> drawMany(const std::vector<float> &logits,
                                const tbq_sampler_options &options,
                                int draws = 20000) {
  auto sampler = newSampler(logits, options);
  std::map<int32_t, int> counts;
  for (int i = 0; i < draws; ++i) {
    int32_t token = -1;
    EXPECT_TRUE(sampler->sample(logits.data(), token));
    ++counts[token];
  }
  return counts;
}

int32_t drawOne(const std::vector<float> &logits,
                const tbq_sampler_options &options) {
  int32_t token = -1;
  EXPECT_TRUE(newSampler(logits, options)->sample(logits.data(), token));
  return token;
}

std::vector<int32_t> keys(const std::map<int32_t, int> &counts) {
  std::vector<int32_t> result;
  for (auto [token, count] : counts)
    result.push_back(token);
  return result;
}

} // namespace

TEST(Sampler, GreedyTakesTheFirstBest) {
  tbq_sampler_options greedy = plain;
  greedy.temperature = 0;
  EXPECT_EQ(drawOne({1, 5, 2, 5, -3}, greedy), 1);
  EXPECT_EQ(drawOne({-INFINITY, -7, -9}, greedy), 1);
}

TEST(Sampler, DrawsTheSoftmax) {
  std::vector<float> logits = {0, 1, 2, -1, 0.5f};
  for (float temperature : {0.5f, 1.0f, 2.0f}) {
    tbq_sampler_options options = plain;
    options.temperature = temperature;
    auto counts = drawMany(logits, options);
    double total = 0, chiSquare = 0;
    for (float logit : logits)
      total += std::exp(logit / temperature);
    for (size_t i = 0; i < logits.size(); ++i) {
      double expected = 20000 * std::exp(logits[i] / temperature) / total;
      double difference = counts[int32_t(i)] - expected;
      chiSquare += difference * difference / expected;
    }
    EXPECT_LT(chiSquare, 18.5) << temperature; // 4 degrees, 1 in 1000
  }
}

TEST(Sampler, TopK) {
  std::vector<float> logits = {0.1f, 0.5f, 0.3f, 0.5f, 0.2f, 0.4f};
  tbq_sampler_options options = plain;
  options.top_k = 3;
  EXPECT_EQ(keys(drawMany(logits, options)), Tokens({1, 3, 5}));
  options.top_k = 1;
  EXPECT_EQ(keys(drawMany(logits, options)), Tokens({1}));
  options.top_k = 100;
  EXPECT_EQ(keys(drawMany(logits, options)), Tokens({0, 1, 2, 3, 4, 5}));
}

// Vocabularies that end within a vector and within a block; equal logits, whose
// lower tokens are kept.
TEST(Sampler, LargeVocabularies) {
  for (int32_t vocab : {255, 256, 257, 1000, 5003}) {
    std::vector<float> logits(vocab);
    for (int32_t i = 0; i < vocab; ++i)
      logits[i] = float(int64_t(i) * 7919 % (vocab / 3));
    Tokens best(vocab);
    std::iota(best.begin(), best.end(), 0);
    std::sort(best.begin(), best.end(), [&](int32_t a, int32_t b) {
      return std::pair(-logits[a], a) < std::pair(-logits[b], b);
    });

    tbq_sampler_options options = plain;
    options.temperature = 0;
    EXPECT_EQ(drawOne(logits, options), best[0]);

    // Hot enough that each of the five comes.
    options.temperature = 1000;
    options.top_k = 5;
    Tokens kept(best.begin(), best.begin() + 5);
    std::sort(kept.begin(), kept.end());
    EXPECT_EQ(keys(drawMany(logits, options, 500)), kept) << vocab;

    // Whichever the wrong one is.
    for (int32_t wrong : {0, 15, 16, vocab / 2, vocab - 1}) {
      float right = std::exchange(logits[wrong], NAN);
      int32_t token = -7;
      Outcome sampled =
          newSampler(logits, options)->sample(logits.data(), token);
      EXPECT_EQ(sampled.message.rfind("logits[" + std::to_string(wrong), 0), 0u)
          << sampled.message;
      logits[wrong] = right;
    }
  }
}

/// Who says which logits are large saves looking at the others, and changes no
/// token; ties and a last group that is shorter included.
TEST(Sampler, KnowingTheLargestChangesNothing) {
  Random random(3);
  for (int64_t vocab : {64, 100, 1000, 4096 + 63})
    for (tbq_sampler_options options :
         {tbq_sampler_options{0, 40, 1, 0, 1, 64, 1},
          tbq_sampler_options{0.8f, 40, 0.95f, 0.05f, 1, 64, 2},
          tbq_sampler_options{1, 3, 1, 0, 1, 64, 3},
          tbq_sampler_options{1, 0, 0.9f, 0.05f, 1, 64, 4},
          tbq_sampler_options{0.8f, 40, 0.95f, 0, 1.3f, 64, 5},
          tbq_sampler_options{0, 40, 1, 0, 1.3f, 64, 6}}) {
      std::vector<float> logits(size_t(vocab), 0);
      auto alone = newSampler(logits, options);
      auto told = newSampler(logits, options);
      for (int round = 0; round < 50; ++round) {
        for (float &logit : logits)
          logit = float(random.below(round % 2 ? 40 : 100000)) / 1000;
        std::vector<float> largest;
        for (size_t i = 0; i < logits.size(); i += TBQ_LOGITS_GROUP)
          largest.push_back(*std::max_element(
              logits.begin() + long(i),
              logits.begin() +
                  long(std::min(i + TBQ_LOGITS_GROUP, logits.size()))));
        int32_t expected = -1, token = -2;
        ASSERT_TRUE(alone->sample(logits.data(), expected));
        ASSERT_TRUE(told->sample(logits.data(), token, largest.data()));
        ASSERT_EQ(token, expected) << vocab << " in round " << round;
        ASSERT_TRUE(alone->accept(token) && told->accept(token));
      }
      std::vector<float> largest((logits.size() + 63) / 64, 1);
      logits[70 % logits.size()] = NAN;
      largest[70 % logits.size() / 64] = NAN;
      int32_t token = -1;
      Outcome refused = told->sample(logits.data(), token, largest.data());
      EXPECT_EQ(refused.message,
                "logits[" + std::to_string(70 % logits.size()) + "]: is nan");
      EXPECT_EQ(token, -1);
    }
}

TEST(Sampler, TopP) {
  // Probabilities 0.5, 0.3, 0.15, 0.05.
  std::vector<float> logits;
  for (double p : {0.15, 0.5, 0.05, 0.3})
    logits.push_back(float(std::log(p)));
  tbq_sampler_options options = plain;
  options.top_p = 0.7f;
  EXPECT_EQ(keys(drawMany(logits, options)), Tokens({1, 3}));
  options.top_p = 0.9f;
  EXPECT_EQ(keys(drawMany(logits, options)), Tokens({0, 1, 3}));
  options.top_p = 0;
  EXPECT_EQ(keys(drawMany(logits, options)), Tokens({1}));
}

TEST(Sampler, MinP) {
  std::vector<float> logits;
  for (double p : {0.15, 0.5, 0.05, 0.3})
    logits.push_back(float(std::log(p)));
  tbq_sampler_options options = plain;
  options.min_p = 0.2f; // of 0.5: 0.1 and more stay
  EXPECT_EQ(keys(drawMany(logits, options)), Tokens({0, 1, 3}));
  options.min_p = 1;
  EXPECT_EQ(keys(drawMany(logits, options)), Tokens({1}));
}

// What min-p drops counts in the mass that top-p keeps a share of.
TEST(Sampler, TopPIsOfAllThatTopKKept) {
  std::vector<float> logits;
  for (double p : {0.5, 0.3, 0.04, 0.04, 0.04, 0.04, 0.04})
    logits.push_back(float(std::log(p)));
  tbq_sampler_options options = plain;
  options.top_p = 0.6f;
  options.min_p = 0.2f; // of 0.5: the first two stay, with a mass of 0.8
  EXPECT_EQ(keys(drawMany(logits, options)), Tokens({0, 1}));
}

TEST(Sampler, FiltersSeeProbabilitiesBeforeTemperature) {
  // With temperature first, 0.1 would make the second token negligible.
  std::vector<float> logits = {1, 0.9f, -5};
  tbq_sampler_options options = plain;
  options.min_p = 0.5f;
  options.temperature = 100;
  EXPECT_EQ(keys(drawMany(logits, options)), Tokens({0, 1}));
}

TEST(Sampler, RepeatPenalty) {
  std::vector<float> logits = {2, 1.5f, -1, -0.8f};
  tbq_sampler_options options = plain;
  options.temperature = 0;
  options.repeat_penalty = 2;
  options.repeat_last = 2;
  auto sampler = newSampler(logits, options);
  auto best = [&] {
    int32_t token = -1;
    EXPECT_TRUE(sampler->sample(logits.data(), token));
    return token;
  };
  auto accept = [&](int32_t token) { EXPECT_TRUE(sampler->accept(token)); };
  EXPECT_EQ(best(), 0);
  accept(0);
  EXPECT_EQ(best(), 1); // 2 / 2 < 1.5
  accept(1);
  EXPECT_EQ(best(), 0); // both are penalised
  accept(1);
  EXPECT_EQ(best(), 0); // 0 has left the window of two
  EXPECT_EQ(sampler->accept(4).status, TBQ_ERROR_ARGUMENT);
  EXPECT_EQ(sampler->accept(-1).status, TBQ_ERROR_ARGUMENT);

  // A negative logit becomes more negative: -0.8 * 2 < -1.
  logits = {-3, -4, -1, -0.8f};
  sampler = newSampler(logits, options);
  EXPECT_EQ(best(), 3);
  accept(3);
  EXPECT_EQ(best(), 2);
}

TEST(Sampler, WrongLogitsAreAnErrorNotAToken) {
  for (float temperature : {0.0f, 1.0f})
    for (const std::vector<float> &logits : {std::vector<float>{1, NAN, 2},
                                             {1, 2, INFINITY},
                                             {-INFINITY, -INFINITY}}) {
      tbq_sampler_options options = plain;
      options.temperature = temperature;
      int32_t token = -7;
      Outcome sampled =
          newSampler(logits, options)->sample(logits.data(), token);
      EXPECT_EQ(sampled.status, TBQ_ERROR_ARGUMENT);
      EXPECT_EQ(sampled.message.rfind("logits", 0), 0u) << sampled.message;
      EXPECT_EQ(token, -7);
    }
}

TEST(Sampler, OptionsAreChecked) {
  auto expectRefused = [](auto edit, const char *field) {
    tbq_sampler_options options = plain;
    edit(options);
    std::unique_ptr<Sampler> sampler;
    Outcome created = Sampler::create(8, options, sampler);
    EXPECT_EQ(created.status, TBQ_ERROR_ARGUMENT);
    EXPECT_EQ(created.message.rfind(field, 0), 0u) << created.message;
  };
  using Options = tbq_sampler_options;
  expectRefused([](Options &o) { o.temperature = -1; }, "temperature:");
  expectRefused([](Options &o) { o.temperature = NAN; }, "temperature:");
  expectRefused([](Options &o) { o.top_k = -1; }, "top_k:");
  expectRefused([](Options &o) { o.top_p = 1.5f; }, "top_p:");
  expectRefused([](Options &o) { o.min_p = NAN; }, "min_p:");
  expectRefused([](Options &o) { o.repeat_penalty = 0; }, "repeat_penalty:");
  expectRefused([](Options &o) { o.repeat_last = -1; }, "repeat_last:");
}

TEST(Sampler, DefaultsFollowTheGenerationConfig) {
  tbq_sampler_options options = samplerDefaults(nullptr);
  EXPECT_EQ(options.temperature, 0.8f);
  EXPECT_EQ(options.top_k, 40);
  Manifest::Generation generation;
  generation.topK = 0;
  generation.topP = 0.5;
  generation.repetitionPenalty = 1.25;
  options = samplerDefaults(&generation);
  EXPECT_EQ(options.temperature, 0.8f);
  EXPECT_EQ(options.top_k, 0);
  EXPECT_EQ(options.top_p, 0.5f);
  EXPECT_EQ(options.repeat_penalty, 1.25f);
  generation.temperature = 0.3;
  generation.doSample = true;
  EXPECT_EQ(samplerDefaults(&generation).temperature, 0.3f);
  generation.doSample = false;
  EXPECT_EQ(samplerDefaults(&generation).temperature, 0);
}

TEST(Sampler, SameSeedSameTokensEverywhere) {
  std::vector<float> logits(1000);
  for (int i = 0; i < 1000; ++i)
    logits[size_t(i)] = float((i * 7919) % 1000) / 100;
  tbq_sampler_options options = samplerDefaults(nullptr);
  options.seed = 42;
  auto sampler = newSampler(logits, options);
  Tokens tokens(8);
  for (int32_t &token : tokens)
    ASSERT_TRUE(sampler->sample(logits.data(), token));
  // Computed by a separate program in Python; a machine that differs is wrong.
  EXPECT_EQ(tokens, Tokens({988, 815, 877, 309, 457, 25, 321, 914}));
}

TEST(Sampler, ResetForgetsTokensAndStartsTheSeedOver) {
  std::vector<float> logits(50);
  for (size_t i = 0; i < logits.size(); ++i)
    logits[i] = 2 + 0.01f * float(i);
  tbq_sampler_options options = plain;
  options.repeat_penalty = 1.3f;
  auto sampler = newSampler(logits, options);
  Tokens runs[3];
  for (Tokens &tokens : runs) {
    if (&tokens == &runs[2])
      sampler->reset();
    for (int i = 0; i < 20; ++i) {
      ASSERT_TRUE(sampler->sample(logits.data(), tokens.emplace_back()));
      ASSERT_TRUE(sampler->accept(tokens.back()));
    }
  }
  EXPECT_NE(runs[1], runs[0]);
  EXPECT_EQ(runs[2], runs[0]);
}

TEST(Sampler, Exponential) {
  EXPECT_EQ(Sampler::expOfNegative(0), 1);
  EXPECT_EQ(Sampler::expOfNegative(-701), 0);
  EXPECT_EQ(Sampler::expOfNegative(-INFINITY), 0);
  for (double x = 0; x > -700; x -= 0.0137) {
    double exact = std::exp(x), found = Sampler::expOfNegative(x);
    ASSERT_LE(std::abs(found - exact), 2 * exact * 0x1p-52) << x;
  }
}

TEST(Random, IsPcg32AndUniform) {
  // pcg32's own numbers for state 0 + seed, with its default increment.
  Random random(42);
  uint32_t first = random.next(), second = random.next();
  EXPECT_EQ(first, 3270867926u);
  EXPECT_EQ(second, 1795671209u);
  int counts[7] = {};
  for (int i = 0; i < 70000; ++i)
    ++counts[random.below(7)];
  for (int count : counts)
    EXPECT_NEAR(count, 10000, 400);
  double sum = 0;
  for (int i = 0; i < 10000; ++i) {
    double value = random.unit();
    ASSERT_GE(value, 0);
    ASSERT_LT(value, 1);
    sum += value;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.015);
}
