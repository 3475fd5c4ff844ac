// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The tbq dialect: its attributes, types, interfaces and ops.
#ifndef TBQ_IR_TBQ_H
#define TBQ_IR_TBQ_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "tbq/IR/TbqDialect.h.inc"
#include "tbq/IR/TbqEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "tbq/IR/TbqAttrs.h.inc"

#define GET_TYPEDEF_CLASSES
#include "tbq/IR/TbqTypes.h.inc"

#include "tbq/IR/TbqInterfaces.h.inc"

#define GET_OP_CLASSES
#include "tbq/IR/TbqOps.h.inc"

namespace mlir::tbq {
/// Lanes of the vectors that rows of activations are padded to.
inline constexpr int64_t kLanes = 16;
/// Rows of a tile on a GPU: as many as a product of its tensor cores has. Its
/// groups begin at multiples of what a thread loads at most, in bytes.
inline constexpr int64_t kWarpRows = 8;
inline constexpr int64_t kThreadBytes = 16;
/// Ternary digits by threes: rows of a band, of which a tile has so many at
/// most, and columns of a step.
inline constexpr int64_t kBandRows = 64;
inline constexpr int64_t kMostBands = 6;
inline constexpr int64_t kTripleColumns = 64;
/// Memory of a GPU's block for the buffers of the worker that it is: of an
/// entry point and of a layer. A block may have 99 KiB since sm_80, for what
/// kernels declare too.
inline constexpr int64_t kSharedBytes = 80 << 10;
/// Alignment of buffers in the arena and of weights in their section, bytes.
inline constexpr int64_t kAlignment = 64;
/// Bytes that a buffer of a worker's own is a multiple of: what a warp of a GPU
/// stores of a row at once may end behind the row.
inline constexpr int64_t kRowEnd = 128;

/// Steps of the largest activation of a token: of int8, and of the int16 that
/// two int8 digits can hold with room to round.
inline constexpr int64_t kSteps8 = 127;
inline constexpr int64_t kSteps16 = 32639;

/// int8 and int4: w = scale * q, without a shift.
inline bool isInteger(Scheme scheme) {
  return scheme == Scheme::Int8 || scheme == Scheme::Int4;
}

/// The most tokens whose sums a linear keeps in registers at once.
inline constexpr int64_t kTokenTile = 8;

/// The same for a step that carries `tokens`. Rows of activations are padded to
/// whole token tiles.
inline int64_t getTokenTile(int64_t tokens) {
  return tokens < kTokenTile ? tokens : kTokenTile;
}

/// Checks the parts of salient weights (mask, values, offsets, value scale and
/// perhaps zero) of a matrix: what an op that has them must hold.
LogicalResult verifySalient(Operation *op, TypeRange parts, int64_t rows,
                            int64_t columns);
} // namespace mlir::tbq

#endif // TBQ_IR_TBQ_H
