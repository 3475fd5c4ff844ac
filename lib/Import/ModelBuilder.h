// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Builds graph-stage modules: the frame of @forward, and the parts that models
// are made of. What an architecture makes of them is a buildForward.
#ifndef TBQ_IMPORT_MODELBUILDER_H
#define TBQ_IMPORT_MODELBUILDER_H

#include "ModelTensors.h"
#include "tbq/Import.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::tbq {

/// Options with every default resolved against the checkpoint.
struct ImportSettings {
  int64_t context = 0;
  Activations activations = Activations::F32;
  CacheElement cache = CacheElement::F32;
};

/// A layer while it is built.
struct LayerScope {
  std::string name; // "model.layers.0"
  Value number;     // an index
};

class ModelBuilder {
public:
  ModelBuilder(MLIRContext *context, const ::tbq::ModelConfig &config,
               const ImportSettings &settings, const ModelTensors &tensors)
      : config(config), settings(settings),
        builder(UnknownLoc::get(context), context), tensors(tensors) {}

  OwningOpRef<ModuleOp> build();

  const ::tbq::ModelConfig &config;
  const ImportSettings &settings;
  ImplicitLocOpBuilder builder;
  Value position; // of the step's first token

  /// Ops built from here on carry `name` as their location.
  void at(const Twine &name) {
    builder.setLoc(NameLoc::get(builder.getStringAttr(name)));
  }
  RankedTensorType rows(int64_t columns) {
    return RankedTensorType::get({ShapedType::kDynamic, columns},
                                 builder.getF32Type());
  }
  /// An op of the step with one result.
  template <class Op, class... Arguments>
  Value create(Type type, Arguments &&...arguments) {
    return Op::create(builder, TypeRange(type),
                      std::forward<Arguments>(arguments)..., ValueRange(),
                      Value(), ValueRange())
        ->getResult(0);
  }

  /// A tensor that is no linear's, by its whole name.
  Value vector(const Twine &name) { return weight(tensors.vector(name.str())); }
  Value linear(Value input, const Twine &name);
  Value add(Value lhs, Value rhs);
  /// The embedding of the step's tokens.
  Value embedding();
  /// Causal attention over the cache, to which keys and values go first.
  Value attention(Value query, Value key, Value value, const LayerScope &layer);
  /// All layers, one after the other; `body` maps the residual to the next.
  Value layers(Value hidden,
               llvm::function_ref<Value(Value, const LayerScope &)> body);
  /// Of the tokens whose logits are asked for.
  Value selectRows(Value hidden);
  Value head(Value hidden);

private:
  /// The values that a linear, or the embedding, is made of.
  struct Weights {
    Value matrix; // float, or digits
    SmallVector<Value, 2> scale;
    Value shift, bias;
    SmallVector<Value> salient;
    IntegerAttr group;
  };

  Type elementType(::tbq::DType dtype);
  DictionaryAttr describe();
  func::FuncOp buildFunction();
  Value weight(const ::tbq::TensorView &tensor);
  SmallVector<Value, 2> matrices(const ::tbq::TensorView &tensor);
  SmallVector<Value> salient(const ::tbq::LinearTensors &tensors);
  Weights weights(const ::tbq::LinearTensors &tensors);
  Value linear(Value input, const Weights &weights, int64_t rows);

  const ModelTensors &tensors;
  CacheType cacheType;
  Value tokens, cache, count, first;
  Weights table; // of the embedding
};

/// The logits: what stands in @forward. One for each architecture.
Value buildForward(ModelBuilder &builder, const ::tbq::LlamaConfig &config);
Value buildForward(ModelBuilder &builder, const ::tbq::OptConfig &config);

} // namespace mlir::tbq

#endif // TBQ_IMPORT_MODELBUILDER_H
