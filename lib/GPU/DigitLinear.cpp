// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Pieces of a linear of digits: how they are cut, loaded and gone through. See
// DigitLinear.h.

#include "DigitLinear.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

static constexpr int64_t kMostColumns = 128; // of a piece
/// Tokens that a tile meets at once: of integers, and where each costs a lane
/// registers for all rows.
static constexpr int64_t kTokens = 32, kFewTokens = 8;
/// Pieces that a lane has loaded before it computes, of many tokens.
static constexpr int64_t kAheadOfMany = 1;

PieceGeometry::PieceGeometry(LayoutAttr layout) {
  int64_t group = layout.getGroup(), rest = layout.getColumns() % group;
  width = std::min(group, kMostColumns);
  for (int64_t columns : {128, 64, 32})
    if (group % columns == 0 && rest % columns == 0) {
      width = columns;
      break;
    }
  // So that runs are loaded as vectors.
  slices = llvm::PowerOf2Ceil(llvm::divideCeil(width, kSlice));
  perGroup = llvm::divideCeil(group, width);
  pieces =
      layout.getColumns() / group * perGroup + llvm::divideCeil(rest, width);
  masked =
      width % (kSlice * slices) != 0 || group % width != 0 || rest % width != 0;
  // A whole word of the plane that has the fewest columns in one.
  run = kSlice / 4 * slices;
  for (int64_t bits : layout.getDigits().take_front(layout.getNumDensePlanes()))
    run = std::min(run, 32 / bits);
  bytes = perGroup == 1
              ? layout.getCoefficientOffset(0, group)
              : width / layout.getStepColumns() * layout.getStrideBytes();
  ofRing = llvm::alignTo(
      bytes + layout.getNumTermsInGroups() * kCoefficientBytes, kThreadBytes);
}

static LayoutAttr getLayout(PackedLinearOp op) {
  return op.getWeight().getType().getLayout();
}

bool DigitLinear::takesIntegers(PackedLinearOp op) {
  return !cast<MemRefType>(op.getInput().getType()).getElementType().isF32();
}

bool DigitLinear::mayHaveRing(PackedLinearOp op) {
  int64_t rows = cast<MemRefType>(op.getInput().getType()).getDimSize(0);
  LayoutAttr layout = getLayout(op);
  return !layout.isFloat() && !layout.getSalient() &&
         rows <= (takesIntegers(op) ? kProductTokens : 1);
}

/// A product has room for two, which all blocks should have.
static int64_t getTilesAtOnce(const LinearGroup &group, int64_t blocks) {
  PackedLinearOp op = group.ops.front();
  return group.inPairs || (DigitLinear::takesIntegers(op) &&
                           !getLayout(op).getSalient() &&
                           group.countTiles() >= 2 * blocks)
             ? 2
             : 1;
}

int64_t DigitLinear::countUnits(const LinearGroup &alike, int64_t blocks) {
  int64_t tiles = alike.inPairs ? 1 : getTilesAtOnce(alike, blocks);
  return llvm::divideCeil(alike.countTiles(), tiles);
}

DigitLinear::DigitLinear(LinearGroup linears, OpBuilder &b, int64_t units,
                         int64_t blocks)
    : WarpLinear(linears, b,
                 PieceGeometry(getLayout(linears.ops.front())).pieces,
                 getTilesAtOnce(linears, blocks),
                 takesIntegers(linears.ops.front()) &&
                         !getLayout(linears.ops.front()).getSalient()
                     ? kTokens
                     : kFewTokens,
                 units, blocks),
      geometry(layout), low(op.getLow()), integer(takesIntegers(op)),
      bits(BitColumns::get(op)), sumForm(bool(op.getLow())) {}

