// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See TermTiles.h.

#include "TermTiles.h"

#include "AmxTiles.h"

using namespace mlir;
using namespace mlir::tbq;

static int64_t getQuads(int64_t columns) { return (columns + 3) / 4; }

/// Whether a term's digits are made of a plane's, and fit signed bytes.
static bool fitsBytes(int64_t factor, int64_t summand, int64_t bits) {
  int64_t largest = factor * ((1 << bits) - 1) + summand;
  return (factor == 1 || factor == 2) && summand >= INT8_MIN &&
         largest <= INT8_MAX;
}

std::optional<int64_t> TermTiles::getPlane(LayoutAttr layout, int64_t term) {
  for (int64_t plane = 0; plane < layout.getNumPlanes(); ++plane)
    if (layout.getTerm(term, plane))
      return plane;
  return std::nullopt;
}

/// Tiles of products that a group has for each digit of the activations.
int64_t TermTiles::countProducts(LayoutAttr layout) {
  return llvm::count_if(
      llvm::seq<int64_t>(0, layout.getNumTerms()),
      [&](int64_t term) { return getPlane(layout, term).has_value(); });
}

/// Rows of scratch memory of a group's digits, of a tile.
int64_t TermTiles::getGroupRows(LayoutAttr layout) {
  return countProducts(layout) * getQuads(layout.getGroup());
}

int64_t TermTiles::countRowTiles(LayoutAttr layout) {
  int64_t most = kMostDigitBytes / (getGroupRows(layout) * kRowBytes);
  int64_t tiles = kTilesAtOnce / countProducts(layout);
  return std::max<int64_t>(std::min(tiles, most), 1);
}

/// Of a block of tokens, which each tile of rows reads.
static int64_t getInputBytes(PackedLinearOp op, const Tuning &tuning) {
  auto rows = cast<MemRefType>(op.getInput().getType());
  return std::min(rows.getDimSize(0), tuning.blockTokens) * rows.getDimSize(1) *
         (op.getLow() ? 2 : 1);
}

TermTiles::Plan TermTiles::getPlan(PackedLinearOp op, const Tuning &tuning) {
  LayoutAttr layout = op.getWeight().getType().getLayout();
  int64_t groupRows = getGroupRows(layout);
  int64_t tokens = cast<MemRefType>(op.getInput().getType()).getDimSize(0);
  int64_t inputs = op.getLow() ? 2 : 1;
  Plan plan;
  plan.rowTiles = countRowTiles(layout);
  plan.tokenTiles = std::max<int64_t>(kTilesAtOnce / inputs, 1);
  if (tokens % (plan.tokenTiles * kTileRows))
    plan.tokenTiles = 1;
  int64_t most = kMostDigitBytes / (plan.rowTiles * groupRows * kRowBytes);
  plan.groupsAtOnce = std::min(
      {layout.getNumGroups(), kGroupsAtOnce, std::max<int64_t>(most, 1)});
  plan.blockTokens = llvm::alignTo(std::min(tokens, tuning.blockTokens),
                                   plan.tokenTiles * kTileRows);
  int64_t atOnce = plan.groupsAtOnce * plan.rowTiles;
  plan.coefficients = atOnce * groupRows;
  plan.rowSums = plan.coefficients + atOnce * layout.getNumGroupTerms();
  plan.floatSums = plan.rowSums + plan.blockTokens * plan.rowTiles;
  plan.products = plan.floatSums;
  if (countProducts(layout) < layout.getNumTerms())
    plan.products +=
        plan.blockTokens * llvm::divideCeil(layout.getNumGroups(), kLanes);
  plan.end = plan.products + atOnce * plan.tokenTiles * inputs *
                                 countProducts(layout) * kTileRows;
  return plan;
}

int64_t TermTiles::getScratchBytes(PackedLinearOp op, const Tuning &tuning) {
  LayoutAttr layout = op.getWeight().getType().getLayout();
  auto rows = cast<MemRefType>(op.getInput().getType());
  if (layout.isFloat() || rows.getElementType().isF32() ||
      layout.getSalient() || layout.hasTriples() ||
      rows.getDimSize(0) % kTileRows || layout.getGroup() % kTileColumns ||
      layout.getColumns() % layout.getGroup() ||
      countProducts(layout) + 1 < layout.getNumTerms() ||
      getInputBytes(op, tuning) > kMostInputBytes ||
      getGroupRows(layout) * kRowBytes > kMostDigitBytes)
    return 0;
  int64_t planes = layout.getNumPlanes();
  for (int64_t term = 0; term < layout.getNumTerms(); ++term) {
    auto factors =
        llvm::map_range(llvm::seq<int64_t>(0, planes), [&](int64_t plane) {
          return layout.getTerm(term, plane);
        });
    std::optional<int64_t> plane = getPlane(layout, term);
    if (plane &&
        (llvm::count_if(factors, [](int64_t f) { return f; }) > 1 ||
         !fitsBytes(layout.getTerm(term, *plane), layout.getTerm(term, planes),
                    layout.getDigits()[*plane])))
      return 0;
  }
  return getPlan(op, tuning).end * kRowBytes;
}

