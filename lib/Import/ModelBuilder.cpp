// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Builds what the modules of all models share. See ModelBuilder.h.
// Input: checked tensors; output: a module with one function @forward, in the
// model's own order and names.

#include "ModelBuilder.h"

#include <cmath>

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::LinearTensors;
using ::tbq::TensorView;

Type ModelBuilder::elementType(::tbq::DType dtype) {
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
    llvm_unreachable("ModelTensors lets no other types through");
  }
}

Value ModelBuilder::weight(const TensorView &tensor) {
  auto type = RankedTensorType::get(tensor.shape, elementType(tensor.dtype));
  return WeightOp::create(builder, type, tensor.name);
}

/// Each matrix of a tensor [planes, rows, columns], or the tensor itself.
SmallVector<Value, 2> ModelBuilder::matrices(const TensorView &tensor) {
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

/// Mask, values, offsets, value scale and, if stored, zero.
SmallVector<Value> ModelBuilder::salient(const LinearTensors &tensors) {
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

ModelBuilder::Weights ModelBuilder::weights(const LinearTensors &tensors) {
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

Value ModelBuilder::linear(Value input, const Weights &weights, int64_t rows) {
  ActivationsAttr activations;
  if (isa<DigitsType>(weights.matrix.getType()))
    activations =
        ActivationsAttr::get(builder.getContext(), settings.activations);
  return create<LinearOp>(this->rows(rows), input, weights.matrix,
                          weights.scale, weights.shift, weights.salient,
                          weights.bias, /*residual=*/Value(), weights.group,
                          activations);
}

Value ModelBuilder::linear(Value input, const Twine &name) {
  at(name);
  const LinearTensors &parts = tensors.linear(name.str());
  return linear(input, weights(parts), parts.rows);
}

Value ModelBuilder::add(Value lhs, Value rhs) {
  return create<AddOp>(lhs.getType(), lhs, rhs, /*unit=*/IntegerAttr());
}

Value ModelBuilder::embedding() {
  at(config.parts.embedding);
  table = weights(tensors.embedding);
  Value scale = table.scale.empty() ? Value() : table.scale.front();
  return create<EmbeddingOp>(rows(config.parts.embeddingColumns), tokens,
                             table.matrix, scale, table.group);
}

Value ModelBuilder::attention(Value query, Value key, Value value,
                              const LayerScope &layer) {
  AppendCacheOp::create(builder, TypeRange(), key, value, cache, layer.number,
                        position, count, cacheType, ValueRange(), Value(),
                        ValueRange());
  const double scale = 1.0 / std::sqrt(static_cast<double>(config.headDim));
  return create<AttentionOp>(query.getType(), query, cache, layer.number,
                             position, /*key=*/Value(), /*value=*/Value(),
                             config.heads, APFloat(static_cast<float>(scale)),
                             cacheType);
}

Value ModelBuilder::layers(
    Value hidden, llvm::function_ref<Value(Value, const LayerScope &)> body) {
  for (int64_t number = 0; number < config.layers; ++number) {
    LayerScope scope{config.parts.layers + "." + std::to_string(number), {}};
    at(scope.name);
    auto op =
        LayerOp::create(builder, hidden.getType(), scope.name, number, hidden);
    OpBuilder::InsertionGuard guard(builder);
    Block *block = builder.createBlock(
        &op.getBody(), {}, {hidden.getType(), builder.getIndexType()},
        {builder.getLoc(), builder.getLoc()});
    scope.number = block->getArgument(1);
    Value result = body(block->getArgument(0), scope);
    at(scope.name);
    YieldOp::create(builder, result);
    hidden = op.getResult();
  }
  return hidden;
}

Value ModelBuilder::selectRows(Value hidden) {
  return create<SelectRowsOp>(hidden.getType(), hidden, first);
}

Value ModelBuilder::head(Value hidden) {
  at("lm_head");
  return linear(hidden, config.tieEmbeddings ? table : weights(tensors.head),
                config.vocab);
}

/// The module attribute from which the manifest is written.
DictionaryAttr ModelBuilder::describe() {
  auto number = [&](StringRef name, int64_t value) {
    return builder.getNamedAttr(name, builder.getI64IntegerAttr(value));
  };
  auto text = [&](StringRef name, StringRef value) {
    return builder.getNamedAttr(name, builder.getStringAttr(value));
  };
  return builder.getDictionaryAttr(
      {text("architecture", config.architecture), text("name", config.name),
       number("hidden", config.hidden), number("layers", config.layers),
       number("heads", config.heads), number("kv_heads", config.kvHeads),
       number("head_dim", config.headDim), number("ffn", config.ffn),
       number("vocab", config.vocab), number("context", settings.context),
       text("activations", stringifyActivations(settings.activations)),
       text("kv_cache", settings.cache == CacheElement::F32 ? "f32" : "f16")});
}

/// @forward without its body; its arguments become the members.
func::FuncOp ModelBuilder::buildFunction() {
  Type element = settings.cache == CacheElement::F32
                     ? Type(builder.getF32Type())
                     : Type(builder.getF16Type());
  cacheType =
      CacheType::get(builder.getContext(), config.layers, config.kvHeads,
                     config.headDim, settings.context, element,
                     /*tiled=*/false);
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

OwningOpRef<ModuleOp> ModelBuilder::build() {
  at(config.name);
  OwningOpRef<ModuleOp> module = ModuleOp::create(builder);
  (*module)->setAttr("tbq.model", describe());
  builder.setInsertionPointToStart(module->getBody());
  func::FuncOp function = buildFunction();
  builder.setInsertionPointToStart(&function.getBody().front());
  Value logits = std::visit(
      [&](const auto &own) { return buildForward(*this, own); }, config.own);
  func::ReturnOp::create(builder, logits);
  return module;
}
