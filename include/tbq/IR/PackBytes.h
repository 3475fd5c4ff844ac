// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Packed bytes: a weight as a checkpoint stores it, brought into the order that
// #tbq.layout describes, some tiles at a time, and back again.
// Invariant: every byte of a tile is written; what no element, digit,
// coefficient or bias fills is zero. Sources may be unaligned.
#ifndef TBQ_IR_PACKBYTES_H
#define TBQ_IR_PACKBYTES_H

#include "tbq/IR/Tbq.h"

#include <vector>

namespace mlir::tbq {

/// Where the parts of a weight of layout.getRows() x getColumns() lie, each
/// row-major and little-endian. What the layout does not have is left out.
struct PackSource {
  /// Float layouts: the elements, f32, f16 or bf16, converted to the layout's
  /// type by way of f32, rounding to nearest even.
  const uint8_t *elements = nullptr;
  Type elementType;
  /// Digit layouts: one matrix a plane, of getDigits()[plane] bits a digit, low
  /// bits first, each row on whole bytes; and one f16 matrix of rows x groups a
  /// term. Digits of 8 bits come as two's complement bytes, as checkpoints
  /// store them, and are packed as stored + 128. With salient digits, the dense
  /// planes, the mask and the terms with a coefficient a group.
  SmallVector<const uint8_t *, 2> planes;
  SmallVector<const uint8_t *, 2> coefficients;
  /// Columns a coefficient is for, of which the layout's groups are parts: each
  /// gets a copy. 0: the layout's group.
  int64_t coefficientGroup = 0;
  /// Salient layouts: the digits and zero points, less 128 each, in two's
  /// complement; digits row by row in the order of the mask's bits, those of
  /// row r from `salientOffsets[r]` on (rows + 1 numbers of i32); one f16
  /// coefficient and one i16 zero point a row (none: all are stored as 0).
  const uint8_t *salientDigits = nullptr;
  const uint8_t *salientOffsets = nullptr;
  const uint8_t *rowCoefficients = nullptr;
  const uint8_t *zeroPoints = nullptr;
  /// `rows` biases of f32, f16 or bf16, widened to f32.
  const uint8_t *bias = nullptr;
  Type biasType;
};

/// The bytes before the first tile: what a layout without salient digits knows
/// by itself.
std::vector<uint8_t> packTable(LayoutAttr layout, const PackSource &source);

/// What follows is parts of tiles: those of the first panel, tile by tile, of
/// the second, and so on. Without panels a part is a whole tile.
int64_t getNumParts(LayoutAttr layout);
int64_t getPartBytes(LayoutAttr layout, const PackSource &source, int64_t part);

/// Writes parts [first, first + number), one after the other, to `out`.
void packParts(LayoutAttr layout, const PackSource &source, int64_t first,
               int64_t number, uint8_t *out);

/// A packed weight's content, row by row.
struct UnpackedWeight {
  std::vector<float> elements;              // rows x columns; float layouts
  std::vector<std::vector<uint8_t>> planes; // a digit a byte
  /// f16, rows x groups; a salient plane's: one a row.
  std::vector<std::vector<uint16_t>> coefficients;
  std::vector<int16_t> zeroPoints; // rows, salient layouts
  std::vector<float> bias;         // rows
};

/// Reads getBytes() bytes by the letter of the layout's description, digit by
/// digit: slow, and independent of how packParts does it.
UnpackedWeight unpack(LayoutAttr layout, const uint8_t *bytes);

} // namespace mlir::tbq

#endif // TBQ_IR_PACKBYTES_H
