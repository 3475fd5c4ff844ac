// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A linear of float weights on a GPU. A piece is what 32 lanes load at once,
// each some columns of all rows; a lane keeps float sums of what it has seen,
// and the lanes are added up when the tile is done.
#ifndef TBQ_GPU_FLOATLINEAR_H
#define TBQ_GPU_FLOATLINEAR_H

#include "WarpLinear.h"

namespace mlir::tbq {

class FloatLinear : public WarpLinear {
public:
  FloatLinear(PackedLinearOp op, OpBuilder &b, int64_t blocks);

private:
  struct Weights {
    Value column, elements; // of the lane, all rows of each column
  };

  SmallVector<Value> sumPieces(Value tile, Value end, Value active,
                               Value token) override;
  int64_t countSums() const override { return 1; }
  SmallVector<LaneSum> getLaneSums(ArrayRef<Value> sums, Value tile,
                                   Value end) override;
  Weights load(Value start, Value piece);
  void add(const Weights &weights, Value token, MutableArrayRef<Value> sums);

  /// Columns that a lane has of a piece.
  int64_t columns;
};

} // namespace mlir::tbq

#endif // TBQ_GPU_FLOATLINEAR_H
