// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Input: argv. Output: CompileOptions. Values of flags with a few names are
// kept as text and compared here, so that an error can name the nearest.

#include "Flags.h"

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
struct Flags {
  using Text = cl::opt<std::string>;
  using Number = cl::opt<long>;
  using Switch = cl::opt<bool>;
  using Options = std::initializer_list<const cl::Option *>;

  cl::OptionCategory all{"tbqc flags"};
  Text input{cl::Positional, cl::desc("MODEL_DIR or MODULE.mlir"),
             cl::cat(all)};
  Text output{"o", cl::desc("what is written (default model.so; - for text)"),
              cl::value_desc("file"), cl::cat(all)};
  Text target{"target", cl::desc("where the step runs: cpu (default) or cuda"),
              cl::init("cpu"), cl::cat(all)};
  Text gpuArch{"gpu-arch",
               cl::desc("with --target=cuda, the oldest GPU that the artifact "
                        "is for (default sm_80); of several, with commas, each "
                        "gets its machine code, if there is a ptxas"),
               cl::value_desc("arch"), cl::init("sm_80"), cl::cat(all)};
  Text ptxas{"ptxas",
             cl::desc("with --target=cuda, NVIDIA's assembler (default: the "
                      "one on the PATH, if --gpu-arch names several)"),
             cl::value_desc("program"), cl::cat(all)};
  Text mcpu{"mcpu",
            cl::desc("processor, by LLVM's name (default native, or generic "
                     "where --mtriple is another architecture)"),
            cl::value_desc("cpu"), cl::cat(all)};
  Text mtriple{"mtriple", cl::desc("target triple (default: this machine's)"),
               cl::value_desc("triple"), cl::cat(all)};
  Text mattr{"mattr",
             cl::desc("features to add and drop: +a,-b (default none)"),
             cl::value_desc("features"), cl::cat(all)};
  Number level{"O", cl::desc("optimisation, 0 to 3 (default 3)"), cl::Prefix,
               cl::init(3), cl::cat(all)};
  Text activations{
      "activations",
      cl::desc("what quantised weights are multiplied with: f32, i16 or i8 "
               "(default: what the checkpoint says, else i16)"),
      cl::cat(all)};
  Text quantize{
      "quantize",
      cl::desc("quantise a float checkpoint: SCHEME:gN, coefficients for N "
               "columns, or SCHEME:row; SCHEME is ternary, binary or "
               "dual-binary; after binary:gN or binary:row, ',salient=R' keeps "
               "the fraction R of largest weights in 8 bits (default none)"),
      cl::value_desc("spec"), cl::cat(all)};
  Text policy{
      "policy",
      cl::desc("a file of lines PATTERN SPEC: linears whose name the regular "
               "expression matches get that spec, or 'float'; first match "
               "wins, before --quantize (default none)"),
      cl::value_desc("file"), cl::cat(all)};
  Text embedding{
      "embedding",
      cl::desc("quantise the embedding and the head of a float checkpoint: "
               "int8:gN, int8:row, int4:gN, int4:row or float (default float)"),
      cl::value_desc("spec"), cl::cat(all)};
  Text saveQuantized{
      "save-quantized",
      cl::desc("write what --quantize, --policy and --embedding make of the "
               "model as a quantised checkpoint into this directory (default "
               "none)"),
      cl::value_desc("dir"), cl::cat(all)};
  Number context{"context",
                 cl::desc("positions the cache has room for (default: the "
                          "model's maximum, at most 4096)"),
                 cl::cat(all)};
  Number chunk{"prefill-chunk",
               cl::desc("tokens of a prefill step (default 64)"), cl::init(64),
               cl::cat(all)};
  Number batch{"max-batch",
               cl::desc("sequences a step carries (default and, so far, 1)"),
               cl::init(1), cl::cat(all)};
  Text cache{
      "kv-cache",
      cl::desc("f32 or f16 (default f32 with f32 activations, else f16)"),
      cl::cat(all)};
  Text weights{"weights",
               cl::desc("embed (default), or sidecar: in a file FILE.weights "
                        "beside the artifact"),
               cl::init("embed"), cl::cat(all)};
  Switch shapeOnly{"shape-only",
                   cl::desc("an artifact without weights, for tbq-bench "
                            "--random-weights (default: no)"),
                   cl::cat(all)};
  Text record{"record",
              cl::desc("a JSON file, how the model was made, that goes into "
                       "the manifest as it is (default none)"),
              cl::value_desc("file"), cl::cat(all)};
  Text checkpoint{"checkpoint",
                  cl::desc("where the weights of a MODULE.mlir are"),
                  cl::value_desc("dir"), cl::cat(all)};
  Text startAfter{"start-after",
                  cl::desc("the stage that a MODULE.mlir comes from: import "
                           "(default), graph, pack, lower, cpu or gpu"),
                  cl::value_desc("stage"), cl::cat(all)};
  Text stopAfter{"stop-after",
                 cl::desc("print the module after a stage: import, graph, "
                          "pack, lower, cpu or gpu (default: go on to the "
                          "artifact)"),
                 cl::value_desc("stage"), cl::cat(all)};
  Text emit{"emit", cl::desc("mlir, llvm, asm, obj or so (default so)"),
            cl::value_desc("kind"), cl::cat(all)};
  Text temporaries{"save-temps",
                   cl::desc("keep what each stage leaves (default: no)"),
                   cl::value_desc("dir"), cl::cat(all)};
  Switch dumpTensors{
      "dump-tensors",
      cl::desc("an artifact that shows the values of each operation to a "
               "program that asks, for tbq-verify; it is slower (default: no)"),
      cl::cat(all)};
  Switch timePhases{
      "time-phases",
      cl::desc("with --target=cuda, an artifact that notes when blocks come to "
               "each barrier and go on, for tbq-bench (default: no)"),
      cl::cat(all)};
  Text remarks{"remarks", cl::ValueOptional,
               cl::desc("say what became of each layer and why: graph, pack, "
                        "or a regular expression (default none; alone: all)"),
               cl::value_desc("categories"), cl::cat(all)};
  Switch verbose{"v", cl::desc("show times and peak memory (default: no)"),
                 cl::cat(all)};
  Switch printTargets{"print-targets",
                      cl::desc("list targets and this machine"), cl::cat(all)};

