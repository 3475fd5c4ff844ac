// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-run -m MODEL -p TEXT: continues a text, or chats (-cnv). Input: model.so
// and a prompt from -p, -f or standard input; output: text on stdout, as it is
// generated.
// Invariant: what the model's generation config says overrides our defaults,
// and flags override both.
#include "CommandLine.h"
#include "Generator.h"
#include "format/MappedFile.h"

#include <chrono>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <unistd.h>

using namespace tbq;
using nlohmann::json;

namespace {

struct Options {
  std::string model, file, system;
  std::optional<std::string> prompt, promptTokens;
  int64_t predict = -1, seed = -1;
  int32_t context = 0, threads = 0;
  std::optional<float> temperature, topP, minP, repeatPenalty;
  std::optional<int32_t> topK, repeatLast;
  bool ignoreEnd = false, conversation = false, singleTurn = false;
  bool asJson = false, showTimings = false, hidePrompt = false;
  bool printIds = false, special = false, verify = false, hugePages = false;
};

struct Loaded {
  ModelHandle model;
  double seconds = 0;
  uint64_t seed = 0;
};

} // namespace

template <class From, class To>
static void override(const std::optional<From> &from, To &to) {
  if (from)
    to = *from;
}

static Loaded load(const Options &options) {
  auto begin = std::chrono::steady_clock::now();
  Loaded loaded;
  tbq_model_options how = tbq_model_defaults();
  how.verify_weights = options.verify;
  how.huge_pages = options.hugePages;
  tbq_model *model = nullptr;
  require(tbq_model_load(options.model.c_str(), &how, &model));
  loaded.model.reset(model);
  loaded.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin)
          .count();
  loaded.seed = options.seed < 0 ? std::random_device()()
                                 : static_cast<uint64_t>(options.seed);
  return loaded;
}

static Generator makeGenerator(const Options &options, const Loaded &loaded) {
  GeneratorOptions how;
  how.session = tbq_session_defaults();
  how.session.threads = options.threads;
  how.session.context = options.context;
  how.sampler = tbq_sampler_defaults(loaded.model.get());
  override(options.temperature, how.sampler.temperature);
  override(options.topK, how.sampler.top_k);
  override(options.topP, how.sampler.top_p);
  override(options.minP, how.sampler.min_p);
  override(options.repeatPenalty, how.sampler.repeat_penalty);
  override(options.repeatLast, how.sampler.repeat_last);
  how.sampler.seed = loaded.seed;
  how.ignoreEnd = options.ignoreEnd;
  return Generator(loaded.model.get(), how);
}

static void printTimings(const Loaded &loaded, const Generator &generator) {
  auto rate = [](const Timing &timing) {
    return timing.seconds > 0
               ? static_cast<double>(timing.tokens) / timing.seconds
               : 0.0;
  };
  const Timing &prompt = generator.prompt(), &made = generator.generated();
  std::fprintf(stderr,
               "load %.1f ms; prompt %lld tokens in %.1f ms, %.1f tokens/s; "
               "generated %lld tokens in %.1f ms, %.1f tokens/s; seed %llu\n",
               loaded.seconds * 1e3, static_cast<long long>(prompt.tokens),
               prompt.seconds * 1e3, rate(prompt),
               static_cast<long long>(made.tokens), made.seconds * 1e3,
               rate(made), static_cast<unsigned long long>(loaded.seed));
}

static json timingJson(const Timing &timing) {
  return {{"tokens", timing.tokens}, {"seconds", timing.seconds}};
}

static void printJson(const json &value) {
  std::printf(
      "%s\n",
      value.dump(-1, ' ', false, json::error_handler_t::replace).c_str());
  std::fflush(stdout);
}

/// Shows tokens as they come, as text, as ids, or not at all (for JSON), and
/// keeps the text.
class Printer {
public:
  Printer(const tbq_model *model, const Options &options)
      : asIds(options.printIds), silent(options.asJson) {
    tbq_stream *created = nullptr;
    tbq_status status = tbq_stream_create(model, options.special, &created);
    // Ids can be shown without a tokenizer.
    if (status != TBQ_ERROR_UNSUPPORTED || !asIds)
      require(status);
    stream.reset(created);
  }

  /// `shown` false: the decoder must know the token, the reader need not.
  void push(int32_t token, bool shown = true) {
    if (asIds && shown)
      show(std::to_string(token) + " ");
    const char *piece = nullptr;
    size_t size = 0;
    if (stream)
      require(tbq_stream_push(stream.get(), token, &piece, &size));
    if (shown)
      take({piece, size});
  }

  void finish() {
    const char *piece = nullptr;
    size_t size = 0;
    if (stream)
      require(tbq_stream_finish(stream.get(), &piece, &size));
    take({piece, size});
  }

