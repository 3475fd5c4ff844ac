// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Input: argv. Output: CompileOptions. Values of flags with a few names are
// kept as text and compared here, so that an error can name the nearest.

#include "Flags.h"

#include "FlagList.h"
#include "LlvmOptions.h"

#include "tbq/Version.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/Regex.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;
using namespace mlir::tbq;
using ::tbq::makeError;
using ::tbq::Result;
using ::tbq::Status;

namespace {
/// A word that a flag takes and what it stands for.
template <class T> using Words = ArrayRef<std::pair<StringRef, T>>;
} // namespace

/// Sets `out` if the flag was given; refuses a word that is not listed.
template <class T, class Out>
static Status setWord(const Flags::Text &flag, Words<T> words, Out &out) {
  if (!flag.getNumOccurrences())
    return Status::ok();
  SmallVector<StringRef> names;
  for (auto [name, value] : words) {
    names.push_back(name);
    if (name == flag.getValue()) {
      out = value;
      return Status::ok();
    }
  }
  return makeError("--" + flag.ArgStr.str(), "",
                   refusedValue(flag.getValue(), names));
}

static Status checkRange(const Flags::Number &flag, long least, long most) {
  if (flag >= least && flag <= most)
    return Status::ok();
  StringRef dashes = flag.ArgStr.size() == 1 ? "-" : "--";
  return makeError((dashes + flag.ArgStr).str(), "",
                   "must be " + std::to_string(least) + " to " +
                       std::to_string(most) + " (got " + std::to_string(flag) +
                       ")");
}

Status Flags::setTarget(CompileOptions &options) const {
  bool cuda = false;
  if (Status status =
          setWord<bool>(target, {{"cpu", false}, {"cuda", true}}, cuda);
      !status)
    return status;
  for (const cl::Option *flag : Options{&tuning, &threads})
    if (cuda && flag->getNumOccurrences())
      return makeError("--" + flag->ArgStr.str(), "", "is for --target=cpu");
  if (cuda)
    options.target.device = gpuArch;
  for (const cl::Option *flag :
       Options{&gpuArch, &gpuBlocks, &ptxas, &timePhases, &delayBlocks})
    if (!cuda && flag->getNumOccurrences())
      return makeError("--" + flag->ArgStr.str(), "",
                       "has no effect without --target=cuda");
  return Status::ok();
}

Status Flags::setNumbers(CompileOptions &options) const {
  if (Status status = checkRange(level, 0, 3); !status)
    return status;
  options.target.optimization = level;
  if (chunk.getNumOccurrences())
    if (Status status = checkRange(chunk, 1, 4096); !status)
      return status;
  options.prefillTokens = chunk;
  if (threads.getNumOccurrences())
    if (Status status = checkRange(threads, 1, ::tbq::kMostWorkers); !status)
      return status;
  options.threads = threads;
  if (Status status = checkRange(batch, 1, ::tbq::kMostSequences); !status)
    return status;
  options.maxBatch = batch;
  if (Status status = checkRange(gpuBlocks, 1, 1024); !status)
    return status;
  options.deviceBlocks = gpuBlocks;
  if (context.getNumOccurrences())
    if (Status status = checkRange(context, 1, 1 << 24); !status)
      return status;
  options.import.context = context;
  return Status::ok();
}

