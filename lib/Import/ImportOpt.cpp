// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// @forward of an OPTForCausalLM: learned positions, layer norms before
// attention and feed-forward part or after them, and where the embedding's rows
// are of another width, projections to and from them.

#include "ModelBuilder.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::OptConfig;

/// What transformers gives every layer norm.
static constexpr float kEpsilon = 1e-5f;

namespace {
class OptBuilder {
public:
  OptBuilder(ModelBuilder &model, const OptConfig &own)
      : model(model), own(own),
        hasProjections(model.config.parts.embeddingColumns !=
                       model.config.hidden) {}

  Value build();

private:
  Value norm(Value input, const Twine &name);
  Value embed();
  Value attention(Value input, const LayerScope &layer);
  Value feedForward(Value input, const LayerScope &layer);
  Value addPart(Value residual, const LayerScope &layer, StringRef normName,
                llvm::function_ref<Value(Value)> part);

  ModelBuilder &model;
  const OptConfig &own;
  const bool hasProjections;
};
} // namespace

static const char *const decoder = "model.decoder.";

Value OptBuilder::norm(Value input, const Twine &name) {
  model.at(name);
  return model.create<LayerNormOp>(
      input.getType(), input, model.vector(name + ".weight"),
      model.vector(name + ".bias"), APFloat(kEpsilon), model.config.hidden);
}

/// The tokens, with their positions.
Value OptBuilder::embed() {
  Value hidden = model.embedding();
  if (hasProjections)
    hidden = model.linear(hidden, Twine(decoder) + "project_in");
  const std::string name = std::string(decoder) + "embed_positions";
  model.at(name);
  return model.create<AddPositionsOp>(
      hidden.getType(), hidden, model.vector(name + ".weight"), model.position,
      OptConfig::positionOffset);
}

/// Self-attention with its projections, without the residual.
Value OptBuilder::attention(Value input, const LayerScope &layer) {
  const std::string name = layer.name + ".self_attn";
  Value q = model.linear(input, name + ".q_proj");
  Value k = model.linear(input, name + ".k_proj");
  Value v = model.linear(input, name + ".v_proj");
  model.at(name);
  return model.linear(model.attention(q, k, v, layer), name + ".out_proj");
}

Value OptBuilder::feedForward(Value input, const LayerScope &layer) {
  Value hidden = model.linear(input, layer.name + ".fc1");
  model.at(layer.name + ".activation_fn");
  const auto function = own.activation == OptConfig::Activation::Relu
                            ? ActivationFunction::Relu
                            : ActivationFunction::Gelu;
  hidden = model.create<ActivationOp>(hidden.getType(), hidden, function,
                                      /*unit=*/IntegerAttr());
  return model.linear(hidden, layer.name + ".fc2");
}

/// A part of a layer around which the residual goes, with its norm.
Value OptBuilder::addPart(Value residual, const LayerScope &layer,
                          StringRef normName,
                          llvm::function_ref<Value(Value)> part) {
  const std::string name = layer.name + "." + normName.str();
  Value changed = part(own.normBefore ? norm(residual, name) : residual);
  model.at(layer.name);
  residual = model.add(residual, changed);
  return own.normBefore ? residual : norm(residual, name);
}

Value OptBuilder::build() {
  Value hidden =
      model.layers(embed(), [&](Value residual, const LayerScope &layer) {
        residual =
            addPart(residual, layer, "self_attn_layer_norm",
                    [&](Value input) { return attention(input, layer); });
        return addPart(residual, layer, "final_layer_norm",
                       [&](Value input) { return feedForward(input, layer); });
      });
  model.at("model.decoder");
  hidden = model.selectRows(hidden);
  if (own.finalNorm)
    hidden = norm(hidden, Twine(decoder) + "final_layer_norm");
  if (hasProjections)
    hidden = model.linear(hidden, Twine(decoder) + "project_out");
  return model.head(hidden);
}

Value mlir::tbq::buildForward(ModelBuilder &builder, const OptConfig &config) {
  return OptBuilder(builder, config).build();
}
