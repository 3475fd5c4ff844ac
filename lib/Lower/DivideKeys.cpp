// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-divide-keys: attention of a token that has its own key gets memory for
// what each range of a head's keys comes to.

#include "tbq/Passes.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_DIVIDEKEYSPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

namespace {
struct DivideKeysPass : tbq::impl::DivideKeysPassBase<DivideKeysPass> {
  void runOnOperation() override {
    SmallVector<AttentionOp> ops(getOperation().getOps<AttentionOp>());
    for (AttentionOp op : ops) {
      CacheType cache = op.getCacheType();
      if (!op.getKey() || !cache.getTiled() || cache.countRanges() == 1)
        continue;
      OpBuilder b(op);
      SmallVector<Type> types(op->getResultTypes());
      types.push_back(
          RankedTensorType::get({int64_t(op.getHeads()) * cache.countRanges(),
                                 AttentionOp::getPartColumns(cache)},
                                b.getF32Type()));
      OperationState state(op.getLoc(), op->getName(), op->getOperands(), types,
                           op->getDiscardableAttrDictionary().getValue());
      state.propertiesAttr = op->getPropertiesAsAttribute();
      Operation *divided = b.create(state);
      op->getResult(0).replaceAllUsesWith(divided->getResult(0));
      op.erase();
    }
  }
};
} // namespace
