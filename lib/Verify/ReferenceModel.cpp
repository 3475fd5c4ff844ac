// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Import and the graph stage with the options that the manifest recorded, then
// the packed form of a copy.

#include "ReferenceModel.h"

#include "tbq/Compile.h"
#include "tbq/Pipelines.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/Pass/PassManager.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::Checkpoint;
using ::tbq::makeError;
using ::tbq::Manifest;
using ::tbq::Result;
using ::tbq::Status;

static Result<ImportOptions> getImportOptions(const Manifest &manifest,
                                              const std::string &artifact) {
  ImportOptions import;
  import.context = manifest.model.context;
  import.activations = symbolizeActivations(manifest.activations);
  if (!import.activations)
    return makeError(artifact, "manifest.activations",
                     manifest.activations + " activations are not interpreted");
  import.cache =
      manifest.kvCache == "f32" ? CacheElement::F32 : CacheElement::F16;
  return import;
}

/// Runs a pipeline; an error is the first that one of its passes reports.
static Status run(ModuleOp module,
                  llvm::function_ref<void(OpPassManager &)> build,
                  const std::string &model) {
  std::string message = "a pass failed";
  ScopedDiagnosticHandler handler(module.getContext(),
                                  [&](Diagnostic &diagnostic) {
                                    message = diagnostic.str();
                                    return success();
                                  });
  PassManager manager(module.getContext());
  build(manager);
  if (failed(manager.run(module)))
    return makeError(model, "", message);
  return Status::ok();
}

static void setGraph(GraphOptions &graph, const Manifest::Graph &asked) {
  graph.quantize = asked.quantize;
  for (const std::string &rule : asked.policy)
    graph.policy.push_back(rule);
  if (!asked.embedding.empty())
    graph.embedding = asked.embedding;
}

Result<ReferenceModel> ReferenceModel::build(const VerifyOptions &options,
                                             const Manifest &manifest) {
  ReferenceModel model;
  const bool isText = StringRef(options.model).ends_with(".mlir");
  const std::string &directory = isText ? options.checkpoint : options.model;
  auto opened = Checkpoint::open(directory);
  if (!opened)
    return opened.error();
  model.checkpoint = std::move(*opened);
  auto import = getImportOptions(manifest, options.artifact);
  if (!import)
    return import.error();
  DialectRegistry registry;
  registerDialects(registry);
  model.context = std::make_unique<MLIRContext>(registry);
  model.context->loadAllAvailableDialects();
  auto module =
      isText ? readModule(*model.context, options.model)
             : importModel(model.context.get(), *model.checkpoint, *import);
  if (!module)
    return module.error();
  model.graph = std::move(*module);
  GraphOptions graph;
  graph.activations = manifest.activations;
  // A module after the graph stage says so, and has it all.
  if (manifest.graph && !(*model.graph)->hasAttr("tbq.graph"))
    setGraph(graph, *manifest.graph);
  if (Status status = run(
          *model.graph,
          [&](OpPassManager &manager) { buildGraphPipeline(manager, graph); },
          options.model);
      !status)
    return status.error();
  model.packed = model.graph->clone();
  PackOptions pack;
  pack.tileCache = manifest.target.device.has_value();
  if (Status status = run(
          *model.packed,
          [&](OpPassManager &manager) {
            buildPackedFormPipeline(manager, pack);
          },
          options.model);
      !status)
    return status.error();
  return model;
}
