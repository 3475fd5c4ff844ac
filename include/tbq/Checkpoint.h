// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A Hugging Face model directory, opened and validated: config, generation
// defaults, quantisation config and every tensor by name, mapped from
// model.safetensors or the shards of its index. Free of LLVM.
// Invariant: a Checkpoint that was opened has a consistent config and tensors
// whose bytes lie inside their files; nothing outside the directory is read
// (but the blobs a Hugging Face cache links to).
#ifndef TBQ_CHECKPOINT_H
#define TBQ_CHECKPOINT_H

#include "format/MappedFile.h"
#include "format/Result.h"
#include "tbq/ModelConfig.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tbq {

/// Element types of a safetensors file.
enum class DType {
  Bool,
  U8,
  I8,
  F8E5M2,
  F8E4M3,
  I16,
  U16,
  F16,
  BF16,
  I32,
  U32,
  F32,
  I64,
  U64,
  F64
};

/// The name in a safetensors header, for example "BF16".
const char *dtypeName(DType dtype);
unsigned dtypeBits(DType dtype);
/// F32, F16 or BF16: what weights may be stored in.
bool isFloatWeight(DType dtype);

/// One tensor in its mapped file, row-major, little-endian.
struct TensorView {
  std::string name;
  DType dtype = DType::U8;
  std::vector<int64_t> shape; // each >= 0; may be empty: a scalar
  /// Borrowed from the Checkpoint. NOT aligned to the element: use memcpy, or
  /// readFloats below.
  const uint8_t *data = nullptr;
  uint64_t bytes = 0; // elements * size of one, checked
  std::string file;   // for messages

  int64_t elements() const;
};

/// Elements [first, first + count) of an F32, F16 or BF16 tensor, widened
/// exactly. The range must lie inside the tensor.
void readFloats(const TensorView &tensor, int64_t first, int64_t count,
                float *out);

/// Tokens and sampling defaults. What the files do not say is absent. Every id
/// is in [0, vocab).
struct GenerationConfig {
  std::optional<int64_t> bos;
  std::vector<int64_t> eos;
  std::optional<int64_t> pad;
  std::optional<bool> doSample;
  std::optional<double> temperature;       // >= 0
  std::optional<int64_t> topK;             // >= 0
  std::optional<double> topP;              // [0, 1]
  std::optional<double> minP;              // [0, 1]
  std::optional<double> repetitionPenalty; // > 0
};

/// The last two are of the embedding and the head alone.
enum class Scheme { Ternary, Binary, DualBinary, Int8, Int4 };

/// The name in config.json, for example "dual-binary".
const char *schemeName(Scheme scheme);

/// How one linear, or the embedding, is stored.
struct LinearScheme {
  Scheme scheme = Scheme::Ternary;
  int64_t groupSize = 0; // elements along K; 0: one group per row
  bool shift = false;

  /// Of a row of `columns` >= 1 elements: the last group may be shorter.
  int64_t groupsPerRow(int64_t columns) const;
};

class NamePattern; // a compiled regular expression

/// "layers" of the quantisation config: what differs for the linears whose
/// whole name matches a PCRE2 pattern.
struct SchemeOverride {
  std::string pattern;
  LinearScheme scheme; // defaults already filled in
  std::shared_ptr<const NamePattern> matcher;
};

/// The embedding and head as stored: "embedding": {"bits", "group_size"}.
struct EmbeddingQuantization {
  int64_t bits = 8;      // 8 or 4
  int64_t groupSize = 0; // 0: one group per row
};

/// "quantization_config" with "quant_method": "tbq".
struct QuantizationConfig {
  LinearScheme scheme;                    // of linears without an override
  std::optional<std::string> activations; // "f32", "i16" or "i8"
  std::vector<SchemeOverride> overrides;
  /// Each names a linear, or a run of whole dotted parts of its name.
  std::vector<std::string> modulesToNotConvert;
  std::optional<EmbeddingQuantization> embedding;
};

/// Weights of a binary linear that are kept in 8 bits: under the mask, w =
/// scale * (value - zero) in place of the binary value.
struct SalientTensors {
  const TensorView *mask = nullptr;    // U8 [rows, ceil(columns / 8)]
  const TensorView *values = nullptr;  // I8 [number], row by row
  const TensorView *offsets = nullptr; // I32 [rows + 1]: each row's first value
  const TensorView *scale = nullptr;   // F16 [rows], finite
  const TensorView *zero = nullptr;    // I16 [rows] in [-128, 127]; null: 0
};

