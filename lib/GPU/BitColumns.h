// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Where a quantised row of one token lies, if products of bits are all that
// reads it (m16n8k256): the eight columns of such a product are the eight bits
// of the token's digits. Of 128 columns each lane of a warp has a word: lane
// 4 c + q bit c of the digits that weights of quarter q meet, eight fours of
// columns, byte i those of column i of each. Of digits of one bit, a four's bit
// of a byte is where its weights' is; of two, the first four fours' are where
// their weights' lower bits are, and the others' above.
// Invariant: who writes and who reads a row agree by their attributes.
#ifndef TBQ_GPU_BITCOLUMNS_H
#define TBQ_GPU_BITCOLUMNS_H

#include "ThreadBuilder.h"

namespace mlir::tbq {

struct BitColumns {
  /// Columns whose words stand together, as many as a warp has fours of.
  static constexpr int64_t kTogether = 4 * kWarpLanes;
  static_assert(kRowEnd % kTogether == 0, "a row has room for the last ones");

  int64_t width;  // columns of a piece of weights: 128 or 64
  int64_t digits; // bits of a digit of these: 1 or 2

  /// How an op's row lies (null: as it is).
  static std::optional<BitColumns> get(Operation *op);
  void set(Operation *op) const;

  bool operator==(const BitColumns &other) const {
    return width == other.width && digits == other.digits;
  }

  /// Of kTogether columns, of which a warp's lanes have a four each, a byte a
  /// column: the word that the lane stores.
  Value transpose(ThreadBuilder &t, Value four) const;
  /// And where: a byte of the row. column: the lane's first.
  Value getPlace(ThreadBuilder &t, Value column) const;

  /// The lane's columns of the piece that begins at column `begin`: what its
  /// words of weights are multiplied with, of their digits' lowest bit.
  SmallVector<Value> load(ThreadBuilder &t, Value rows, Value token,
                          Value begin) const;
  /// Bit `bit` of 2^c, of columns c = 2 q and 2 q + 1, as two f16: what counts
  /// of a digit's bit are multiplied with. The highest is less than 0.
  static Value getWeights(ThreadBuilder &t, Value quarter, int64_t bit);

private:
  /// A lane's number has three bits of its four's: the distances of lanes whose
  /// fours are neighbouring bits of a byte, two apart, and four.
  std::array<int64_t, 3> getDistances() const;
};

} // namespace mlir::tbq

#endif // TBQ_GPU_BITCOLUMNS_H
