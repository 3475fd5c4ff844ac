// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The numbers of a table of a CPU family (CpuTable.h) that lowering reads. The
// defaults are what a pass has where nobody says otherwise.
#ifndef TBQ_TUNING_H
#define TBQ_TUNING_H

#include <cstdint>
#include <string>

namespace mlir::tbq {

/// Of a step's kernels. Rows a tile are none of it: a tile has 16 rows, the
/// lanes of a vector, on every CPU, and bands of 64 where digits stand by
/// threes.
struct Tuning {
  /// How far ahead of its stream of weights one token's kernel asks for them,
  /// in bytes, into the second cache and into the first; 0: it does not.
  int64_t farBytes = 3072;
  int64_t nearBytes = 1024;
  /// Of the first cache: what a tile of rows and its activations may take there
  /// in one token's kernel. Where they would take more, columns are cut into
  /// panels; 0: never.
  int64_t panelBytes = 0;
  /// Columns of a panel of ternary digits by threes, whose tables the first
  /// cache is to hold; 0: they have two bits each. AVX-512 alone looks them up.
  int64_t tripleColumns = 0;
  /// Weights of a matrix from which on digits stand by threes: those of small
  /// models stay in the last cache, where two bits are faster.
  int64_t tripleWeights = 1 << 22;
  /// How far ahead attention asks for keys and values, into the second cache.
  int64_t cacheBytes = 6144;
  /// Digit steps of a group (64 bytes each) that are written out, not looped
  /// over.
  int64_t unrolledSteps = 16;

  /// Tokens of a prefill step, where --prefill-chunk says no other number.
  int64_t chunkTokens = 64;
  /// Tokens of a step that one token's kernel multiplies, one after the other,
  /// if there are no more; of float activations three at most.
  int64_t fewTokens = 4;
  /// Tokens of a step of many whose sums are kept in registers together.
  int64_t tokenTile = 8;
  /// Tiles of rows whose digits a block of tokens spreads together, each
  /// activation serving all of them.
  int64_t rowTiles = 2;
  /// Tokens of a block: their activations are to stay in the second cache while
  /// all of a worker's tiles pass.
  int64_t blockTokens = 128;
  /// Of a block, what is written out: columns, four at a time, of dot products;
  /// tokens, where the products of AMX tiles are added to sums.
  int64_t unrolledQuads = 2;
  int64_t unrolledTokens = 4;
};

/// Whether these instructions (CpuTable.h) look sums up, for digits by threes.
inline bool looksUp(const std::string &instructions) {
  return instructions == "vnni" || instructions == "amx";
}

/// What all threads of a machine reached together, others apart. It predicts
/// nothing but remarks.
struct Roofline {
  /// Bytes a second that are read when nothing else is done, in GB.
  double read = 0;
  /// 8-bit products and additions a second from registers, two operations each,
  /// in thousands of millions.
  double peak = 0;
  /// What a step of one token reads, and one of a chunk multiplies.
  double decode = 0;
  double prefill = 0;

  bool isKnown() const { return read > 0; }
};

} // namespace mlir::tbq

#endif // TBQ_TUNING_H
