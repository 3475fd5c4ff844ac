// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See WarpgroupLinear.h. Stages and their barriers: WarpgroupStages.cpp.

#include "WarpgroupLinear.h"

#include "LowerStep.h"
#include "SignedDigits.h"

#include "llvm/Support/MathExtras.h"

#include <numeric>

using namespace mlir;
using namespace mlir::tbq;

/// Stages that are enough to wait for none.
static constexpr int64_t kStages = 6;
/// Instructions that a warp issues for a piece, and of each token.
static constexpr int64_t kOfPiece = 110, kOfToken = 2;
/// Registers of a thread: as launched, and of one that multiplies or does not.
static constexpr int64_t kRegisters = 128, kOfMultiplying = 216, kOfOthers = 40;
static_assert(kMultiplyingGroups * kOfMultiplying +
                  (kWarps / kGroupWarps - kMultiplyingGroups) * kOfOthers <=
              kWarps / kGroupWarps * kRegisters);
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
  // Two pieces at a time, unless a range ends between them.
  int64_t most = llvm::divideCeil(pieces, shares);
  for (int64_t columns : {2 * kSwizzled, kSwizzled}) {
    ofTile = layout.getColumns() / columns;
    ofStage = columns / geometry.width;
    stages = kStages;
    if (layout.getColumns() % columns ||
        (columns > kSwizzled && shares > 1 && most % ofStage))
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

/// Runs `body`, by whole groups of warps, each thread of which has so many
/// registers meanwhile. All of the block must be in here, with as many as there
/// are together: a group meets between two changes, and who takes registers
/// again does so when others have left them, or it takes what these wait for.
static void withRegisters(ThreadBuilder &t, int64_t count,
                          llvm::function_ref<void()> body) {
  auto set = [&](int64_t count, bool isMore) {
    NVVM::SetMaxRegisterOp::create(t.b, t.loc, count,
                                   isMore
                                       ? NVVM::SetMaxRegisterAction::increase
                                       : NVVM::SetMaxRegisterAction::decrease);
  };
  bool takes = count > kRegisters;
  set(count, takes);
  body();
  t.synchronize();
  if (takes)
    set(kRegisters, /*isMore=*/false);
  t.synchronize();
  if (!takes)
    set(kRegisters, /*isMore=*/true);
}

void WarpgroupLinear::run(const DealtTiles &dealt) {
  Turns turns = getTurns(dealt);
  for (PackedLinearOp each : group.ops)
    bytesOf.push_back(getBytes(t, each.getWeight()));
  bytes = bytesOf.front();
  makeBarriers();
  Value number = t.toI32(t.div(t.warp(), kGroupWarps));
  t.ifThen(t.less(number, t.constantI32(kMultiplyingGroups)), [&] {
    t.renewThread();
    withRegisters(t, kOfMultiplying, [&] { multiplyTiles(turns); });
  });
  t.ifThen(t.less(t.constantI32(kMultiplyingGroups - 1), number), [&] {
    t.renewThread();
    withRegisters(t, kOfOthers, [&] {
      t.ifThen(t.both(t.equal(number, kMultiplyingGroups), isElected(t)),
               [&] { copyTiles(turns); });
      t.synchronizeWarp();
    });
  });
  t.renewThread();
  endBarriers();
}

void WarpgroupLinear::copyTiles(const Turns &turns) {
  Value number = t.rem(t.warp(), kGroupWarps);
  forEachTile(turns, [&](Place place, ValueRange carried) {
    return t.loop(
        t.constantI32(0), t.constantI32(ofTile), t.constantI32(1), carried,
        [&](Value unit, ValueRange carried) {
          Stage stage = getStage(carried);
          // That of the turn before; there is none before the first.
          waitForTurn(t, stage.empty,
                      t.exclusiveOr(stage.parity, t.constantI32(1)));
          t.ifThen(t.equal(number, 0), [&] { copyTokens(stage, unit, place); });
          for (int64_t i = 0; i < kMultiplyingGroups; ++i)
            copyWeights(stage, unit, place, t.add(number, i * kGroupWarps));
          return moveOn(stage);
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
  size_t sums = countWarpSums();
  int64_t most = llvm::divideCeil(pieces, shares);
  // A range of whole stages is a loop of its own.
  bool inRanges =
      shares > 1 && most % ofStage == 0 && most > ofStage && pieces % most == 0;
  auto addStages = [&](Value from, Value to, ValueRange carried) {
    SmallVector<Value> init(sums, t.constant(0.0f));
    llvm::append_range(init, carried);
    return t.loop(from, to, t.constantI32(1), init,
                  [&](Value unit, ValueRange old) {
                    Stage stage = getStage(old.drop_front(sums));
                    SmallVector<Value> all =
                        addStage(stage, unit, old.take_front(sums), !inRanges);
                    llvm::append_range(all, moveOn(stage));
                    return all;
                  });
  };
  if (shares > 1)
    keepNone();
  Value none = t.constantI32(0), one = t.constantI32(1);
  if (!inRanges) {
    SmallVector<Value> all = addStages(none, t.constantI32(ofTile), carried);
    if (shares > 1)
      llvm::copy(getKept(), all.begin());
    return all;
  }
  SmallVector<Value> last =
      t.loop(none, t.constantI32(pieces / most), one, carried,
             [&](Value range, ValueRange carried) {
               Value from = t.mul(range, most / ofStage);
               Value to = t.add(from, most / ofStage);
               SmallVector<Value> all = addStages(from, to, carried);
               keep(ArrayRef(all).take_front(sums));
               return SmallVector<Value>(ArrayRef(all).drop_front(sums));
             });
  SmallVector<Value> all = getKept();
  llvm::append_range(all, last);
  return all;
}

/// While products are added to sums, others are under way; none from stage to
/// stage, where ptxas would wait for each.
SmallVector<Value> WarpgroupLinear::addStage(const Stage &stage, Value unit,
                                             SmallVector<Value> sums,
                                             bool endsRanges) {
  waitForTurn(t, stage.full, stage.parity);
  Value descriptor = getDescriptor(t, t.getAddress(memory, stage.tokens));
  SmallVector<Terms> terms = getTerms();
  int64_t ofPiece = halves * terms.size(), count = ofStage * ofPiece;
  std::deque<Products> running;
  Products last;
  auto startNext = [&](int64_t index) {
    if (index >= count)
      return;
    last.number = index / ofPiece;
    last.terms = terms[index % ofPiece / halves];
    last.half = index % halves;
    if (index % ofPiece == 0)
      last.piece = loadStaged(stage, last.number);
    if (last.half == 0)
      last.words = getSignedWords(last.piece, last.terms.plane);
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
    addProducts(products, stage, sums);
    ++finished;
    // While the other half's products are under way.
    bool endsPiece = products.terms.end == layout.getNumGroupTerms();
    if (endsPiece && shares > 1 && endsRanges)
      endRange(unit, products, sums);
    startNext(finished - 1 + halves);
  }
  // All lanes have read what is there.
  t.synchronizeWarp();
  t.ifThen(isElected(t), [&] { arrive(t, stage.empty); });
  return sums;
}

/// Behind the last piece of a range the sums of its products' half are kept,
/// and begin anew.
void WarpgroupLinear::endRange(Value unit, const Products &products,
                               MutableArrayRef<Value> sums) {
  int64_t most = llvm::divideCeil(pieces, shares);
  bool isLast = products.number == ofStage - 1;
  if ((products.number + 1) % std::gcd(ofStage, most) && !isLast)
    return;
  Value piece = t.add(t.mul(unit, ofStage), products.number);
  Value ends = t.equal(t.rem(t.add(piece, 1), most), 0);
  if (isLast && pieces % most)
    ends = arith::OrIOp::create(t.b, t.loc, ends, t.equal(piece, pieces - 1));
  size_t count = products.sums.size(), from = products.half * count, i = from;
  MutableArrayRef<Value> half = sums.slice(from, count);
  auto end = [&] {
    keep(half, from);
    return SmallVector<Value>(count, t.constant(0.0f));
  };
  llvm::copy(most == ofStage
                 ? end()
                 : t.ifElse(ends, end, [&](Type) { return sums[i++]; }),
             half.begin());
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

SmallVector<WarpgroupLinear::Terms> WarpgroupLinear::getTerms() const {
  SmallVector<Terms> all;
  int64_t from = 0, count = layout.getNumGroupTerms();
  for (int64_t term = 0; term < count; ++term)
    if (int64_t plane = findPlane(layout, term); plane >= 0) {
      all.push_back({plane, from, term + 1});
      from = term + 1;
    }
  all.back().end = count;
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

void WarpgroupLinear::addProducts(const Products &products, const Stage &stage,
                                  MutableArrayRef<Value> sums) {
  sums = sums.slice(products.half * products.sums.size(), products.sums.size());
  for (int64_t term = products.terms.from; term < products.terms.end; ++term) {
    int64_t plane = findPlane(layout, term);
    float factor =
        plane < 0 ? 1.0f : 1.0f / SignedDigits::get(layout, plane)->scale;
    SmallVector<Value> coefficients, ofGroup;
    for (const TilePiece &tile : products.piece.tiles) {
      Value own = t.toF32(tile.coefficients[term]);
      coefficients.push_back(factor == 1.0f ? own
                                            : t.mulf(own, t.constant(factor)));
    }
    if (plane < 0)
      ofGroup = loadSums(stage, products);
    for (auto [i, sum] : llvm::enumerate(sums)) {
      // Two tokens of each eight, for both rows.
      Value x = plane < 0 ? ofGroup[i / (2 * tiles) * 2 + i % 2]
                          : t.toF32(products.sums[i]);
      sum = t.fma(x, coefficients[i / 2 % tiles], sum);
    }
  }
}
