// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-ppl -m MODEL -f FILE: a compiled model's perplexity on a text, measured
// as llama.cpp's perplexity does, and with --kl-divergence how far the model is
// from another one. Input: artifacts and a text; output: figures on stdout, the
// perplexity last; progress on stderr.
#include "CommandLine.h"
#include "Windows.h"
#include "format/MappedFile.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <unistd.h>

using namespace tbq;
using nlohmann::json;

namespace {

constexpr const char *method =
    "The text, less one last newline, is tokenised once and cut into windows\n"
    "of -c tokens; what does not fill a window is left out. Each window is\n"
    "read by itself. Where the model puts a token in front of a text, that\n"
    "token takes the place of the window's first. With x the -log p of a\n"
    "token given the window's tokens before it, n of them over the second\n"
    "half of every window (the tokens after number c / 2, from 0):\n"
    "  PPL = exp(mean x) +/- PPL * sqrt((mean x^2 - (mean x)^2) / (n - 1))\n"
    "  KL  = mean over the same places of sum_t p(t) (log p(t) - log q(t)),\n"
    "        p the other model's, q this one's, in nats, with its error\n"
    "  top-1 = share of these places where both find the same token "
    "likeliest\n";

struct Options {
  std::string model, file, other;
  int32_t window = 512, threads = 0;
  int64_t windows = -1;
  bool asJson = false;
};

/// A line a second at most, over itself on a terminal.
class Progress {
public:
  explicit Progress(size_t windows) : windows(windows) {}
  ~Progress() { clear(); }

  void update(size_t done, const Scores &scores) {
    double now = seconds();
    if (done < windows && now < next)
      return;
    next = now + 1;
    double left =
        now / static_cast<double>(done) * static_cast<double>(windows - done);
    std::fprintf(stderr, "%s%zu of %zu windows, PPL %.4f, %.0f s left%s",
                 terminal ? "\r" : "", done, windows,
                 std::exp(scores.surprise.value()), left,
                 terminal ? "\033[K" : "\n");
    shown = terminal;
  }

private:
  using Clock = std::chrono::steady_clock;
  double seconds() const {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  }
  void clear() const {
    if (shown)
      std::fputs("\r\033[K", stderr);
  }

  const size_t windows;
  const bool terminal = isatty(STDERR_FILENO);
  const Clock::time_point begin = Clock::now();
  double next = 0;
  bool shown = false;
};

} // namespace

static std::string readText(const std::string &path) {
  Result<FileDescriptor> file = openForReading(path);
  if (!file)
    failUser(file.error());
  Result<std::string> text =
      readWholeFile(file->get(), path, uint64_t(1) << 30);
  if (!text)
    failUser(text.error());
  if (!text->empty() && text->back() == '\n')
    text->pop_back();
  return std::move(*text);
}

/// Probabilities are compared token by token, so both must have the same ones.
static void requireSameTokens(const Reader &model, const Reader &other,
                              const std::string &text,
                              const std::vector<int32_t> &tokens) {
  auto fail = [&](const std::string &what) {
    failUser(
        makeError(other.path(), "",
                  "has another tokenizer than " + model.path() + ": " + what));
  };
  int32_t vocab = tbq_model_vocab(model.get());
  int32_t otherVocab = tbq_model_vocab(other.get());
  if (vocab != otherVocab)
    fail("a vocabulary of " + std::to_string(otherVocab) + ", not " +
         std::to_string(vocab));
  if (addedFirstToken(model.get()) != addedFirstToken(other.get()))
    fail("another first token");
  if (tokenizeText(other.get(), text) != tokens)
    fail("it makes other tokens of the text");
}

static double perplexity(const Mean &surprise) {
  return std::exp(surprise.value());
}

static double perplexityError(const Mean &surprise) {
  return perplexity(surprise) * surprise.error();
}

static json describe(const Mean &mean) {
  return {{"mean", mean.value()}, {"error", mean.error()}};
}

