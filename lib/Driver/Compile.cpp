// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Import, the stages, emit: in this order, each with its errors. Input and
// output: CompileOptions. Whatever needs only the options or the checkpoint is
// checked before the first stage runs.

#include "tbq/Compile.h"

#include "Diagnostics.h"
#include "Remarks.h"

#include "tbq/ChatTemplate.h"
#include "tbq/Pipelines.h"
#include "tbq/SaveQuantized.h"
#include "tbq/TokenizerCompiler.h"
#include "tbq/WeightWriter.h"
#include "tbq/Weights.h"

#include "format/Sidecar.h"

#include "mlir/Pass/PassManager.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::Checkpoint;
using ::tbq::makeError;
using ::tbq::Manifest;
using ::tbq::Result;
using ::tbq::Status;

/// Weights that take seconds to write.
static constexpr int64_t kLongWeights = int64_t(256) << 20;
/// For buffers of files and whatever the allocator holds back.
static constexpr uint64_t kMemoryReserve = uint64_t(32) << 20;

StringRef mlir::tbq::stageName(Stage stage) {
  const StringRef names[] = {"import", "graph", "pack", "lower", "cpu"};
  return names[static_cast<int>(stage)];
}

namespace {
class Compilation {
public:
  explicit Compilation(const CompileOptions &options)
      : options(options), progress(options.verbose) {}

  Status run();
  /// Whose fault a failure of run() is: 1 the user's, 2 ours.
  int exitCode() const { return insideCompiler ? 2 : 1; }
  void endProgress() { progress.end(); }

private:
  bool isText() const { return StringRef(options.input).ends_with(".mlir"); }
  bool isArtifact() const { return options.kind == OutputKind::Artifact; }

  Status readSpecs();
  Status openInputs();
  Status readTokenizer();
  Status makeModule();
  Status runStage(Stage stage);
  Status runStages();
  Status saveQuantized();
  Status emit();
  void recordGraph();
  std::string describeWriting(WeightsOp weights);
  Status emitArtifact(WeightsOp weights, std::string object);
  /// A failure that no input should cause.
  Status ours(::tbq::Error error) {
    insideCompiler = true;
    return error;
  }
  Status keepTemporary(StringRef name, StringRef content);
  std::string printModule();

  const CompileOptions &options;
  Progress progress;
  bool insideCompiler = false;
  CodeTarget target;
  MLIRContext context;
  std::optional<Checkpoint> checkpoint;
  std::vector<PolicyRule> policy;
  bool quantizes = false; // by any of the options
  std::vector<uint8_t> tokenizer;
  nlohmann::json chat, record;
  OwningOpRef<ModuleOp> module;
};
} // namespace

//===----------------------------------------------------------------------===//
// Inputs
//===----------------------------------------------------------------------===//

/// What float linears and the embedding become.
Status Compilation::readSpecs() {
  using Parse = FailureOr<QuantizeSpec> (*)(StringRef, std::string &);
  const std::tuple<const char *, StringRef, Parse> flags[] = {
      {"--quantize", options.quantize, parseQuantizeSpec},
      {"--embedding", options.embedding, parseEmbeddingSpec}};
  for (auto [flag, text, parse] : flags) {
    if (text.empty())
      continue;
    std::string error;
    FailureOr<QuantizeSpec> spec = parse(text, error);
    if (failed(spec))
      return makeError(flag, "", error);
    quantizes |= spec->scheme.has_value();
  }
  if (options.policy.empty())
    return Status::ok();
  Result<std::vector<PolicyRule>> rules = readPolicy(options.policy);
  if (!rules)
    return rules.error();
  policy = std::move(*rules);
  for (const PolicyRule &rule : policy)
    quantizes |= rule.spec.scheme.has_value();
  return Status::ok();
}

