// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The stages, each with its options and its errors, and what the graph stage
// made of the weights as a checkpoint.

#include "Compilation.h"

#include "tbq/Pipelines.h"
#include "tbq/SaveQuantized.h"
#include "tbq/Weights.h"

#include "mlir/Pass/PassManager.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::makeError;
using ::tbq::Status;

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

/// Tokens of a prefill step on a GPU: of so many, few blocks have less to do
/// than others, whatever the number of tiles.
static constexpr int64_t kDeviceTokens = 2048;

/// Whether the oldest GPU of a target gives a block 227 KiB: since sm_90.
static bool hasMuchShared(const CodeTarget &device) {
  return device.getGeneration() >= 90;
}

/// Later ones make many other instructions of them.
static bool hasBitProducts(const CodeTarget &device) {
  return device.getGeneration() < 100;
}

/// What a block's buffers may take, of an entry point and of a layer.
static int64_t getWorkerBytes(const CodeTarget &device) {
  return (hasMuchShared(device) ? 192 << 10 : kSharedBytes) / 2;
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
    pack.prefillTokens = device ? kDeviceTokens : table.tuning.chunkTokens;
    if (options.prefillTokens)
      pack.prefillTokens = options.prefillTokens;
    pack.maxBatch = options.maxBatch;
    pack.tileRows = device ? kWarpRows : kLanes;
    pack.panelBytes = device ? 0 : table.tuning.panelBytes;
    pack.tripleColumns = device ? 0 : table.tuning.tripleColumns;
    pack.tripleWeights = table.tuning.tripleWeights;
    pack.threads = options.threads;
    pack.tileCache = bool(device);
    buildPackPipeline(manager, pack);
    break;
  }
  case Stage::Lower: {
    LowerOptions lower;
    lower.observe = options.observe;
    lower.timePhases = options.timePhases;
    if (device) {
      lower.workerBytes = getWorkerBytes(*device);
      lower.ownKey = true;
      lower.summarizeLogits = true;
    } else {
      lower.divideKeys = true;
    }
    buildLowerPipeline(manager, lower);
    break;
  }
  case Stage::CPU: {
    CPUOptions cpu;
    setTargetFeatures(cpu, target.triple, target.enabled);
    cpu.dot = table.instructions;
    cpu.tuning = table.tuning;
    // With -O0 LLVM 22.1.8 sets tiles up by registers that hold other values by
    // then, and finds none for many tiles.
    if (target.optimization == 0 && cpu.dot == "amx")
      cpu.dot = "vnni";
    // Its figures are of its instructions.
    if (cpu.dot == table.instructions)
      cpu.roofline = table.roofline;
    buildCPUPipeline(manager, cpu);
    break;
  }
  case Stage::GPU: {
    GPUOptions gpu;
    gpu.blocks = options.deviceBlocks;
    gpu.delayBlocks = options.delayBlocks;
    if (hasMuchShared(*device))
      gpu.sharedBytes = 227 << 10;
    gpu.bits = hasBitProducts(*device);
    // All have one PTX, the oldest's.
    gpu.warpgroups =
        device->architectures == std::vector<std::string>{"sm_90a"};
    buildGPUPipeline(manager, gpu);
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
    if (stage >= Stage::CPU && stage != lastStage(device.has_value()))
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
