// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-place-weights: moves every tbq.pack, with what it is made of, into the
// module's one tbq.weights, in the order of first use (the order in which a
// step reads them), and gives it an aligned byte offset. Uses become
// tbq.placed_weight.

#include "tbq/Passes.h"

#include "mlir/IR/IRMapping.h"
#include "llvm/Support/MathExtras.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_PLACEWEIGHTSPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

/// Clones `op` and the weights it is made of; one clone for each original.
static void cloneTree(Operation *op, OpBuilder &b, IRMapping &mapping) {
  if (mapping.lookupOrNull(op))
    return;
  for (Value operand : op->getOperands())
    if (Operation *definition = operand.getDefiningOp())
      cloneTree(definition, b, mapping);
  mapping.map(op, b.clone(*op, mapping));
}

/// What a packed weight is called: its tensor's name without the last part
/// ("model.layers.0.mlp.up_proj" for "....up_proj.codes").
static StringRef getWeightName(PackOp pack) {
  Operation *source = pack.getWeight().getDefiningOp();
  if (isa_and_nonnull<RopeTableOp>(source))
    return "rope_table";
  if (auto quantize = dyn_cast_or_null<QuantizeOp>(source))
    source = quantize.getWeight().getDefiningOp();
  auto weight = dyn_cast_or_null<WeightOp>(source);
  return weight ? weight.getName().rsplit('.').first : "inline";
}

/// Removes ops that nothing uses any more, users first.
static void eraseUnused(ModuleOp module, Operation *except) {
  SmallVector<Operation *> dead;
  module.walk([&](Operation *op) {
    if (isa<PackOp, QuantizeOp, WeightOp, RopeTableOp>(op) &&
        !except->isAncestor(op))
      dead.push_back(op);
  });
  for (Operation *op : llvm::reverse(dead))
    if (op->use_empty())
      op->erase();
}

namespace {
struct PlaceWeightsPass : tbq::impl::PlaceWeightsPassBase<PlaceWeightsPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    OpBuilder b(module.getBody(), module.getBody()->end());
    SmallVector<PackOp> packs;
    DenseSet<PackOp> seen;
    module.walk([&](Operation *user) {
      for (Value operand : user->getOperands())
        if (auto pack = operand.getDefiningOp<PackOp>())
          if (seen.insert(pack).second)
            packs.push_back(pack);
    });

    auto weights = WeightsOp::create(b, module.getLoc(), "weights", 0);
    b.createBlock(&weights.getBody());
    IRMapping mapping;
    int64_t offset = 0;
    for (PackOp pack : packs) {
      b.setInsertionPointToEnd(&weights.getBody().front());
      cloneTree(pack, b, mapping);
      PlaceOp::create(b, pack.getLoc(), mapping.lookup(pack.getResult()),
                      offset, getWeightName(pack));
      b.setInsertionPoint(pack);
      auto placed =
          PlacedWeightOp::create(b, pack.getLoc(), pack.getType(), Value(),
                                 Value(), ArrayRef<int64_t>{offset});
      pack.getResult().replaceAllUsesWith(placed);
      offset += llvm::alignTo(pack.getBytes(), kAlignment);
    }
    weights.setBytes(offset);
    eraseUnused(module, weights);
  }
};
} // namespace