  const std::string &text() const { return kept; }

private:
  void take(std::string_view piece) {
    kept += piece;
    if (!asIds)
      show(piece);
  }

  void show(std::string_view piece) {
    if (silent)
      return;
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  }

  const bool asIds, silent;
  StreamHandle stream;
  std::string kept;
};

static std::string readAll(const std::string &path) {
  std::string text;
  if (path.empty() || path == "-") {
    text.assign(std::istreambuf_iterator<char>(std::cin), {});
  } else {
    Result<FileDescriptor> file = openForReading(path);
    if (!file)
      failUser(file.error());
    Result<std::string> content =
        readWholeFile(file->get(), path, uint64_t(256) << 20);
    if (!content)
      failUser(content.error());
    text = std::move(*content);
  }
  if (!text.empty() && text.back() == '\n')
    text.pop_back();
  return text;
}

static std::vector<int32_t> promptTokens(const Options &options,
                                         const tbq_model *model) {
  std::vector<int32_t> tokens;
  if (options.promptTokens) {
    for (int64_t id : parseNumbers("--prompt-tokens", *options.promptTokens, 0))
      tokens.push_back(static_cast<int32_t>(std::min<int64_t>(id, INT32_MAX)));
    return tokens;
  }
  if (!options.prompt && options.file.empty() && isatty(STDIN_FILENO))
    failUser(makeError("", "",
                       "no prompt: give -p, -f or text on standard "
                       "input (or -cnv to chat)"));
  tokens =
      tokenize(model, options.prompt ? *options.prompt : readAll(options.file));
  if (tokens.empty() && tbq_model_first_token(model) >= 0)
    tokens.push_back(tbq_model_first_token(model));
  if (tokens.empty())
    failUser(makeError("prompt", "", "has no tokens"));
  return tokens;
}

static ExitCode complete(const Options &options) {
  Loaded loaded = load(options);
  std::vector<int32_t> prompt = promptTokens(options, loaded.model.get());
  Generator generator = makeGenerator(options, loaded);
  Printer printer(loaded.model.get(), options);
  generator.feed(prompt);
  for (int32_t token : prompt)
    printer.push(token, !options.hidePrompt && !options.asJson);

  std::vector<int32_t> made;
  Stop stop = generator.generate(options.predict, [&](int32_t token) {
    made.push_back(token);
    printer.push(token);
  });
  printer.finish();
  if (options.asJson)
    printJson({{"text", printer.text()},
               {"prompt_tokens", prompt},
               {"tokens", made},
               {"stop", nameOf(stop)},
               {"seed", loaded.seed},
               {"load_seconds", loaded.seconds},
               {"prompt", timingJson(generator.prompt())},
               {"generated", timingJson(generator.generated())}});
  else
    std::printf("\n");
  if (options.showTimings)
    printTimings(loaded, generator);
  return exitOk;
}

/// The conversation so far as tokens, up to where the answer begins.
static std::vector<int32_t>
render(const tbq_model *model,
       const std::vector<std::pair<std::string, std::string>> &conversation) {
  std::vector<tbq_chat_message> messages;
  for (const auto &[role, content] : conversation)
    messages.push_back({role.c_str(), content.c_str()});
  size_t count = 0;
  tbq_status status = tbq_chat_render(model, messages.data(), messages.size(),
                                      1, nullptr, 0, &count);
  if (status != TBQ_ERROR_BUFFER)
    require(status);
  std::vector<int32_t> tokens(count);
  require(tbq_chat_render(model, messages.data(), messages.size(), 1,
                          tokens.data(), tokens.size(), &count));
  return tokens;
}

static ExitCode chat(const Options &options) {
  Loaded loaded = load(options);
  const tbq_model *model = loaded.model.get();
  std::vector<std::pair<std::string, std::string>> conversation;
  if (!options.system.empty())
    conversation.emplace_back("system", options.system);
  if (!tbq_model_has_chat(model))
    render(model, conversation); // says why not
  Generator generator = makeGenerator(options, loaded);
  std::signal(SIGINT, [](int) { interrupted = true; });

  std::optional<std::string> waiting = options.prompt;
  if (!waiting && !options.file.empty())
    waiting = readAll(options.file);
  bool terminal = isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
  for (bool first = true; first || !options.singleTurn; first = false) {
    std::string message;
    if (waiting) {
      message = *std::exchange(waiting, std::nullopt);
    } else {
      if (terminal)
        std::fputs("> ", stderr);
      if (!std::getline(std::cin, message))
        break;
      if (message.empty())
        continue;
    }
    conversation.emplace_back("user", message);
    generator.feed(render(model, conversation));
    Printer printer(model, options);
    std::vector<int32_t> made;
    Stop stop = generator.generate(options.predict, [&](int32_t token) {
      made.push_back(token);
      printer.push(token);
    });
    printer.finish();
    if (options.asJson)
      printJson(
          {{"text", printer.text()}, {"tokens", made}, {"stop", nameOf(stop)}});
    else
      std::printf("\n");
    std::fflush(stdout);
    if (stop == Stop::Context)
      throw ToolFailure{exitUser, "the context is full: the conversation ends"};
    conversation.emplace_back("assistant", printer.text());
  }
  if (options.showTimings)
    printTimings(loaded, generator);
  return exitOk;
}