  Status toOptions(CompileOptions &options) const;

private:
  Status checkFixed() const;
  Status setNumbers(CompileOptions &options) const;
  Status setStages(CompileOptions &options) const;
  Status setTarget(CompileOptions &options) const;
  Status setKind(CompileOptions &options) const;
};

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
  if (cuda)
    options.target.device = gpuArch;
  for (const cl::Option *flag : Options{&gpuArch, &ptxas, &timePhases})
    if (!cuda && flag->getNumOccurrences())
      return makeError("--" + flag->ArgStr.str(), "",
                       "has no effect without --target=cuda");
  return Status::ok();
}

Status Flags::checkFixed() const {
  if (batch != 1)
    return makeError("--max-batch", "",
                     std::to_string(batch) +
                         " is not supported yet (1 sequence a step)");
  return Status::ok();
}

Status Flags::setNumbers(CompileOptions &options) const {
  if (Status status = checkRange(level, 0, 3); !status)
    return status;
  options.target.optimization = level;
  if (Status status = checkRange(chunk, 1, 4096); !status)
    return status;
  options.prefillTokens = chunk;
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
      {&quantize, Stage::Graph},  {&policy, Stage::Graph},
      {&embedding, Stage::Graph}, {&saveQuantized, Stage::Graph},
      {&chunk, Stage::Pack},      {&dumpTensors, Stage::Lower},
      {&timePhases, Stage::Lower}};
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
  if (input.empty())
    return makeError("", "", "no MODEL_DIR given (see --help)");
  options.input = input;
  options.checkpoint = checkpoint;
  options.target.triple = mtriple;
  options.target.cpu = mcpu;
  options.target.attributes = mattr;
  options.quantize = quantize;
  options.policy = policy;
  options.embedding = embedding;
  options.saveQuantized = saveQuantized;
  options.record = record;
  options.temporaries = temporaries;
  options.verbose = verbose;
  options.observe = dumpTensors;
  options.timePhases = timePhases;
  options.assembler = ptxas;
  if (remarks.getNumOccurrences())
    options.remarks = remarks.empty() ? ".*" : remarks.getValue();
  if (std::string problem; !remarks.empty() && !Regex(remarks).isValid(problem))
    return makeError("--remarks", "", "'" + remarks + "': " + problem);
  if (Status status = checkFixed(); !status)
    return status;
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
  } else if (Status status = flags.toOptions(parsed.options); !status) {
    errs() << "tbqc: error: " << status.error().message << "\n";
    parsed.exitCode = 1;
  }
  removeOptions(/*all=*/true);
  return parsed;
}
