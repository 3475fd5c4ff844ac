// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Short words for the vector code that lowering writes: loads and stores of
// whole vectors of kLanes, arithmetic, loops that carry values. It knows the
// target only by whether multiply-adds are fused.
#ifndef TBQ_CPU_VECTORBUILDER_H
#define TBQ_CPU_VECTORBUILDER_H

#include "tbq/Passes.h"
#include "tbq/Target/ScalarBuilder.h"

namespace mlir::tbq {

class VectorBuilder : public ScalarBuilder {
public:
  VectorBuilder(OpBuilder &b, Location loc, bool fused)
      : ScalarBuilder(b, loc), fused(fused) {}

  const bool fused; // multiply-adds round once

  // Types.
  VectorType f32Vector(int64_t lanes = kLanes) const {
    return VectorType::get({lanes}, b.getF32Type());
  }
  VectorType i32Vector(int64_t lanes = kLanes) const {
    return VectorType::get({lanes}, b.getI32Type());
  }
  VectorType i8Vector(int64_t lanes) const {
    return VectorType::get({lanes}, b.getI8Type());
  }

  // Indices.
  Value min(Value a, Value b);
  Value max(Value a, Value b);

  // Vectors.
  Value splat(Value scalar, int64_t lanes = kLanes);
  Value splat(float value, int64_t lanes = kLanes);
  Value splatI32(int64_t value, int64_t lanes = kLanes);
  Value bitcast(Value vector, VectorType type);
  Value fma(Value a, Value b, Value c); // a * b + c
  /// An instruction by the name of its intrinsic, where no dialect of vectors
  /// has it; without a type the result is of the first argument's.
  Value callIntrinsic(StringRef name, ValueRange arguments, Type type = {});
  /// How many of 64 conditions are true.
  Value countTrue(Value conditions);
  /// Sum of the lanes, in the order of the lanes.
  Value addLanes(Value vector);
  /// The largest lane, in every lane. Its order does not matter, so it has four
  /// steps instead of fifteen that wait for each other.
  Value maxOfLanes(Value vector);

  // Memory of elements.
  Value load(Value memref, ValueRange indices, VectorType type);
  Value load(Value memref, ValueRange indices); // a scalar
  void store(Value vector, Value memref, ValueRange indices);
  void storeScalar(Value scalar, Value memref, ValueRange indices);
  /// The first `valid` lanes only; the others read as 0 and are not written.
  Value loadFirst(Value memref, ValueRange indices, VectorType type,
                  int64_t valid);
  void storeFirst(Value vector, Value memref, ValueRange indices,
                  int64_t valid);
  /// One element a lane, at its distance behind `indices`.
  Value gather(Value memref, ValueRange indices, Value distances,
               VectorType type);
  void scatter(Value vector, Value memref, ValueRange indices, Value distances);

  // Memory of bytes: packed weights and the cache.
  Value loadBytes(Value bytes, Value offset, VectorType type);
  void storeBytes(Value vector, Value bytes, Value offset);
  /// A u32.
  Value loadIndex(Value bytes, Value offset);
  /// Elements of `type` (f32, f16 or bf16), as f32.
  Value loadAsF32(Value bytes, Value offset, Type type, int64_t lanes = kLanes);
  void storeF32As(Value vector, Value bytes, Value offset, Type type);
  Value toF32(Value vector, Type from);

  // Control flow.
  using Body = llvm::function_ref<SmallVector<Value>(Value, ValueRange)>;
  /// for i = from to to step step, carrying values.
  SmallVector<Value> loop(Value from, Value to, int64_t step, ValueRange init,
                          Body body);
  void loop(Value from, Value to, llvm::function_ref<void(Value)> body);
  /// for i = 0 to count: `unroll` copies of the body a round, the rest after.
  /// The body also gets the copy's number, in which i modulo `unroll` is known.
  SmallVector<Value> unrolled(
      int64_t count, int64_t unroll, ValueRange init,
      llvm::function_ref<SmallVector<Value>(Value, int64_t, ValueRange)> body);
  void ifThen(Value condition, llvm::function_ref<void()> body);
  void ifThenElse(Value condition, llvm::function_ref<void()> body,
                  llvm::function_ref<void()> otherwise);
  Value equal(Value a, Value b);
  Value less(Value a, Value b); // unsigned, of indices
};

/// Runs `body` with each unit of the op's range, as the number of a token and
/// of the unit within it.
void forEachUnit(VectorBuilder &v, StepOp op,
                 llvm::function_ref<void(Value token, Value part)> body);
/// The same of an op that goes element by element, whose units are whole
/// vectors: as the numbers of a token and of a vector's first column.
void forEachElementVector(
    VectorBuilder &v, StepOp op,
    llvm::function_ref<void(Value token, Value column)> body);

} // namespace mlir::tbq

#endif // TBQ_CPU_VECTORBUILDER_H
