// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Tokens in, tokens and text out, through the public interface (tbq.h) alone:
// one session, its sampler, and the loop between them.
// Invariant: `held` is what the session holds; each generated token is given
// to the caller before the next is computed.
#ifndef TBQ_TOOLS_TBQRUN_GENERATOR_H
#define TBQ_TOOLS_TBQRUN_GENERATOR_H

#include "Handles.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace tbq {

struct GeneratorOptions {
  tbq_session_options session;
  tbq_sampler_options sampler;
  bool ignoreEnd = false;
};

/// Tokens and the seconds they took.
struct Timing {
  int64_t tokens = 0;
  double seconds = 0;
};

enum class Stop { End, Length, Context, Interrupt };
const char *nameOf(Stop stop);

/// Raised by Ctrl-C; generation then ends after the current token.
extern std::atomic<bool> interrupted;

class Generator {
public:
  Generator(const tbq_model *model, const GeneratorOptions &options);

  /// Makes the session hold exactly these tokens, evaluating only what differs
  /// from what it holds. At least one.
  void feed(const std::vector<int32_t> &tokens);

  /// Generates up to `limit` tokens (negative: no limit) and hands each to
  /// `take`. A token that ends the text is not handed out.
  Stop generate(int64_t limit, const std::function<void(int32_t)> &take);

  const Timing &prompt() const { return promptTiming; }
  const Timing &generated() const { return generatedTiming; }

private:
  int32_t next();

  const tbq_model *model;
  SessionHandle session;
  SamplerHandle sampler;
  std::vector<int32_t> held;
  std::vector<int32_t> ignoredEnds;
  std::vector<float> withoutEnds; // logits in which those are -inf
  Timing promptTiming, generatedTiming;
};

/// A text's tokens, as the model expects a text to begin.
std::vector<int32_t> tokenize(const tbq_model *model, std::string_view text);

} // namespace tbq

#endif // TBQ_TOOLS_TBQRUN_GENERATOR_H
