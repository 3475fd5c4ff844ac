// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The search: one number of the table after the other, each of its candidates
// in turn with the best so far, and in the end what was found with what it
// began with.

#include "tbq/Tune.h"

#include "Contestant.h"
#include "MadeUpModel.h"

#include "tbq/Pipelines.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Signals.h"
#include "llvm/Support/raw_ostream.h"

#include <atomic>

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::makeError;
using ::tbq::Result;
using ::tbq::Status;

/// Rounds of a comparison: each runs both.
static constexpr int64_t kRounds = 5;
/// After so many, what is clearly slower is given up.
static constexpr int64_t kFirstRounds = 3;
/// A candidate is taken where it is faster by more than this, in the median of
/// the rounds, and faster at all in all of them but one.
static constexpr double kMargin = 0.02;
/// Of the whole time, a part is for the last comparisons and the machine.
static constexpr double kSearchShare = 0.8;

/// The first Ctrl-C ends the search in order, a second one at once.
static std::atomic<bool> interrupted{false};

namespace {
/// What is tried for one number.
struct Knob {
  Phase phase;
  const char *name;
  SmallVector<int64_t> values;
};

class Search {
public:
  Search(const TuneOptions &options, std::string folder)
      : options(options), folder(std::move(folder)) {}

  Status run();

private:
  using Made = std::shared_ptr<Contestant>;

  Status begin();
  Result<Made> make(const CpuTable &table);
  Result<double> compare(Contestant &champion, Contestant &other, Phase phase);
  Status tryTable(const CpuTable &candidate, Phase phase,
                  const std::string &what);
  Status tryKnob(const Knob &knob);
  Status confirm(Phase phase);

  const TuneOptions &options;
  CompileOptions compiling;
  const std::string folder;
  SmallVector<std::string> instructions; // that the target has
  CpuTable start, best;
  Made champion;    // of the best table
  double slice = 0; // seconds of one measurement
};
} // namespace

/// Candidates of every table; what is not listed is not tried: how far ahead
/// keys are asked for matters behind thousands of tokens only.
static ArrayRef<Knob> getKnobs() {
  static const Knob knobs[] = {
      {Phase::Decode, "decode.far_bytes", {0, 1024, 2048, 3072, 4096, 6144}},
      {Phase::Decode, "decode.near_bytes", {0, 512, 1024, 2048}},
      {Phase::Decode, "decode.panel_bytes", {0, 8192, 12288, 16384}},
      {Phase::Decode, "decode.triple_columns", {0, 128, 256}},
      {Phase::Prefill, "prefill.row_tiles", {1, 2, 3, 4}},
      {Phase::Prefill, "prefill.token_tile", {4, 8}},
      {Phase::Prefill, "prefill.chunk_tokens", {32, 64, 128}},
      {Phase::Prefill, "prefill.unrolled_quads", {1, 2, 4}},
      {Phase::Prefill, "prefill.unrolled_tokens", {2, 4, 8}}};
  return knobs;
}

static const TuningField &getField(StringRef name) {
  return *llvm::find_if(tuningFields(), [&](const TuningField &field) {
    return field.name() == name;
  });
}

static void say(const std::string &line) {
  llvm::errs() << "tbqc: tune: " << line << "\n";
}

static double getMedian(std::vector<double> values) {
  llvm::sort(values);
  size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle]
                           : (values[middle - 1] + values[middle]) / 2;
}

Result<Search::Made> Search::make(const CpuTable &table) {
  if (interrupted)
    return makeError("--tune", "",
                     "interrupted: " + options.output + " is as it was");
  return Contestant::create(compiling, table, folder, champion.get());
}

/// How fast `other` is, in speeds of the champion; 1 where that is not sure.
Result<double> Search::compare(Contestant &champion, Contestant &other,
                               Phase phase) {
  std::vector<double> ratios;
  for (int64_t round = 0; round < kRounds && !interrupted; ++round) {
    // In turn, and neither always the first.
    Contestant *first = &champion, *second = &other;
    if (round % 2)
      std::swap(first, second);
    Result<double> one = first->measure(phase, slice);
    Result<double> two = second->measure(phase, slice);
    if (!one || !two)
      return (one ? two : one).error();
    ratios.push_back(round % 2 ? *one / *two : *two / *one);
    if (round + 1 == kFirstRounds && getMedian(ratios) < 1 - kMargin)
      break;
  }
  double median = ratios.empty() ? 1 : getMedian(ratios);
  auto faster = llvm::count_if(ratios, [](double ratio) { return ratio > 1; });
  if (median > 1 && faster + 1 < int64_t(ratios.size()))
    return 1.0;
  return median;
}

/// Makes a table the best one if its steps are faster.
Status Search::tryTable(const CpuTable &candidate, Phase phase,
                        const std::string &what) {
  Result<Made> made = make(candidate);
  if (!made)
    return made.error();
  if ((*made)->equals(*champion))
    return Status::ok(); // of no effect on this model
  Result<double> speed = compare(*champion, **made, phase);
  // Of many comparisons one is lucky: it is made again.
  if (speed && *speed > 1 + kMargin)
    if (Result<double> again = compare(*champion, **made, phase);
        !again || *again < *speed)
      speed = std::move(again);
  if (!speed)
    return speed.error();
  bool taken = *speed > 1 + kMargin;
  say(llvm::formatv("{0}: {1:F2} of the best so far{2}", what, *speed,
                    taken ? ", taken" : ""));
  if (taken) {
    best = candidate;
    champion = *made;
  }
  return Status::ok();
}