Status Compilation::openInputs() {
  Result<CodeTarget> resolved = CodeTarget::resolve(options.target);
  if (!resolved)
    return resolved.error();
  target = std::move(*resolved);
  if (Status status = readSpecs(); !status)
    return status;
  if (!options.saveQuantized.empty() &&
      (isText() || (options.quantize.empty() && options.policy.empty() &&
                    options.embedding.empty())))
    return makeError("--save-quantized", "",
                     "needs a model directory and --quantize, --policy or "
                     "--embedding: what they make of it is saved");
  if (!options.record.empty()) {
    Result<nlohmann::json> read = readRecord(options.record);
    if (!read)
      return read.error();
    record = std::move(*read);
  }
  if (isArtifact())
    if (Status status = checkOutput(options.output); !status)
      return status;
  if (options.sidecar)
    if (Status status = checkOutput(::tbq::sidecarPath(options.output));
        !status)
      return status;
  if (!options.temporaries.empty())
    if (auto code = llvm::sys::fs::create_directories(options.temporaries))
      return makeError(options.temporaries, "", code.message());

  const std::string &directory = isText() ? options.checkpoint : options.input;
  if (directory.empty()) {
    if (isArtifact())
      return makeError(options.input, "",
                       "an artifact needs the model's weights and tokenizer: "
                       "--checkpoint=DIR");
    return Status::ok();
  }
  progress.begin("open");
  Result<Checkpoint> opened = Checkpoint::open(directory);
  if (!opened)
    return opened.error();
  checkpoint = std::move(*opened);
  if (checkpoint->quantization() &&
      !(options.quantize.empty() && options.policy.empty() &&
        options.embedding.empty()))
    return makeError(directory + "/config.json", "quantization_config",
                     "the model is quantised already; --quantize, --policy and "
                     "--embedding are for float checkpoints");
  return isArtifact() ? readTokenizer() : Status::ok();
}

Status Compilation::readTokenizer() {
  std::string texts[3];
  const char *names[] = {"tokenizer.json", "tokenizer_config.json",
                         "chat_template.jinja"};
  for (int i = 0; i < 3; ++i) {
    Result<std::optional<std::string>> text = checkpoint->readText(names[i]);
    if (!text)
      return text.error();
    if (!*text && i == 0)
      return makeError(checkpoint->directory() + "/" + names[i], "",
                       "no such file");
    texts[i] = text->value_or("");
  }
  Result<std::vector<uint8_t>> tables =
      ::tbq::compileTokenizer(texts[0], texts[1], checkpoint->directory());
  if (!tables)
    return tables.error();
  tokenizer = std::move(*tables);
  Result<::tbq::ChatRecognition> recognised =
      ::tbq::recogniseChat(texts[2], texts[1], checkpoint->directory());
  if (!recognised)
    return recognised.error();
  if (recognised->format)
    chat = ::tbq::chatFormatToJson(*recognised->format);
  else
    progress.note("no chat: " + recognised->reason);
  return Status::ok();
}

Status Compilation::makeModule() {
  DialectRegistry registry;
  registerDialects(registry);
  context.appendDialectRegistry(registry);
  context.loadAllAvailableDialects();
  if (!options.remarks.empty())
    enableRemarks(context, options.remarks,
                  [this](StringRef line) { progress.say(line); });
  progress.begin("import");
  ImportOptions import = options.import;
  import.quantizes = quantizes;
  Result<OwningOpRef<ModuleOp>> made =
      isText() ? readModule(context, options.input)
               : importModel(&context, *checkpoint, import);
  if (!made)
    return made.error();
  module = std::move(*made);
  return Status::ok();
}

//===----------------------------------------------------------------------===//
// Stages
//===----------------------------------------------------------------------===//

/// What quantised linears multiply with: the option, else what the module says.
static std::string getActivations(const CompileOptions &options,
                                  ModuleOp module) {
  if (options.import.activations)
    return stringifyActivations(*options.import.activations).str();
  auto model = module->getAttrOfType<DictionaryAttr>("tbq.model");
  if (auto stated =
          model ? model.getAs<StringAttr>("activations") : StringAttr())
    return stated.str();
  return stringifyActivations(Activations::I16).str();
}

