// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See AmxTiles.h.

#include "AmxTiles.h"

using namespace mlir;
using namespace mlir::tbq;

/// Tiles of columns that are written out, not looped over: as few as most
/// groups have.
static constexpr int64_t kUnrolledTiles = 8;

void mlir::tbq::multiplyTiles(VectorBuilder &v, const TileProducts &of) {
  auto bytesTile =
      amx::TileType::get({kTileRows, kTileColumns}, v.b.getI8Type());
  auto sumsTile = amx::TileType::get({kTileRows, kTileRows}, v.b.getI32Type());
  auto loadBytes = [&](Value from, ValueRange at) -> Value {
    return amx::TileLoadOp::create(v.b, v.loc, bytesTile, from, at);
  };
  auto addTiles = [&](Value first, int64_t count, SmallVector<Value> sums) {
    for (int64_t i = 0; i < count; ++i) {
      Value at = v.add(first, i);
      Value column = v.add(of.column, v.mul(at, kTileColumns));
      auto load = [&](const TileProducts::Input &input) {
        return loadBytes(input.rows, {input.token, column});
      };
      // The first input's tile, and the others' behind each tile of digits.
      SmallVector<Value> x = {load(of.inputs[0])};
      for (auto [number, quad] : llvm::enumerate(of.quads)) {
        Value row = v.add(quad, v.mul(at, kTileRows));
        Value four = loadBytes(of.digits, {row, v.index(0)});
        for (size_t input = 0; input < of.inputs.size(); ++input) {
          if (input == x.size())
            x.push_back(load(of.inputs[input]));
          Value &sum = sums[input * of.quads.size() + number];
          sum = amx::TileMulIOp::create(v.b, v.loc, sumsTile, x[input], four,
                                        sum, /*isZextLhs=*/false,
                                        /*isZextRhs=*/!of.isSigned);
        }
      }
    }
    for (auto [sum, place] : llvm::zip_equal(sums, of.places))
      amx::TileStoreOp::create(v.b, v.loc, of.products,
                               ValueRange{place, v.index(0)}, sum);
  };
  auto getSums = [&](bool none) {
    return llvm::map_to_vector(of.places, [&](Value place) -> Value {
      if (none)
        return amx::TileZeroOp::create(v.b, v.loc, sumsTile);
      return amx::TileLoadOp::create(v.b, v.loc, sumsTile, of.products,
                                     ValueRange{place, v.index(0)});
    });
  };
  // Loops carry no tiles: what a round leaves is loaded by the next one.
  int64_t tiles = of.columns / kTileColumns;
  int64_t head = (tiles - 1) % kUnrolledTiles + 1;
  addTiles(v.index(0), head, getSums(/*none=*/true));
  if (head < tiles)
    v.loop(v.index(head), v.index(tiles), kUnrolledTiles, ValueRange(),
           [&](Value first, ValueRange) {
             addTiles(first, kUnrolledTiles, getSums(/*none=*/false));
             return SmallVector<Value>();
           });
}
