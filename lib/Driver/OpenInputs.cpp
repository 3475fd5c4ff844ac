// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Whatever needs only the options or the checkpoint: specs, paths, tokenizer,
// and the module that the stages begin with.
// Invariant: all of it is checked before the first stage runs.

#include "Compilation.h"
#include "Remarks.h"

#include "tbq/ChatTemplate.h"
#include "tbq/Pipelines.h"
#include "tbq/TokenizerCompiler.h"

#include "format/Sidecar.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::Checkpoint;
using ::tbq::makeError;
using ::tbq::Result;
using ::tbq::Status;

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

/// The table for the target's CPU: the one given, or shipped.
Status Compilation::chooseTable() {
  SmallVector<StringRef> products =
      getDotProducts(target.triple, target.enabled);
  table = shippedCpuTable(products.front(), target.cpu);
  if (options.tuning.empty())
    return Status::ok();
  Result<CpuTable> given = readCpuTable(options.tuning);
  if (!given)
    return given.error();
  table = std::move(*given);
  if (!llvm::is_contained(products, table.instructions))
    return makeError(options.tuning, "instructions",
                     "the target has no '" + table.instructions + "' (it has " +
                         llvm::join(products, ", ") + ")");
  return Status::ok();
}

Status Compilation::openInputs() {
  Result<CodeTarget> resolved = CodeTarget::resolve(options.target);
  if (!resolved)
    return resolved.error();
  target = std::move(*resolved);
  if (!options.target.device.empty()) {
    Result<CodeTarget> kernels = CodeTarget::resolveDevice(options.target);
    if (!kernels)
      return kernels.error();
    device = std::move(*kernels);
  }
  if (Status status = chooseTable(); !status)
    return status;
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
  if (options.weights == WeightsPlace::Sidecar)
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