SmallVector<Value> DigitLinear::sumPieces(Value tile, Value end, Value active,
                                          Value token) {
  Value other = hasOther(tile, end);
  SmallVector<Start> starts = getStarts(tile, other);
  SmallVector<Value> none(countSums(), t.constant(0.0f));
  SmallVector<Value> sums = loopOverPieces<Piece>(
      active, none, getAhead(),
      [&](Value piece) { return loadPiece(starts, piece); },
      [&](const Piece &piece, MutableArrayRef<Value> sums) {
        integer ? addProducts(piece, token, sums)
                : addFloats(piece, token, sums);
      });
  addSumTerm(starts, getPart(), active, token, sums);
  addQuarters(sums);
  if (!layout.getSalient())
    return sums;
  SmallVector<LaneSum> results = getLaneSums(sums, other);
  addSalient(tile, active, token, results);
  return llvm::map_to_vector(results,
                             [](const LaneSum &each) { return each.sum; });
}

void DigitLinear::addQuarters(MutableArrayRef<Value> sums) {
  if (integer)
    return;
  for (Value &sum : sums)
    sum = t.reduceWarp(Reduction::Sum, sum, kLanesOfRow);
}

int64_t DigitLinear::getAhead() const {
  return tokens == 1 ? kRoundPieces : kAheadOfMany;
}

int64_t DigitLinear::countSums() const {
  if (!integer)
    return tokens;
  return llvm::divideCeil(tokens, kProductTokens) * tiles * countOfTile();
}

Value DigitLinear::hasOther(Value tile, Value end) {
  return getStep() == 1 ? Value() : t.less(t.add(tile, 1), end);
}

SmallVector<DigitLinear::Start> DigitLinear::getStarts(Value tile,
                                                       Value other) {
  SmallVector<Start> starts;
  for (int64_t number = 0; number < tiles; ++number) {
    auto [bytes, own] =
        number > 0 && other
            ? findTile(t.select(other, t.add(tile, number), tile), 0)
            : findTile(tile, number);
    starts.push_back(
        {bytes, t.add(getTileOffset(own), layout.getGroupOffset(0))});
  }
  return starts;
}

SmallVector<LaneSum> DigitLinear::getLaneSums(ArrayRef<Value> sums,
                                              Value other) {
  int64_t ofTile = countOfTile();
  SmallVector<LaneSum> results;
  for (auto [i, sum] : llvm::enumerate(sums)) {
    if (!integer) {
      // A row's four lanes have all its sums; each stores every fourth.
      results.push_back(
          {sum, row(), t.index(i), t.equal(quarter(), i % kLanesOfRow)});
      continue;
    }
    int64_t number = i / ofTile % tiles;
    Value stores = number == 0 ? Value() : other;
    if (tokens == 1) {
      Value one = t.equal(quarter(), 0);
      stores = stores ? t.both(stores, one) : one;
      results.push_back({sum, row(), t.index(0), stores, Value(), number});
      continue;
    }
    Value own = t.add(t.mul(quarter(), 2),
                      i / (ofTile * tiles) * kProductTokens + i % ofTile);
    results.push_back({sum, row(), own, stores, Value(), number});
  }
  return results;
}

/// The byte, within its group, of a step of a plane.
Value DigitLinear::getStepOffset(int64_t plane, Value step) {
  int64_t perStride =
      layout.getStepColumns() / (32 / layout.getDigits()[plane]);
  Value offset = t.add(t.mul(t.div(step, perStride), layout.getStrideBytes()),
                       layout.getStepOffset(plane, 0));
  return perStride == 1 ? offset
                        : t.add(offset, t.mul(t.rem(step, perStride),
                                              layout.getStepBytes()));
}

