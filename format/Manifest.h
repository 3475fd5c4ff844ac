// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What an artifact says about itself: the JSON in its section .tbq.manifest,
// written by the compiler, read by the runtime and tools.
// Invariant: fromJson(toJson(m)) equals m, and a Manifest out of fromJson has
// every field in range and every rule between fields checked.
#ifndef TBQ_FORMAT_MANIFEST_H
#define TBQ_FORMAT_MANIFEST_H

#include "format/Result.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tbq {

/// That a step can carry at most, and that share its work.
constexpr int64_t kMostSequences = 128;
constexpr int64_t kMostWorkers = 1024;

struct Manifest {
  struct Target {
    std::string triple;
    std::string cpu;
    std::vector<std::string> features; // LLVM names of what the code needs
    /// The oldest GPU that the step runs on, "sm_80"; nothing: it runs on the
    /// CPU.
    std::optional<std::string> device;
    /// Its machine code for a GPU, among the bytes of the kernels, behind PTX.
    struct Cubin {
      std::string device; // "sm_90a"
      uint64_t offset = 0, bytes = 0;
    };
    std::vector<Cubin> cubins;
  };
  struct Model {
    std::string architecture; // "llama"
    std::string name;
    int64_t hidden = 0, layers = 0, heads = 0, kvHeads = 0, headDim = 0;
    int64_t ffn = 0, vocab = 0;
    int64_t context = 0; // positions the cache has room for
  };
  struct Steps {
    int64_t decodeTokens = 1;  // most tokens of one decode call
    int64_t prefillTokens = 0; // most tokens of one prefill call
    int64_t batchTokens = 1;   // most sequences of one step, a token of each
    int64_t batchFrom = 2;     // fewer take a decode call each
    uint64_t arenaBytes = 0, cacheBytes = 0;
    int64_t logitsStride = 0;      // floats from one row to the next, >= vocab
    bool summarizesLogits = false; // TBQ_LOGITS_GROUP
  };
  struct Weights {
    uint64_t bytes = 0;
    uint64_t hashBlock = uint64_t(1) << 20;
    std::vector<uint64_t> hashes; // XXH64, seed 0, of each block
    std::string sha256;           // of all, 64 hexadecimal digits
    /// The file beside the artifact that holds them (format/Sidecar.h);
    /// nothing: they are a section of the artifact.
    std::optional<std::string> sidecar;
    /// They are nowhere, and have no hashes: of the model, the artifact has
    /// the shapes alone.
    bool shapeOnly = false;

    bool areEmbedded() const { return !sidecar && !shapeOnly; }
  };
  struct Layer {
    std::string name;
    std::string scheme;   // "float", "ternary", ...
    int64_t n = 0, k = 0; // outputs, inputs
    int64_t group = 0;    // columns that share coefficients; 0: a whole row
    bool shift = false;
    int64_t salient = 0;      // weights kept in 8 bits, at most
    double bitsPerWeight = 0; // codes and coefficients, without padding
    uint64_t bytes = 0;
  };
  /// What generation_config.json said; what it left out is absent here too.
  struct Generation {
    std::optional<int32_t> bos, pad;
    std::vector<int32_t> eos;
    std::optional<double> temperature, topP, minP, repetitionPenalty;
    std::optional<int64_t> topK;
    std::optional<bool> doSample;
  };

  /// What the graph stage was asked for, as tbqc takes it: with the checkpoint,
  /// activations, cache and context it gives the graph again.
  struct Graph {
    std::string quantize;            // empty: none
    std::vector<std::string> policy; // PATTERN=SPEC
    std::string embedding;           // empty: as it is
  };
  /// An operation whose values a step shows (tbq_observe_fn).
  struct Operation {
    struct Value {
      std::string type; // "f32", "i8", "i32", "cache"
      int64_t columns = 0;
      bool written = false;
    };
    std::string name; // of its layer, in the first layer of several
    std::string kind; // "rms_norm", "packed_linear", ...
    std::vector<Value> values;
  };

  uint32_t abi = 0; // TBQ_STEP_ABI of the compiler
  std::string tbqVersion, llvmVersion;
  Target target;
  Model model;
  Steps steps;
  std::string activations; // "f32", "i8", "i16"
  std::string kvCache;     // "f32", "f16"
  Weights weights;
  std::vector<Layer> layers;
  std::optional<Graph> graph;        // absent: nothing was asked for
  std::vector<Operation> operations; // empty: the step shows nothing
  std::vector<std::string> phases;   // empty: the step times nothing
  Generation generation;
  nlohmann::json chat;   // null or an object (runtime/Chat.h knows its fields)
  nlohmann::json record; // null or an object: how the model was made, as told
  uint64_t bytesPerToken = 0; // information bytes of weights a decode reads
};

nlohmann::json toJson(const Manifest &manifest);

/// The text that goes into the artifact: keys sorted, byte for byte a function
/// of the manifest.
std::string manifestText(const Manifest &manifest);

/// `file` names the artifact in errors: "FILE: manifest.steps.x: ...".
Result<Manifest> fromJson(const nlohmann::json &value, const std::string &file);

Result<Manifest> parseManifest(std::string_view text, const std::string &file);

/// XXH64 (seed 0) of each `block` bytes, the last one shorter: Weights::hashes.
std::vector<uint64_t> hashWeightBlocks(const uint8_t *data, uint64_t size,
                                       uint64_t block);

} // namespace tbq

#endif // TBQ_FORMAT_MANIFEST_H
