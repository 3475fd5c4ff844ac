// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Ternary digits by threes (#tbq.layout, bands of 64 rows). One token's kernel
// makes a table for each three columns of a panel, of the 27 sums that their
// digits may have, and looks 32 rows' sums up at once by vpermw: an addition of
// words for 96 weights. A tile's bands share the tables; it is one run of
// bytes. A step of many tokens spreads the digits as it does those of two bits.
// Invariant: sums are exact, so every bit is the same.

#include "LinearGenerator.h"

using namespace mlir;
using namespace mlir::tbq;

/// Words of a vector, which are rows; numbers of three digits each in a word,
/// and their bits; tables of a step: of its numbers, and of its last column.
static constexpr int64_t kWords = 32;
static constexpr int64_t kVectorBytes = 2 * kWords;
static constexpr int64_t kNumbers = 3;
static constexpr int64_t kNumberBits = 5;
static constexpr int64_t kTables = kTripleColumns / 3 + 1;
/// Steps whose sums a word holds: 2 * 128 is the most that a column adds.
static constexpr int64_t kWordSteps = 2;

static VectorType getWordsType(VectorBuilder &v) {
  return VectorType::get({kWords}, v.b.getI16Type());
}

/// Each word looks one of 32 words up.
static Value lookUp(VectorBuilder &v, Value table, Value numbers) {
  return v.callIntrinsic("llvm.x86.avx512.permvar.hi.512", {table, numbers});
}

/// The digit that number `number` has at `place`; none, 0, past the last.
static int64_t getDigit(int64_t number, int64_t place) {
  const int64_t powers[] = {1, 3, 9};
  return place < kNumbers && number < 27 ? number / powers[place] % 3 : 0;
}

/// The digits that each number has at two places, a byte each.
static Value getDigitTable(VectorBuilder &v, int64_t first, int64_t second) {
  SmallVector<int8_t> bytes;
  for (int64_t number = 0; number < kWords; ++number)
    for (int64_t place : {first, second})
      bytes.push_back(int8_t(getDigit(number, place)));
  return arith::ConstantOp::create(
      v.b, v.loc,
      DenseElementsAttr::get(v.i8Vector(2 * kWords), ArrayRef<int8_t>(bytes)));
}

static Value splatWord(VectorBuilder &v, int64_t value) {
  return arith::ConstantOp::create(
      v.b, v.loc,
      DenseElementsAttr::get(getWordsType(v), v.b.getI16IntegerAttr(value)));
}

SmallVector<Value> TripleStep::load(VectorBuilder &v, Value bytes, Value offset,
                                    LayoutAttr layout, int64_t half,
                                    llvm::function_ref<void(Value)> prefetch) {
  auto shift = [&](Value words, int64_t bits) -> Value {
    return arith::ShRUIOp::create(v.b, v.loc, words, splatWord(v, bits));
  };
  SmallVector<Value> numbers;
  Value last;
  for (int64_t word = 0; word < layout.getTripleWords(); ++word) {
    Value at = v.add(offset, 2 * (word * kBandRows + half * kWords));
    prefetch(at);
    Value words = v.loadBytes(bytes, at, getWordsType(v));
    for (int64_t i = 0; i < kNumbers; ++i)
      numbers.push_back(i ? shift(words, i * kNumberBits) : words);
    // The last column's digit: the highest bits of two words.
    if (word == 0)
      last = shift(words, 15);
    else if (word == 1)
      last = v.callIntrinsic("llvm.fshl", {last, words, splatWord(v, 1)});
  }
  numbers.push_back(last);
  return numbers;
}

//===----------------------------------------------------------------------===//
// One token
//===----------------------------------------------------------------------===//

/// Vectors of a panel's tables, of words, and of a tile's sums.
static int64_t getNumTables(LayoutAttr layout) {
  return layout.getPanel() / kTripleColumns * kTables;
}
static int64_t getNumTileSums(LayoutAttr layout) {
  return layout.getTile() / kLanes;
}

int64_t LinearGenerator::getBandBytes(LayoutAttr layout) {
  return kVectorBytes * (getNumTables(layout) + getNumTileSums(layout));
}

