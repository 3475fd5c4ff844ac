// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How a row goes from the blocks that make parts of it to all blocks, without a
// barrier: a float that is not there yet is a NaN that nothing else is
// (kEmpty), and who finds one looks again. Where rows go so is decided by
// tbq-exchange-rows (ExchangeRows.cpp).
#ifndef TBQ_GPU_ROWEXCHANGE_H
#define TBQ_GPU_ROWEXCHANGE_H

#include "ThreadBuilder.h"

namespace mlir::tbq {

/// Of an op that writes or reads such a row: where in the arena it lies, as
/// {first byte, bytes between the two places that a row of each layer has by
/// turns, or 0, what is added to the layer's number to have its turn}.
inline constexpr const char *kExchange = "tbq.exchange";
/// Of an op whose row the next layer reads, and so may what stands behind the
/// last.
inline constexpr const char *kCarried = "tbq.carried";
/// Of a barrier where no block waits for others, but its threads for each
/// other: all that goes through it are such rows. And of one that is so but in
/// the first layer.
inline constexpr const char *kBlockOnly = "tbq.block_only",
                            *kBlockOnlyLater = "tbq.block_only_later";
/// Of a barrier of all blocks, before which the layer's places are made empty,
/// as {first byte, bytes, bytes from an even to an odd layer's}.
inline constexpr const char *kEmpties = "tbq.empties";

/// Of a step's arguments (lib/Lower/StepArguments.h), the last a layer's alone.
inline constexpr unsigned kArenaArgument = 0, kLayerArgument = 9;

/// What no arithmetic of a GPU gives: its only NaN is 0x7fffffff.
inline constexpr int32_t kEmpty = -1;

class RowExchange {
public:
  /// Of an op of the step whose row's buffer is `row`; none: it has none.
  static std::optional<RowExchange> get(ThreadBuilder &t, Operation *op,
                                        Value row);

  /// Four floats from `column` on, as they are at this moment.
  Value loadFour(Value column);
  void store(Value x, Value column);

private:
  RowExchange(ThreadBuilder &t, Value arena, int64_t first, Value turn)
      : t(t), arena(arena), first(first), turn(turn) {}

  Value getPointer(Value column);

  ThreadBuilder &t;
  Value arena;
  int64_t first; // byte of the row's first place
  Value turn;    // how many floats further it is; null: it has one
};

/// Stores a float of what `op` writes at {token, column} of `row`, or in the
/// row's place, or in both, where others read both.
void storeOfRow(ThreadBuilder &t, Operation *op, Value x, Value row,
                ValueRange at);

/// `load` four `number` of what has been loaded again, while one of them is
/// kEmpty; until none is, in the whole warp. What has then been loaded, and the
/// part of that, which is NaN if one is kEmpty.
std::pair<SmallVector<Value>, Value>
waitUntilFull(ThreadBuilder &t, ArrayRef<Value> loaded,
              llvm::function_ref<SmallVector<Value>(int64_t number)> load,
              llvm::function_ref<Value(ArrayRef<Value>)> getPart);

/// Before a barrier with kEmpties: its places are empty, a part by each block.
void storeEmpties(BarrierOp op);

} // namespace mlir::tbq

#endif // TBQ_GPU_ROWEXCHANGE_H