/// What the graph stage is asked for, if anything, as the manifest will say it.
void Compilation::recordGraph() {
  if (options.quantize.empty() && policy.empty() && options.embedding.empty())
    return;
  Builder b(&context);
  SmallVector<StringRef> rules;
  for (const PolicyRule &rule : policy)
    rules.push_back(rule.text);
  (*module)->setAttr(
      "tbq.graph",
      b.getDictionaryAttr(
          {b.getNamedAttr("quantize", b.getStringAttr(options.quantize)),
           b.getNamedAttr("policy", b.getStrArrayAttr(rules)),
           b.getNamedAttr("embedding", b.getStringAttr(options.embedding))}));
}

Status Compilation::runStage(Stage stage) {
  PassManager manager(&context);
  switch (stage) {
  case Stage::Import:
    break;
  case Stage::Graph: {
    GraphOptions graph;
    if (Status checked = checkPolicy(*module, policy); !checked)
      return makeError(options.policy, "", checked.error().message);
    graph.quantize = options.quantize;
    for (const PolicyRule &rule : policy)
      graph.policy.push_back(rule.text);
    if (!options.embedding.empty())
      graph.embedding = options.embedding;
    graph.activations = getActivations(options, *module);
    recordGraph();
    buildGraphPipeline(manager, graph);
    break;
  }
  case Stage::Pack: {
    if (checkpoint)
      if (Status status = resolveSalient(*module, *checkpoint); !status)
        return status;
    PackOptions pack;
    pack.prefillTokens = options.prefillTokens;
    buildPackPipeline(manager, pack);
    break;
  }
  case Stage::Lower: {
    LowerOptions lower;
    lower.observe = options.observe;
    buildLowerPipeline(manager, lower);
    break;
  }
  case Stage::CPU: {
    CPUOptions cpu;
    setTargetFeatures(cpu, target.triple, target.enabled);
    buildCPUPipeline(manager, cpu);
    break;
  }
  }
  FirstError errors(context);
  if (failed(manager.run(*module)))
    return ours(errors.take(stageName(stage)));
  return keepTemporary((stageName(stage) + ".mlir").str(), printModule());
}

Status Compilation::runStages() {
  for (Stage stage : kStages) {
    if (stage > options.stopAfter)
      break;
    if (stage <= options.startAfter && stage != Stage::Import)
      continue;
    if (stage != Stage::Import)
      progress.begin(stageName(stage));
    if (Status status = runStage(stage); !status)
      return status;
    if (stage == Stage::Graph && !options.saveQuantized.empty())
      if (Status status = saveQuantized(); !status)
        return status;
  }
  return Status::ok();
}

Status Compilation::saveQuantized() {
  progress.begin("save quantised");
  SaveOptions save{
      options.saveQuantized, policy, {}, getActivations(options, *module)};
  std::string error;
  if (!options.quantize.empty())
    save.policy.push_back(*parsePolicyRule(".*=" + options.quantize, error));
  if (!options.embedding.empty())
    save.embedding = *parseEmbeddingSpec(options.embedding, error);
  return mlir::tbq::saveQuantized(*module, *checkpoint, save);
}

std::string Compilation::printModule() {
  std::string text;
  llvm::raw_string_ostream out(text);
  module->print(out);
  out << "\n";
  return text;
}

Status Compilation::keepTemporary(StringRef name, StringRef content) {
  if (options.temporaries.empty())
    return Status::ok();
  llvm::SmallString<128> path(options.temporaries);
  llvm::sys::path::append(path, name);
  return writeOutput(path.str().str(), content);
}

//===----------------------------------------------------------------------===//
// Emit
//===----------------------------------------------------------------------===//

static Manifest::Generation
describeGeneration(const ::tbq::GenerationConfig &config) {
  Manifest::Generation generation;
  generation.bos = config.bos;
  generation.pad = config.pad;
  generation.eos.assign(config.eos.begin(), config.eos.end());
  generation.temperature = config.temperature;
  generation.topP = config.topP;
  generation.minP = config.minP;
  generation.repetitionPenalty = config.repetitionPenalty;
  generation.topK = config.topK;
  generation.doSample = config.doSample;
  return generation;
}