void LinearGenerator::runBands() {
  int64_t tableRows = getNumTables(layout);
  tables = memref::ViewOp::create(
      v.b, v.loc, MemRefType::get({tableRows, kWords}, v.b.getI16Type()),
      scratch, v.index(0), ValueRange());
  partial = memref::ViewOp::create(
      v.b, v.loc,
      MemRefType::get({getNumTileSums(layout), kLanes}, v.b.getF32Type()),
      scratch, v.index(tableRows * kVectorBytes), ValueRange());
  v.loop(op.getRange()[0], op.getRange()[1], [&](Value number) {
    v.loop(v.index(0), op.getCount(),
           [&](Value token) { addBands(number, token); });
  });
}

/// A tile, panel by panel; its sums are in scratch memory between two.
void LinearGenerator::addBands(Value number, Value token) {
  int64_t bands = layout.getNumBands(), last = layout.getNumPanels() - 1;
  v.loop(v.index(0), v.index(getNumTileSums(layout)),
         [&](Value at) { v.store(v.splat(0.0f), partial, {at, v.index(0)}); });
  forEachPanel({}, [&](Value panel, int64_t like, ValueRange) {
    int64_t columns = layout.getPanelColumns(like);
    makeTables(v.mul(panel, layout.getPanel()), columns, token);
    v.loop(v.index(0), v.index(bands), [&](Value band) {
      tile.number = v.add(v.mul(number, bands), band);
      tile.offset = getPartOffset(tile.number, panel, like);
      SmallVector<Value> places, sums;
      for (int64_t part = 0; part < getParts(); ++part) {
        places.push_back(v.add(v.mul(band, getParts()), part));
        sums.push_back(
            v.load(partial, {places.back(), v.index(0)}, v.f32Vector()));
      }
      sums = addTriples(v.mul(panel, layout.getPanelGroups()), columns, token,
                        sums);
      for (auto [part, sum] : llvm::enumerate(sums)) {
        tile.part = part;
        if (like == last)
          finishToken(token, loadBias(), sum);
        else
          v.store(sum, partial, {places[part], v.index(0)});
      }
    });
    return SmallVector<Value>();
  });
}

/// Table `number` of a step of the panel.
static Value getTableRow(VectorBuilder &v, Value step, int64_t number) {
  return v.add(v.mul(step, kTables), number);
}

/// The tables of a panel of `columns` columns from `first` on.
void LinearGenerator::makeTables(Value first, int64_t columns, Value token) {
  Value two = getDigitTable(v, 0, 1), third = getDigitTable(v, 2, kNumbers);
  // Of a column that is alone, the second one of what is read.
  Value alone = getDigitTable(v, kNumbers, 0);
  auto multiply = [&](Value digits, Value column) {
    Value pair = v.bitcast(v.load(input, {token, column}, v.i8Vector(2)),
                           VectorType::get({1}, v.b.getI16Type()));
    Value word = vector::ExtractOp::create(v.b, v.loc, pair, 0);
    Value words =
        vector::BroadcastOp::create(v.b, v.loc, getWordsType(v), word);
    return v.callIntrinsic("llvm.x86.avx512.pmaddubs.w.512",
                           {digits, v.bitcast(words, v.i8Vector(2 * kWords))},
                           getWordsType(v));
  };
  v.loop(v.index(0), v.index(columns / kTripleColumns), [&](Value step) {
    Value from = v.add(first, v.mul(step, kTripleColumns));
    auto store = [&](Value sums, int64_t number) {
      v.store(sums, tables, {getTableRow(v, step, number), v.index(0)});
    };
    for (int64_t i = 0; i + 1 < kTables; ++i) {
      Value sums = multiply(two, v.add(from, 3 * i));
      store(v.add(sums, multiply(third, v.add(from, 3 * i + 2))), i);
    }
    store(multiply(alone, v.add(from, kTripleColumns - 2)), kTables - 1);
  });
}

