// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What sm_90a has and MLIR has no op for: products of four warps, whose rows
// are registers and whose columns lie in memory that the block shares, copies
// of many bytes by one thread, and the barriers that both are waited for with.
// Each is assembly whose first line is a comment: what an emulator calls, and
// numbers that it is called with before the operands.
#ifndef TBQ_GPU_WARPGROUP_H
#define TBQ_GPU_WARPGROUP_H

#include "ThreadBuilder.h"

namespace mlir::tbq {

/// Warps that multiply together, and the rows of their product.
inline constexpr int64_t kGroupWarps = 4, kGroupRows = 64;
/// Of a block; the others have their registers.
inline constexpr int64_t kMultiplyingGroups = 2,
                         kMultiplyingWarps = kMultiplyingGroups * kGroupWarps;
/// Runs `multiply` by the groups that multiply, and `others` by the others,
/// whose registers those have meanwhile, with their number among them, an i32.
/// All of the block must be here.
void divideGroups(ThreadBuilder &t, llvm::function_ref<void()> multiply,
                  llvm::function_ref<void(Value)> others);
/// Bytes of a token that lie together, their chunks of 16 exchanged by its
/// number: chunk i at i ^ number % 8.
inline constexpr int64_t kSwizzled = 128;
/// What eight such tokens lie at.
inline constexpr int64_t kSwizzledAlignment = 8 * kSwizzled;

/// Where products find tokens of kSwizzled bytes each, at an address that
/// kSwizzledAlignment divides. One more is sixteen bytes on.
Value getDescriptor(ThreadBuilder &t, Value address);

/// Begins sums + rows of signed digits times `tokens` tokens. digits: four
/// words a slice of 32 columns, as multiplyBytes has them, of rows 16 w on in
/// the group's warp w. sums: empty, or as the result is: of each eight tokens
/// four, as of multiplyBytes. Nothing may be done with the result but to finish
/// it.
SmallVector<Value> startProducts(ThreadBuilder &t, int64_t tokens,
                                 ArrayRef<Value> digits, Value descriptor,
                                 ArrayRef<Value> sums);
/// Where products find columns in fours of words, of `tokens` each.
Value getHalfDescriptor(ThreadBuilder &t, Value address, int64_t tokens);
/// The same of f16, 16 columns a step, of which `tokens` lie every `stride`
/// tokens' fours twice. halves: four words a step, as multiplyHalves has them.
/// The sums are f32, as words. adds: an i32, 0 if they begin at zero instead.
SmallVector<Value> startHalfProducts(ThreadBuilder &t, int64_t tokens,
                                     ArrayRef<Value> halves, Value descriptor,
                                     int64_t stride, ArrayRef<Value> sums,
                                     Value adds = nullptr);
/// The same without sums before, whose rows lie in memory too, 64 of them a
/// four of words, `rowStep` and `step` sixteens of bytes from slice to slice.
SmallVector<Value> startRowProducts(ThreadBuilder &t, int64_t tokens,
                                    Value rows, int64_t rowStep,
                                    Value descriptor, int64_t step,
                                    int64_t slices);
/// Products that were started with these digits, and `later` others behind
/// them: all there when it returns.
SmallVector<Value> finishProducts(ThreadBuilder &t, int64_t later,
                                  ArrayRef<Value> products,
                                  ArrayRef<Value> digits);

/// Whether the lane is the one of its warp, all of which are here, that does
/// what one is to do: what it is that is then known to be done by one.
Value isElected(ThreadBuilder &t);

// A barrier is eight bytes of memory that the block shares, at an address that
// eight divides. Its turns have parity 0, 1, 0, ...
inline constexpr int64_t kBarrierBytes = 8;
void initBarrier(ThreadBuilder &t, Value barrier, Value arrivals); // i32
/// Before its memory is used for something else.
void endBarrier(ThreadBuilder &t, Value barrier);
/// Each thread for what it has done itself: compute-sanitizer does not follow
/// one that arrives for its warp.
void arrive(ThreadBuilder &t, Value barrier);
/// The same, and the turn needs `bytes` of copies to have come.
void arriveAndExpect(ThreadBuilder &t, Value barrier, int64_t bytes);
/// Until the turn of that parity is over.
void waitForTurn(ThreadBuilder &t, Value barrier, Value parity);
/// Of a ring of `stages`, the slot behind `slot`, and the parity of the turn
/// that it is in, as of `parity`. i32
SmallVector<Value> getNextStage(ThreadBuilder &t, Value slot, Value parity,
                                int64_t stages);
/// Addresses and bytes are multiples of 16.
void copyBulk(ThreadBuilder &t, Value to, Value from, int64_t bytes,
              Value barrier);
/// What the thread has written, or has seen written, comes before copies that
/// are asked for, and barriers that are used, behind this.
void fenceCopies(ThreadBuilder &t);

} // namespace mlir::tbq

#endif // TBQ_GPU_WARPGROUP_H
