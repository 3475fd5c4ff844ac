// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-divide-keys: in a step of one token, attention gets memory for the sums
// of each span of its keys, so that workers can divide keys where they cannot
// divide kv heads evenly. Input: attention on tensors. Output: the same with a
// second result, where the cache holds more than one span.

#include "tbq/Passes.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_DIVIDEKEYSPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

/// Tokens of a chunk, and sequences, are enough to be divided themselves.
static bool isOneToken(AttentionOp op) {
  auto query = cast<RankedTensorType>(op.getQuery().getType());
  return query.getDimSize(0) == 1 && op.getPosition().getType().isIndex();
}

namespace {
struct DivideKeysPass : tbq::impl::DivideKeysPassBase<DivideKeysPass> {
  void runOnOperation() override {
    SmallVector<AttentionOp> ops(getOperation().getOps<AttentionOp>());
    for (AttentionOp op : ops) {
      if (!isOneToken(op) || op.getKey() || op.getMostSpans() == 1)
        continue;
      OpBuilder b(op);
      int64_t columns = op.getMostSpans() * op.getHeads() * op.getSumColumns();
      OperationState state(op->getLoc(), op->getName());
      state.addOperands(op->getOperands());
      state.addTypes({op->getResult(0).getType(),
                      RankedTensorType::get({1, columns}, b.getF32Type())});
      state.propertiesAttr = op->getPropertiesAsAttribute();
      state.addAttributes(llvm::to_vector(op->getDiscardableAttrs()));
      Operation *divided = b.create(state);
      op->getResult(0).replaceAllUsesWith(divided->getResult(0));
      op->erase();
    }
  }
};
} // namespace