/// Dot products of a group of `columns` columns at byte `offset`, of 16 rows
/// each; it begins at step `begin` of the panel.
SmallVector<Value> LinearGenerator::lookUpGroup(Value offset, Value begin,
                                                int64_t columns) {
  constexpr int64_t kHalves = kBandRows / kWords, kParts = kWords / kLanes;
  int64_t stepBytes = layout.getStepBytes();
  // What a word holds of the steps from `first` on, added to int32.
  auto addSteps = [&](Value first, int64_t steps, ValueRange carried) {
    SmallVector<Value> words(kHalves), next(carried);
    for (int64_t step = 0; step < steps; ++step) {
      Value from = v.add(offset, v.mul(v.add(first, step), stepBytes));
      Value at = v.add(begin, v.add(first, step));
      SmallVector<SmallVector<Value>> numbers;
      for (int64_t half = 0; half < kHalves; ++half)
        numbers.push_back(TripleStep::load(v, bytes, from, layout, half,
                                           [&](Value at) { prefetch(at); }));
      for (int64_t i = 0; i < kTables; ++i) {
        Value table = v.load(tables, {getTableRow(v, at, i), v.index(0)},
                             getWordsType(v));
        for (int64_t half = 0; half < kHalves; ++half) {
          Value found = lookUp(v, table, numbers[half][i]);
          words[half] = words[half] ? v.add(words[half], found) : found;
        }
      }
    }
    for (auto [i, sum] : llvm::enumerate(words))
      for (int64_t part = 0; part < kParts; ++part) {
        Value rows = vector::ExtractStridedSliceOp::create(
            v.b, v.loc, sum, part * kLanes, kLanes, 1);
        Value &dot = next[i * kParts + part];
        dot =
            v.add(dot, arith::ExtSIOp::create(v.b, v.loc, v.i32Vector(), rows));
      }
    return next;
  };
  int64_t steps = columns / kTripleColumns, whole = steps / kWordSteps;
  SmallVector<Value> dots(kHalves * kParts, v.splatI32(0));
  dots = v.unrolled(
      whole, 1, dots, [&](Value number, int64_t, ValueRange carried) {
        return addSteps(v.mul(number, kWordSteps), kWordSteps, carried);
      });
  if (steps % kWordSteps)
    dots = addSteps(v.index(whole * kWordSteps), 1, dots);
  return dots;
}

/// The groups of `columns` columns from group `first` on, of a band.
SmallVector<Value> LinearGenerator::addTriples(Value first, int64_t columns,
                                               Value token, ValueRange init) {
  auto addGroup = [&](Value group, int64_t columns, ValueRange sums) {
    Value offset = v.add(v.add(tile.offset, layout.getGroupOffset(0)),
                         v.mul(group, layout.getGroupBytes(layout.getGroup())));
    SmallVector<Value> next;
    SmallVector<Value> dots = lookUpGroup(
        offset, v.mul(group, layout.getSteps(0, layout.getGroup())), columns);
    Value sum = loadSum(token, v.add(first, group));
    for (auto [part, dot] : llvm::enumerate(dots)) {
      tile.part = part;
      next.push_back(
          addTerms({dot}, sum, loadCoefficients(offset, columns), sums[part]));
    }
    return next;
  };
  int64_t whole = columns / layout.getGroup();
  SmallVector<Value> sums =
      v.loop(v.index(0), v.index(whole), 1, init,
             [&](Value group, ValueRange carried) {
               return addGroup(group, layout.getGroup(), carried);
             });
  if (int64_t rest = columns % layout.getGroup())
    sums = addGroup(v.index(whole), rest, sums);
  return sums;
}

//===----------------------------------------------------------------------===//
// Many tokens
//===----------------------------------------------------------------------===//

void TripleStep::spread(
    VectorBuilder &v, ArrayRef<Value> numbers,
    llvm::function_ref<void(int64_t quad, int64_t part, Value four)> store) {
  auto find = [&](int64_t number, int64_t first, int64_t second) {
    Value table = v.bitcast(getDigitTable(v, first, second), getWordsType(v));
    return lookUp(v, table, numbers[number]);
  };
  // The digits of two columns, a byte each, of two numbers or of one.
  auto getPair = [&](int64_t column) -> Value {
    int64_t number = column / kNumbers, place = column % kNumbers;
    if (place + 1 < kNumbers)
      return find(number, place, place + 1);
    return arith::OrIOp::create(v.b, v.loc, find(number, place, kNumbers),
                                find(number + 1, kNumbers, 0));
  };
  for (int64_t quad = 0; quad < kTripleColumns / 4; ++quad) {
    Value first = getPair(4 * quad), second = getPair(4 * quad + 2);
    for (int64_t part = 0; part < kWords / kLanes; ++part) {
      SmallVector<int64_t> lanes;
      for (int64_t lane = 0; lane < kLanes; ++lane)
        lanes.append({part * kLanes + lane, kWords + part * kLanes + lane});
      Value four = vector::ShuffleOp::create(v.b, v.loc, first, second, lanes);
      store(quad, part, v.bitcast(four, v.i8Vector(4 * kLanes)));
    }
  }
}