static void addSampling(CLI::App &app, Options &options) {
  auto defaults = tbq_sampler_defaults(nullptr);
  auto text = [](auto value) {
    std::string result = CLI::detail::to_string(value);
    return result + ", or what the model's generation config says";
  };
  app.add_option("--temp", options.temperature, "Temperature; 0 is greedy")
      ->check(CLI::Range(0.0, 1e6))
      ->default_str(text(defaults.temperature));
  app.add_option("--top-k", options.topK, "Keep the k likeliest; 0 keeps all")
      ->check(CLI::Range(0, INT32_MAX))
      ->default_str(text(defaults.top_k));
  app.add_option("--top-p", options.topP, "Keep the likeliest with this mass")
      ->check(CLI::Range(0.0, 1.0))
      ->default_str(text(defaults.top_p));
  app.add_option("--min-p", options.minP,
                 "Keep those at least this likely, relative to the likeliest")
      ->check(CLI::Range(0.0, 1.0))
      ->default_str(text(defaults.min_p));
  app.add_option("--repeat-penalty", options.repeatPenalty,
                 "Make tokens of the recent text less likely; 1 does not")
      ->check(CLI::Range(1e-6, 1e6))
      ->default_str(text(defaults.repeat_penalty));
  app.add_option("--repeat-last-n", options.repeatLast,
                 "How many tokens that looks back")
      ->check(CLI::Range(0, 1 << 24))
      ->default_str(std::to_string(defaults.repeat_last));
}

int main(int argc, char **argv) {
  CLI::App app("Continues a text with a compiled model, or chats with it.",
               "tbq-run");
  app.option_defaults()->always_capture_default();
  Options options;
  app.add_option("-m,--model", options.model, "The artifact, model.so")
      ->required();
  app.add_option("-p,--prompt", options.prompt,
                 "The text to continue; in a chat, the first message");
  app.add_option("-f,--file", options.file,
                 "File with the prompt, - for standard input; a last newline "
                 "is dropped");
  app.add_option("--prompt-tokens", options.promptTokens,
                 "Token ids with commas in place of a prompt");
  app.add_option("-n,--n-predict,--predict", options.predict,
                 "Most tokens to generate; -1: until the text or context ends")
      ->check(CLI::Range(int64_t(-1), int64_t(1) << 40));
  app.add_option("-c,--ctx-size", options.context,
                 "Tokens of context; 0: as many as the model has")
      ->check(CLI::Range(0, 1 << 24));
  app.add_option("-t,--threads", options.threads,
                 "Worker threads; 0: one for each CPU")
      ->check(CLI::Range(0, 1024));
  app.add_option("-s,--seed", options.seed, "Seed; -1: a new one each time")
      ->check(CLI::Range(int64_t(-1), INT64_MAX));
  addSampling(app, options);
  app.add_flag("--ignore-eos", options.ignoreEnd,
               "Never choose a token that ends the text");
  app.add_flag("--conversation", options.conversation,
               "-cnv: chat; messages are lines of standard input");
  app.add_option("--system-prompt", options.system,
                 "-sys: the system message of a chat");
  app.add_flag("--single-turn", options.singleTurn,
               "-st: end the chat after one answer");
  app.add_flag("--json", options.asJson,
               "One JSON object on stdout (in a chat, one for each answer)");
  app.add_flag("--show-timings", options.showTimings,
               "Times and tokens/s on stderr at the end");
  app.add_flag("--no-display-prompt", options.hidePrompt,
               "Show only what is generated");
  app.add_flag("--print-token-ids,--tokens", options.printIds,
               "Show token ids in place of text");
  app.add_flag("--special", options.special, "Show special tokens");
  app.add_flag("--verify", options.verify,
               "Compare the weights with their hashes first");
  app.add_flag("--huge-pages", options.hugePages,
               "Copy the weights into huge pages: opens later, may decode "
               "faster");
  return runTool(
      app, argc, argv,
      [&] { return options.conversation ? chat(options) : complete(options); },
      {{"-cnv", "--conversation"},
       {"-sys", "--system-prompt"},
       {"-st", "--single-turn"}});
}
