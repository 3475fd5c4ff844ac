// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See WarpgroupLinear.h. Stages and their barriers: WarpgroupStages.cpp.

#include "WarpgroupLinear.h"

#include "LowerStep.h"
#include "SignedDigits.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

/// Stages that are enough to wait for none.
static constexpr int64_t kStages = 6;
/// Instructions that a warp issues for a piece, and of each token.
static constexpr int64_t kOfPiece = 110, kOfToken = 2;
/// Tokens that are multiplied at once; a tile of more has two halves, so that
/// products of one are under way while the other's are added to sums.
static constexpr int64_t kTogether = 64;
/// Tiles of a product's rows that a warp has.
static constexpr int64_t kWarpTiles = kGroupRows / kGroupWarps / kWarpRows;

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
  if (!areSigned(layout))
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
  shape = {group.inPairs ? 1 : kWarpTiles, placed.tokens, kMultiplyingWarps};
  shape.warps = kMultiplyingWarps;
  shape.cost = (kOfPiece + kOfToken * placed.tokens) * shape.warps / kWarps;
  tiles = kWarpTiles;
  tokens = placed.tokens;
  halves = tokens > kTogether ? 2 : 1;
  // Two pieces at a time, unless a share ends between them.
  for (int64_t columns : {2 * kSwizzled, kSwizzled}) {
    ofTile = layout.getColumns() / columns;
    ofStage = columns / geometry.width;
    stages = kStages;
    if (layout.getColumns() % columns || (shares > 1 && ofShare % ofStage))
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

void WarpgroupLinear::forEachTile(const Turns &turns, Body body) {
  Value none = t.constantI32(0);
  Value ofTokens = t.div(t.add(op.getCount(), tokens - 1), tokens);
  t.loop(turns.first, turns.count, turns.workers, {none, none},
         [&](Value index, ValueRange carried) {
           // Blocks side by side have the same rows, which so come from memory
           // once.
           Value row = arith::DivUIOp::create(t.b, t.loc, index, ofTokens);
           Value token = t.sub(index, t.mul(row, ofTokens));
           return body({t.mul(row, shape.getTiles()), t.mul(token, tokens)},
                       carried);
         });
}

void WarpgroupLinear::run(const DealtTiles &dealt) {
  Turns turns = getTurns(dealt);
  for (PackedLinearOp each : group.ops)
    bytesOf.push_back(getBytes(t, each.getWeight()));
  bytes = bytesOf.front();
  makeBarriers();
  divideGroups(
      t, [&] { multiplyTiles(turns); },
      [&](Value group) {
        t.ifThen(t.both(t.equal(group, 0), isElected(t)),
                 [&] { copyTiles(turns); });
        t.synchronizeWarp();
      });
  endBarriers();
}

SmallVector<Value> WarpgroupLinear::forEachShare(ValueRange carried,
                                                 StageBody body) {
  return t.loop(t.constantI32(0), t.constantI32(usedShares), t.constantI32(1),
                carried, body);
}

SmallVector<Value> WarpgroupLinear::forEachUnit(Value share, ValueRange carried,
                                                StageBody body) {
  int64_t most = shares == 1 ? ofTile : ofShare / ofStage;
  Value from = t.mul(share, most), to = t.add(from, most);
  if (most * usedShares != ofTile)
    to = t.min(to, t.constantI32(ofTile));
  return t.loop(from, to, t.constantI32(1), carried, body);
}

SmallVector<Value> WarpgroupLinear::forEachSumStage(Value share,
                                                    ValueRange carried,
                                                    StageBody body) {
  if (!layout.hasSumTerm())
    return SmallVector<Value>(carried);
  auto [first, end] = getEights(share);
  return t.loop(first, end, t.constantI32(countStageEights()), carried, body);
}

void WarpgroupLinear::copyTiles(const Turns &turns) {
  forEachTile(turns, [&](Place place, ValueRange carried) {
    return forEachShare(carried, [&](Value share, ValueRange carried) {
      SmallVector<Value> next =
          forEachUnit(share, carried, [&](Value unit, ValueRange carried) {
            return fill(
                carried,
                [&](const Stage &stage) { copyTokens(stage, unit, place); },
                [&](const Stage &stage, Value warp) {
                  copyWeights(stage, unit, place, warp);
                });
          });
      return forEachSumStage(share, next, [&](Value eight, ValueRange carried) {
        return fill(
            carried, [&](const Stage &stage) { copySums(stage, eight, place); },
            [&](const Stage &stage, Value warp) {
              copySumCoefficients(stage, eight, place, warp);
            });
      });
    });
  });
}

void WarpgroupLinear::multiplyTiles(const Turns &turns) {
  forEachTile(turns, [&](Place place, ValueRange carried) {
    SmallVector<Value> all = addTile(carried);
    auto sums = ArrayRef(all).drop_back(carried.size());
    storeSums(place, sums);
    return SmallVector<Value>(ArrayRef(all).drop_front(sums.size()));
  });
}

SmallVector<Value> WarpgroupLinear::addTile(ValueRange carried) {
  if (shares == 1)
    return addShare(t.constantI32(0), carried);
  size_t sums = countWarpSums();
  SmallVector<Value> init(sums, t.constant(0.0f));
  llvm::append_range(init, carried);
  return forEachShare(init, [&](Value share, ValueRange old) {
    SmallVector<Value> all = addShare(share, old.drop_front(sums));
    llvm::copy(addToKept(share, ArrayRef(all).take_front(sums)), all.begin());
    return all;
  });
}

SmallVector<Value> WarpgroupLinear::addShare(Value share, ValueRange carried) {
  size_t count = countWarpSums();
  // From zero on, sums and how the stages go on.
  auto begin = [&](ValueRange carried) {
    SmallVector<Value> init(count, t.constant(0.0f));
    llvm::append_range(init, carried);
    return init;
  };
  auto inStage = [&](auto add) {
    return [&, add](Value number, ValueRange old) {
      Stage stage = getStage(old.drop_front(count));
      waitForTurn(t, stage.full, stage.parity);
      SmallVector<Value> all =
          add(stage, number, SmallVector<Value>(old.take_front(count)));
      leave(stage);
      llvm::append_range(all, moveOn(stage));
      return all;
    };
  };
  SmallVector<Value> all = forEachUnit(
      share, begin(carried),
      inStage([&](const Stage &stage, Value, SmallVector<Value> sums) {
        return addStage(stage, sums);
      }));
  if (!layout.hasSumTerm())
    return all;
  SmallVector<Value> chain = forEachSumStage(
      share, begin(ArrayRef(all).drop_front(count)),
      inStage([&](const Stage &stage, Value eight, SmallVector<Value> chain) {
        return addSums(stage, eight, getEights(share).second, chain);
      }));
  finishSumTerm(ArrayRef(chain).take_front(count),
                MutableArrayRef(all).take_front(count));
  llvm::copy(ArrayRef(chain).drop_front(count), all.begin() + count);
  return all;
}

/// While products are added to sums, others are under way; none from stage to
/// stage, where ptxas would wait for each.
SmallVector<Value> WarpgroupLinear::addStage(const Stage &stage,
                                             SmallVector<Value> sums) {
  Value descriptor = getDescriptor(t, t.getAddress(memory, stage.tokens));
  SmallVector<Term> terms = getTerms();
  int64_t ofPiece = halves * terms.size(), count = ofStage * ofPiece;
  std::deque<Products> running;
  Products last;
  auto startNext = [&](int64_t index) {
    if (index >= count)
      return;
    last.number = index / ofPiece;
    last.term = terms[index % ofPiece / halves];
    last.half = index % halves;
    if (index % ofPiece == 0)
      last.piece = loadStaged(stage, last.number);
    if (last.half == 0)
      last.words = getSignedWords(last.piece, last.term.plane);
    running.push_back(start(last, descriptor));
  };
  for (int64_t half = 0; half < halves; ++half)
    startNext(half);
  for (int64_t finished = 0; !running.empty();) {
    Products products = running.front();
    running.pop_front();
    products.sums =
        finishProducts(t, running.size(), products.sums, products.words);
    if (low && !products.isWhole) {
      for (Value &sum : products.sums)
        sum = t.shiftLeft(sum, 8);
      products.isWhole = true;
      running.push_back(start(products, descriptor));
      continue;
    }
    addProducts(products, sums);
    startNext(finished++ + halves);
  }
  return sums;
}

/// Both halves of the tokens at once.
SmallVector<Value> WarpgroupLinear::addSums(const Stage &stage, Value first,
                                            Value end, ArrayRef<Value> chain) {
  Value staged = getStagedEight(first);
  Value begin = getSumCoefficients(stage, t.warp());
  SmallVector<Value> words;
  for (int64_t number = 0; number < countStageEights(); ++number) {
    // Of two groups a word each, in which it stands twice.
    SmallVector<Value> rows;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      int64_t at = (number * tiles + tile) * layout.getSumEightBytes();
      for (Value own :
           t.getHalves(loadSumCoefficients(memory, t.add(begin, at), row())))
        rows.push_back(t.packHalves(own, own));
    }
    for (Value word : {rows[0], rows[2], rows[1], rows[3]}) {
      if (staged != first) { // one of a stage before, or of another share
        Value eight = t.add(staged, number);
        Value isOwn =
            t.both(t.less(eight, end), t.less(first, t.add(eight, 1)));
        word = t.select(isOwn, word, t.constantI32(0));
      }
      words.push_back(word);
    }
  }
  Value descriptor =
      getHalfDescriptor(t, t.getAddress(memory, stage.tokens), tokens);
  int64_t count = chain.size() / halves;
  auto as = [&](ArrayRef<Value> values, Type type) {
    return llvm::map_to_vector(
        values, [&](Value each) { return t.bitcast(each, type); });
  };
  SmallVector<SmallVector<Value>> running;
  for (int64_t half = 0; half < halves; ++half)
    running.push_back(startHalfProducts(
        t, tokens / halves, words, t.add(descriptor, half * (tokens / halves)),
        tokens, as(chain.slice(half * count, count), t.b.getI32Type())));
  SmallVector<Value> sums;
  for (int64_t half = 0; half < halves; ++half)
    llvm::append_range(
        sums, as(finishProducts(t, halves - 1 - half, running[half], words),
                 t.b.getF32Type()));
  return sums;
}