/// The tensors of one linear layer y = W x + b of shape [rows, columns].
struct LinearTensors {
  std::string name; // without ".weight"
  int64_t rows = 0;
  int64_t columns = 0;
  const TensorView *weight = nullptr; // float: F32, F16 or BF16 [rows, columns]
  const TensorView *bias = nullptr;   // F32, F16 or BF16 [rows]; may be null

  /// Set instead of `weight`: a quantised linear of `groups` groups a row.
  /// Ternary: w = scale * T + shift with T in {-1, 0, 1}; binary: w = scale *
  /// (2 B - 1) + shift; dual binary: w = scale[0] * B0 + scale[1] * B1; int8
  /// and int4: w = scale * q.
  std::optional<LinearScheme> quantization;
  int64_t groups = 0;
  /// Ternary: U8 [rows, ceil(columns / 4)], T + 1; int8: I8 [rows, columns], q;
  /// int4: U8 [rows, ceil(columns / 2)], q + 8, low bits first.
  const TensorView *codes = nullptr;
  /// Binary: U8 [1, rows, ceil(columns / 8)]; dual binary: [2, ...]. The bits
  /// that no column fills are 0.
  const TensorView *planes = nullptr;
  /// F16 [rows, groups], finite; dual binary: [2, rows, groups].
  const TensorView *scale = nullptr;
  const TensorView *shift = nullptr; // F16 [rows, groups]; null without one
  /// Binary only, where NAME.salient_mask exists. The mask's bits are those of
  /// its rows' values, and the plane's bits are 0 there.
  std::optional<SalientTensors> salient;
};

class Checkpoint {
public:
  static Result<Checkpoint> open(const std::string &directory);

  Checkpoint(Checkpoint &&) noexcept;
  Checkpoint &operator=(Checkpoint &&) noexcept;
  ~Checkpoint();

  const std::string &directory() const;
  const ModelConfig &config() const;
  /// generation_config.json; token ids it leaves out come from config.json.
  const GenerationConfig &generation() const;
  const std::optional<QuantizationConfig> &quantization() const;

  /// All tensors, sorted by name.
  const std::vector<TensorView> &tensors() const;
  /// Null if there is none.
  const TensorView *find(std::string_view name) const;
  /// The tensor, of one of `dtypes` and exactly this shape, or an error that
  /// names the file, the tensor and what was found.
  Result<const TensorView *> require(const std::string &name,
                                     const std::vector<DType> &dtypes,
                                     const std::vector<int64_t> &shape) const;
  /// require() with any float weight type.
  Result<const TensorView *>
  requireFloat(const std::string &name,
               const std::vector<int64_t> &shape) const;

  /// How the linear `name` is stored; nothing if it is float, as all are that
  /// stand outside of the layers.
  Result<std::optional<LinearScheme>> schemeOf(const std::string &name) const;

  /// The tensors of linear `name` (for example
  /// "model.layers.0.mlp.up_proj"), float or as the config says it is
  /// quantised. Errors: tensors missing, of another type or shape, or left
  /// over under this name; codes other than 0, 1, 2; bits past a row's end;
  /// scales that are not finite; a salient mask that its offsets, values or
  /// the plane contradict.
  Result<LinearTensors> linear(const std::string &name, int64_t rows,
                               int64_t columns, bool hasBias) const;

  /// The token embedding [vocab, hidden], float or, as the config says, int8 or
  /// int4. Errors: as of linear().
  Result<LinearTensors> embedding() const;
  /// The output projection [vocab, hidden]: the embedding's tensors if tied.
  Result<LinearTensors> head() const;

  /// Text of another file of the directory ("tokenizer.json",
  /// "tokenizer_config.json", "generation_config.json",
  /// "chat_template.jinja"); nothing if it does not exist.
  Result<std::optional<std::string>> readText(const std::string &name) const;

  /// Gives the memory of a tensor's mapped pages back after use.
  void dropPages(const TensorView &tensor) const;

private:
  struct State;
  explicit Checkpoint(std::unique_ptr<State> state);
  std::unique_ptr<State> state;
};

} // namespace tbq

#endif // TBQ_CHECKPOINT_H
