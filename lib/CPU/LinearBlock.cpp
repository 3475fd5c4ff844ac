// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Blocks of tokens of a packed linear: what all of them share, and products by
// vpdpbusd. See LinearBlock.h.

#include "LinearBlock.h"

using namespace mlir;
using namespace mlir::tbq;

int64_t LinearBlock::getBlockTokens(PackedLinearOp op, const Tuning &tuning) {
  auto rows = cast<MemRefType>(op.getInput().getType());
  return std::min(rows.getDimSize(0), tuning.blockTokens);
}

int64_t LinearBlock::getScratchBytes(PackedLinearOp op, bool amx,
                                     const Tuning &tuning) {
  LayoutAttr layout = op.getWeight().getType().getLayout();
  auto rows = cast<MemRefType>(op.getInput().getType());
  // One token's kernel takes no few tokens together, where digits are by
  // threes.
  int64_t least = layout.hasTriples() ? 2 : kTokenTile;
  if (layout.isFloat() || rows.getElementType().isF32() ||
      rows.getDimSize(0) < least)
    return 0;
  int64_t digitBytes = getDigitRows(layout, tuning) * kRowBytes;
  if (digitBytes > kMostDigitBytes)
    return 0;
  int64_t others = getBlockTokens(op, tuning) * tuning.rowTiles +
                   (amx ? getProductRows(op, tuning) : 0);
  return digitBytes + others * kRowBytes;
}

Tuning LinearBlock::fit(PackedLinearOp op, Tuning tuning) {
  LayoutAttr layout = op.getWeight().getType().getLayout();
  if (layout.hasTriples()) {
    tuning.rowTiles = kBandRows / kLanes;
    tuning.tokenTile = std::min(tuning.tokenTile, kTripleTokens);
    return tuning;
  }
  while (tuning.rowTiles > 2 &&
         getDigitRows(layout, tuning) * kRowBytes > kMostDigitBytes)
    --tuning.rowTiles;
  return tuning;
}

bool LinearBlock::hasTokenTiles(PackedLinearOp op) {
  auto rows = cast<MemRefType>(op.getInput().getType());
  return rows.getDimSize(0) % kTileRows == 0;
}

bool LinearBlock::fillsTiles(PackedLinearOp op) {
  LayoutAttr layout = op.getWeight().getType().getLayout();
  return hasTokenTiles(op) && layout.getGroup() % kTileColumns == 0;
}

LinearBlock::LinearBlock(PackedLinearOp op, OpBuilder &b, bool amx, bool fused,
                         const Tuning &tuning, Value scratch)
    : LinearGenerator(op, b, DotProduct::vnni, /*permute=*/false, fused, tuning,
                      scratch),
      amx(amx), tiles(tuning.rowTiles) {
  // What is no whole tile of tokens would be read past the last row.
  if (!hasTokenTiles(op))
    this->amx = false;
  int64_t digitRows = getDigitRows(layout, tuning);
  int64_t sumRows = getBlockTokens(op, tuning) * tuning.rowTiles;
  digits = view(scratch, 0, digitRows, v.b.getI8Type());
  digitWords = memref::ViewOp::create(
      v.b, v.loc, MemRefType::get({digitRows * kLanes}, v.b.getI32Type()),
      scratch, v.index(0), ValueRange());
  rowSums = view(scratch, digitRows, sumRows, v.b.getF32Type());
  if (this->amx)
    products = view(scratch, digitRows + sumRows, getProductRows(op, tuning),
                    v.b.getI32Type());
}

/// Rows of scratch memory as elements of a type.
Value LinearBlock::view(Value scratch, int64_t first, int64_t rows,
                        Type element) {
  int64_t elements = kRowBytes * 8 / element.getIntOrFloatBitWidth();
  return memref::ViewOp::create(
      v.b, v.loc, MemRefType::get({rows, elements}, element), scratch,
      v.index(first * kRowBytes), ValueRange());
}

void LinearBlock::run() {
  loadBytes();
  int64_t most = getBlockTokens(op, tuning);
  v.loop(v.index(0), op.getCount(), most, ValueRange(),
         [&](Value token, ValueRange) {
           firstToken = token;
           endToken = v.min(v.add(token, most), op.getCount());
           int64_t bands = layout.getNumBands();
           Value begin = v.mul(op.getRange()[0], bands);
           Value end = v.mul(op.getRange()[1], bands), last = v.sub(end, 1);
           v.loop(begin, end, tuning.rowTiles / getParts(), ValueRange(),
                  [&](Value number, ValueRange) {
                    // Where too few are left the last one is there again.
                    for (int64_t i = 0; i < tuning.rowTiles; ++i) {
                      tiles[i].number = number;
                      tiles[i].part = i % getParts();
                      if (int64_t ahead = i / getParts())
                        tiles[i].number = v.min(v.add(number, ahead), last);
                    }
                    generateTiles();
                    return SmallVector<Value>();
                  });
           return SmallVector<Value>();
         });
}