TermTiles::TermTiles(PackedLinearOp op, OpBuilder &b, bool fused,
                     const Tuning &tuning, Value scratch)
    : LinearGenerator(op, b, DotProduct::vnni, /*permute=*/false, fused, tuning,
                      scratch),
      plan(getPlan(op, tuning)), tiles(plan.rowTiles) {
  digits = view(scratch, 0, plan.coefficients, v.b.getI8Type());
  coefficients =
      view(scratch, plan.coefficients, plan.rowSums, v.b.getF32Type());
  rowSums = view(scratch, plan.rowSums, plan.floatSums, v.b.getF32Type());
  floatSums = view(scratch, plan.floatSums, plan.products, v.b.getF32Type());
  products = view(scratch, plan.products, plan.end, v.b.getI32Type());
}

/// Rows of scratch memory as elements of a type.
Value TermTiles::view(Value scratch, int64_t first, int64_t end, Type element) {
  int64_t elements = kRowBytes * 8 / element.getIntOrFloatBitWidth();
  return memref::ViewOp::create(
      v.b, v.loc, MemRefType::get({end - first, elements}, element), scratch,
      v.index(first * kRowBytes), ValueRange());
}

void TermTiles::run() {
  loadBytes();
  v.loop(v.index(0), op.getCount(), plan.blockTokens, ValueRange(),
         [&](Value token, ValueRange) {
           firstToken = token;
           endToken = v.min(v.add(token, plan.blockTokens), op.getCount());
           convertSums();
           Value begin = op.getRange()[0], end = op.getRange()[1];
           v.loop(begin, end, plan.rowTiles, ValueRange(),
                  [&](Value number, ValueRange) {
                    // Where too few are left the last one is there again.
                    for (int64_t i = 0; i < plan.rowTiles; ++i)
                      tiles[i].number =
                          i ? v.min(v.add(number, i), v.sub(end, 1)) : number;
                    generateTiles();
                    return SmallVector<Value>();
                  });
           return SmallVector<Value>();
         });
}

/// The sums of activations that terms without a plane have, as floats: once for
/// all tiles of rows.
void TermTiles::convertSums() {
  for (int64_t term = 0; term < layout.getNumTerms(); ++term) {
    if (getPlane(layout, term))
      continue;
    int64_t rows = llvm::divideCeil(layout.getNumGroups(), kLanes);
    v.loop(firstToken, endToken, [&](Value token) {
      for (int64_t row = 0; row < rows; ++row) {
        Value sum =
            v.load(op.getSums(), {token, v.index(row * kLanes)}, v.i32Vector());
        Value at = v.add(v.mul(v.sub(token, firstToken), rows), row);
        v.store(
            getBracket(term, SmallVector<Value>(layout.getNumPlanes()), sum),
            floatSums, {at, v.index(0)});
      }
    });
  }
}

/// All groups of some tiles of rows, in blocks of as many as are spread at
/// once.
void TermTiles::generateTiles() {
  int64_t groups = layout.getNumGroups(), last = layout.getNumPanels() - 1;
  for (Tile &each : tiles)
    each.offset = getPartOffset(each.number, v.index(last), last);
  v.loop(v.index(0), v.index(groups), plan.groupsAtOnce, ValueRange(),
         [&](Value first, ValueRange) {
           firstGroup = first;
           endGroup = v.min(v.add(first, plan.groupsAtOnce), v.index(groups));
           for (int64_t number = 0; number < plan.rowTiles; ++number)
             v.loop(firstGroup, endGroup,
                    [&](Value group) { spread(group, number); });
           v.loop(firstToken, endToken, plan.tokenTiles * kTileRows,
                  ValueRange(), [&](Value token, ValueRange) {
                    v.loop(firstGroup, endGroup,
                           [&](Value group) { multiplyGroup(token, group); });
                    for (int64_t i = 0; i < plan.tokenTiles; ++i)
                      for (int64_t j = 0; j < plan.rowTiles; ++j)
                        addGroups(v.add(token, i * kTileRows), j, i);
                    return SmallVector<Value>();
                  });
           return SmallVector<Value>();
         });
  finishTiles();
}

