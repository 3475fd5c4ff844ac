// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See WarpgroupLinear.h. Stages and their barriers: WarpgroupStages.cpp.

#include "WarpgroupLinear.h"

#include "LowerStep.h"

#include "llvm/Support/MathExtras.h"

#include <numeric>

using namespace mlir;
using namespace mlir::tbq;

/// Stages that are enough to wait for none.
static constexpr int64_t kStages = 4;
/// Instructions that a warp issues for a piece, and of each token.
static constexpr int64_t kOfPiece = 85, kOfToken = 2;
/// Tiles of a product's rows that a warp has.
static constexpr int64_t kWarpTiles = kGroupRows / kGroupWarps / kWarpRows;

//===----------------------------------------------------------------------===//
// Digits as bytes with a sign
//===----------------------------------------------------------------------===//

namespace {
/// How a four of a word becomes bytes: shifted left until the digit is at
/// `bits`, these bits of it taken, and `flipped`. Then each is so many times
/// what the term makes of a digit.
struct SignedDigits {
  int64_t scale;
  uint32_t bits, flipped; // of a byte
  /// Of two bits, digits 0, 1, 2 become -1, 0, 1: the higher is exchanged if
  /// the lower is set, then both.
  bool isTernary = false;
};
} // namespace

/// The term, of a plane alone and perhaps of the sum; -1: it is of several, or
/// there are several.
static int64_t findTerm(LayoutAttr layout, int64_t plane) {
  int64_t found = -1;
  for (int64_t term = 0; term < layout.getNumGroupTerms(); ++term) {
    if (layout.getTerm(term, plane) == 0)
      continue;
    for (int64_t other = 0; other < layout.getNumPlanes(); ++other)
      if (other != plane && layout.getTerm(term, other) != 0)
        return -1;
    if (found >= 0)
      return -1;
    found = term;
  }
  return found;
}

/// Of what plane a term is; -1: of none.
static int64_t findPlane(LayoutAttr layout, int64_t term) {
  for (int64_t plane = 0; plane < layout.getNumPlanes(); ++plane)
    if (layout.getTerm(term, plane) != 0)
      return plane;
  return -1;
}

static std::optional<SignedDigits> getSigned(LayoutAttr layout, int64_t plane) {
  int64_t term = findTerm(layout, plane);
  if (term < 0)
    return std::nullopt;
  int64_t bits = layout.getDigits()[plane],
          factor = layout.getTerm(term, plane),
          less = -layout.getTerm(term, layout.getNumPlanes());
  if (bits == 1 && factor == 2 && less == 1)
    return SignedDigits{64, 0x80, 0xc0};
  if (bits == 1 && factor == 1 && less == 0)
    return SignedDigits{64, 0x40, 0};
  if (bits == 2 && factor == 1 && less == 1)
    return SignedDigits{64, 0xc0, 0, /*isTernary=*/true};
  if (factor == 1 && less == 1 << (bits - 1) && bits > 1)
    return SignedDigits{1 << (8 - bits), 0xffu & 0xff00u >> bits, 0x80};
  return std::nullopt;
}

static bool isSum(LayoutAttr layout, int64_t term) {
  return findPlane(layout, term) < 0 &&
         layout.getTerm(term, layout.getNumPlanes()) == 1;
}

//===----------------------------------------------------------------------===//
// What can be run
//===----------------------------------------------------------------------===//

std::optional<TokenTiles> WarpgroupLinear::canTake(PackedLinearOp op) {
  LayoutAttr layout = op.getWeight().getType().getLayout();
  auto type = cast<MemRefType>(op.getInput().getType());
  if (layout.isFloat() || layout.getSalient() ||
      layout.getTile() != kWarpRows || !takesIntegers(op) ||
      isOwn(op.getInput()) || !findTeam(op))
    return std::nullopt;
  PieceGeometry geometry(layout);
  int64_t tokens = TokenTiles::countTokens(type.getDimSize(0));
  if (!tokens || layout.getNumTiles() % kWarpTiles || geometry.masked ||
      geometry.perGroup != 1 || kSwizzled % geometry.width ||
      layout.getColumns() % kSwizzled ||
      type.getDimSize(1) != layout.getColumns())
    return std::nullopt;
  for (int64_t plane = 0; plane < layout.getNumPlanes(); ++plane)
    if (!getSigned(layout, plane))
      return std::nullopt;
  for (int64_t term = 0; term < layout.getNumGroupTerms(); ++term)
    if (findPlane(layout, term) < 0 && !isSum(layout, term))
      return std::nullopt;
  return TokenTiles{tokens, geometry.width, geometry.run};
}