//===----------------------------------------------------------------------===//
// A piece
//===----------------------------------------------------------------------===//

/// What a term's products are of: words of four rows and columns, as they are
/// multiplied.
SmallVector<Value> WarpgroupLinear::getSignedWords(const Piece &piece,
                                                   int64_t plane) {
  SignedDigits form = *SignedDigits::get(layout, plane);
  int64_t bits = layout.getDigits()[plane], ofWord = geometry.run / 4;
  SmallVector<SmallVector<Value>> words;
  for (const TilePiece &tile : piece.tiles) {
    SmallVector<Value> &own = words.emplace_back(tile.words[plane]);
    for (Value &word : own)
      if (form.isTernary)
        word =
            t.exclusiveOr(word, t.andBits(t.shiftLeft(word, 1), 0xaaaaaaaau));
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

SmallVector<WarpgroupLinear::Term> WarpgroupLinear::getTerms() const {
  SmallVector<Term> all;
  for (int64_t term = 0; term < layout.getNumTermsInGroups(); ++term)
    all.push_back({findPlane(layout, term), term});
  return all;
}

WarpgroupLinear::Products WarpgroupLinear::start(Products products,
                                                 Value descriptor) {
  int64_t column = products.number * geometry.width;
  int64_t token = products.half * (tokens / halves);
  int64_t from = (column / kSwizzled * tokens + token) * kSwizzled +
                 column % kSwizzled +
                 (products.isWhole ? countDigitBytes() : 0);
  products.sums = startProducts(t, tokens / halves, products.words,
                                t.add(descriptor, from / 16), products.sums);
  return products;
}

void WarpgroupLinear::addProducts(const Products &products,
                                  MutableArrayRef<Value> sums) {
  sums = sums.slice(products.half * products.sums.size(), products.sums.size());
  float factor = 1.0f / SignedDigits::get(layout, products.term.plane)->scale;
  SmallVector<Value> coefficients;
  for (const TilePiece &tile : products.piece.tiles) {
    Value own = t.toF32(tile.coefficients[products.term.number]);
    coefficients.push_back(factor == 1.0f ? own
                                          : t.mulf(own, t.constant(factor)));
  }
  // Two tokens of each eight, for both rows.
  for (auto [i, sum] : llvm::enumerate(sums))
    sum = t.fma(t.toF32(products.sums[i]), coefficients[i / 2 % tiles], sum);
}
