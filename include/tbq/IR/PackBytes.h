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
  /// bits first, each row on whole bytes; and one f16 matrix of rows x
  /// getNumGroups() a term. Digits of 8 bits come as two's complement bytes, as
  /// checkpoints store them, and are packed as stored + 128.
  SmallVector<const uint8_t *, 2> planes;
  SmallVector<const uint8_t *, 2> coefficients;
  /// `rows` biases of f32, f16 or bf16, widened to f32.
  const uint8_t *bias = nullptr;
  Type biasType;
};

/// Writes tiles [firstTile, firstTile + numTiles), numTiles * getTileBytes()
/// bytes, to `out`.
void packTiles(LayoutAttr layout, const PackSource &source, int64_t firstTile,
               int64_t numTiles, uint8_t *out);

/// A packed weight's content, row by row.
struct UnpackedWeight {
  std::vector<float> elements;              // rows x columns; float layouts
  std::vector<std::vector<uint8_t>> planes; // a digit a byte
  std::vector<std::vector<uint16_t>> coefficients; // f16, rows x groups
  std::vector<float> bias;                         // rows
};

/// Reads getBytes() bytes by the letter of the layout's description, digit by
/// digit: slow, and independent of how packTiles does it.
UnpackedWeight unpack(LayoutAttr layout, const uint8_t *bytes);

} // namespace mlir::tbq

#endif // TBQ_IR_PACKBYTES_H