Status Compilation::emit() {
  if (options.kind == OutputKind::Mlir) {
    return writeOutput(options.output, printModule());
  }
  // The recipe is no code: it leaves the module before translation.
  OwningOpRef<WeightsOp> weights;
  for (auto recipe : llvm::make_early_inc_range(module->getOps<WeightsOp>())) {
    recipe->remove();
    weights = recipe;
  }
  progress.begin("translate");
  FirstError errors(context);
  Result<StepCode> code = StepCode::translate(*module, target);
  if (!code)
    return ours(errors.any() ? errors.take("emit") : code.error());
  if (Status status = keepTemporary("step.ll", code->text()); !status)
    return status;
  progress.begin("optimise");
  code->optimise();
  if (Status status = keepTemporary("step.opt.ll", code->text()); !status)
    return status;
  progress.begin("generate code");
  bool wantsAssembly = options.kind == OutputKind::Assembly;
  std::string assembly, object;
  if (wantsAssembly || !options.temporaries.empty()) {
    Result<std::string> text = code->assembly();
    if (!text)
      return ours(text.error());
    assembly = std::move(*text);
    if (Status status = keepTemporary("step.s", assembly); !status)
      return status;
  }
  if (options.kind == OutputKind::Object || isArtifact()) {
    Result<std::string> bytes = code->object();
    if (!bytes)
      return ours(bytes.error());
    object = std::move(*bytes);
    if (Status status = keepTemporary("step.o", object); !status)
      return status;
  }
  switch (options.kind) {
  case OutputKind::Llvm:
    return writeOutput(options.output, code->text());
  case OutputKind::Assembly:
    return writeOutput(options.output, assembly);
  case OutputKind::Object:
    return writeOutput(options.output, object);
  default:
    break;
  }
  if (!weights)
    return ours(makeError("", "emit", "the module has no tbq.weights"));
  return emitArtifact(*weights, std::move(object));
}

/// What writing the weights will take. Everything before it has shown what it
/// needs; on top of what is held now comes what the writer says.
std::string Compilation::describeWriting(WeightsOp weights) {
  const MemoryUse memory = measureMemory();
  const uint64_t peak = std::max(
      memory.peak,
      memory.now + getWritingMemory(weights, *checkpoint) + kMemoryReserve);
  return llvm::formatv(
      "writing {0:F1} MB of weights to {1}; peak memory at most {2} MiB",
      weights.getBytes() / 1e6,
      options.sidecar ? ::tbq::sidecarPath(options.output) : options.output,
      llvm::divideCeil(peak, 1 << 20));
}

Status Compilation::emitArtifact(WeightsOp weights, std::string object) {
  Result<Manifest> manifest = describeModel(*module, weights, target);
  if (!manifest)
    return ours(manifest.error());
  manifest->generation = describeGeneration(checkpoint->generation());
  manifest->chat = chat;
  manifest->record = record;

  progress.begin("link");
  uint64_t done = 0, all = std::max<int64_t>(weights.getBytes(), 1);
  auto writer = [&](WeightSink sink) {
    const bool isLong = weights.getBytes() > kLongWeights;
    progress.announce(describeWriting(weights), isLong);
    progress.begin("write weights", isLong);
    return writeWeights(weights, *checkpoint, [&](ArrayRef<uint8_t> bytes) {
      done += bytes.size();
      progress.update(double(done) / all);
      return sink(bytes);
    });
  };
  std::string text;
  Status status = writeArtifact(options.output,
                                {std::move(object), std::move(tokenizer),
                                 std::move(*manifest), options.sidecar, writer},
                                target, &text);
  return status ? keepTemporary("manifest.json", text) : status;
}

Status Compilation::run() {
  if (Status status = openInputs(); !status)
    return status;
  if (Status status = makeModule(); !status)
    return status;
  if (Status status = runStages(); !status)
    return status;
  return emit();
}

int mlir::tbq::compile(const CompileOptions &options) {
  Compilation compilation(options);
  Status status = compilation.run();
  if (status)
    return 0;
  compilation.endProgress();
  llvm::errs() << "tbqc: error: " << status.error().message << "\n";
  return compilation.exitCode();
}
