// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Short words for the code that lowering to a GPU writes: what one thread of a
// block does. Scalars and 16-byte loads, the thread's place, loops, reductions
// over a warp and over the block, memory that a block's threads share.
#ifndef TBQ_GPU_THREADBUILDER_H
#define TBQ_GPU_THREADBUILDER_H

#include "tbq/Passes.h"
#include "tbq/Target/ScalarBuilder.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

namespace mlir::tbq {

/// Threads of a block: one block is one worker of the step.
inline constexpr int64_t kThreads = 512;
inline constexpr int64_t kWarpLanes = 32;
inline constexpr int64_t kWarps = kThreads / kWarpLanes;
/// NVVM's address space of memory that a block's threads share.
inline constexpr int64_t kSharedMemory = 3;
/// And of what all blocks see.
inline constexpr int64_t kGlobalMemory = 1;

/// The memory of the worker that a block is, which the launch brings, as a
/// symbol; how much of it, as the module's attribute; where a function's own
/// buffers end in it, as the function's.
inline constexpr const char *kWorkerMemory = "tbq_shared_worker",
                            *kLaunchedBytes = "tbq.shared_bytes",
                            *kWorkerEnd = "tbq.worker_end";
/// Of it, what all its users lie at.
inline constexpr int64_t kScratchAlignment = 128;
/// The most that any GPU gives to a block, and what is left of that to buffers
/// of getShared, whose sizes are not known to who asks for scratch.
inline constexpr int64_t kMostShared = 227 << 10, kDeclaredShared = 24 << 10;

enum class Reduction { Sum, Maximum };

inline constexpr float kLog2E = 1.44269504f;

class ThreadBuilder : public ScalarBuilder {
public:
  /// For code where `b` stands, in a function.
  ThreadBuilder(OpBuilder &b, Location loc) : ScalarBuilder(b, loc) {
    Operation *parent = b.getInsertionBlock()->getParentOp();
    module = parent->getParentOfType<ModuleOp>();
    function = dyn_cast<func::FuncOp>(parent);
    if (!function)
      function = parent->getParentOfType<func::FuncOp>();
  }

  // Scalars.
  Value min(Value x, Value y);
  Value less(Value x, Value y); // signed
  Value equal(Value x, int64_t y) { return same(x, like(x, y)); }
  Value same(Value x, Value y);
  Value both(Value x, Value y);
  Value either(Value x, Value y);
  Value select(Value condition, Value x, Value y);
  Value exclusiveOr(Value x, Value y);
  Value toI32(Value index);
  Value toIndex(Value i32); // without a sign
  Value bitcast(Value x, Type type);

  Value fma(Value x, Value y, Value z); // x * y + z, rounded once
  Value maxf(Value x, Value y);
  Value maximum(Value x, Value y); // of floats, NaN if one is
  Value isNaN(Value x);
  /// Which tbq-expand-math spells out.
  Value exp(Value x);
  /// 2^x by one instruction, to 2^-22 of itself; 0 where that is no normal
  /// number. e^x is 2^(kLog2E x).
  Value exp2(Value x);
  /// x / y, rounded as that is, without a branch: where neither they nor what
  /// comes are far from 1, as they are within 2^60.
  Value divideNear(Value x, Value y);
  /// 1 / x and 1 / sqrt(x) by one instruction, to about 2^-22 of themselves.
  Value inverse(Value x);
  Value inverseRoot(Value x);
  Value toF32(Value x); // i32, f16, bf16 or f32
  /// The nearest integer, ties to even, of an x within 2^22, and above its
  /// lower 22 bits others that do not depend on it: a conversion takes eight
  /// cycles of a scheduler, this two. What is made of it is by words: ptxas
  /// takes a byte stored of a float sum's bits for a conversion (st.b8 of a
  /// float register).
  Value roundBelow(Value x);

