// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-attend-own-key: in a step of one token, attention takes the token's key
// and value as they are and of the cache what earlier steps left, so it need
// not wait until they are stored. Input: an append_cache whose cache attention
// reads behind it. Output: attention with the key and value, and append_cache
// behind it.

#include "tbq/Passes.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_ATTENDOWNKEYPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

static bool isOneToken(Value rows) {
  return cast<RankedTensorType>(rows.getType()).getDimSize(0) == 1;
}

/// The one op that reads what `append` stored.
static AttentionOp findAttention(AppendCacheOp append) {
  for (Operation *op = append->getNextNode(); op; op = op->getNextNode())
    if (auto attention = dyn_cast<AttentionOp>(op))
      return attention.getLayer() == append.getLayer() &&
                     attention.getPosition() == append.getPosition()
                 ? attention
                 : nullptr;
  return nullptr;
}

namespace {
struct AttendOwnKeyPass : tbq::impl::AttendOwnKeyPassBase<AttendOwnKeyPass> {
  void runOnOperation() override {
    SmallVector<AppendCacheOp> appends(getOperation().getOps<AppendCacheOp>());
    for (AppendCacheOp append : appends) {
      AttentionOp attention = findAttention(append);
      if (!attention || !isOneToken(append.getKey()))
        continue;
      attention.getKeyMutable().assign(append.getKey());
      attention.getValueMutable().assign(append.getValue());
      append->moveAfter(attention);
    }
  }
};
} // namespace
