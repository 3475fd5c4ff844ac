// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Compiles, opens and steps a candidate, and measures the machine under it.

#include "Contestant.h"

#include "runtime/limits/DotPeak.h"
#include "runtime/limits/MemoryRead.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/LineIterator.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/TargetParser/Host.h"

#include <chrono>
#include <cmath>

using namespace mlir::tbq;
using ::tbq::DotInstructions;
using ::tbq::makeError;
using ::tbq::Manifest;
using ::tbq::Model;
using ::tbq::ModelOptions;
using ::tbq::Outcome;
using ::tbq::Result;
using ::tbq::Session;
using ::tbq::Status;
using ::tbq::Workers;

/// Tokens of a prompt: whole chunks of any size that is tried. So many are
/// decoded from the first position on.
static constexpr int64_t kTokens = 128;
static constexpr int64_t kFewTokens = 32;

Result<std::unique_ptr<TemporaryFolder>> TemporaryFolder::create() {
  llvm::SmallString<128> path;
  if (auto code = llvm::sys::fs::createUniqueDirectory("tbqc-tune", path))
    return makeError(path.str().str(), "", code.message());
  return std::make_unique<TemporaryFolder>(path.str().str());
}

TemporaryFolder::~TemporaryFolder() { llvm::sys::fs::remove_directories(path); }

static Status toStatus(const Outcome &outcome) {
  return outcome ? Status::ok() : Status(::tbq::Error{outcome.message});
}

Result<std::shared_ptr<Contestant>>
Contestant::create(const CompileOptions &options, const CpuTable &table,
                   const std::string &folder, const Contestant *other) {
  CompileOptions candidate = options;
  candidate.tuning = folder + "/table.json";
  candidate.output = folder + "/candidate.so";
  candidate.weights = WeightsPlace::Nowhere;
  if (Status written = writeOutput(candidate.tuning, printCpuTable(table));
      !written)
    return written.error();
  if (compile(candidate) != 0)
    return ::tbq::Error{};
  auto contestant = std::make_shared<Contestant>();
  contestant->workerThreads = options.threads;
  auto file = llvm::MemoryBuffer::getFile(candidate.output, /*IsText=*/false,
                                          /*RequiresNullTerminator=*/false);
  if (!file)
    return makeError(candidate.output, "", file.getError().message());
  contestant->bytes = (*file)->getBuffer().str();
  ModelOptions how{/*verifyWeights=*/false, /*randomWeights=*/true,
                   other ? other->opened : nullptr};
  std::shared_ptr<const Model> &model = contestant->opened;
  if (Status opened = toStatus(Model::open(candidate.output, how, model));
      !opened)
    return opened.error();
  // What is open stays loaded.
  llvm::sys::fs::remove(candidate.output);
  for (int64_t i = 0; i < std::min(kTokens, model->context()); ++i)
    contestant->tokens.push_back((7 + 37 * i + 11 * i * i) % model->vocab());
  return contestant;
}

Result<double> Contestant::measure(Phase phase, double seconds) {
  using Clock = std::chrono::steady_clock;
  const int64_t count = tokens.size();
  const int64_t step = phase == Phase::Decode ? 1 : count;
  std::unique_ptr<Workers> workers;
  if (Status made = toStatus(createWorkers(opened, workerThreads, workers));
      !made)
    return made.error();
  std::unique_ptr<Session> session;
  if (Status made =
          toStatus(Session::create(opened, std::move(workers), 0, session));
      !made)
    return made.error();
  // Brings its memory and its code into caches.
  const int64_t few = phase == Phase::Decode ? 1 : std::min(count, kFewTokens);
  if (Status ran = toStatus(session->eval(tokens.data(), few)); !ran)
    return ran.error();
  int64_t done = 0;
  auto begin = Clock::now();
  while (true) {
    if (done % count == 0)
      if (Status back = toStatus(session->rollback(0)); !back)
        return back.error();
    if (Status ran =
            toStatus(session->eval(tokens.data() + done % count, step));
        !ran)
      return ran.error();
    done += step;
    std::chrono::duration<double> took = Clock::now() - begin;
    if (took.count() >= seconds)
      return double(done) / took.count();
  }
}

/// Operations that a token's linears are multiplied with, two for each product
/// of a plane's digit and an activation's. The head is none of them.
static double countOperations(const Manifest &manifest) {
  double products = 0;
  for (const Manifest::Layer &layer : manifest.layers)
    if (layer.n != manifest.model.vocab)
      products += double(layer.n) * double(layer.k) *
                  (layer.scheme == "dual-binary" ? 2 : 1);
  return 2 * products * (manifest.activations == "i16" ? 2 : 1);
}

static double measurePeak(const std::string &instructions, Workers &workers,
                          double seconds) {
  using Known = std::optional<DotInstructions>;
  Known known = llvm::StringSwitch<Known>(instructions)
                    .Case("avx2", DotInstructions::Avx2)
                    .Case("vnni", DotInstructions::Vnni)
                    .Case("amx", DotInstructions::Amx)
                    .Default(std::nullopt);
  return known ? measureDotPeak(workers, *known, seconds) : 0;
}

/// As the system names it, where it does.
static std::string getProcessorName() {
  if (auto text = llvm::MemoryBuffer::getFileAsStream("/proc/cpuinfo"))
    for (llvm::line_iterator line(**text); !line.is_at_end(); ++line)
      if (auto [key, value] = line->split(':'); key.trim() == "model name")
        return value.trim().str();
  return llvm::sys::getHostCPUName().str();
}

/// Three digits: more would be of the moment.
static double roundFigure(double figure) {
  double unit = std::pow(10.0, std::floor(std::log10(figure)) - 2);
  return std::round(std::round(figure / unit) * unit * 1000) / 1000;
}

Status mlir::tbq::measureRoofline(Contestant &contestant, CpuTable &table,
                                  double seconds) {
  const Model &model = contestant.model();
  Result<double> decoded = contestant.measure(Phase::Decode, seconds);
  if (!decoded)
    return decoded.error();
  Result<double> prefilled = contestant.measure(Phase::Prefill, seconds);
  if (!prefilled)
    return prefilled.error();
  std::unique_ptr<Workers> workers;
  if (Status made =
          toStatus(::tbq::createThreads(contestant.threads(), workers));
      !made)
    return made;
  double peak = measurePeak(table.instructions, *workers, seconds);
  double read = measureReadLimit(*workers, model.weights(),
                                 model.table().weights_bytes, seconds)
                    .bytesPerSecond;
  // Without a limit there is no share of it.
  if (peak <= 0 || model.manifest().activations == "f32")
    return Status::ok();
  table.measuredOn = getProcessorName();
  table.threads = workers->count();
  table.roofline = {
      roundFigure(read / 1e9), roundFigure(peak / 1e9),
      roundFigure(*decoded * double(model.manifest().bytesPerToken) / 1e9),
      roundFigure(*prefilled * countOperations(model.manifest()) / 1e9)};
  return Status::ok();
}