Status Flags::setStages(CompileOptions &options) const {
  SmallVector<std::pair<StringRef, Stage>> stages;
  const Stage last = lastStage(!options.target.device.empty());
  for (Stage stage : kStages)
    if (stage < Stage::CPU || stage == last)
      stages.push_back({stageName(stage), stage});
  if (Status status = setWord<Stage>(startAfter, stages, options.startAfter);
      !status)
    return status;
  options.stopAfter = last;
  if (Status status = setWord<Stage>(stopAfter, stages, options.stopAfter);
      !status)
    return status;
  bool isText = StringRef(input).ends_with(".mlir");
  for (const Text *flag : {&startAfter, &checkpoint})
    if (flag->getNumOccurrences() && !isText)
      return makeError("--" + flag->ArgStr.str(), "",
                       "is for a MODULE.mlir, not for a model directory");
  for (const cl::Option *flag : Options{&activations, &cache, &context})
    if (flag->getNumOccurrences() && isText)
      return makeError("--" + flag->ArgStr.str(), "",
                       "is for a model directory; a module says it itself");
  const std::pair<const cl::Option *, Stage> used[] = {
      {&quantize, Stage::Graph},    {&policy, Stage::Graph},
      {&embedding, Stage::Graph},   {&saveQuantized, Stage::Graph},
      {&chunk, Stage::Pack},        {&threads, Stage::Pack},
      {&dumpTensors, Stage::Lower}, {&tuning, Stage::CPU},
      {&timePhases, Stage::Lower},  {&delayBlocks, Stage::GPU}};
  for (auto [flag, stage] : used)
    if (flag->getNumOccurrences() && options.startAfter >= stage)
      return makeError("--" + flag->ArgStr.str(), "",
                       "has no effect with --start-after=" + startAfter);
  if (saveQuantized.getNumOccurrences() && options.stopAfter < Stage::Graph)
    return makeError("--save-quantized", "",
                     "has no effect with --stop-after=" + stopAfter);
  if (options.startAfter > options.stopAfter)
    return makeError("--stop-after", "",
                     stopAfter + " comes before --start-after=" + startAfter);
  return Status::ok();
}

Status Flags::setKind(CompileOptions &options) const {
  using Kind = std::pair<StringRef, OutputKind>;
  if (stopAfter.getNumOccurrences())
    options.kind = OutputKind::Mlir;
  if (Status status =
          setWord<OutputKind>(emit,
                              ArrayRef<Kind>{{"mlir", OutputKind::Mlir},
                                             {"llvm", OutputKind::Llvm},
                                             {"asm", OutputKind::Assembly},
                                             {"obj", OutputKind::Object},
                                             {"so", OutputKind::Artifact}},
                              options.kind);
      !status)
    return status;
  if (stopAfter.getNumOccurrences() && options.kind != OutputKind::Mlir)
    return makeError("--emit", "",
                     "'" + emit + "' needs every stage, but --stop-after=" +
                         stopAfter + " was given");
  using Place = std::pair<StringRef, WeightsPlace>;
  if (Status status = setWord<WeightsPlace>(
          weights,
          ArrayRef<Place>{{"embed", WeightsPlace::Embedded},
                          {"sidecar", WeightsPlace::Sidecar}},
          options.weights);
      !status)
    return status;
  if (shapeOnly && weights.getNumOccurrences())
    return makeError("--shape-only", "", "leaves --weights nothing to place");
  if (shapeOnly)
    options.weights = WeightsPlace::Nowhere;
  for (const cl::Option *flag : Options{&weights, &record, &shapeOnly, &ptxas})
    if (flag->getNumOccurrences() && options.kind != OutputKind::Artifact)
      return makeError("--" + flag->ArgStr.str(), "", "is for an artifact");
  options.output = output;
  if (output.empty())
    options.output = options.kind == OutputKind::Artifact ? "model.so" : "-";
  else if (options.kind == OutputKind::Artifact && output == "-")
    return makeError("-o", "", "an artifact is a file, not '-'");
  return Status::ok();
}