WarpgroupLinear::WarpgroupLinear(LinearGroup linears, OpBuilder &b,
                                 int64_t units, int64_t blocks,
                                 int64_t sharedBytes, TokenTiles placed)
    : BlockLinear(linears.ops.front(), b, units, blocks, sharedBytes),
      placed(placed) {
  group = linears;
  // Of a pair, a tile of each.
  shape = {group.inPairs ? 1 : kWarpTiles, placed.tokens, kWarps};
  shape.cost = kOfPiece + kOfToken * placed.tokens;
  tiles = kWarpTiles;
  tokens = placed.tokens;
  for (int64_t columns : {2 * kSwizzled, kSwizzled}) {
    // Two that are multiplied at a time, if there is room for as many ahead. A
    // tile asks for no tile behind the next one, and for tokens a stage late:
    // it must have more than one.
    ofTile = layout.getColumns() / columns;
    ofStage = columns / geometry.width;
    stages = std::min(kStages, ofTile);
    if (layout.getColumns() % columns || ofTile == 1)
      continue;
    while (stages > 2 && countBytes() > t.countScratch(sharedBytes))
      --stages;
    if (countBytes() > t.countScratch(sharedBytes))
      continue;
    shape.rounds = stages;
    break;
  }
}

//===----------------------------------------------------------------------===//
// A block's tiles
//===----------------------------------------------------------------------===//

WarpgroupLinear::Turn WarpgroupLinear::getTurn(const Turns &turns,
                                               Value index) {
  // Blocks side by side have the same rows, which so come from memory once.
  Value ofTokens = t.div(t.add(op.getCount(), tokens - 1), tokens);
  Value row = arith::DivUIOp::create(t.b, t.loc, index, ofTokens);
  Value token = t.sub(index, t.mul(row, ofTokens));
  Place place = {t.mul(row, shape.getTiles()), t.mul(token, tokens)};
  // Neighbours are past the end both or none.
  Value tile = t.min(t.add(place.tile, t.mul(t.warp(), shape.tiles)),
                     t.index(layout.getNumTiles() - shape.tiles));
  return {place, t.less(index, turns.count),
          t.add(getTileOffset(tile), layout.getGroupOffset(0))};
}

void WarpgroupLinear::run(const DealtTiles &dealt) {
  Turns turns = getTurns(dealt);
  for (PackedLinearOp each : group.ops)
    bytesOf.push_back(getBytes(t, each.getWeight()));
  bytes = bytesOf.front();
  makeBarriers();
  requestFirst(getTurn(turns, turns.first));
  Value none = t.constantI32(0);
  t.loop(turns.first, turns.count, turns.workers, {none, none},
         [&](Value index, ValueRange carried) {
           Turn turn = getTurn(turns, index);
           Turn next = getTurn(turns, t.add(index, turns.workers));
           SmallVector<Value> all = addTile(turn, next, carried);
           auto sums = ArrayRef(all).drop_back(carried.size());
           storeSums(turn.place, sums);
           return SmallVector<Value>(ArrayRef(all).drop_front(sums.size()));
         });
  endBarriers();
}

SmallVector<Value> WarpgroupLinear::addTile(const Turn &turn, const Turn &next,
                                            ValueRange carried) {
  size_t sums = countWarpSums();
  int64_t most = llvm::divideCeil(pieces, shares);
  // A range of whole stages is a loop of its own.
  bool inRanges =
      shares > 1 && most % ofStage == 0 && most > ofStage && pieces % most == 0;
  auto addStages = [&](Value from, Value to, ValueRange carried) {
    SmallVector<Value> init(sums, t.constant(0.0f));
    llvm::append_range(init, carried);
    auto add = [&](Value unit, ValueRange old) {
      Stage stage = getStage(old[sums], old[sums + 1]);
      SmallVector<Value> all =
          addStage(stage, unit, turn, next, old.take_front(sums), !inRanges);
      llvm::append_range(all, moveOn(stage));
      return all;
    };
    return t.loop(from, to, t.constantI32(1), init, add);
  };
  Value none = t.constantI32(0), one = t.constantI32(1);
  SmallVector<Value> all;
  if (inRanges) {
    auto addRange = [&](Value range, ValueRange carried) {
      Value from = t.mul(range, most / ofStage);
      all = addStages(from, t.add(from, most / ofStage), carried);
      keep(range, ArrayRef(all).take_front(sums));
      return SmallVector<Value>(ArrayRef(all).drop_front(sums));
    };
    SmallVector<Value> last =
        t.loop(none, t.constantI32(pieces / most), one, carried, addRange);
    all = getKept();
    llvm::append_range(all, last);
    return all;
  }
  all = addStages(none, t.constantI32(ofTile), carried);
  if (shares > 1)
    llvm::copy(getKept(), all.begin());
  return all;
}

SmallVector<Value> WarpgroupLinear::addStage(const Stage &stage, Value unit,
                                             const Turn &turn, const Turn &next,
                                             SmallVector<Value> sums,
                                             bool endsRanges) {
  waitForTurn(t, stage.hasWeights, stage.parity);
  waitForTurn(t, stage.full, stage.parity);
  for (int64_t number = 0; number < ofStage; ++number) {
    Piece piece = loadStaged(stage, number);
    SmallVector<SmallVector<Value>> digits; // of each plane
    for (int64_t plane = 0; plane < layout.getNumDensePlanes(); ++plane)
      digits.push_back(getSignedWords(piece, plane));
    if (number == ofStage - 1)
      requestWeights(stage, t.add(unit, stages), turn, next);
    addTerms(piece, digits, stage, number, sums);
    if (shares > 1 && endsRanges)
      sums = endRange(unit, number, sums);
  }
  requestTokens(stage, t.add(unit, stages - 1), turn, next);
  return sums;
}

