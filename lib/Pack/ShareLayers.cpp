// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-share-layers: each run of equal layers becomes one function of the
// residual, the layer's number and whatever the layers take from outside;
// tbq.layers repeats it. Layers are equal if they differ in nothing but the
// offsets of their weights.

#include "tbq/Passes.h"

#include "mlir/IR/IRMapping.h"
#include "mlir/Transforms/RegionUtils.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_SHARELAYERSPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

/// Whether `a` and `b` do the same with corresponding operands.
static bool areEqual(Operation &a, Operation &b, IRMapping &mapping) {
  if (a.getName() != b.getName() || a.getNumOperands() != b.getNumOperands() ||
      a.getResultTypes() != b.getResultTypes())
    return false;
  if (!isa<PlacedWeightOp>(a) && a.getAttrDictionary() != b.getAttrDictionary())
    return false;
  for (auto [left, right] : llvm::zip_equal(a.getOperands(), b.getOperands()))
    if (mapping.lookupOrDefault(left) != right)
      return false;
  mapping.map(a.getResults(), b.getResults());
  return true;
}

static bool areEqual(LayerOp a, LayerOp b) {
  Block &left = a.getBody().front(), &right = b.getBody().front();
  if (left.getArgumentTypes() != right.getArgumentTypes() ||
      left.getOperations().size() != right.getOperations().size())
    return false;
  IRMapping mapping;
  mapping.map(left.getArguments(), right.getArguments());
  return llvm::all_of(llvm::zip_equal(left, right), [&](auto pair) {
    return areEqual(std::get<0>(pair), std::get<1>(pair), mapping);
  });
}

/// Layers from `first` on that are equal and hand the residual on.
static SmallVector<LayerOp> getRun(LayerOp first) {
  SmallVector<LayerOp> run{first};
  while (true) {
    Value result = run.back().getResult();
    if (!result.hasOneUse())
      return run;
    auto next = dyn_cast<LayerOp>(*result.getUsers().begin());
    if (!next || next.getNumber() != run.back().getNumber() + 1 ||
        !areEqual(first, next))
      return run;
    run.push_back(next);
  }
}

/// The function of a run: the first layer's body, each weight with the offsets
/// of all layers.
static func::FuncOp outline(ArrayRef<LayerOp> run, ValueRange captured,
                            StringRef name, OpBuilder &b) {
  LayerOp first = run.front();
  Block &body = first.getBody().front();
  SmallVector<Type> inputs(body.getArgumentTypes());
  llvm::append_range(inputs, captured.getTypes());
  auto function = func::FuncOp::create(
      b, first.getLoc(), name,
      b.getFunctionType(inputs, first.getResult().getType()));
  function.setPrivate();
  Block *entry = function.addEntryBlock();
  OpBuilder inner = OpBuilder::atBlockEnd(entry);
  IRMapping mapping;
  mapping.map(body.getArguments(), entry->getArguments().take_front(2));
  mapping.map(captured, entry->getArguments().drop_front(2));
  Value layer = entry->getArgument(1);
  if (first.getNumber() != 0)
    layer =
        arith::SubIOp::create(inner, first.getLoc(), layer,
                              arith::ConstantIndexOp::create(
                                  inner, first.getLoc(), first.getNumber()));

  for (auto [index, op] : llvm::enumerate(body)) {
    if (auto yield = dyn_cast<YieldOp>(op)) {
      func::ReturnOp::create(inner, op.getLoc(),
                             mapping.lookup(yield.getValues()[0]));
    } else if (auto weight = dyn_cast<PlacedWeightOp>(op)) {
      SmallVector<int64_t> offsets;
      for (LayerOp other : run) {
        Operation &same = *std::next(other.getBody().front().begin(), index);
        offsets.push_back(cast<PlacedWeightOp>(same).getOffsets().front());
      }
      mapping.map(weight.getResult(),
                  PlacedWeightOp::create(inner, op.getLoc(), weight.getType(),
                                         layer, Value(), offsets)
                      .getResult());
    } else {
      inner.clone(op, mapping);
    }
  }
  return function;
}

/// Weights that layers take from outside (the rope table) come inside: they
/// are offsets, not values to hand over.
static void pullWeightsInside(LayerOp layer) {
  llvm::SetVector<Value> captured;
  getUsedValuesDefinedAbove(layer.getBody(), captured);
  OpBuilder b = OpBuilder::atBlockBegin(&layer.getBody().front());
  for (Value value : captured)
    if (auto weight = value.getDefiningOp<PlacedWeightOp>())
      replaceAllUsesInRegionWith(value, b.clone(*weight)->getResult(0),
                                 layer.getBody());
}

static void shareLayers(func::FuncOp entry) {
  SmallVector<LayerOp> layers(entry.getOps<LayerOp>());
  for (LayerOp layer : layers)
    pullWeightsInside(layer);
  for (size_t i = 0; i < layers.size();) {
    SmallVector<LayerOp> run = getRun(layers[i]);
    llvm::SetVector<Value> captured;
    getUsedValuesDefinedAbove(run.front().getBody(), captured);
    int64_t first = run.front().getNumber();
    std::string name = (entry.getName() + "_layers_" + Twine(first)).str();
    OpBuilder b(entry);
    outline(run, captured.getArrayRef(), name, b);
    b.setInsertionPoint(run.front());
    auto repeat = LayersOp::create(
        b, run.front().getLoc(), run.front().getResult().getType(), name,
        run.front().getInput(), captured.getArrayRef(), first,
        first + run.size());
    run.back().getResult().replaceAllUsesWith(repeat.getResult());
    for (LayerOp layer : llvm::reverse(run))
      layer.erase();
    i += run.size();
  }
}

namespace {
struct ShareLayersPass : tbq::impl::ShareLayersPassBase<ShareLayersPass> {
  void runOnOperation() override {
    SmallVector<func::FuncOp> entries(getOperation().getOps<func::FuncOp>());
    for (func::FuncOp entry : entries)
      shareLayers(entry);
  }
};
} // namespace
