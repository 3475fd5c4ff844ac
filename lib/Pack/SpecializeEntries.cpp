// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-specialize-entries: @forward, on any number of tokens, becomes @decode on
// one, @prefill on a chunk and @batch on one of each of several sequences. All
// shapes are static afterwards.

#include "tbq/Passes.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_SPECIALIZEENTRIESPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

/// The type with its number of tokens, the leading dynamic dimension, known.
static Type specialize(Type type, int64_t tokens) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (!tensor || tensor.getRank() == 0 || !tensor.isDynamicDim(0))
    return type;
  SmallVector<int64_t> shape(tensor.getShape());
  shape[0] = tokens;
  return tensor.clone(shape);
}

static void specialize(func::FuncOp function, int64_t tokens) {
  function.walk([&](Block *block) {
    for (BlockArgument argument : block->getArguments())
      argument.setType(specialize(argument.getType(), tokens));
  });
  function.walk([&](Operation *op) {
    for (OpResult result : op->getResults())
      result.setType(specialize(result.getType(), tokens));
  });
  SmallVector<Type> results;
  for (Type type : function.getResultTypes())
    results.push_back(specialize(type, tokens));
  function.setType(FunctionType::get(
      function.getContext(), function.getBody().getArgumentTypes(), results));
}

/// The argument of @forward that says where the first token stands.
static constexpr unsigned kPosition = 2;

/// Makes each token one of a sequence of its own.
static LogicalResult givePlaces(func::FuncOp function, int64_t tokens) {
  if (function.getNumArguments() <= kPosition ||
      !function.getArgument(kPosition).getType().isIndex())
    return function.emitError("has no position, of which sequences have each "
                              "their own, as its third argument");
  Type integer = IntegerType::get(function.getContext(), 64);
  function.getArgument(kPosition).setType(
      RankedTensorType::get({tokens, 2}, integer));
  return success();
}

namespace {
struct SpecializeEntriesPass
    : tbq::impl::SpecializeEntriesPassBase<SpecializeEntriesPass> {
  using SpecializeEntriesPassBase::SpecializeEntriesPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto forward = module.lookupSymbol<func::FuncOp>("forward");
    if (!forward) {
      module.emitError("has no function 'forward' to make entry points of");
      return signalPassFailure();
    }
    if (prefillTokens < 1) {
      module.emitError("prefill needs at least one token, not ")
          << prefillTokens.getValue();
      return signalPassFailure();
    }
    if (maxBatch < 1) {
      module.emitError("a step carries at least one sequence, not ")
          << maxBatch.getValue();
      return signalPassFailure();
    }
    auto copy = [&](StringRef name) {
      func::FuncOp function = forward.clone();
      function.setName(name);
      module.push_back(function);
      return function;
    };
    func::FuncOp prefill = copy("prefill");
    if (maxBatch > 1) {
      func::FuncOp batch = copy("batch");
      if (failed(givePlaces(batch, maxBatch)))
        return signalPassFailure();
      specialize(batch, maxBatch);
    }
    forward.setName("decode");
    specialize(forward, 1);
    specialize(prefill, prefillTokens);
  }
};
} // namespace
