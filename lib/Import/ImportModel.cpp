// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The import stage: options resolved against the checkpoint, its tensors
// checked, then the module built.
// Invariant: ModelTensors::collect checks every tensor; building after it
// cannot fail.

#include "ModelBuilder.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::Checkpoint;
using ::tbq::makeError;
using ::tbq::Result;

/// Context that is compiled for unless the user asks for more.
static constexpr int64_t kDefaultContext = 4096;

static Activations resolveActivations(const Checkpoint &checkpoint,
                                      const ImportOptions &options) {
  if (options.activations)
    return *options.activations;
  const auto &quantization = checkpoint.quantization();
  if (!quantization)
    return options.quantizes ? Activations::I16 : Activations::F32;
  // The reader knows no other words than the enum.
  return quantization->activations
             ? *symbolizeActivations(*quantization->activations)
             : Activations::I16;
}

static Result<ImportSettings> resolveSettings(const Checkpoint &checkpoint,
                                              const ImportOptions &options) {
  ImportSettings settings;
  const int64_t most = checkpoint.config().maxPosition;
  settings.context =
      options.context ? options.context : std::min(most, kDefaultContext);
  if (settings.context < 1 || settings.context > most)
    return makeError(configFile(checkpoint), "max_position_embeddings",
                     "the model has " + std::to_string(most) +
                         " positions, a context of " +
                         std::to_string(settings.context) + " was asked for");
  settings.activations = resolveActivations(checkpoint, options);
  settings.cache = options.cache.value_or(
      settings.activations == Activations::F32 ? CacheElement::F32
                                               : CacheElement::F16);
  return settings;
}

Result<OwningOpRef<ModuleOp>>
mlir::tbq::importModel(MLIRContext *context, const Checkpoint &checkpoint,
                       const ImportOptions &options) {
  auto settings = resolveSettings(checkpoint, options);
  if (!settings)
    return settings.error();
  auto tensors = ModelTensors::collect(checkpoint);
  if (!tensors)
    return tensors.error();
  context->loadDialect<TbqDialect, func::FuncDialect>();
  return ModelBuilder(context, checkpoint.config(), *settings, *tensors)
      .build();
}
