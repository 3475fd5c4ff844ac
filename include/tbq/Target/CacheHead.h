// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Where a token stands, and where one kv head of one layer lies in the cache.
#ifndef TBQ_TARGET_CACHEHEAD_H
#define TBQ_TARGET_CACHEHEAD_H

#include "tbq/IR/Tbq.h"

namespace mlir::tbq {

/// Of a token of a step (tbq_place of format/StepAbi.h).
struct TokenPlace {
  Value position; // in its sequence
  Value cache;    // byte at which its sequence's cache begins; null: the first
};

/// Of `token`, from what an op has as its position: the first token's, or a
/// place for each.
TokenPlace getPlace(OpBuilder &b, Location loc, Value position, Value token);

/// Offsets are in bytes. Valid as long as the builder it was made with.
class CacheHead {
public:
  /// `begin`: of the sequence's cache, null if that is the first byte.
  CacheHead(OpBuilder &b, Location loc, CacheType type, Value layer, Value head,
            Value begin = nullptr);

  /// Of a feature of the first of a block's keys; the others' are next to it.
  Value getKeyOffset(Value block, Value feature);
  Value getValueOffset(Value position, Value feature);
  Value getValueOffset(Value position, int64_t feature);
  /// Of one element, in any order of the cache.
  Value getKeyElement(Value position, Value feature);
  Value getValueElement(Value position, Value feature);
  /// Of the first element of a tile: 16 positions by 16 features.
  Value getKeyTile(Value block, Value tile);
  Value getValueTile(Value block, Value tile);

  CacheType type;

private:
  Value index(int64_t value);
  Value add(Value x, Value y);
  Value mul(Value x, int64_t y);
  Value div(Value x, int64_t y);
  Value rem(Value x, int64_t y);

  OpBuilder &b;
  Location loc;
  Value keys, values;
};

} // namespace mlir::tbq

#endif // TBQ_TARGET_CACHEHEAD_H