/// The row of scratch memory with the sums of a tile, of the token `t` behind
/// `token`.
Value TermTiles::getSumRow(Value token, int64_t t, int64_t number) {
  return v.add(v.mul(v.sub(token, firstToken), plan.rowTiles),
               t * plan.rowTiles + number);
}

/// What groups before those at work made of the sums of 16 tokens. Before the
/// first ones memory holds nothing: a mask leaves it out. Nothing is cleared,
/// for a call of memset would cost the tiles' configuration.
SmallVector<Value> TermTiles::loadSums(Value token, int64_t number) {
  Value none = v.splat(0.0f);
  if (plan.groupsAtOnce == layout.getNumGroups())
    return SmallVector<Value>(kTileRows, none);
  Value mask = vector::BroadcastOp::create(
      v.b, v.loc, VectorType::get({kLanes}, v.b.getI1Type()),
      v.less(v.index(0), firstGroup));
  SmallVector<Value> sums;
  for (int64_t t = 0; t < kTileRows; ++t)
    sums.push_back(vector::MaskedLoadOp::create(
        v.b, v.loc, v.f32Vector(), rowSums,
        ValueRange{getSumRow(token, t, number), v.index(0)}, mask, none));
  return sums;
}

/// A block of groups of a tile: their part of the sums of 16 tokens.
void TermTiles::addGroups(Value token, int64_t number, int64_t tokenTile) {
  SmallVector<Value> sums = loadSums(token, number);
  sums = v.loop(firstGroup, endGroup, 1, sums,
                [&](Value group, ValueRange carried) {
                  return addGroup(token, group, number, tokenTile, carried);
                });
  for (auto [t, sum] : llvm::enumerate(sums))
    v.store(sum, rowSums, {getSumRow(token, t, number), v.index(0)});
}

/// The results of the tiles that are there.
void TermTiles::finishTiles() {
  for (int64_t number = 0; number < plan.rowTiles; ++number) {
    tile = tiles[number];
    auto finish = [&] {
      finishTokens(firstToken, endToken, [&](Value token) {
        Value at = getSumRow(token, 0, number);
        return v.load(rowSums, {at, v.index(0)}, v.f32Vector());
      });
    };
    if (number == 0)
      finish();
    else
      v.ifThen(v.less(tiles[number - 1].number, tile.number), finish);
  }
}

/// Where a group of the tile begins.
Value TermTiles::getGroupOffset(Value group) {
  int64_t last = layout.getNumPanels() - 1, inPanel = layout.getPanelGroups();
  Value part = tile.offset;
  if (last > 0) {
    Value panel = v.div(group, inPanel);
    part = arith::SelectOp::create(v.b, v.loc, v.equal(panel, v.index(last)),
                                   part, getPartOffset(tile.number, panel, 0));
    group = v.rem(group, inPanel);
  }
  return v.add(v.add(part, layout.getGroupOffset(0)),
               v.mul(group, layout.getGroupBytes(layout.getGroup())));
}

/// A group of a tile among those at work.
Value TermTiles::getPlace(Value group, int64_t number) {
  return v.add(v.mul(v.sub(group, firstGroup), plan.rowTiles), number);
}

/// Rows of scratch memory, where what a group of a tile has begins.
Value TermTiles::getFirstDigits(Value group, int64_t number) {
  return v.mul(getPlace(group, number), getGroupRows(layout));
}

Value TermTiles::getFirstCoefficient(Value group, int64_t number) {
  return v.mul(getPlace(group, number), layout.getNumGroupTerms());
}

Value TermTiles::getProduct(Value group, int64_t number, int64_t input,
                            int64_t product) {
  int64_t count = countProducts(layout);
  int64_t each = countInputs() * plan.rowTiles * count;
  int64_t place = (input * plan.rowTiles + number) * count + product;
  return v.mul(v.add(v.mul(v.sub(group, firstGroup), each), place), kTileRows);
}