Status Flags::toOptions(CompileOptions &options) const {
  using Mode = std::pair<StringRef, Activations>;
  using Element = std::pair<StringRef, CacheElement>;
  if (input.empty() && !tune.getNumOccurrences())
    return makeError("", "", "no MODEL_DIR given (see --help)");
  options.input = input;
  options.checkpoint = checkpoint;
  options.target.triple = mtriple;
  options.target.cpu = mcpu;
  options.target.attributes = mattr;
  options.quantize = quantize;
  options.policy = policy;
  options.tuning = tuning;
  options.embedding = embedding;
  options.saveQuantized = saveQuantized;
  options.record = record;
  options.temporaries = temporaries;
  options.verbose = verbose;
  options.observe = dumpTensors;
  options.timePhases = timePhases;
  options.delayBlocks = delayBlocks;
  options.assembler = ptxas;
  if (remarks.getNumOccurrences())
    options.remarks = remarks.empty() ? ".*" : remarks.getValue();
  if (std::string problem; !remarks.empty() && !Regex(remarks).isValid(problem))
    return makeError("--remarks", "", "'" + remarks + "': " + problem);
  if (Status status =
          setWord<Activations>(activations,
                               ArrayRef<Mode>{{"f32", Activations::F32},
                                              {"i16", Activations::I16},
                                              {"i8", Activations::I8}},
                               options.import.activations);
      !status)
    return status;
  if (Status status =
          setWord<CacheElement>(cache,
                                ArrayRef<Element>{{"f32", CacheElement::F32},
                                                  {"f16", CacheElement::F16}},
                                options.import.cache);
      !status)
    return status;
  if (Status status = setNumbers(options); !status)
    return status;
  if (Status status = setTarget(options); !status)
    return status;
  if (Status status = setStages(options); !status)
    return status;
  return setKind(options);
}

/// What --tune has no use for.
Status Flags::checkTune() const {
  if (Status status = checkRange(tuneSeconds, 1, 3600); !status)
    return status;
  if (!tune.getNumOccurrences()) {
    if (tuneSeconds.getNumOccurrences())
      return makeError("--tune-seconds", "", "has no effect without --tune");
    return Status::ok();
  }
  const cl::Option *useless[] = {
      &output,    &saveQuantized, &weights,    &shapeOnly,   &record,
      &stopAfter, &emit,          &checkpoint, &temporaries, &dumpTensors,
      &remarks,   &startAfter,    &mtriple};
  for (const cl::Option *flag : useless)
    if (flag->getNumOccurrences())
      return makeError((flag->ArgStr.size() == 1 ? "-" : "--") +
                           flag->ArgStr.str(),
                       "", "has no effect with --tune");
  if (target == "cuda")
    return makeError("--tune", "", "is for --target=cpu");
  if (StringRef(input).ends_with(".mlir"))
    return makeError("--tune", "", "takes a model directory, not a module");
  return Status::ok();
}

static void printVersion(raw_ostream &out) {
  out << "tbqc " << TBQ_VERSION << " (LLVM " << LLVM_VERSION_STRING << ", git "
      << TBQ_GIT_REVISION << ")\n";
}

ParsedFlags parseFlags(int argc, char **argv) {
  removeOptions(/*all=*/false);
  Flags &flags = *new Flags; // the parser keeps pointers: never destroyed
  cl::HideUnrelatedOptions(flags.all);
  cl::SetVersionPrinter(printVersion);
  std::string messages;
  raw_string_ostream stream(messages);
  ParsedFlags parsed;
  char name[] = "tbqc";
  SmallVector<char *> arguments(argv, argv + argc);
  arguments[0] = name;
  if (!cl::ParseCommandLineOptions(
          argc, arguments.data(),
          "tbqc: compiles a transformer to one shared object\n\n"
          "  tbqc MODEL_DIR -o model.so\n",
          &stream)) {
    if (!messages.empty())
      errs() << "tbqc: error: " << firstProblem(messages) << "\n";
    parsed.exitCode = 1;
  } else if (flags.printTargets) {
    outs() << describeTargets();
    parsed.exitCode = 0;
  } else {
    Status status = flags.checkTune();
    if (status)
      status = flags.toOptions(parsed.options);
    if (!status) {
      errs() << "tbqc: error: " << status.error().message << "\n";
      parsed.exitCode = 1;
    }
    parsed.tune = flags.tune;
    parsed.tuneSeconds = flags.tuneSeconds;
  }
  removeOptions(/*all=*/true);
  return parsed;
}
