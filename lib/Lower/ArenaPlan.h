// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which tensors of a straight-line function share bytes of the arena: lives in
// the order of ops, then offsets such that buffers alive together are apart. So
// with memory of a worker's own.
#ifndef TBQ_LOWER_ARENAPLAN_H
#define TBQ_LOWER_ARENAPLAN_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "tbq/IR/Tbq.h"

namespace mlir::tbq {

/// The memref that holds a tensor of activations: rows padded to whole token
/// tiles, columns to whole vectors.
MemRefType getBufferType(RankedTensorType tensor);
int64_t getBufferBytes(MemRefType type);

class ArenaPlan {
public:
  /// Plans the tensors that `function` makes. Values in `elsewhere` (the
  /// logits, a layer's residual) have memory already. `scratch` gives the bytes
  /// that a tbq.layers needs for its function while it runs.
  static FailureOr<ArenaPlan>
  create(func::FuncOp function, const DenseSet<Value> &elsewhere,
         llvm::function_ref<int64_t(LayersOp)> scratch);

  /// Plans `tensors` alone, which no worker shares with another.
  static ArenaPlan createOwn(func::FuncOp function,
                             const DenseSet<Value> &tensors);

  int64_t getBytes() const { return bytes; }
  bool contains(Value value) const { return bufferOf.contains(value); }
  auto getTensors() const { return llvm::make_first_range(bufferOf); }
  int64_t getOffset(Value value) const {
    return buffers[bufferOf.lookup(value)].offset;
  }
  int64_t getScratchOffset(LayersOp op) const {
    return buffers[scratchOf.lookup(op)].offset;
  }

private:
  struct Buffer {
    int64_t bytes, begin, end; // alive from op `begin` to op `end`, inclusive
    int64_t offset = -1;
  };
  /// The op's operands live until it.
  void touchOperands(Operation &op, int64_t index);
  void add(Value tensor, int64_t index);
  void assignOffsets();

  SmallVector<Buffer> buffers;
  DenseMap<Value, int64_t> bufferOf;
  DenseMap<Operation *, int64_t> scratchOf;
  int64_t bytes = 0;
};

} // namespace mlir::tbq

#endif // TBQ_LOWER_ARENAPLAN_H
