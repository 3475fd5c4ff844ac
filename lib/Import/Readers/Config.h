// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// config.json and generation_config.json as validated structs.
// Invariant: every field is in its range and agrees with the others, or the
// one-line error names the field and its value; nothing is guessed.
#ifndef TBQ_IMPORT_READERS_CONFIG_H
#define TBQ_IMPORT_READERS_CONFIG_H

#include "format/Json.h"
#include "tbq/Checkpoint.h"

namespace tbq {

// Far above any model, low enough that no product of three of them wraps.
constexpr int64_t sizeLimit = 1 << 20;
constexpr int64_t countLimit = 1 << 24;

/// An architecture's own part of config.json, in a file of its own.
struct Architecture {
  const char *type;      // its "model_type"
  const char *className; // its "architectures"
  /// Gets what every model has (see Config.cpp); fills in the rest.
  Status (*read)(const JsonObject &config, ModelConfig &result);
};
extern const Architecture llamaArchitecture, optArchitecture;

Result<ModelConfig> readModelConfig(const JsonObject &config);

/// RoPE's base and scaling, from rope_parameters or rope_theta and
/// rope_scaling, into `result`.
Status readRope(const JsonObject &config, LlamaConfig &result);

/// `generation` is generation_config.json, null if there is none.
Result<GenerationConfig> readGenerationConfig(const JsonObject &config,
                                              const JsonObject *generation,
                                              int64_t vocab);

/// Nothing if config.json has no quantization_config.
Result<std::optional<QuantizationConfig>>
readQuantizationConfig(const JsonObject &config);

} // namespace tbq

#endif // TBQ_IMPORT_READERS_CONFIG_H
