// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See TokenTiles.h.

#include "TokenTiles.h"

using namespace mlir;
using namespace mlir::tbq;

static constexpr const char *kAttribute = "tbq.token_tiles";
/// Columns whose digits are a chunk: of four lanes, a four each.
static constexpr int64_t kChunkColumns = 16;

std::optional<TokenTiles> TokenTiles::get(QuantizeActivationsOp op) {
  auto attribute = op->getAttrOfType<DenseI64ArrayAttr>(kAttribute);
  if (!attribute)
    return std::nullopt;
  return TokenTiles{attribute[0], attribute[1], attribute[2]};
}

void TokenTiles::set(QuantizeActivationsOp op) const {
  op->setAttr(kAttribute,
              DenseI64ArrayAttr::get(op->getContext(), {tokens, width, run}));
}

int64_t TokenTiles::countTokens(int64_t all) {
  for (int64_t tokens : {128, 64, 32, 16})
    if (all % tokens == 0)
      return tokens;
  return 0;
}

Value TokenTiles::getDigits(ThreadBuilder &t, Value token, Value column,
                            int64_t columns) const {
  Value tile = t.div(token, tokens), inTile = t.rem(token, tokens);
  Value inPiece = t.rem(column, width), inSwizzled = t.rem(column, kSwizzled);
  Value four = t.add(t.mul(t.div(inPiece, 4 * run), run / 4),
                     t.div(t.rem(inPiece, run), 4));
  Value chunk =
      t.add(t.mul(t.div(inSwizzled, width), width / kChunkColumns), four);
  Value quarter = t.div(t.rem(inPiece, 4 * run), run);
  Value place = t.add(t.mul(t.exclusiveOr(chunk, t.rem(token, 8)), 16),
                      t.mul(quarter, 4));
  Value piece = t.add(t.mul(tile, tokens * columns),
                      t.mul(t.div(column, kSwizzled), tokens * kSwizzled));
  return t.add(t.add(piece, t.mul(inTile, kSwizzled)), place);
}

Value TokenTiles::getSum(ThreadBuilder &t, Value token, Value group,
                         int64_t groups) const {
  Value tile = t.div(token, tokens), inTile = t.rem(token, tokens);
  Value four = t.div(group, kFourGroups), inFour = t.rem(group, kFourGroups);
  Value place =
      t.add(t.mul(t.add(t.mul(four, tokens), inTile), kFourGroups), inFour);
  return t.add(t.mul(tile, tokens * groups), place);
}

DenseMap<Operation *, TokenTiles> mlir::tbq::placeInTiles(
    Operation *root,
    llvm::function_ref<std::optional<TokenTiles>(PackedLinearOp)> takes,
    llvm::function_ref<bool(ArrayRef<PackedLinearOp>, TokenTiles)> gain) {
  DenseMap<Operation *, TokenTiles> placed;
  root->walk([&](QuantizeActivationsOp op) {
    SmallVector<PackedLinearOp> readers = findReaders(op);
    std::optional<TokenTiles> tiles = findForm<TokenTiles>(op, readers, takes);
    if (!tiles || !gain(readers, *tiles))
      return;
    tiles->set(op);
    for (PackedLinearOp reader : readers)
      placed[reader] = *tiles;
  });
  return placed;
}