/// All groups of some tiles, for the tokens of a block.
void LinearBlock::generateTiles() {
  biases.clear();
  int64_t last = layout.getNumPanels() - 1;
  for (Tile &each : tiles) {
    each.offset = getPartOffset(each.number, v.index(last), last);
    tile = each;
    if (layout.getSalient())
      loadRowCoefficients();
    each = tile;
    biases.push_back(amx ? Value() : loadBias());
  }
  clearSums();
  forEachPanel({}, [&](Value panel, int64_t like, ValueRange) {
    generatePanel(panel, like);
    return SmallVector<Value>();
  });
  if (amx)
    finishBlock();
}

/// The groups of a panel, which is `like` in size.
void LinearBlock::generatePanel(Value panel, int64_t like) {
  SmallVector<Value> offsets;
  for (const Tile &each : tiles) {
    Value part = like + 1 == layout.getNumPanels()
                     ? each.offset
                     : getPartOffset(each.number, panel, like);
    offsets.push_back(v.add(part, layout.getGroupOffset(0)));
  }
  Value first = v.mul(panel, layout.getPanelGroups());
  int64_t columns = layout.getPanelColumns(like);
  int64_t whole = columns / layout.getGroup();
  offsets = v.loop(v.index(0), v.index(whole), 1, offsets,
                   [&](Value group, ValueRange starts) {
                     return generateGroup(starts, v.add(first, group),
                                          layout.getGroup());
                   });
  if (int64_t rest = columns % layout.getGroup())
    generateGroup(offsets, v.add(first, whole), rest);
}

void LinearBlock::clearSums() {
  v.loop(firstToken, endToken, [&](Value token) {
    Value at = getSumRow(token);
    for (int64_t number = 0; number < tuning.rowTiles; ++number)
      v.store(v.splat(0.0f), rowSums, {v.add(at, number), v.index(0)});
  });
}

/// One group of all tiles, which begin at bytes `offsets`. The results are
/// where the next ones begin.
SmallVector<Value> LinearBlock::generateGroup(ValueRange offsets, Value group,
                                              int64_t columns) {
  SmallVector<Value> ends;
  SmallVector<SmallVector<Value>> coefficients;
  for (int64_t number = 0; number < tuning.rowTiles; ++number) {
    tile = tiles[number];
    if (layout.hasTriples())
      ends.push_back(number == 0 ? spreadTriples(offsets[0], columns)
                                 : ends[0]);
    else
      ends.push_back(spread(number, offsets[number], columns));
    coefficients.push_back(loadCoefficients(offsets[number], columns));
  }
  bool whole = hasWholeTiles(columns);
  v.loop(firstToken, endToken, whole ? kTileRows : tokens, ValueRange(),
         [&](Value token, ValueRange) {
           if (whole)
             addTileProducts(token, group, columns, coefficients);
           else
             addProducts(token, group, columns, coefficients);
           return SmallVector<Value>();
         });
  return ends;
}

/// One group's part of the sums of a token tile. The last group's are results.
void LinearBlock::addProducts(Value token, Value group, int64_t columns,
                              ArrayRef<SmallVector<Value>> coefficients) {
  Value column = v.mul(group, layout.getGroup());
  SmallVector<SmallVector<Value>> dots; // of each plane
  for (int64_t plane = 0; plane < layout.getNumPlanes(); ++plane)
    dots.push_back(multiply(token, column, columns, plane));
  auto forEachSum = [&](int64_t t, auto &&use) {
    Value sum = loadSum(row(token, t), group);
    Value first = v.add(getSumRow(token), t * tuning.rowTiles);
    for (int64_t number = 0; number < tuning.rowTiles; ++number) {
      SmallVector<Value> planes;
      for (ArrayRef<Value> dot : dots)
        planes.push_back(dot[t * tuning.rowTiles + number]);
      Value at = v.add(first, number);
      use(number, at, addToSum(number, at, planes, sum, coefficients[number]));
    }
  };
  auto keep = [&] {
    for (int64_t t = 0; t < tokens; ++t)
      forEachSum(t, [&](int64_t, Value at, Value y) {
        v.store(y, rowSums, {at, v.index(0)});
      });
  };
  int64_t rest = layout.getColumns() % layout.getGroup();
  if (amx || (rest && columns == layout.getGroup()))
    return keep();
  // Results are stored as they come: their lines are far, and products of the
  // next tokens need not wait for them.
  auto finishAll = [&] {
    for (int64_t t = 0; t < tokens; ++t)
      v.ifThen(v.less(row(token, t), endToken), [&] {
        forEachSum(t, [&](int64_t number, Value, Value y) {
          ifDistinct(number,
                     [&] { finishToken(row(token, t), biases[number], y); });
        });
      });
  };
  if (rest)
    return finishAll();
  int64_t last = layout.getNumGroups() - 1;
  v.ifThenElse(v.equal(group, v.index(last)), finishAll, keep);
}

