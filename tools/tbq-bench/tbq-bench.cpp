// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-bench -m MODEL: tokens/s of prefill (pp) and decode (tg), and how near
// decode comes to the memory's read limit, and prefill to the processor's peak
// of 8-bit products, both measured in the same run with the same threads.
// Invariant: bytes are information bytes: what the manifest says a decode step
// reads of weights, and the keys and values of the positions before it.
// Operations are the linears' own, two for each weight and token, however many
// digits it takes to do them.
#include "CommandLine.h"
#include "Report.h"
#include "runtime/Random.h"
#include "runtime/Session.h"
#include "runtime/limits/DotPeak.h"
#include "runtime/limits/MemoryRead.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>

using namespace tbq;

namespace {

struct Options {
  std::string model, format = "md";
  std::string prompts, generated, threads; // empty prompts, generated: default
  std::string batches = "1";
  int64_t repetitions = 5, depth = 0;
  double limitSeconds = 0.5;
  bool randomWeights = false, hugePages = false;
};

struct Bench {
  std::shared_ptr<const Model> model;
  Session &session;
  Workers &team;               // the session's
  std::vector<int32_t> tokens; // random, as many as the context holds
  int64_t depth; // of them, how many are in the cache before each measurement
};

} // namespace

/// Seconds to evaluate `count` tokens behind the depth: all at once, or one by
/// one of each of the first `batch` sequences.
static double secondsOf(Bench &bench, int64_t count, int64_t batch) {
  std::vector<int32_t> numbers, tokens;
  for (int32_t i = 0; i < std::max<int64_t>(1, batch); ++i) {
    require(bench.session.select(i));
    require(bench.session.rollback(bench.depth));
    numbers.push_back(i);
    tokens.push_back(bench.tokens[size_t(i) % bench.tokens.size()]);
  }
  require(bench.session.select(0));
  auto begin = std::chrono::steady_clock::now();
  if (batch)
    for (int64_t i = 0; i < count; ++i)
      require(bench.session.evalBatch(numbers.data(), tokens.data(), batch));
  else
    require(bench.session.eval(bench.tokens.data() + bench.depth, count));
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin)
      .count();
}

/// Keys and values that one decode step reads, on average over `count` steps
/// behind `depth` tokens.
static double cacheBytesPerToken(const Manifest &manifest, int64_t depth,
                                 int64_t count) {
  const Manifest::Model &m = manifest.model;
  double width = manifest.kvCache == "f32" ? 4 : 2;
  double positions =
      static_cast<double>(depth) + static_cast<double>(count + 1) / 2;
  return positions * 2 * width *
         static_cast<double>(m.layers * m.kvHeads * m.headDim);
}

/// Of the linears, and of the head where each token has logits: of a prompt
/// only the last one has. An embedding is a look-up.
static double operationsPerToken(const Manifest &manifest, bool decode) {
  const Manifest::Model &m = manifest.model;
  double weights = decode ? static_cast<double>(m.vocab * m.hidden) : 0;
  for (const Manifest::Layer &layer : manifest.layers)
    if (layer.n != m.vocab)
      weights += static_cast<double>(layer.n) * static_cast<double>(layer.k);
  return 2 * weights;
}

/// Of the steps since the last clear.
static std::vector<PhaseRow> describe(const PhaseTimes &times,
                                      const std::vector<std::string> &names) {
  std::vector<PhaseRow> rows;
  const double perStep = 1.0 / static_cast<double>(times.steps());
  const double unit = 1e6 / times.hertz() * perStep;
  for (size_t i = 0; i < names.size(); ++i) {
    const PhaseTime &phase = times.phases()[i];
    if (phase.times > 0)
      rows.push_back({names[i], static_cast<double>(phase.times) * perStep,
                      phase.median * unit, phase.largest * unit,
                      phase.barrier * unit, phase.whole * unit});
  }
  return rows;
}