  // The four bytes of a word are four digits.
  Value shiftRight(Value word, int64_t bits);
  Value shiftLeft(Value word, int64_t bits);
  Value shiftRight(Value word, Value bits);
  Value shiftLeft(Value word, Value bits);
  Value rotateLeft(Value word, Value bits);
  Value andBits(Value word, uint32_t mask);
  /// A product of the tensor cores, m16n8k32, by a whole warp: sums + unsigned
  /// digits (16 rows of 32) times signed activations (32 by 8 tokens). Lane
  /// 4 r + q gives words of rows r and r + 8, quarter q of the first 16 of 32,
  /// then of the others; of activations, those of token r. It has rows r (first
  /// two) and r + 8, of tokens 2 q and 2 q + 1.
  SmallVector<Value> multiplyBytes(ArrayRef<Value> digits,
                                   ArrayRef<Value> activations,
                                   ArrayRef<Value> sums);
  /// The same of bits, m16n8k256: how many of a row and a column are both 1. Of
  /// half as many words m16n8k128.
  SmallVector<Value> multiplyBits(ArrayRef<Value> rows, ArrayRef<Value> columns,
                                  ArrayRef<Value> sums);
  /// The same of f16, m16n8k16, in words of two: rows r and r + 8, quarter q of
  /// the first 8 of 16, then of the others; sums are f32. Of half as many words
  /// m16n8k8.
  SmallVector<Value> multiplyHalves(ArrayRef<Value> rows,
                                    ArrayRef<Value> columns,
                                    ArrayRef<Value> sums);
  /// Two f16 as a word, and what they leave of x and y as another.
  std::pair<Value, Value> splitHalves(Value x, Value y);
  Value packHalves(Value x, Value y);
  /// Each of a word's two f16; of both, a sum and a product.
  SmallVector<Value> getHalves(Value word);
  Value addHalves(Value word, float x);
  Value scaleHalves(Value word, float x);
  /// The lower 16 bits of two words, as one.
  Value packLow(Value x, Value y);
  /// The bits of `x` under the mask, of `y` elsewhere.
  Value choose(Value mask, Value x, Value y);

  // Memory.
  Value load(Value memref, ValueRange indices);
  void store(Value scalar, Value memref, ValueRange indices);
  /// A vector of `type` at an index of the last dimension that its size
  /// divides in bytes, up to 16.
  Value loadVector(Value memref, ValueRange indices, VectorType type);
  /// The same at a byte offset of packed bytes.
  Value loadBytes(Value bytes, Value offset, VectorType type);
  void storeVector(ValueRange scalars, Value memref, ValueRange indices);
  /// Byte `byte` of each of four i32.
  Value packBytes(ValueRange words, int64_t byte = 0);
  /// The sum of a word's four bytes, each with a sign.
  Value sumBytes(Value word);
  /// Of bytes, at an index that four divides.
  void storeWord(Value word, Value memref, ValueRange indices);
  /// The same the other way, at a byte offset.
  void storeBytesOf(ValueRange scalars, Value bytes, Value offset);
  Value extract(Value vector, int64_t position);
  /// A u32.
  Value loadIndex(Value bytes, Value offset);
  /// One element of `type` at a byte offset, as f32.
  Value loadAsF32(Value bytes, Value offset, Type type);
  void storeF32As(Value x, Value bytes, Value offset, Type type);

  // The thread.
  Value thread(); // 0 .. kThreads - 1 of its block
  Value lane() { return rem(thread(), kWarpLanes); }
  Value warp() { return div(thread(), kWarpLanes); }
  /// Whether it holds in any lane of the warp, all of which ask.
  Value inAnyLane(Value condition);
  /// The same number, by a shuffle that nobody looks through.
  Value hideNumber(Value number);
  /// From here on the thread's number is a hidden one: else all that is
  /// computed of it, most of it addresses, would be computed before a loop that
  /// this stands in, and held in registers that there are not.
  void renewThread();
  /// Threads of a block wait for each other, and see what each has written.
  void synchronize();
  void synchronizeWarp(); // the same of a warp's lanes

  /// Copies 16 or 4 bytes, at byte offsets that they divide, to memory that the
  /// block shares, behind the thread's back: they are there when it has waited.
  void copy(Value from, Value fromOffset, Value to, Value toOffset,
            int64_t bytes);
  /// The same from an address, as an index.
  void copy(Value address, Value to, Value toOffset, int64_t bytes);
  /// The address of a byte of a buffer.
  Value getAddress(Value memref, Value offset);
  /// The copies since the last call are a group, be they none.
  void commitCopies();
  /// Until all the thread's groups but the last `pending` are there.
  void waitForCopies(int64_t pending);

