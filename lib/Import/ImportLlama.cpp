// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// @forward of a LlamaForCausalLM: rotary embedding, RMS norms before attention
// and a gated feed-forward part.

#include "ModelBuilder.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::LlamaConfig;

namespace {
class LlamaBuilder {
public:
  LlamaBuilder(ModelBuilder &model, const LlamaConfig &own)
      : model(model), config(model.config), own(own) {}

  Value build();

private:
  Value norm(Value input, const Twine &name);
  Value rotate(Value input, int64_t heads);
  Value attention(Value input, const LayerScope &layer);
  Value feedForward(Value input, const LayerScope &layer);

  ModelBuilder &model;
  const ::tbq::ModelConfig &config;
  const LlamaConfig &own;
  Value ropeTable;
};
} // namespace

Value LlamaBuilder::norm(Value input, const Twine &name) {
  model.at(name);
  return model.create<RmsNormOp>(
      input.getType(), input, model.vector(name + ".weight"),
      APFloat(static_cast<float>(own.rmsEps)), config.hidden);
}

Value LlamaBuilder::rotate(Value input, int64_t heads) {
  return model.create<RopeOp>(input.getType(), input, ropeTable, model.position,
                              heads, config.headDim);
}

/// Self-attention with its projections, without the residual.
Value LlamaBuilder::attention(Value input, const LayerScope &layer) {
  const std::string name = layer.name + ".self_attn";
  Value q = model.linear(input, name + ".q_proj");
  Value k = model.linear(input, name + ".k_proj");
  Value v = model.linear(input, name + ".v_proj");
  model.at(name);
  q = rotate(q, config.heads);
  k = rotate(k, config.kvHeads);
  return model.linear(model.attention(q, k, v, layer), name + ".o_proj");
}

Value LlamaBuilder::feedForward(Value input, const LayerScope &layer) {
  const std::string name = layer.name + ".mlp";
  Value gate = model.linear(input, name + ".gate_proj");
  Value up = model.linear(input, name + ".up_proj");
  model.at(name);
  Value gated = model.create<GatedActivationOp>(gate.getType(), gate, up,
                                                /*unit=*/IntegerAttr());
  return model.linear(gated, name + ".down_proj");
}

Value LlamaBuilder::build() {
  model.at("model.rotary_emb");
  ropeTable = RopeTableOp::create(
      model.builder,
      RankedTensorType::get({model.settings.context, config.headDim},
                            model.builder.getF32Type()),
      ArrayRef<float>(computeRopeFrequencies(own, config.headDim)));
  Value hidden = model.layers(
      model.embedding(), [&](Value residual, const LayerScope &layer) {
        Value normed = norm(residual, layer.name + ".input_layernorm");
        Value attended = attention(normed, layer);
        model.at(layer.name);
        residual = model.add(residual, attended);
        normed = norm(residual, layer.name + ".post_attention_layernorm");
        Value output = feedForward(normed, layer);
        model.at(layer.name);
        return model.add(residual, output);
      });
  model.at("model.norm");
  return model.head(norm(model.selectRows(hidden), "model.norm"));
}

Value mlir::tbq::buildForward(ModelBuilder &builder,
                              const LlamaConfig &config) {
  return LlamaBuilder(builder, config).build();
}