/// A row's sum with what a group makes of its planes' dot products.
Value LinearBlock::addToSum(int64_t number, Value at, ArrayRef<Value> planes,
                            Value sum, ArrayRef<Value> coefficients) {
  tile = tiles[number];
  Value y = v.load(rowSums, {at, v.index(0)}, v.f32Vector());
  return addTerms(SmallVector<Value>(planes), sum, coefficients, y);
}

/// `body` for tile `number`, but where it is the one before once more.
void LinearBlock::ifDistinct(int64_t number, llvm::function_ref<void()> body) {
  tile = tiles[number];
  if (number < getParts())
    body();
  else
    v.ifThen(v.less(tiles[number - 1].number, tile.number), body);
}

/// The digits of a group of tile `number`: for each plane and four columns a
/// row of scratch memory, with four digits for each of the tile's rows. The
/// result is where the group ends.
Value LinearBlock::spread(int64_t number, Value offset, int64_t columns) {
  int64_t stride = layout.getStepColumns();
  auto spreadStride = [&](Value at, int64_t valid) {
    Value from = v.add(offset, v.mul(at, layout.getStrideBytes()));
    Value quad = v.mul(at, stride / 4);
    for (int64_t plane = 0; plane < layout.getNumDensePlanes(); ++plane) {
      int64_t bits = layout.getDigits()[plane], slots = 8 / bits;
      Value codes;
      for (int64_t place = 0; 4 * place < valid; ++place) {
        if (place % slots == 0) {
          Value step = v.add(from, layout.getStepOffset(plane, place / slots));
          codes = v.loadBytes(bytes, step, v.i32Vector());
          prefetchLine(v.add(step, layout.getGroupBytes(columns)),
                       kSecondCache);
        }
        Value four = getDigits(codes, bits, place % slots, /*place=*/0);
        v.store(v.bitcast(four, v.i8Vector(kRowBytes)), digits,
                {getDigitRow(plane, number, v.add(quad, place)), v.index(0)});
      }
    }
  };
  v.unrolled(columns / stride, kUnrolledStrides, ValueRange(),
             [&](Value at, int64_t, ValueRange) {
               spreadStride(at, stride);
               return SmallVector<Value>();
             });
  if (int64_t rest = columns % stride)
    spreadStride(v.index(columns / stride), rest);
  if (layout.getSalient())
    return spreadSalient(number, v.add(offset, layout.getBlockOffset(columns)),
                         columns);
  return v.add(offset, layout.getGroupBytes(columns));
}

/// The same of digits by threes, of all parts of a tile.
Value LinearBlock::spreadTriples(Value offset, int64_t columns) {
  constexpr int64_t kQuads = kTripleColumns / 4;
  Value end = v.add(offset, layout.getGroupBytes(columns));
  v.loop(v.index(0), v.index(columns / kTripleColumns), [&](Value step) {
    Value from = v.add(offset, v.mul(step, layout.getStepBytes()));
    Value first = v.mul(step, kQuads);
    int64_t parts = getParts() / 2;
    for (int64_t half = 0; half < 2; ++half) {
      SmallVector<Value> numbers =
          TripleStep::load(v, bytes, from, layout, half, [&](Value at) {
            prefetchLine(v.add(at, layout.getGroupBytes(columns)),
                         kSecondCache);
          });
      TripleStep::spread(
          v, numbers, [&](int64_t quad, int64_t part, Value four) {
            v.store(four, digits,
                    {getDigitRow(/*plane=*/0, half * parts + part,
                                 v.add(first, quad)),
                     v.index(0)});
          });
    }
  });
  return end;
}