/// Behind the last piece of a range its sums are kept, and begin anew.
SmallVector<Value> WarpgroupLinear::endRange(Value unit, int64_t number,
                                             SmallVector<Value> sums) {
  int64_t most = llvm::divideCeil(pieces, shares);
  bool isLast = number == ofStage - 1;
  if ((number + 1) % std::gcd(ofStage, most) && !isLast)
    return sums;
  Value piece = t.add(t.mul(unit, ofStage), number);
  Value ends = t.equal(t.rem(t.add(piece, 1), most), 0);
  if (isLast && pieces % most)
    ends = arith::OrIOp::create(t.b, t.loc, ends, t.equal(piece, pieces - 1));
  auto end = [&] {
    keep(t.div(piece, most), sums);
    return SmallVector<Value>(sums.size(), t.constant(0.0f));
  };
  if (most == ofStage)
    return end();
  size_t i = 0;
  return t.ifElse(ends, end, [&](Type) { return sums[i++]; });
}

//===----------------------------------------------------------------------===//
// A piece
//===----------------------------------------------------------------------===//

/// What a term's products are of: words of four rows and columns, as they are
/// multiplied.
SmallVector<Value> WarpgroupLinear::getSignedWords(const Piece &piece,
                                                   int64_t plane) {
  SignedDigits form = *getSigned(layout, plane);
  int64_t bits = layout.getDigits()[plane], ofWord = geometry.run / 4;
  SmallVector<SmallVector<Value>> words;
  for (const TilePiece &tile : piece.tiles) {
    SmallVector<Value> &own = words.emplace_back(tile.words[plane]);
    for (Value &word : own)
      if (form.isTernary)
        word = t.exclusiveOr(
            t.exclusiveOr(word, t.andBits(t.shiftLeft(word, 1), 0xaaaaaaaau)),
            t.constantI32(-1));
  }
  auto getFour = [&](int64_t tile, int64_t four) {
    // The digit's highest bit, to that of the byte's that are taken.
    int64_t lies = bits * (four % ofWord) + bits - 1,
            wanted = llvm::Log2_32(form.bits);
    Value word = words[tile][four / ofWord];
    word = wanted >= lies ? t.shiftLeft(word, wanted - lies)
                          : t.shiftRight(word, lies - wanted);
    word = t.andBits(word, form.bits * 0x01010101u);
    return form.flipped
               ? t.exclusiveOr(
                     word, t.constantI32(int32_t(form.flipped * 0x01010101u)))
               : word;
  };
  SmallVector<Value> fours;
  for (int64_t four = 0; four < countFours(); ++four)
    for (int64_t tile = 0; tile < tiles; ++tile)
      fours.push_back(getFour(tile, four));
  return fours;
}

SmallVector<Value> WarpgroupLinear::multiply(ArrayRef<Value> words,
                                             const Stage &stage,
                                             int64_t number) {
  int64_t column = number * geometry.width;
  int64_t from = column / kSwizzled * tokens * kSwizzled + column % kSwizzled;
  Value high = t.getAddress(memory, t.add(stage.tokens, from));
  SmallVector<Value> sums =
      multiplyGroup(t, tokens, words, getDescriptor(t, high), {});
  if (!low)
    return sums;
  for (Value &sum : sums)
    sum = t.shiftLeft(sum, 8);
  return multiplyGroup(t, tokens, words,
                       getDescriptor(t, t.add(high, countDigitBytes())), sums);
}

void WarpgroupLinear::addTerms(const Piece &piece,
                               ArrayRef<SmallVector<Value>> digits,
                               const Stage &stage, int64_t number,
                               MutableArrayRef<Value> sums) {
  for (int64_t term = 0; term < layout.getNumGroupTerms(); ++term) {
    int64_t plane = findPlane(layout, term);
    SmallVector<Value> coefficients;
    for (const TilePiece &tile : piece.tiles)
      coefficients.push_back(t.toF32(tile.coefficients[term]));
    auto add = [&](size_t i, Value x) {
      sums[i] = t.fma(x, coefficients[i / 2 % tiles], sums[i]);
    };
    if (plane < 0) {
      SmallVector<Value> ofGroup = loadSums(stage, number);
      // Two tokens of each eight, for both rows.
      for (size_t i = 0; i < sums.size(); ++i)
        add(i, ofGroup[i / (2 * tiles) * 2 + i % 2]);
      continue;
    }
    float scale = 1.0f / getSigned(layout, plane)->scale;
    if (scale != 1.0f)
      for (Value &coefficient : coefficients)
        coefficient = t.mulf(coefficient, t.constant(scale));
    SmallVector<Value> products = multiply(digits[plane], stage, number);
    for (size_t i = 0; i < sums.size(); ++i)
      add(i, t.toF32(products[i]));
  }
}