/// Of a prompt, or (`batch`: how many sequences at once) of decoding.
static Row measure(Bench &bench, int64_t count, int64_t batch,
                   int64_t repetitions) {
  const bool decode = batch > 0;
  Row row;
  row.test = (decode ? "tg" : "pp") + std::to_string(count);
  row.batch = std::max<int64_t>(1, batch);
  if (batch > 1)
    row.test += " x " + std::to_string(batch);
  if (bench.depth > 0)
    row.test += " @ d" + std::to_string(bench.depth);
  row.threads = bench.session.workers();
  // Brings weights, cache and arena into memory.
  secondsOf(bench, decode ? std::min<int64_t>(count, 8) : count, batch);
  PhaseTimes *times = bench.team.phaseTimes();
  if (times)
    times->clear();
  for (int64_t i = 0; i < repetitions; ++i)
    row.tokensPerSecond.push_back(
        static_cast<double>(count * std::max<int64_t>(1, batch)) /
        secondsOf(bench, count, batch));
  if (times)
    row.phases = describe(*times, bench.model->manifest().phases);
  const Manifest &manifest = bench.model->manifest();
  const bool together = batch >= manifest.steps.batchFrom;
  if (decode)
    row.bytesPerToken = static_cast<double>(manifest.bytesPerToken) /
                            static_cast<double>(together ? batch : 1) +
                        cacheBytesPerToken(manifest, bench.depth, count);
  row.operationsPerToken = operationsPerToken(manifest, decode);
  const auto &needed = manifest.target.features;
  row.usesTiles = std::count(needed.begin(), needed.end(), "amx-int8") > 0;
  return row;
}

static void checkCounts(const char *flag, const std::vector<int64_t> &counts,
                        int64_t depth, int64_t context) {
  for (int64_t count : counts)
    if (count > 0 && count + depth > context)
      failUser(makeError(
          flag, "",
          std::to_string(count) + " tokens" +
              (depth ? " behind " + std::to_string(depth) : std::string()) +
              " are more than the model's context of " +
              std::to_string(context)));
}