/// The same of the mask and the salient digits, whose first block is at byte
/// `from`: each digit goes to the row of its column, and a one to the mask's.
Value LinearBlock::spreadSalient(int64_t number, Value from, int64_t columns) {
  int64_t planes[] = {layout.getNumPlanes() - 2, layout.getNumPlanes() - 1};
  v.loop(v.index(0), v.index(getQuads(columns)), [&](Value quad) {
    for (int64_t plane : planes)
      v.store(splatByte(0), digits,
              {getDigitRow(plane, number, quad), v.index(0)});
  });
  auto spreadBlock = [&](Value index, ValueRange carried) {
    Value quad = v.mul(index, getQuads(layout.getBlockColumns()));
    return forEachRound(
        carried[0], ValueRange(), [&](const Round &round, ValueRange) {
          for (int64_t place = 0; place < kRound; ++place) {
            auto [column, digit, one] = getPlace(round, place);
            putByte(getDigitRow(planes[0], number, quad), column, one);
            putByte(getDigitRow(planes[1], number, quad), column, digit);
          }
          return SmallVector<Value>();
        });
  };
  return v.loop(v.index(0), v.index(layout.getNumBlocks(columns)), 1, from,
                spreadBlock)[0];
}

/// Puts a byte of each lane among its digits of column `column` behind row
/// `first`, where it is 0 so far. A lane without a digit puts 0 to column 0.
void LinearBlock::putByte(Value first, Value column, Value byte) {
  // Words, since no instruction scatters bytes; no two lanes share one.
  SmallVector<int32_t> lanes;
  for (int32_t lane = 0; lane < kLanes; ++lane)
    lanes.push_back(lane);
  auto shift = [&](Value x, int64_t bits) {
    return arith::ShLIOp::create(v.b, v.loc, x, v.splatI32(bits));
  };
  auto mask = [&](Value x, int64_t bits) {
    return arith::AndIOp::create(v.b, v.loc, x, v.splatI32(bits));
  };
  Value lane = arith::ConstantOp::create(
      v.b, v.loc,
      DenseElementsAttr::get(v.i32Vector(), ArrayRef<int32_t>(lanes)));
  // Four columns are a row of 16 words.
  Value distance = v.add(shift(mask(column, ~3), 2), lane);
  Value at = v.mul(first, kLanes);
  Value word = v.gather(digitWords, at, distance, v.i32Vector());
  word = arith::OrIOp::create(
      v.b, v.loc, word,
      arith::ShLIOp::create(v.b, v.loc, byte, shift(mask(column, 3), 3)));
  v.scatter(word, digitWords, at, distance);
}

/// Dot products of one plane of a group, for each token of a token tile one of
/// each tile of rows.
SmallVector<Value> LinearBlock::multiply(Value token, Value column,
                                         int64_t columns, int64_t plane) {
  SmallVector<Value> dots(tokens * tuning.rowTiles, v.splatI32(0));
  for (Value rows : {input, low}) {
    if (!rows)
      continue;
    // What the high digits of i16 made counts 256 times.
    if (rows == low)
      for (Value &dot : dots)
        dot = arith::ShLIOp::create(v.b, v.loc, dot, v.splatI32(8));
    dots = v.unrolled(
        getQuads(columns), tuning.unrolledQuads, dots,
        [&](Value quad, int64_t, ValueRange carried) {
          SmallVector<Value> next(carried), four;
          for (int64_t number = 0; number < tuning.rowTiles; ++number)
            four.push_back(
                v.load(digits, {getDigitRow(plane, number, quad), v.index(0)},
                       v.i8Vector(kRowBytes)));
          Value at = v.add(column, v.mul(quad, 4));
          for (int64_t t = 0; t < tokens; ++t) {
            Value x = loadFour(rows, row(token, t), at);
            for (int64_t number = 0; number < tuning.rowTiles; ++number) {
              Value &dot = next[t * tuning.rowTiles + number];
              dot = generateDotProduct(four[number], x, /*bits=*/8, dot);
            }
          }
          return next;
        });
  }
  return dots;
}

/// The rows of the block's tokens, of the tiles that are there.
void LinearBlock::finishBlock() {
  for (int64_t number = 0; number < tuning.rowTiles; ++number)
    ifDistinct(number, [&] {
      finishTokens(firstToken, endToken, [&](Value token) {
        return v.load(rowSums, {v.add(getSumRow(token), number), v.index(0)},
                      v.f32Vector());
      });
    });
}
