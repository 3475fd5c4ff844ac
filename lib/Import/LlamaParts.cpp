// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Finds the tensors of a LlamaForCausalLM.
// Input: an open checkpoint; output: views of all its parts, in order.
// Invariant: nothing is missing or of another type or shape than config.json
// says; shapes and names of linears stand in readLayer and nowhere else.

#include "LlamaParts.h"

#include "tbq/IR/Tbq.h"

using namespace mlir::tbq;
using ::tbq::Checkpoint;
using ::tbq::LinearTensors;
using ::tbq::LlamaConfig;
using ::tbq::makeError;
using ::tbq::Result;
using ::tbq::Status;
using ::tbq::TensorView;

std::string mlir::tbq::configFile(const Checkpoint &checkpoint) {
  return checkpoint.directory() + "/config.json";
}

/// Columns of a step of digits, the 4 bytes that a row has in it.
static int64_t getStepColumns(::tbq::Scheme scheme) {
  switch (scheme) {
  case ::tbq::Scheme::Ternary:
    return 16;
  case ::tbq::Scheme::Binary:
  case ::tbq::Scheme::DualBinary:
    return 32;
  case ::tbq::Scheme::Int8:
    return 4;
  case ::tbq::Scheme::Int4:
    return 8;
  }
  llvm_unreachable("all schemes are named");
}

/// Groups that end within a row must end with a whole step of digits. `field`:
/// what of the config says how long they are.
static Status checkGroup(const Checkpoint &checkpoint,
                         const LinearTensors &linear, const char *field) {
  if (!linear.quantization)
    return Status::ok();
  const int64_t group = linear.quantization->groupSize;
  const int64_t step = getStepColumns(linear.quantization->scheme);
  if (group == 0 || group >= linear.columns || group % step == 0)
    return Status::ok();
  return makeError(configFile(checkpoint), field,
                   linear.name + " has groups of " + std::to_string(group) +
                       " weights (supported: multiples of " +
                       std::to_string(step) + ", or \"row\")");
}

/// Reads `linear`, a member of `layer`, under the name `part`.
static Status readLinear(const Checkpoint &checkpoint,
                         const LayerTensors &layer, const char *part,
                         int64_t rows, int64_t columns, bool bias,
                         LinearTensors &linear) {
  auto found = checkpoint.linear(layer.name + "." + part, rows, columns, bias);
  if (!found)
    return found.error();
  linear = *std::move(found);
  return checkGroup(checkpoint, linear, "quantization_config.group_size");
}

static Status readVector(const Checkpoint &checkpoint, const std::string &name,
                         int64_t size, const TensorView *&vector) {
  auto found = checkpoint.requireFloat(name, {size});
  if (!found)
    return found.error();
  vector = *found;
  return Status::ok();
}

static Status readLayer(const Checkpoint &checkpoint, LayerTensors &layer) {
  const LlamaConfig &config = checkpoint.config();
  const int64_t hidden = config.hidden, ffn = config.ffn;
  const int64_t queries = config.heads * config.headDim;
  const int64_t keys = config.kvHeads * config.headDim;
  struct Part {
    const char *name;
    int64_t rows, columns;
    bool bias;
    LinearTensors &linear;
  };
  const Part parts[] = {
      {"self_attn.q_proj", queries, hidden, config.attentionBias, layer.q},
      {"self_attn.k_proj", keys, hidden, config.attentionBias, layer.k},
      {"self_attn.v_proj", keys, hidden, config.attentionBias, layer.v},
      {"self_attn.o_proj", hidden, queries, config.attentionBias, layer.o},
      {"mlp.gate_proj", ffn, hidden, config.mlpBias, layer.gate},
      {"mlp.up_proj", ffn, hidden, config.mlpBias, layer.up},
      {"mlp.down_proj", hidden, ffn, config.mlpBias, layer.down}};
  for (const Part &part : parts) {
    Status status = readLinear(checkpoint, layer, part.name, part.rows,
                               part.columns, part.bias, part.linear);
    if (!status)
      return status;
  }
  Status status = readVector(checkpoint, layer.name + ".input_layernorm.weight",
                             hidden, layer.inputNorm);
  if (!status)
    return status;
  return readVector(checkpoint, layer.name + ".post_attention_layernorm.weight",
                    hidden, layer.postAttentionNorm);
}

Result<ModelTensors> mlir::tbq::collectTensors(const Checkpoint &checkpoint) {
  const LlamaConfig &config = checkpoint.config();
  ModelTensors tensors;
  auto embedding = checkpoint.embedding();
  if (!embedding)
    return embedding.error();
  tensors.embedding = *std::move(embedding);
  Status status = checkGroup(checkpoint, tensors.embedding,
                             "quantization_config.embedding.group_size");
  if (!status)
    return status.error();
  for (int64_t i = 0; i < config.layers; ++i) {
    LayerTensors &layer = tensors.layers.emplace_back();
    layer.name = "model.layers." + std::to_string(i);
    if (status = readLayer(checkpoint, layer); !status)
      return status.error();
  }
  status =
      readVector(checkpoint, "model.norm.weight", config.hidden, tensors.norm);
  if (!status)
    return status.error();
  auto head = checkpoint.head();
  if (!head)
    return head.error();
  tensors.head = *std::move(head);
  return tensors;
}