  // Control flow.
  using Body = llvm::function_ref<SmallVector<Value>(Value, ValueRange)>;
  SmallVector<Value> loop(Value from, Value to, Value step, ValueRange init,
                          Body body);
  void loop(Value from, Value to, Value step,
            llvm::function_ref<void(Value)> body);
  /// condition: null if it always holds.
  void ifThen(Value condition, llvm::function_ref<void()> body);
  /// What `body` gives, or, for each of it, what `otherwise` gives of its type.
  /// condition: null if it always holds.
  SmallVector<Value> ifElse(Value condition,
                            llvm::function_ref<SmallVector<Value>()> body,
                            llvm::function_ref<Value(Type)> otherwise);

  /// Runs `body` in warps where `condition` holds, of all lanes or none. The
  /// others do `otherwise` and meet the block's threads as often as it does.
  void ifWarp(Value condition, llvm::function_ref<void()> body,
              llvm::function_ref<void()> otherwise);

  // Over a warp: all its lanes call, and get the same result.
  Value shuffle(Value x, int64_t distance); // of the lane at lane ^ distance
  Value getFromLane(Value x, Value lane);
  Value reduceWarp(Reduction reduction, Value x, int64_t lanes = kWarpLanes);
  /// The same of i32 by one instruction.
  Value reduceAllLanes(Value x, NVVM::ReduxKind kind);
  /// The same over the block's warps, of f32, for a maximum none less than 0.
  /// Its threads meet once: of two reductions behind one another, one takes an
  /// even turn and one an odd one.
  Value reduceBlock(Reduction reduction, Value x, int64_t turn);
  /// A sum and a maximum at once, which take both turns.
  std::pair<Value, Value> reduceBoth(Value sum, Value maximum);
  /// The part, 0, in reductions of either turn of a warp that takes no part.
  void leaveReductions();
  Value combine(Reduction reduction, Value x, Value y);
  /// A buffer of `floats` that the block's threads share, one for each name.
  Value getShared(StringRef name, int64_t floats);
  /// All that the launch brings.
  Value getWorkerMemory();
  /// `bytes` of that behind the function's own buffers, at a multiple of
  /// kScratchAlignment: the same for all that ask in one function, each of
  /// which must meet the block's threads before and behind its use.
  Value getScratch(int64_t bytes);
  /// The most that may be asked for, where a block may share `most`.
  int64_t countScratch(int64_t most);

private:
  /// A warp's part of a reduction of the block, and what all parts come to.
  void storePart(Reduction reduction, Value x, int64_t turn);
  Value combineParts(Reduction reduction, int64_t turn);
  int64_t getScratchOffset();

  /// A loop that is being built has no parent to ask.
  ModuleOp module;
  Value renewed;         // the thread's number; null: it may be asked for
  func::FuncOp function; // null: of another dialect
};

/// Runs `body` with the token and column of every element that the op's range
/// of units covers, each by one thread; a unit has `columns` of them.
void forEachElement(ThreadBuilder &t, StepOp op, int64_t columns,
                    llvm::function_ref<void(Value token, Value column)> body);

/// Runs `body` with every token of the op's range, by the whole block.
void forEachToken(ThreadBuilder &t, StepOp op,
                  llvm::function_ref<void(Value token)> body);

/// `value` where `b` stands: itself, or computed again from what is there.
Value getAt(OpBuilder &b, Value value, IRMapping &copies);

/// Attributes of a barrier of which another op is the other half.
inline constexpr const char *kArrivesOnly = "tbq.arrives",
                            *kWaitsOnly = "tbq.waits";

/// The barrier that stands before `op` in its block; null: none does. It only
/// waits: what is put before it runs when the block has arrived, behind all
/// that it has written, while others are waited for.
Operation *findBarrier(Operation *op);

/// Of a buffer of rows.
int64_t getColumns(Value rows);

/// Of a buffer, all.
int64_t countBytes(MemRefType type);

/// The bytes of a packed weight.
Value getBytes(ThreadBuilder &t, Value packed);

} // namespace mlir::tbq

#endif // TBQ_GPU_THREADBUILDER_H
