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

/// Whether a linear takes its input from what the op writes, and nothing else.
static bool readsRows(PackedLinearOp linear, QuantizeActivationsOp op) {
  ValueRange rows = op.getInto();
  bool hasLow = rows.size() == 4;
  return linear.getInput() == rows.front() &&
         (!linear.getSums() || linear.getSums() == rows.back()) &&
         linear.getLow() == (hasLow ? rows[1] : Value());
}

/// The linears that read what the op writes, before it is written anew; none if
/// others do, too.
static SmallVector<PackedLinearOp> findReaders(QuantizeActivationsOp op) {
  SmallVector<PackedLinearOp> readers;
  SmallPtrSet<Value, 4> rows(op.getInto().begin(), op.getInto().end());
  for (Operation *user = op->getNextNode(); user && !rows.empty();
       user = user->getNextNode()) {
    WalkResult reads = user->walk([&](Operation *inner) {
      int64_t found = llvm::count_if(inner->getOperands(), [&](Value operand) {
        return rows.contains(operand);
      });
      if (auto step = dyn_cast<StepOp>(inner))
        found -= llvm::count_if(
            step.getInto(), [&](Value into) { return rows.contains(into); });
      return found ? WalkResult::interrupt() : WalkResult::advance();
    });
    if (reads.wasInterrupted()) {
      auto linear = dyn_cast<PackedLinearOp>(user);
      if (!linear || !readsRows(linear, op))
        return {};
      readers.push_back(linear);
    }
    user->walk([&](StepOp step) {
      for (Value into : step.getInto())
        rows.erase(into);
    });
  }
  return readers;
}

DenseMap<Operation *, TokenTiles> mlir::tbq::placeInTiles(
    Operation *root,
    llvm::function_ref<std::optional<TokenTiles>(PackedLinearOp)> takes,
    llvm::function_ref<bool(ArrayRef<PackedLinearOp>, TokenTiles)> gain) {
  DenseMap<Operation *, TokenTiles> placed;
  root->walk([&](QuantizeActivationsOp op) {
    SmallVector<PackedLinearOp> readers = findReaders(op);
    std::optional<TokenTiles> tiles;
    for (PackedLinearOp reader : readers) {
      std::optional<TokenTiles> own = takes(reader);
      if (!own || (tiles && !(*tiles == *own)) ||
          int64_t(op.getGroup()) !=
              reader.getWeight().getType().getLayout().getGroup())
        return;
      tiles = own;
    }
    if (!tiles || !gain(readers, *tiles))
      return;
    tiles->set(op);
    for (PackedLinearOp reader : readers)
      placed[reader] = *tiles;
  });
  return placed;
}
