// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A whole model directory: config.json, the header of model.safetensors, its
// data. What opens is asked for every linear, the embedding and the head.
#include "FuzzFiles.h"

#include "tbq/Checkpoint.h"

using namespace tbq;
using namespace tbq::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static FuzzDirectory folder;
  FuzzInput input(data, size);
  folder.write("config.json", input.next());
  std::string_view header = input.next();
  folder.write("model.safetensors", safetensorsBytes(header, input.rest()));
  auto checkpoint = Checkpoint::open(folder.path());
  if (!isGood(checkpoint))
    return 0;
  (void)isGood(checkpoint->embedding());
  (void)isGood(checkpoint->head());
  const LlamaConfig &config = checkpoint->config();
  const int64_t query = config.heads * config.headDim;
  const int64_t key = config.kvHeads * config.headDim;
  const struct {
    const char *name;
    int64_t rows, columns;
    bool bias;
  } linears[] = {
      {"self_attn.q_proj", query, config.hidden, config.attentionBias},
      {"self_attn.k_proj", key, config.hidden, config.attentionBias},
      {"self_attn.v_proj", key, config.hidden, config.attentionBias},
      {"self_attn.o_proj", config.hidden, query, config.attentionBias},
      {"mlp.gate_proj", config.ffn, config.hidden, config.mlpBias},
      {"mlp.up_proj", config.ffn, config.hidden, config.mlpBias},
      {"mlp.down_proj", config.hidden, config.ffn, config.mlpBias}};
  for (const auto &linear : linears) {
    const std::string name = std::string("model.layers.0.") + linear.name;
    (void)isGood(checkpoint->schemeOf(name));
    (void)isGood(
        checkpoint->linear(name, linear.rows, linear.columns, linear.bias));
  }
  return 0;
}