static void printJson(const Options &options, size_t windows,
                      const Scores &scores) {
  auto describeModel = [](const std::string &path, const Mean &surprise) {
    return json{{"model", path},
                {"ppl", perplexity(surprise)},
                {"ppl_error", perplexityError(surprise)}};
  };
  json result = describeModel(options.model, scores.surprise);
  result["text"] = options.file;
  result["window"] = options.window;
  result["windows"] = windows;
  result["scored_tokens"] = scores.surprise.count();
  if (!options.other.empty()) {
    result["other"] = describeModel(options.other, scores.otherSurprise);
    result["kl"] = describe(scores.divergence);
    result["top_1"] = describe(scores.agreement);
  }
  std::printf(
      "%s\n",
      result.dump(-1, ' ', false, json::error_handler_t::replace).c_str());
}

static void printText(const Options &options, const Scores &scores) {
  if (!options.other.empty()) {
    std::printf("KL = %.6f +/- %.6f\n", scores.divergence.value(),
                scores.divergence.error());
    std::printf("top-1 = %.3f +/- %.3f %%\n", 100 * scores.agreement.value(),
                100 * scores.agreement.error());
    std::printf("PPL of the other = %.4f +/- %.5f\n",
                perplexity(scores.otherSurprise),
                perplexityError(scores.otherSurprise));
  }
  std::printf("PPL = %.4f +/- %.5f\n", perplexity(scores.surprise),
              perplexityError(scores.surprise));
}

static ExitCode run(const Options &options) {
  std::string text = readText(options.file);
  Reader model(options.model, options.window, options.threads);
  std::optional<Reader> other;
  if (!options.other.empty())
    other.emplace(options.other, options.window, options.threads);
  std::vector<int32_t> tokens = tokenizeText(model.get(), text);
  if (other)
    requireSameTokens(model, *other, text, tokens);

  auto window = static_cast<size_t>(options.window);
  // As llama.cpp asks: one window says little.
  if (tokens.size() < 2 * window)
    failUser(makeError(options.file, "",
                       "is too short: " + std::to_string(tokens.size()) +
                           " tokens, fewer than two windows of " +
                           std::to_string(window) + " (-c)"));
  size_t windows = tokens.size() / window;
  if (options.windows >= 0)
    windows = std::min(windows, static_cast<size_t>(options.windows));
  Scores scores;
  {
    Progress progress(windows);
    for (size_t i = 0; i < windows; ++i) {
      auto begin = tokens.begin() + static_cast<ptrdiff_t>(i * window);
      scoreWindow({begin, begin + options.window}, model,
                  other ? &*other : nullptr, scores);
      progress.update(i + 1, scores);
    }
  }
  if (options.asJson)
    printJson(options, windows, scores);
  else
    printText(options, scores);
  return exitOk;
}

int main(int argc, char **argv) {
  CLI::App app("Measures a compiled model's perplexity on a text.", "tbq-ppl");
  app.footer(method);
  app.option_defaults()->always_capture_default();
  Options options;
  app.add_option("-m,--model", options.model, "The artifact, model.so")
      ->required();
  app.add_option("-f,--file", options.file, "The text, UTF-8")->required();
  app.add_option("-c,--ctx-size", options.window, "Tokens of a window")
      ->check(CLI::Range(8, 1 << 24));
  app.add_option("--chunks", options.windows,
                 "Most windows to read; -1: all that the text fills")
      ->check(CLI::Validator(
          [](std::string &given) {
            return given == "-1" ? std::string()
                                 : CLI::Range(1, 1 << 24)(given);
          },
          "-1 or INT in [1 - 16777216]"));
  app.add_option("-t,--threads", options.threads,
                 "Worker threads; 0: one for each CPU")
      ->check(CLI::Range(0, 1024));
  app.add_option("--kl-divergence", options.other,
                 "Another artifact of the same tokenizer: also print its "
                 "perplexity, KL(it || this) and how often both find the same "
                 "token likeliest");
  app.add_flag("--json", options.asJson, "One JSON object on stdout");
  return runTool(app, argc, argv, [&] { return run(options); });
}