/// This lane's digits of a plane of a piece.
void DigitLinear::loadWords(const Piece &piece, Value bytes, Value digits,
                            Value lane, int64_t plane,
                            MutableArrayRef<TilePiece> rows) {
  int64_t bits = layout.getDigits()[plane], covers = 32 / bits;
  int64_t run = geometry.run;
  auto type = VectorType::get({int64_t(rows.size())}, t.b.getI32Type());
  for (int64_t from = 0; from < kSlice / 4 * geometry.slices; from += run) {
    Value column = t.add(t.mul(quarter(), run), 4 * from); // of the piece
    Value stored, offset = getStepOffset(plane, t.div(column, covers));
    if (geometry.masked) {
      // Strides that the group has; past them nothing may be read.
      int64_t stride = layout.getStepColumns();
      Value columns = ofGroup(piece, layout.getGroup(),
                              layout.getColumns() % layout.getGroup());
      stored = t.less(t.div(t.add(piece.inGroup, column), stride),
                      t.div(t.add(columns, stride - 1), stride));
      offset = t.select(stored, offset, t.index(0));
    }
    Value loaded = t.loadBytes(bytes, t.add(t.add(offset, lane), digits), type);
    for (auto [i, each] : llvm::enumerate(rows)) {
      Value word = t.extract(loaded, i);
      if (stored)
        word = t.select(stored, word, t.constantI32(0));
      if (run < covers) // the lane has a part of it
        word = arith::ShRUIOp::create(
            t.b, t.loc, word,
            t.toI32(t.mul(t.div(t.rem(column, covers), 4), bits)));
      each.words[plane].push_back(word);
    }
  }
}

void DigitLinear::loadWords(const Piece &piece, Value bytes, Value digits,
                            Value lane, MutableArrayRef<TilePiece> rows) {
  int64_t planes = layout.getNumDensePlanes();
  for (TilePiece &each : rows)
    each.words.resize(planes);
  for (int64_t plane = 0; plane < planes; ++plane)
    loadWords(piece, bytes, digits, lane, plane, rows);
}

void DigitLinear::loadCoefficients(Value bytes, Value from, Value lane,
                                   MutableArrayRef<TilePiece> rows) {
  auto type = VectorType::get({int64_t(rows.size())}, t.b.getF16Type());
  for (int64_t term = 0; term < layout.getNumTermsInGroups(); ++term) {
    Value loaded = t.loadBytes(
        bytes, t.add(t.add(lane, from), term * kCoefficientBytes), type);
    for (auto [i, each] : llvm::enumerate(rows))
      each.coefficients.push_back(t.extract(loaded, i));
  }
}

DigitLinear::Piece DigitLinear::getPiece(Value number) {
  Piece piece;
  int64_t group = layout.getGroup();
  piece.group = t.div(number, geometry.perGroup);
  piece.inGroup = t.index(0);
  if (geometry.perGroup > 1) {
    Value place = t.rem(number, geometry.perGroup);
    piece.first = t.equal(place, 0);
    piece.inGroup = t.mul(place, geometry.width);
  }
  if (layout.getColumns() % group)
    piece.isWhole = t.less(piece.group, t.index(layout.getColumns() / group));
  piece.begin = t.add(t.mul(piece.group, group), piece.inGroup);
  piece.column = t.add(piece.begin, t.mul(quarter(), geometry.run));
  return piece;
}

DigitLinear::Piece DigitLinear::loadPiece(ArrayRef<Start> starts,
                                          Value number) {
  Piece piece = getPiece(number);
  for (const Start &start : starts) {
    Value group = t.add(start.offset, getGroupPlace(piece.group));
    piece.tiles.push_back(
        loadTile(piece, {start.bytes, t.add(group, getPlaceOffset(piece)),
                         t.add(group, getCoefficientOffset(piece))}));
  }
  return piece;
}

Value DigitLinear::ofGroup(const Piece &piece, int64_t whole, int64_t rest) {
  return piece.isWhole ? t.select(piece.isWhole, t.index(whole), t.index(rest))
                       : t.index(whole);
}

Value DigitLinear::getPlaceOffset(const Piece &piece) {
  return t.mul(t.div(piece.inGroup, layout.getStepColumns()),
               layout.getStrideBytes());
}

Value DigitLinear::getCoefficientOffset(const Piece &piece) {
  int64_t group = layout.getGroup(), rest = layout.getColumns() % group;
  return ofGroup(piece, layout.getCoefficientOffset(0, group),
                 rest ? layout.getCoefficientOffset(0, rest) : 0);
}

DigitLinear::TilePiece DigitLinear::loadTile(const Piece &piece,
                                             const Source &source) {
  TilePiece tile;
  loadWords(piece, source.bytes, source.digits, t.mul(row(), 4), tile);
  loadCoefficients(source.bytes, source.coefficients, t.mul(row(), 2), tile);
  return tile;
}
