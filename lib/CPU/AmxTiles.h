// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Products of bytes by AMX tiles: 16 tokens x 64 columns times 64 columns x 16
// rows. Sixteen rows of spread digits (LinearBlock.h) are one tile of them as
// they stand, and 16 tokens' rows of activations the other.
#ifndef TBQ_CPU_AMXTILES_H
#define TBQ_CPU_AMXTILES_H

#include "VectorBuilder.h"

namespace mlir::tbq {

/// Rows of an AMX tile, which are tokens or quads, and its columns of bytes.
inline constexpr int64_t kTileRows = 16;
inline constexpr int64_t kTileColumns = 64;

/// What activations of 16 tokens, of `columns` from `column` on, make with some
/// digits: of each, those of four columns are a row of `digits`, from `quads`
/// on. The products go to rows of `products`: from `places` on, for each of
/// `inputs` one of all digits. Each tile of both is loaded once.
struct TileProducts {
  struct Input {
    Value rows, token; // 16 rows, from `token` on
  };
  ArrayRef<Input> inputs;
  Value column;
  int64_t columns;
  Value digits;
  bool isSigned;
  ArrayRef<Value> quads;
  Value products;
  ArrayRef<Value> places;
};
void multiplyTiles(VectorBuilder &v, const TileProducts &of);

} // namespace mlir::tbq

#endif // TBQ_CPU_AMXTILES_H
