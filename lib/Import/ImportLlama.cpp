// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Builds the graph-stage module of a LlamaForCausalLM.
// Input: an open checkpoint; output: a module with one function @forward, in
// the model's own order and names.
// Invariant: collectTensors checks every tensor; building after it cannot fail.

#include "tbq/Import.h"

#include "LlamaParts.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

#include <cmath>

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::Checkpoint;
using ::tbq::LinearTensors;
using ::tbq::LlamaConfig;
using ::tbq::makeError;
using ::tbq::Result;
using ::tbq::TensorView;

/// Context that is compiled for unless the user asks for more.
static constexpr int64_t kDefaultContext = 4096;

namespace {
/// Options with every default resolved against the checkpoint.
struct Settings {
  int64_t context = 0;
  Activations activations = Activations::F32;
  CacheElement cache = CacheElement::F32;
};
} // namespace

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

static Result<Settings> resolveSettings(const Checkpoint &checkpoint,
                                        const ImportOptions &options) {
  Settings settings;
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

//===----------------------------------------------------------------------===//
// The module
//===----------------------------------------------------------------------===//

namespace {
class LlamaBuilder {
public:
  LlamaBuilder(MLIRContext *context, const LlamaConfig &config,
               const Settings &settings)
      : config(config), settings(settings),
        builder(UnknownLoc::get(context), context) {}

  OwningOpRef<ModuleOp> build(const ModelTensors &tensors);

private:
  /// Ops built from here on carry `name` as their location.
  void at(const Twine &name) {
    builder.setLoc(NameLoc::get(builder.getStringAttr(name)));
  }
  RankedTensorType rows(int64_t columns, Type element) {
    return RankedTensorType::get({ShapedType::kDynamic, columns}, element);
  }
  RankedTensorType rows(int64_t columns) {
    return rows(columns, builder.getF32Type());
  }
  Type elementType(::tbq::DType dtype);
  DictionaryAttr describe();
  func::FuncOp buildFunction();

  /// The values that a linear, or the embedding, is made of.
  struct Weights {
    Value matrix; // float, or digits
    SmallVector<Value, 2> scale;
    Value shift, bias;
    SmallVector<Value> salient;
    IntegerAttr group;
  };

  Value weight(const TensorView &tensor);
  SmallVector<Value, 2> matrices(const TensorView &tensor);
  Value norm(Value input, const TensorView &tensor);
  Value linear(Value input, const LinearTensors &tensors);
  Weights weights(const LinearTensors &tensors);
  SmallVector<Value> salient(const LinearTensors &tensors);
  Value linear(Value input, const Weights &weights, int64_t columns);
  Value rotate(Value input, int64_t heads);
  Value add(Value lhs, Value rhs);
  Value attention(Value input, const LayerTensors &tensors, Value layer);
  Value feedForward(Value input, const LayerTensors &tensors);
  Value layer(Value input, const LayerTensors &tensors, int64_t number);

  const LlamaConfig &config;
  const Settings &settings;
  ImplicitLocOpBuilder builder;
  CacheType cacheType;
  Value tokens, cache, position, count, first, ropeTable;
};
} // namespace

Type LlamaBuilder::elementType(::tbq::DType dtype) {
  switch (dtype) {
  case ::tbq::DType::F32:
    return builder.getF32Type();
  case ::tbq::DType::F16:
    return builder.getF16Type();
  case ::tbq::DType::BF16:
    return builder.getBF16Type();
  case ::tbq::DType::I8:
    return builder.getI8Type();
  case ::tbq::DType::I16:
    return builder.getI16Type();
  case ::tbq::DType::I32:
    return builder.getI32Type();
  default:
    llvm_unreachable("collectTensors lets no other types through");
  }
}

Value LlamaBuilder::weight(const TensorView &tensor) {
  auto type = RankedTensorType::get(tensor.shape, elementType(tensor.dtype));
  return WeightOp::create(builder, type, tensor.name);
}

/// Each matrix of a tensor [planes, rows, columns], or the tensor itself.
SmallVector<Value, 2> LlamaBuilder::matrices(const TensorView &tensor) {
  if (tensor.shape.size() == 2)
    return {weight(tensor)};
  auto type = RankedTensorType::get(ArrayRef(tensor.shape).drop_front(),
                                    elementType(tensor.dtype));
  SmallVector<Value, 2> planes;
  for (int64_t plane = 0; plane < tensor.shape[0]; ++plane)
    planes.push_back(WeightOp::create(builder, type,
                                      builder.getStringAttr(tensor.name),
                                      builder.getI64IntegerAttr(plane)));
  return planes;
}

static Scheme schemeOf(const LinearTensors &tensors) {
  switch (tensors.quantization->scheme) {
  case ::tbq::Scheme::Ternary:
    return Scheme::Ternary;
  case ::tbq::Scheme::Binary:
    return Scheme::Binary;
  case ::tbq::Scheme::DualBinary:
    return Scheme::DualBinary;
  case ::tbq::Scheme::Int8:
    return Scheme::Int8;
  case ::tbq::Scheme::Int4:
    return Scheme::Int4;
  }
  llvm_unreachable("all schemes are named");
}

Value LlamaBuilder::norm(Value input, const TensorView &tensor) {
  at(StringRef(tensor.name).drop_back(StringRef(".weight").size()));
  return RmsNormOp::create(builder, TypeRange(rows(config.hidden)), input,
                           weight(tensor),
                           APFloat(static_cast<float>(config.rmsEps)),
                           config.hidden, ValueRange(), Value(), ValueRange())
      ->getResult(0);
}

/// Mask, values, offsets, value scale and, if stored, zero.
SmallVector<Value> LlamaBuilder::salient(const LinearTensors &tensors) {
  auto type = DigitsType::get(builder.getContext(), tensors.rows,
                              tensors.columns, Scheme::SalientMask);
  const ::tbq::SalientTensors &parts = *tensors.salient;
  SmallVector<Value> values{WeightOp::create(builder, type, parts.mask->name)};
  for (const TensorView *part :
       {parts.values, parts.offsets, parts.scale, parts.zero})
    if (part)
      values.push_back(weight(*part));
  return values;
}

LlamaBuilder::Weights LlamaBuilder::weights(const LinearTensors &tensors) {
  Weights result;
  if (tensors.quantization) {
    auto type = DigitsType::get(builder.getContext(), tensors.rows,
                                tensors.columns, schemeOf(tensors));
    const TensorView &stored = tensors.codes ? *tensors.codes : *tensors.planes;
    result.matrix = WeightOp::create(builder, type, stored.name);
    result.scale = matrices(*tensors.scale);
    if (tensors.shift)
      result.shift = weight(*tensors.shift);
    if (tensors.salient)
      result.salient = salient(tensors);
    const int64_t group = tensors.quantization->groupSize;
    result.group = builder.getI64IntegerAttr(
        group ? std::min(group, tensors.columns) : tensors.columns);
  } else {
    result.matrix = weight(*tensors.weight);
  }
  if (tensors.bias)
    result.bias = weight(*tensors.bias);
  return result;
}

Value LlamaBuilder::linear(Value input, const Weights &weights,
                           int64_t columns) {
  ActivationsAttr activations;
  if (isa<DigitsType>(weights.matrix.getType()))
    activations =
        ActivationsAttr::get(builder.getContext(), settings.activations);
  return LinearOp::create(builder, TypeRange(rows(columns)), input,
                          weights.matrix, weights.scale, weights.shift,
                          weights.salient, weights.bias,
                          /*residual=*/Value(), weights.group, activations,
                          ValueRange(), Value(), ValueRange())
      ->getResult(0);
}

Value LlamaBuilder::linear(Value input, const LinearTensors &tensors) {
  at(tensors.name);
  return linear(input, weights(tensors), tensors.rows);
}

Value LlamaBuilder::rotate(Value input, int64_t heads) {
  return RopeOp::create(builder, TypeRange(input.getType()), input, ropeTable,
                        position, heads, config.headDim, ValueRange(), Value(),
                        ValueRange())
      ->getResult(0);
}

Value LlamaBuilder::add(Value lhs, Value rhs) {
  return AddOp::create(builder, TypeRange(lhs.getType()), lhs, rhs,
                       ValueRange(), Value(), ValueRange())
      ->getResult(0);
}

/// Self-attention with its projections, without the residual.
Value LlamaBuilder::attention(Value input, const LayerTensors &tensors,
                              Value layer) {
  Value q = linear(input, tensors.q);
  Value k = linear(input, tensors.k);
  Value v = linear(input, tensors.v);
  at(tensors.name + ".self_attn");
  q = rotate(q, config.heads);
  k = rotate(k, config.kvHeads);
  AppendCacheOp::create(builder, TypeRange(), k, v, cache, layer, position,
                        count, cacheType, ValueRange(), Value(), ValueRange());
  const double scale = 1.0 / std::sqrt(static_cast<double>(config.headDim));
  Value mixed = AttentionOp::create(
                    builder, TypeRange(q.getType()), q, cache, layer, position,
                    config.heads, APFloat(static_cast<float>(scale)), cacheType,
                    ValueRange(), Value(), ValueRange())
                    ->getResult(0);
  return linear(mixed, tensors.o);
}

Value LlamaBuilder::feedForward(Value input, const LayerTensors &tensors) {
  Value gate = linear(input, tensors.gate);
  Value up = linear(input, tensors.up);
  at(tensors.name + ".mlp");
  Value gated =
      GatedActivationOp::create(builder, TypeRange(gate.getType()), gate, up,
                                ValueRange(), Value(), ValueRange())
          ->getResult(0);
  return linear(gated, tensors.down);
}

Value LlamaBuilder::layer(Value input, const LayerTensors &tensors,
                          int64_t number) {
  at(tensors.name);
  auto op =
      LayerOp::create(builder, input.getType(), tensors.name, number, input);
  OpBuilder::InsertionGuard guard(builder);
  Block *block = builder.createBlock(&op.getBody(), {},
                                     {input.getType(), builder.getIndexType()},
                                     {builder.getLoc(), builder.getLoc()});
  Value residual = block->getArgument(0), index = block->getArgument(1);

  Value normed = norm(residual, *tensors.inputNorm);
  Value attended = attention(normed, tensors, index);
  at(tensors.name);
  residual = add(residual, attended);
  normed = norm(residual, *tensors.postAttentionNorm);
  Value output = feedForward(normed, tensors);
  at(tensors.name);
  YieldOp::create(builder, add(residual, output));
  return op.getResult();
}

/// The module attribute from which the manifest is written.
DictionaryAttr LlamaBuilder::describe() {
  auto number = [&](StringRef name, int64_t value) {
    return builder.getNamedAttr(name, builder.getI64IntegerAttr(value));
  };
  auto text = [&](StringRef name, StringRef value) {
    return builder.getNamedAttr(name, builder.getStringAttr(value));
  };
  return builder.getDictionaryAttr(
      {text("architecture", "llama"), text("name", config.name),
       number("hidden", config.hidden), number("layers", config.layers),
       number("heads", config.heads), number("kv_heads", config.kvHeads),
       number("head_dim", config.headDim), number("ffn", config.ffn),
       number("vocab", config.vocab), number("context", settings.context),
       text("activations", stringifyActivations(settings.activations)),
       text("kv_cache", settings.cache == CacheElement::F32 ? "f32" : "f16")});
}

/// @forward without its body; its arguments become the members.
func::FuncOp LlamaBuilder::buildFunction() {
  Type element = settings.cache == CacheElement::F32
                     ? Type(builder.getF32Type())
                     : Type(builder.getF16Type());
  cacheType =
      CacheType::get(builder.getContext(), config.layers, config.kvHeads,
                     config.headDim, settings.context, element);
  Type index = builder.getIndexType();
  auto function = func::FuncOp::create(
      builder, "forward",
      builder.getFunctionType(
          {RankedTensorType::get({ShapedType::kDynamic}, builder.getI32Type()),
           cacheType, index, index, index},
          {rows(config.vocab)}));
  Block *block = function.addEntryBlock();
  Value *arguments[] = {&tokens, &cache, &position, &count, &first};
  const char *names[] = {"tokens", "cache", "position", "count", "first"};
  for (auto [i, argument] : llvm::enumerate(arguments)) {
    *argument = block->getArgument(i);
    argument->setLoc(NameLoc::get(builder.getStringAttr(names[i])));
  }
  return function;
}

OwningOpRef<ModuleOp> LlamaBuilder::build(const ModelTensors &tensors) {
  at(config.name);
  OwningOpRef<ModuleOp> module = ModuleOp::create(builder);
  (*module)->setAttr("tbq.model", describe());
  builder.setInsertionPointToStart(module->getBody());
  func::FuncOp function = buildFunction();
  builder.setInsertionPointToStart(&function.getBody().front());

  at("model.embed_tokens");
  Weights table = weights(tensors.embedding);
  at("model.rotary_emb");
  ropeTable = RopeTableOp::create(
      builder,
      RankedTensorType::get({settings.context, config.headDim},
                            builder.getF32Type()),
      ArrayRef<float>(computeRopeFrequencies(config)));
  at("model.embed_tokens");
  Value scale = table.scale.empty() ? Value() : table.scale.front();
  Value hidden = EmbeddingOp::create(builder, TypeRange(rows(config.hidden)),
                                     tokens, table.matrix, scale, table.group,
                                     ValueRange(), Value(), ValueRange())
                     ->getResult(0);
  for (auto [number, layerTensors] : llvm::enumerate(tensors.layers))
    hidden = layer(hidden, layerTensors, number);

  at("model.norm");
  hidden = SelectRowsOp::create(builder, TypeRange(hidden.getType()), hidden,
                                first, ValueRange(), Value(), ValueRange())
               ->getResult(0);
  hidden = norm(hidden, *tensors.norm);
  at("lm_head");
  Weights head = config.tieEmbeddings ? table : weights(tensors.head);
  Value logits = linear(hidden, head, config.vocab);
  func::ReturnOp::create(builder, logits);
  return module;
}

Result<OwningOpRef<ModuleOp>>
mlir::tbq::importModel(MLIRContext *context, const Checkpoint &checkpoint,
                       const ImportOptions &options) {
  auto settings = resolveSettings(checkpoint, options);
  if (!settings)
    return settings.error();
  auto tensors = collectTensors(checkpoint);
  if (!tensors)
    return tensors.error();
  context->loadDialect<TbqDialect, func::FuncDialect>();
  return LlamaBuilder(context, checkpoint.config(), *settings).build(*tensors);
}
