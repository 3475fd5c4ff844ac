// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What is left after the last stage, as the options ask for it: text, assembly,
// an object, or the artifact with its weights.

#include "Compilation.h"

#include "tbq/WeightWriter.h"

#include "format/Sidecar.h"

#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::makeError;
using ::tbq::Manifest;
using ::tbq::Result;
using ::tbq::Status;

/// Weights that take seconds to write.
static constexpr int64_t kLongWeights = int64_t(256) << 20;
/// For buffers of files and whatever the allocator holds back.
static constexpr uint64_t kMemoryReserve = uint64_t(32) << 20;

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

/// The host's side of a step whose kernels are data of the artifact.
Result<std::string> Compilation::wrapKernels() {
  Result<StepCode> entry = StepCode::wrapKernels(*module, target);
  if (!entry)
    return entry.error();
  return entry->object();
}

/// Machine code behind the PTX, for each GPU asked for, where several are, or
/// the program that makes it.
Status Compilation::addCubins(Manifest &manifest, std::string &kernels) {
  if (device->architectures.size() == 1 && options.assembler.empty())
    return Status::ok();
  const std::string assembler = findAssembler(options.assembler);
  if (assembler.empty()) {
    progress.say("remark: --gpu-arch: no ptxas on the PATH, and --ptxas names "
                 "none: the artifact has PTX alone, for " +
                 device->cpu + " and later, which the driver compiles");
    return Status::ok();
  }
  const std::string ptx = kernels;
  for (const std::string &architecture : device->architectures) {
    progress.begin("assemble for " + architecture);
    Result<std::string> cubin = assembleKernels(ptx, architecture, assembler);
    if (!cubin)
      return cubin.error();
    kernels.resize(llvm::alignTo(kernels.size() + 1, kAlignment));
    manifest.target.cubins.push_back(
        {architecture, kernels.size(), cubin->size()});
    kernels += *cubin;
  }
  return Status::ok();
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
  Result<StepCode> code =
      StepCode::translate(*module, device ? *device : target);
  if (!code)
    return ours(errors.any() ? errors.take("emit") : code.error());
  if (Status status = keepTemporary("step.ll", code->text()); !status)
    return status;
  progress.begin("optimise");
  code->optimise();
  if (Status status = keepTemporary("step.opt.ll", code->text()); !status)
    return status;
  progress.begin("generate code");
  bool wantsAssembly = options.kind == OutputKind::Assembly || device;
  std::string assembly, object;
  if (wantsAssembly || !options.temporaries.empty()) {
    Result<std::string> text = code->assembly();
    if (!text)
      return ours(text.error());
    assembly = std::move(*text);
    if (Status status = keepTemporary(device ? "step.ptx" : "step.s", assembly);
        !status)
      return status;
  }
  if (options.kind == OutputKind::Object || isArtifact()) {
    Result<std::string> bytes = device ? wrapKernels() : code->object();
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
  return emitArtifact(*weights, std::move(object),
                      device ? std::move(assembly) : std::string());
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
      options.weights == WeightsPlace::Sidecar
          ? ::tbq::sidecarPath(options.output)
          : options.output,
      llvm::divideCeil(peak, 1 << 20));
}

Status Compilation::emitArtifact(WeightsOp weights, std::string object,
                                 std::string kernels) {
  Result<Manifest> manifest =
      describeModel(*module, weights, target, device ? &*device : nullptr);
  if (!manifest)
    return ours(manifest.error());
  manifest->generation = describeGeneration(checkpoint->generation());
  manifest->chat = chat;
  manifest->record = record;

  if (device)
    if (Status status = addCubins(*manifest, kernels); !status)
      return status;

  if (options.weights == WeightsPlace::Nowhere)
    for (auto place : weights.getBody().getOps<PlaceOp>())
      if (auto pack = place.getWeight().getDefiningOp<PackOp>();
          pack && pack.getType().getLayout().getSalient())
        return makeError("--shape-only", place.getName().str(),
                         "where salient weights are is in the weights "
                         "themselves: take a scheme without them");

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
                                {std::move(object), std::move(kernels),
                                 std::move(tokenizer), std::move(*manifest),
                                 options.weights, writer},
                                target, &text);
  return status ? keepTemporary("manifest.json", text) : status;
}
