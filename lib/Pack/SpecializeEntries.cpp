// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-specialize-entries: @forward, on any number of tokens, becomes @decode on
// one and @prefill on a chunk. All shapes are static afterwards.

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
    func::FuncOp prefill = forward.clone();
    prefill.setName("prefill");
    module.insert(std::next(forward->getIterator()), prefill);
    forward.setName("decode");
    specialize(forward, 1);
    specialize(prefill, prefillTokens);
  }
};
} // namespace
