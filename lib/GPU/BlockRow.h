// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A row of activations in the registers of a block's threads: each has vectors
// of four columns, 512 vectors apart. What is past the row's columns counts as
// 0. The order of its sums is a matter of the number of columns alone.
#ifndef TBQ_GPU_BLOCKROW_H
#define TBQ_GPU_BLOCKROW_H

#include "BitColumns.h"
#include "RowExchange.h"

namespace mlir::tbq {

/// Columns from which on each warp has some of a row's.
inline constexpr int64_t kRowInAllWarps = 4 * kThreads;

class BlockRow {
public:
  BlockRow(ThreadBuilder &t, int64_t columns);

  /// Vectors that a thread has.
  int64_t countVectors() const { return vectors; }

  /// Runs `body`, which may do to the row what is below, in the warps that have
  /// some of its columns; the others meet as often.
  void inItsWarps(llvm::function_ref<void()> body);
  /// The last thread of those warps, which has the fewest columns.
  int64_t getLastThread() const { return warps * kWarpLanes - 1; }

  /// This thread's elements of row `token` of a buffer of f32.
  SmallVector<Value> load(Value rows, Value token);
  /// The same of f32 in packed bytes.
  SmallVector<Value> load(Value bytes);
  /// The same of f32 that other blocks may not have stored yet.
  SmallVector<Value> load(RowExchange &exchange);
  /// Its vector number `number`.
  SmallVector<Value> load(RowExchange &exchange, int64_t number);
  /// With 0 past the last column.
  SmallVector<Value> mask(SmallVector<Value> elements);
  void store(ArrayRef<Value> elements, Value rows, Value token);
  /// A word of bytes for each vector, where `place` says of its column; of a
  /// row of bits, what all lanes make of it.
  using Place = llvm::function_ref<SmallVector<Value>(Value)>;
  void storeBytes(ArrayRef<Value> words, Value rows, Place place,
                  std::optional<BitColumns> bits);

  /// Of the thread's elements.
  Value combine(Reduction reduction, ArrayRef<Value> elements);
  /// The sum of each vector's elements.
  SmallVector<Value> sumVectors(ArrayRef<Value> elements);
  /// Of such sums, gives `store` that of each group of columns and its number,
  /// in some thread. `getStored` reads an element of any column again, behind a
  /// meeting.
  using Store = llvm::function_ref<void(Value sum, Value group)>;
  void sumGroups(ArrayRef<Value> ofVectors, int64_t group, Store store,
                 llvm::function_ref<Value(Value)> getStored);

private:
  static constexpr int64_t kVector = 4;
  /// Columns that a warp's lanes hold side by side.
  static constexpr int64_t kWarpColumns = kVector * kWarpLanes;
  static constexpr int64_t kBlockColumns = kVector * kThreads;

  /// The first column of the thread's vector number `number`, and whether the
  /// padded row has it (null: in every thread). A column of it in any case.
  std::pair<Value, Value> getColumn(int64_t number);
  void ifExists(int64_t number, llvm::function_ref<void(Value)> body);
  void mask(int64_t number, MutableArrayRef<Value> elements); // of a vector
  /// Which `columns` columns, a part of a warp's, the thread's vector number
  /// `number` is of.
  Value getNumber(int64_t number, int64_t columns);
  /// Groups of several parts, each a warp's or less: a thread adds up a
  /// group's.
  void sumParts(ArrayRef<Value> ofVectors, int64_t part, int64_t group,
                Store store);
  void sumStored(int64_t group, Store store, Type type,
                 llvm::function_ref<Value(Value)> getStored);

  ThreadBuilder &t;
  int64_t columns, padded;
  int64_t vectors;        // that a thread has
  int64_t warps = kWarps; // that take part
};

} // namespace mlir::tbq

#endif // TBQ_GPU_BLOCKROW_H
