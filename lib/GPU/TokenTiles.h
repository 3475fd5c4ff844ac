// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Where quantised rows of a step of many tokens lie, if products of warp groups
// are all that reads them: so that one copy brings what is multiplied at a
// time, as it is multiplied. A tile of tokens is together; in it, 128 columns
// of each token; in these a four of columns, a word, stands where the lane that
// has the weights' same four takes it from, and chunks of 16 bytes are
// exchanged (kSwizzled). Sums of groups are halves (SumForm.h): of a tile,
// four groups of all its tokens together, a token's side by side.
// Invariant: who writes and who reads a row agree by the writer's attribute.
#ifndef TBQ_GPU_TOKENTILES_H
#define TBQ_GPU_TOKENTILES_H

#include "LinearGroup.h"
#include "SumForm.h"
#include "Warpgroup.h"

namespace mlir::tbq {

struct TokenTiles {
  int64_t tokens; // of a tile
  int64_t width;  // columns of a piece of weights
  int64_t run;    // neighbouring columns of it that a lane has

  /// How the op's rows lie (null: as they are).
  static std::optional<TokenTiles> get(QuantizeActivationsOp op);
  void set(QuantizeActivationsOp op) const;
  /// Tokens of a tile where there are so many in all; 0: there is none.
  static int64_t countTokens(int64_t all);

  bool operator==(const TokenTiles &other) const {
    return tokens == other.tokens && width == other.width && run == other.run;
  }

  /// The byte of the four digits at `column`, of rows of `columns`.
  Value getDigits(ThreadBuilder &t, Value token, Value column,
                  int64_t columns) const;
  /// The number of the sum of a group, of rows of `groups`.
  Value getSum(ThreadBuilder &t, Value token, Value group,
               int64_t groups) const;
};

/// Has rows lie in tiles for linears that `takes` says how they would read (or
/// null), where those are all that reads them and they gain by it. Returns
/// these.
DenseMap<Operation *, TokenTiles> placeInTiles(
    Operation *root,
    llvm::function_ref<std::optional<TokenTiles>(PackedLinearOp)> takes,
    llvm::function_ref<bool(ArrayRef<PackedLinearOp>, TokenTiles)> gain);

} // namespace mlir::tbq

#endif // TBQ_GPU_TOKENTILES_H