Status Search::tryKnob(const Knob &knob) {
  const TuningField &field = getField(knob.name);
  if (field.value == &Tuning::chunkTokens && options.compile.prefillTokens)
    return Status::ok(); // --prefill-chunk says it
  if (field.value == &Tuning::tripleColumns && !looksUp(best.instructions))
    return Status::ok();
  const int64_t before = best.tuning.*field.value;
  for (int64_t value : knob.values) {
    if (value == before)
      continue;
    CpuTable candidate = best;
    candidate.tuning.*field.value = value;
    if (Status tried = tryTable(candidate, knob.phase,
                                knob.name + (" " + std::to_string(value)));
        !tried)
      return tried;
  }
  return Status::ok();
}

/// What was found against what it began with, once more: the best of many
/// comparisons may be the luckiest. What is no faster is taken back.
Status Search::confirm(Phase phase) {
  CpuTable found = start;
  if (phase == Phase::Prefill)
    found.instructions = best.instructions;
  for (const Knob &knob : getKnobs())
    if (const TuningField &field = getField(knob.name); knob.phase == phase)
      found.tuning.*field.value = best.tuning.*field.value;
  Result<Made> before = make(start), after = make(found);
  if (!before || !after)
    return (before ? after : before).error();
  StringRef name = phase == Phase::Decode ? "decode" : "prefill";
  if ((*after)->equals(**before)) {
    say((name + ": as it was").str());
    return Status::ok();
  }
  Result<double> speed = compare(**before, **after, phase);
  if (!speed)
    return speed.error();
  bool holds = *speed > 1 + kMargin;
  say(llvm::formatv("{0}: {1:F2} of the speed it began with{2}", name, *speed,
                    holds ? "" : ", which is noise: as it was"));
  if (!holds) {
    best.instructions =
        phase == Phase::Prefill ? start.instructions : best.instructions;
    for (const Knob &knob : getKnobs())
      if (const TuningField &field = getField(knob.name); knob.phase == phase)
        best.tuning.*field.value = start.tuning.*field.value;
  }
  return Status::ok();
}

/// The target, the table to begin with, and the model.
Status Search::begin() {
  Result<CodeTarget> target = CodeTarget::resolve(options.compile.target);
  if (!target)
    return target.error();
  for (StringRef product : getDotProducts(target->triple, target->enabled))
    instructions.push_back(product.str());
  start = shippedCpuTable(instructions.front(), target->cpu);
  if (!options.compile.tuning.empty()) {
    Result<CpuTable> given = readCpuTable(options.compile.tuning);
    if (!given)
      return given.error();
    start = std::move(*given);
  }
  // What is found is a table for whoever asks for it. Where its figures are
  // from is measured anew.
  start.processor.clear();
  start.roofline = Roofline();
  if (Status status = checkOutput(options.output); !status)
    return status;
  compiling = options.compile;
  if (compiling.input.empty()) {
    if (Status status = writeMadeUpModel(folder); !status)
      return status;
    compiling.input = folder;
    if (compiling.quantize.empty() && compiling.policy.empty())
      compiling.quantize = "ternary:g128";
    if (compiling.embedding.empty())
      compiling.embedding = "int8:g64";
  }
  int64_t comparisons = 1;
  for (const Knob &knob : getKnobs())
    comparisons += knob.values.size() - 1;
  slice = kSearchShare * options.seconds / (comparisons * 2 * kRounds);
  return Status::ok();
}

Status Search::run() {
  if (Status status = begin(); !status)
    return status;
  best = start;
  Result<Made> made = make(best);
  if (!made)
    return made.error();
  champion = *made;
  say(llvm::formatv("{0}, threads: {1}, about {2} s of measuring", start.family,
                    compiling.threads ? compiling.threads : ::tbq::usableCpus(),
                    options.seconds));
  // Tiles pay where they are filled, and where they do not slow the clock.
  for (StringRef other : {"amx", "vnni"})
    if (llvm::is_contained(instructions, other) && other != best.instructions) {
      CpuTable candidate = best;
      candidate.instructions = other.str();
      if (Status tried = tryTable(candidate, Phase::Prefill,
                                  ("instructions " + other).str());
          !tried)
        return tried;
    }
  for (const Knob &knob : getKnobs())
    if (Status tried = tryKnob(knob); !tried)
      return tried;
  for (Phase phase : {Phase::Decode, Phase::Prefill})
    if (Status confirmed = confirm(phase); !confirmed)
      return confirmed;
  made = make(best);
  if (!made)
    return made.error();
  if (best.instructions != start.instructions)
    best.family = shippedCpuTable(best.instructions).family;
  if (Status measured = measureRoofline(
          **made, best, (1 - kSearchShare) * options.seconds / 8);
      !measured)
    return measured;
  if (Status written = writeOutput(options.output, printCpuTable(best));
      !written)
    return written;
  say("wrote " + options.output);
  return Status::ok();
}

int mlir::tbq::tune(const TuneOptions &options) {
  llvm::sys::SetInterruptFunction([] { interrupted = true; });
  Result<std::unique_ptr<TemporaryFolder>> folder = TemporaryFolder::create();
  Status status =
      folder ? Search(options, (*folder)->path).run() : Status(folder.error());
  if (status)
    return 0;
  if (!status.error().message.empty())
    llvm::errs() << "tbqc: error: " << status.error().message << "\n";
  return 1;
}
