// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A stage is what a block needs of a piece: the activations' digits, token by
// token, the tiles' digits and coefficients, and the sums of the activations'
// group. Copied without the threads' registers, and read as a DigitLinear reads
// them. See BlockLinear.h.

#include "BlockLinear.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

/// What a thread copies at a time, in bytes and columns.
static constexpr int64_t kChunk = 16;
static constexpr int64_t kSumBytes = 4; // i32

//===----------------------------------------------------------------------===//
// What a stage holds
//===----------------------------------------------------------------------===//

int64_t BlockLinear::countStage(const BlockShape &shape) const {
  int64_t digits = (low ? 2 : 1) * shape.getTokens() * geometry.width;
  int64_t sums = layout.usesSumsInGroups() ? shape.getTokens() * kSumBytes : 0;
  return llvm::alignTo(digits + shape.getTiles() * geometry.ofRing + sums,
                       kScratchAlignment);
}

/// Sums of earlier ranges.
int64_t BlockLinear::countKept(const BlockShape &shape) const {
  return shares == 1 ? 0 : kThreads * shape.tiles * shape.tokens;
}

int64_t BlockLinear::getWeightOffset() const {
  return (low ? 2 : 1) * getLowOffset();
}

int64_t BlockLinear::getSumOffset() const {
  return getWeightOffset() + shape.getTiles() * geometry.ofRing;
}

Value BlockLinear::getStage(Value piece) {
  return t.mul(t.rem(piece, countStages()), countStage(shape));
}

Value BlockLinear::getChunk(Value token, Value chunk) {
  // Eight chunks go round all banks. A load of four words is of eight lanes at
  // once, of two or one of more: `run` columns of four lanes, a token's, which
  // are so many chunks.
  int64_t ofToken = geometry.width / kChunk, run = geometry.run;
  int64_t atOnce = std::max<int64_t>(run / 4, 1);
  Value moved = run > kChunk
                    ? t.rem(token, 2)
                    : t.rem(t.mul(t.div(token, 8 / ofToken), atOnce), ofToken);
  return t.add(t.mul(token, geometry.width),
               t.mul(arith::XOrIOp::create(t.b, t.loc, chunk, moved), kChunk));
}

//===----------------------------------------------------------------------===//
// From memory to a stage
//===----------------------------------------------------------------------===//

void BlockLinear::deal(int64_t count, llvm::function_ref<void(Value)> body) {
  for (int64_t from = 0; from < count; from += kThreads) {
    Value number = t.add(t.thread(), from);
    if (from + kThreads <= count)
      body(number);
    else
      t.ifThen(t.less(number, t.index(count)), [&] { body(number); });
  }
}

void BlockLinear::copyFirst(const Place &place) {
  for (int64_t round = 0; round < shape.rounds - 1; ++round) {
    if (round * ofRound < pieces)
      copyRound(place, t.index(round * ofRound));
    t.commitCopies();
  }
}

void BlockLinear::copyRound(const Place &place, Value number) {
  for (int64_t i = 0; i < ofRound; ++i)
    copyPiece(place, t.add(number, i));
}

void BlockLinear::copyPiece(const Place &place, Value number) {
  Piece piece = getPiece(number);
  Value stage = getStage(number);
  Value column = t.add(t.mul(piece.group, layout.getGroup()), piece.inGroup);
  copyTokens(place, input, column, stage);
  if (low)
    copyTokens(place, low, column, t.add(stage, getLowOffset()));
  copyWeights(place, piece, t.add(stage, getWeightOffset()));
  if (layout.usesSumsInGroups())
    copySums(place, piece, t.add(stage, getSumOffset()));
}

void BlockLinear::copyTokens(const Place &place, Value digits, Value column,
                             Value to) {
  int64_t ofToken = geometry.width / kChunk;
  int64_t stride = cast<MemRefType>(digits.getType()).getDimSize(1);
  deal(shape.getTokens() * ofToken, [&](Value number) {
    Value token = t.div(number, ofToken), chunk = t.rem(number, ofToken);
    Value from = t.add(place.token, token);
    if (rows % shape.getTokens())
      from = t.min(from, t.index(rows - 1));
    t.copy(digits,
           t.add(t.mul(from, stride), t.add(column, t.mul(chunk, kChunk))),
           memory, t.add(to, getChunk(token, chunk)), kChunk);
  });
}