/// The digits of a group's terms, each four columns a row of scratch memory,
/// and its coefficients.
void TermTiles::spread(Value group, int64_t number) {
  tile = tiles[number];
  int64_t columns = layout.getGroup(), stride = layout.getStepColumns();
  int64_t groupBytes = layout.getGroupBytes(columns);
  Value offset = getGroupOffset(group);
  Value firstRow = getFirstDigits(group, number);
  v.loop(v.index(0), v.index(columns / stride), [&](Value at) {
    Value from = v.add(offset, v.mul(at, layout.getStrideBytes()));
    int64_t product = 0;
    for (int64_t term = 0; term < layout.getNumTerms(); ++term) {
      std::optional<int64_t> plane = getPlane(layout, term);
      if (!plane)
        continue;
      int64_t bits = layout.getDigits()[*plane], slots = 8 / bits;
      Value row = v.add(v.add(firstRow, product++ * getQuads(columns)),
                        v.mul(at, stride / 4));
      Value codes;
      for (int64_t place = 0; 4 * place < stride; ++place) {
        if (place % slots == 0) {
          Value step = v.add(from, layout.getStepOffset(*plane, place / slots));
          codes = v.loadBytes(bytes, step, v.i32Vector());
          prefetchLine(v.add(step, plan.groupsAtOnce * groupBytes),
                       kSecondCache);
        }
        v.store(getTermDigits(codes, bits, place % slots, term), digits,
                {v.add(row, place), v.index(0)});
      }
    }
  });
  Value first = getFirstCoefficient(group, number);
  for (auto [term, coefficient] :
       llvm::enumerate(loadCoefficients(offset, columns)))
    v.store(coefficient, coefficients, {v.add(first, term), v.index(0)});
}

/// A slot's digits, one a byte, as a term has them.
Value TermTiles::getTermDigits(Value codes, int64_t bits, int64_t slot,
                               int64_t term) {
  int64_t plane = *getPlane(layout, term);
  Value four = v.bitcast(getDigits(codes, bits, slot, /*place=*/0),
                         v.i8Vector(kRowBytes));
  if (layout.getTerm(term, plane) == 2)
    four = v.add(four, four);
  if (int64_t summand = layout.getTerm(term, layout.getNumPlanes()))
    four = v.add(four, splatByte(summand));
  return four;
}

/// A group's products of all tiles at work, from `token` on.
void TermTiles::multiplyGroup(Value token, Value group) {
  SmallVector<TileProducts::Input> inputs;
  for (int64_t i = 0; i < plan.tokenTiles; ++i)
    for (Value rows : getInputs())
      inputs.push_back({rows, v.add(token, i * kTileRows)});
  SmallVector<Value> quads, places;
  int64_t count = countProducts(layout);
  for (int64_t number = 0; number < plan.rowTiles; ++number)
    for (int64_t product = 0; product < count; ++product)
      quads.push_back(v.add(getFirstDigits(group, number),
                            product * getQuads(layout.getGroup())));
  for (int64_t input = 0; input < countInputs(); ++input)
    for (int64_t number = 0; number < plan.rowTiles; ++number)
      for (int64_t product = 0; product < count; ++product)
        places.push_back(getProduct(group, number, input, product));
  multiplyTiles(v, {inputs, v.mul(group, layout.getGroup()), layout.getGroup(),
                    digits, /*isSigned=*/true, quads, products, places});
}

/// The sums of 16 tokens, and what a group adds to them.
SmallVector<Value> TermTiles::addGroup(Value token, Value group, int64_t number,
                                       int64_t tokenTile, ValueRange sums) {
  int64_t inputs = getInputs().size();
  auto load = [&](int64_t input, int64_t product, int64_t t) {
    Value first =
        getProduct(group, number, tokenTile * inputs + input, product);
    return v.load(products, {v.add(first, t), v.index(0)}, v.i32Vector());
  };
  Value coefficient = getFirstCoefficient(group, number);
  SmallVector<Value> factors;
  for (int64_t term = 0; term < layout.getNumTerms(); ++term)
    factors.push_back(v.load(
        coefficients, {v.add(coefficient, term), v.index(0)}, v.f32Vector()));
  int64_t sumRows = llvm::divideCeil(layout.getNumGroups(), kLanes);
  SmallVector<Value> next;
  for (int64_t t = 0; t < kTileRows; ++t) {
    Value y = sums[t];
    int64_t product = 0;
    for (int64_t term = 0; term < layout.getNumTerms(); ++term) {
      Value bracket;
      if (getPlane(layout, term)) {
        Value dot = load(0, product, t);
        if (low)
          dot = v.add(arith::ShLIOp::create(v.b, v.loc, dot, v.splatI32(8)),
                      load(1, product, t));
        bracket = arith::SIToFPOp::create(v.b, v.loc, v.f32Vector(), dot);
        ++product;
      } else {
        Value row =
            v.add(v.mul(v.sub(token, firstToken), sumRows), t * sumRows);
        bracket = v.splat(v.load(floatSums, {v.add(row, v.div(group, kLanes)),
                                             v.rem(group, kLanes)}));
      }
      y = v.fma(bracket, factors[term], y);
    }
    next.push_back(y);
  }
  return next;
}
