// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// config.json as the rest of the compiler sees it: what every model has, which
// tensors it is made of, and what only its architecture knows. Free of LLVM.
// Invariant: filled by lib/Import/Readers, each field in its range.
#ifndef TBQ_MODELCONFIG_H
#define TBQ_MODELCONFIG_H

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace tbq {

/// How the rotation frequencies of the config are rescaled (transformers'
/// rope types "default", "linear" and "llama3").
struct RopeScaling {
  enum class Kind { None, Linear, Llama3 };
  Kind kind = Kind::None;
  double factor = 1.0; // >= 1; linear and llama3
  // llama3 only: 0 < lowFrequencyFactor < highFrequencyFactor
  double lowFrequencyFactor = 0.0;
  double highFrequencyFactor = 0.0;
  int64_t originalMaxPosition = 0; // >= 1

  bool operator==(const RopeScaling &other) const;
};

/// What only a LlamaForCausalLM has.
struct LlamaConfig {
  double rmsEps = 0.0; // > 0
  double ropeTheta = 0.0;
  RopeScaling rope;
};

/// What only an OPTForCausalLM has.
struct OptConfig {
  enum class Activation { Relu, Gelu };
  /// Rows of the table of positions that stand before the first one's.
  static constexpr int64_t positionOffset = 2;

  Activation activation = Activation::Relu;
  bool normBefore = false; // attention and feed-forward part, else after them
  bool finalNorm = false;  // after the last layer
  bool biases = false;     // of all linears in layers
};

/// The tensors that a model consists of, beside embedding and head. All are
/// read; a checkpoint that holds others is another model's.
struct ModelParts {
  struct Linear {
    std::string name; // without ".weight"
    int64_t rows = 0, columns = 0;
    bool bias = false;
  };
  struct Vector {
    std::string name;
    std::vector<int64_t> shape; // of one dimension, or a table's two
  };

  std::string embedding = "model.embed_tokens";
  int64_t embeddingColumns = 0; // the head's too
  /// A layer is called LAYERS.NUMBER, and its parts LAYERS.NUMBER.NAME.
  std::string layers = "model.layers";
  std::vector<Linear> layerLinears; // may be quantised
  std::vector<Vector> layerVectors;
  std::vector<Linear> linears; // outside of the layers: always float
  std::vector<Vector> vectors;
  /// What a layer may store too, though it follows from the config.
  std::vector<std::string> redundant;
};

struct ModelConfig {
  std::string architecture; // "llama", "opt"
  std::string name;         // "_name_or_path" if stated, else the directory
  int64_t hidden = 0;       // >= 1
  int64_t layers = 0;       // >= 1
  int64_t heads = 0;
  int64_t kvHeads = 0; // divides heads
  int64_t headDim = 0;
  int64_t ffn = 0;
  int64_t vocab = 0;
  int64_t maxPosition = 0;
  bool tieEmbeddings = false;
  ModelParts parts;
  std::variant<LlamaConfig, OptConfig> own;
};

} // namespace tbq

#endif // TBQ_MODELCONFIG_H