void BlockLinear::copyWeights(const Place &place, const Piece &piece,
                              Value to) {
  int64_t ofDigits = geometry.bytes / kChunk;
  int64_t ofTile = geometry.ofRing / kChunk;
  Value begin =
      t.add(getGroupPlace(piece.group), t.index(layout.getGroupOffset(0)));
  Value digits = getPlaceOffset(piece);
  Value coefficients = t.sub(getCoefficientOffset(piece), geometry.bytes);
  deal(shape.getTiles() * ofTile, [&](Value number) {
    Value tile = t.add(place.tile, t.div(number, ofTile));
    if (layout.getNumTiles() % shape.getTiles())
      tile = t.min(tile, t.index(layout.getNumTiles() - 1));
    Value chunk = t.rem(number, ofTile),
          isDigits = t.less(chunk, t.index(ofDigits));
    Value inGroup =
        t.add(t.select(isDigits, digits, coefficients), t.mul(chunk, kChunk));
    t.copy(bytes, t.add(t.add(getTileOffset(tile), begin), inGroup), memory,
           t.add(to, t.mul(number, kChunk)), kChunk);
  });
}

void BlockLinear::copySums(const Place &place, const Piece &piece, Value to) {
  int64_t stride = cast<MemRefType>(op.getSums().getType()).getDimSize(1);
  deal(shape.getTokens(), [&](Value token) {
    Value from = t.add(place.token, token);
    if (rows % shape.getTokens())
      from = t.min(from, t.index(rows - 1));
    t.copy(op.getSums(),
           t.mul(t.add(t.mul(from, stride), piece.group), kSumBytes), memory,
           t.add(to, t.mul(token, kSumBytes)), kSumBytes);
  });
}

//===----------------------------------------------------------------------===//
// From a stage to sums
//===----------------------------------------------------------------------===//

/// The warp's tiles.
void BlockLinear::loadStaged(Piece &piece, Value stage) {
  Value first = t.add(t.add(stage, getWeightOffset()),
                      t.mul(rowWarp(), shape.tiles * geometry.ofRing));
  for (int64_t number = 0; number < shape.tiles; ++number) {
    Value begin = t.add(first, number * geometry.ofRing);
    piece.tiles.push_back(
        loadTile(piece, {memory, begin, t.add(begin, geometry.bytes)}));
  }
}

/// The lane's columns of its token, by fours, as loadActivations has them.
SmallVector<Value> BlockLinear::loadStagedTokens(Value stage, int64_t product) {
  int64_t run = geometry.run, most = std::min<int64_t>(run, kChunk);
  auto type = VectorType::get({most / 4}, t.b.getI32Type());
  // Tokens of other products lie in the same banks.
  Value first = t.add(stage, t.mul(t.add(t.mul(tokenWarp(), shape.tokens),
                                         product * kProductTokens),
                                   geometry.width));
  SmallVector<Value> fours;
  for (int64_t from = 0; from < 8 * geometry.slices; from += most) {
    Value column =
        t.add(t.mul(quarter(), run), from / run * 4 * run + from % run);
    Value at =
        t.add(getChunk(row(), t.div(column, kChunk)), t.rem(column, kChunk));
    Value x = t.loadBytes(memory, t.add(first, at), type);
    for (int64_t i = 0; i < most / 4; ++i)
      fours.push_back(t.extract(x, i));
  }
  return fours;
}

void BlockLinear::addPiece(Value number, MutableArrayRef<Value> sums) {
  Piece piece = getPiece(number);
  Value stage = getStage(number);
  loadStaged(piece, stage);
  auto pair = VectorType::get({2}, t.b.getI32Type());
  int64_t ofProduct = shape.tiles * countOfTile();
  for (int64_t product = 0; product < shape.tokens / kProductTokens;
       ++product) {
    SmallVector<Value> high = loadStagedTokens(stage, product), rest, ofGroup;
    if (low)
      rest = loadStagedTokens(t.add(stage, getLowOffset()), product);
    if (layout.usesSumsInGroups()) {
      Value token = t.add(t.mul(tokenWarp(), shape.tokens),
                          t.add(t.mul(quarter(), 2), product * kProductTokens));
      Value both = t.loadBytes(
          memory, t.add(t.add(stage, t.mul(token, kSumBytes)), getSumOffset()),
          pair);
      ofGroup = {t.extract(both, 0), t.extract(both, 1)};
    }
    addProduct(piece, high, rest, ofGroup,
               sums.slice(product * ofProduct, ofProduct));
  }
}