static ExitCode run(const Options &options, std::vector<std::string> flags) {
  std::shared_ptr<const Model> model;
  ModelOptions how;
  how.randomWeights = options.randomWeights;
  how.hugePages = options.hugePages;
  require(Model::open(options.model, how, model));
  const tbq_model_table &table = model->table();
  // A default is what the model has room for; what is asked for is measured
  // or refused.
  auto counts = [&](const char *flag, const std::string &given, int64_t usual) {
    if (given.empty())
      return std::vector<int64_t>{
          std::clamp<int64_t>(model->context() - options.depth, 0, usual)};
    return parseNumbers(flag, given, 0);
  };
  std::vector<int64_t> prompts = counts("-p", options.prompts, 512);
  std::vector<int64_t> generated = counts("-n", options.generated, 128);
  std::vector<int64_t> threadCounts = parseNumbers("-t", options.threads, 1);
  checkCounts("-p", prompts, options.depth, model->context());
  checkCounts("-n", generated, options.depth, model->context());
  const std::vector<int64_t> batches =
      parseNumbers("--batch", options.batches, 1);
  const int64_t sequences = *std::max_element(batches.begin(), batches.end());
  if (sequences > table.batch_tokens)
    failUser(makeError("--batch", "",
                       "is at most " + std::to_string(table.batch_tokens) +
                           ", which the model was compiled for (got " +
                           std::to_string(sequences) + ")"));

  Report report;
  report.format = options.format;
  report.path = options.model;
  report.manifest = &model->manifest();
  report.flags = std::move(flags);
  report.begin();
  for (int64_t threads : threadCounts) {
    std::unique_ptr<Workers> workers;
    require(createWorkers(model, threads, workers, sequences));
    Workers &team = *workers;
    std::unique_ptr<Session> session;
    require(Session::create(model, std::move(workers), 0, session, sequences));
    Bench bench = {model, *session, team, {}, options.depth};
    Random random(1);
    for (int64_t i = 0; i < model->context(); ++i)
      bench.tokens.push_back(static_cast<int32_t>(
          random.below(static_cast<uint32_t>(model->vocab()))));
    for (int64_t i = 0; bench.depth > 0 && i < sequences; ++i) {
      require(session->select(i));
      require(session->eval(bench.tokens.data(), bench.depth));
    }
    // Limits are measured before and after, because neighbours come and go.
    // Float activations do not use the instruction whose peak it is. Those of
    // a GPU are not measured.
    bool onHost = !model->onDevice();
    bool integers = onHost && model->manifest().activations != "f32";
    for (int64_t count : prompts) {
      if (count == 0)
        continue;
      auto measurePeak = [&] {
        return integers ? measureDotPeak(team, DotInstructions::Vnni,
                                         options.limitSeconds)
                        : 0;
      };
      double before = measurePeak();
      Row row = measure(bench, count, /*batch=*/0, options.repetitions);
      double after = measurePeak();
      row.peakOperationsPerSecond = std::max(before, after);
      report.add(row);
    }
    for (int64_t number = 0;
         number < int64_t(generated.size() * batches.size()); ++number) {
      const int64_t count = generated[size_t(number) / batches.size()];
      const int64_t batch = batches[size_t(number) % batches.size()];
      if (count == 0)
        continue;
      auto measureLimit = [&] {
        return onHost
                   ? measureReadLimit(team, model->weights(),
                                      table.weights_bytes, options.limitSeconds)
                   : ReadLimit();
      };
      ReadLimit before = measureLimit();
      Row row = measure(bench, count, batch, options.repetitions);
      ReadLimit after = measureLimit();
      ReadLimit limit =
          before.bytesPerSecond > after.bytesPerSecond ? before : after;
      row.limitBytesPerSecond = limit.bytesPerSecond;
      row.limitMethod = limit.method;
      report.add(row);
    }
  }
  report.end();
  return exitOk;
}

int main(int argc, char **argv) {
  CLI::App app("Measures a compiled model's speed.", "tbq-bench");
  app.option_defaults()->always_capture_default();
  Options options;
  options.threads =
      usableCpus() > 1 ? "1," + std::to_string(usableCpus()) : "1";
  app.add_option("-m,--model", options.model, "The artifact, model.so")
      ->required();
  app.add_option("-p,--n-prompt", options.prompts,
                 "Tokens to prefill, several with commas; 0 leaves it out")
      ->default_str("512, or the model's context if that is less");
  app.add_option("-n,--n-gen", options.generated,
                 "Tokens to decode, several with commas; 0 leaves it out")
      ->default_str("128, or the model's context if that is less");
  app.add_option("-d,--n-depth", options.depth,
                 "Tokens in the cache before those that are measured")
      ->check(CLI::Range(int64_t(0), int64_t(1) << 30));
  app.add_option("-b,--batch", options.batches,
                 "Sequences decoded at once, several with commas")
      ->capture_default_str();
  app.add_option("-r,--repetitions", options.repetitions,
                 "How often each is measured")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("-t,--threads", options.threads,
                 "Worker threads, several with commas");
  app.add_option("-o,--output", options.format, "Form of the output")
      ->check(oneOf({"md", "json", "jsonl", "csv"}));
  app.add_option("--limit-seconds", options.limitSeconds,
                 "How long each limit is tried")
      ->check(CLI::Range(0.01, 60.0));
  app.add_flag("--random-weights", options.randomWeights,
               "Make weights up for an artifact of tbqc --shape-only");
  app.add_flag("--huge-pages", options.hugePages,
               "Copy the weights into huge pages");
  std::vector<std::string> flags(argv + 1, argv + argc);
  return runTool(app, argc, argv, [&] { return run(options, flags); });
}
