// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The loop of a language model: evaluate, sample, accept.
#include "Generator.h"

#include "CommandLine.h"

#include <algorithm>
#include <chrono>
#include <cmath>

using namespace tbq;

std::atomic<bool> tbq::interrupted{false};

const char *tbq::nameOf(Stop stop) {
  switch (stop) {
  case Stop::End:
    return "end";
  case Stop::Length:
    return "length";
  case Stop::Context:
    return "context";
  case Stop::Interrupt:
    return "interrupt";
  }
  return "";
}

namespace {

/// Adds the time between its construction and destruction.
class Stopwatch {
  using Clock = std::chrono::steady_clock;

public:
  explicit Stopwatch(double &seconds) : seconds(seconds), begin(Clock::now()) {}
  ~Stopwatch() {
    seconds += std::chrono::duration<double>(Clock::now() - begin).count();
  }

private:
  double &seconds;
  Clock::time_point begin;
};

} // namespace

std::vector<int32_t> tbq::tokenize(const tbq_model *model,
                                   std::string_view text) {
  // One token a byte and a few around it is the most there can be.
  std::vector<int32_t> tokens(text.size() + 16);
  size_t count = 0;
  require(tbq_tokenize(model, text.data(), text.size(),
                       TBQ_ADD_SPECIAL | TBQ_PARSE_SPECIAL, tokens.data(),
                       tokens.size(), &count));
  tokens.resize(count);
  return tokens;
}

Generator::Generator(const tbq_model *model, const GeneratorOptions &options)
    : model(model), withoutEnds(static_cast<size_t>(tbq_model_vocab(model))) {
  for (int32_t i = 0; options.ignoreEnd && i < tbq_model_vocab(model); ++i)
    if (tbq_model_is_end(model, i))
      ignoredEnds.push_back(i);
  tbq_session *newSession = nullptr;
  require(tbq_session_create(model, &options.session, &newSession));
  session.reset(newSession);
  tbq_sampler *newSampler = nullptr;
  require(tbq_sampler_create(model, &options.sampler, &newSampler));
  sampler.reset(newSampler);
  held.reserve(static_cast<size_t>(tbq_session_context(newSession)));
}

void Generator::feed(const std::vector<int32_t> &tokens) {
  Stopwatch watch(promptTiming.seconds);
  size_t most = std::min(held.size(), tokens.size() - 1);
  auto kept = static_cast<size_t>(
      std::mismatch(held.begin(), held.begin() + static_cast<long>(most),
                    tokens.begin())
          .first -
      held.begin());
  require(tbq_session_rollback(session.get(), static_cast<int32_t>(kept)));
  held.resize(kept);
  require(tbq_session_eval(session.get(), tokens.data() + kept,
                           tokens.size() - kept, nullptr));
  for (size_t i = kept; i < tokens.size(); ++i) {
    require(tbq_sampler_accept(sampler.get(), tokens[i]));
    held.push_back(tokens[i]);
  }
  promptTiming.tokens += static_cast<int64_t>(tokens.size() - kept);
}

int32_t Generator::next() {
  int32_t token = 0;
  if (ignoredEnds.empty()) {
    require(tbq_session_sample(session.get(), sampler.get(), &token));
  } else {
    const float *logits = tbq_session_logits(session.get());
    std::copy(logits, logits + withoutEnds.size(), withoutEnds.begin());
    for (int32_t end : ignoredEnds)
      withoutEnds[static_cast<size_t>(end)] = -INFINITY;
    require(tbq_sampler_sample(sampler.get(), withoutEnds.data(), &token));
  }
  require(tbq_sampler_accept(sampler.get(), token));
  return token;
}

Stop Generator::generate(int64_t limit,
                         const std::function<void(int32_t)> &take) {
  for (int64_t done = 0; limit < 0 || done < limit; ++done) {
    if (interrupted.exchange(false))
      return Stop::Interrupt;
    int32_t token;
    {
      Stopwatch watch(generatedTiming.seconds);
      token = next();
    }
    if (tbq_model_is_end(model, token))
      return Stop::End;
    take(token);
    generatedTiming.tokens++;
    // The last token's logits are needed only if another one follows.
    if (done + 1 == limit)
      return Stop::Length;
    if (tbq_session_position(session.get()) ==
        tbq_session_context(session.get()))
      return Stop::Context;
    Stopwatch watch(generatedTiming.seconds);
    require(tbq_session_eval(session.get(), &token, 1, nullptr));
    held.push_back(token);
  }
  return Stop::Length;
}
