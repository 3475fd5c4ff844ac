// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From a piece's digits to its rows' sums: products of the tensor cores with
// int8 digits of activations, or of each lane with float ones. See
// DigitLinear.h.

#include "DigitLinear.h"

using namespace mlir;
using namespace mlir::tbq;

int64_t DigitLinear::getPosition(int64_t plane, int64_t four) const {
  return layout.getDigits()[plane] * (four % (geometry.run / 4));
}

/// Four digits of a plane, a byte each, `by` bits up in it.
Value DigitLinear::getDigits(const TilePiece &tile, int64_t plane, int64_t four,
                             int64_t by) {
  Value word = tile.words[plane][four / (geometry.run / 4)];
  int64_t bits = getPosition(plane, four) - by;
  uint32_t digit = (1u << layout.getDigits()[plane]) - 1;
  return t.andBits(bits < 0 ? t.shiftLeft(word, -bits)
                            : t.shiftRight(word, bits),
                   (digit << by) * 0x01010101u);
}

/// The lane's columns of its token, by fours. rows: digits of activations.
SmallVector<Value> DigitLinear::loadActivations(const Piece &piece, Value rows,
                                                Value token, int64_t product) {
  int64_t run = geometry.run, most = std::min<int64_t>(run, 16);
  auto type = VectorType::get({most / 4}, t.b.getI32Type());
  Value at = getProductToken(token, t.add(row(), kProductTokens * product));
  SmallVector<Value> fours;
  for (int64_t from = 0; from < 8 * geometry.slices; from += most) {
    Value column = t.add(piece.column, from / run * 4 * run + from % run);
    if (geometry.masked) // past the row's end digits are 0
      column = t.min(column, t.index(layout.getPaddedColumns() - most));
    Value x = t.loadVector(rows, {at, column}, type);
    for (int64_t i = 0; i < most / 4; ++i)
      fours.push_back(t.extract(x, i));
  }
  return fours;
}

/// The products of two tiles' rows with eight tokens, added to what the sums
/// are: four of this lane, two tokens' of the first tile's row and of the
/// second's.
void DigitLinear::addDots(const TilePiece &one, const TilePiece &other,
                          ArrayRef<Value> activations, int64_t plane,
                          SmallVector<Value> &sums) {
  for (int64_t slice = 0; slice < geometry.slices; ++slice) {
    int64_t i = 2 * slice;
    // Without a second tile, its rows may have anything.
    Value digits[] = {getDigits(one, plane, i), getDigits(other, plane, i),
                      getDigits(one, plane, i + 1),
                      getDigits(other, plane, i + 1)};
    sums = t.multiplyBytes(digits, activations.slice(i, 2), sums);
  }
}

/// Each term's integer of this piece, converted once, times the coefficient of
/// its group. The sum of the group's activations counts in its first piece.
void DigitLinear::addProducts(const Piece &piece, Value token,
                              MutableArrayRef<Value> sums) {
  int64_t ofTile = countOfTile(), ofProduct = tiles * ofTile;
  for (int64_t product = 0; product * kProductTokens < tokens; ++product) {
    SmallVector<Value> high = loadActivations(piece, input, token, product),
                       rest, ofGroup;
    if (low)
      rest = loadActivations(piece, low, token, product);
    for (int64_t i = 0; layout.usesSumsInGroups() && i < ofTile; ++i) {
      Value own = t.add(t.mul(quarter(), 2), kProductTokens * product + i);
      ofGroup.push_back(
          t.load(op.getSums(), {getProductToken(token, own), piece.group}));
    }
    addProduct(piece, high, rest, ofGroup,
               sums.slice(product * ofProduct, ofProduct));
  }
}

int64_t DigitLinear::findTermFrom(int64_t plane) const {
  int64_t found = -1, planes = layout.getNumDensePlanes();
  for (int64_t term = 0; term < layout.getNumTermsInGroups(); ++term) {
    if (layout.getTerm(term, plane) == 0)
      continue;
    for (int64_t other = 0; other < planes; ++other)
      if (layout.getTerm(term, other) != (other == plane ? 1 : 0))
        return -1;
    if (found >= 0)
      return -1;
    found = term;
  }
  return found;
}

/// Of eight tokens. `ofGroup`: the sums of the group's activations, of the
/// lane's tokens.
void DigitLinear::addProduct(const Piece &piece, ArrayRef<Value> high,
                             ArrayRef<Value> rest, ArrayRef<Value> ofGroup,
                             MutableArrayRef<Value> sums) {
  int64_t ofTile = countOfTile(), planes = layout.getNumDensePlanes();
  SmallVector<Value> counted(ofGroup);
  if (piece.first)
    for (Value &sum : counted)
      sum = t.select(piece.first, sum, t.constantI32(0));
  for (size_t first = 0; first < piece.tiles.size(); first += 2) {
    ArrayRef<TilePiece> pair = ArrayRef(piece.tiles).slice(first).take_front(2);
    SmallVector<SmallVector<Value>> dots; // of each plane
    for (int64_t plane = 0; plane < planes; ++plane) {
      // Products begin with what a term adds to them, where they are its own.
      SmallVector<Value> start(4, t.constantI32(0));
      if (int64_t term = findTermFrom(plane); startsWithSums() && term >= 0)
        if (int64_t factor = layout.getTerm(term, layout.getNumPlanes()))
          for (int64_t i = 0; i < 4; ++i)
            start[i] = t.mul(counted[i % 2], t.constantI32(factor));
      SmallVector<Value> &own = dots.emplace_back(4, t.constantI32(0));
      if (rest.empty()) {
        own = start;
        addDots(pair.front(), pair.back(), high, plane, own);
        continue;
      }
      addDots(pair.front(), pair.back(), high, plane, own);
      for (auto [dot, more] : llvm::zip(own, start))
        dot = t.add(t.mul(dot, t.constantI32(256)), more);
      addDots(pair.front(), pair.back(), rest, plane, own);
    }
    for (int64_t i = 0; i < ofTile; ++i)
      for (auto [number, tile] : llvm::enumerate(pair)) {
        SmallVector<Value> own;
        for (const SmallVector<Value> &ofPlane : dots)
          own.push_back(ofPlane[2 * number + i]);
        Value sum = counted.empty() ? Value() : counted[i];
        addTerms(tile, own, sum, sums[(first + number) * ofTile + i]);
      }
  }
}

/// The same of this lane's digits with float activations. What lies past the
/// row's end is no number that may be multiplied, not even by 0.
void DigitLinear::addFloats(const Piece &piece, Value token,
                            MutableArrayRef<Value> sums) {
  int64_t run = geometry.run;
  SmallVector<SmallVector<Value>> digits; // of each plane, f32
  for (int64_t plane = 0; plane < layout.getNumDensePlanes(); ++plane) {
    SmallVector<Value> &own = digits.emplace_back();
    for (int64_t four = 0; four < 2 * geometry.slices; ++four) {
      Value word = getDigits(piece.tiles[0], plane, four);
      for (int64_t i = 0; i < 4; ++i)
        own.push_back(t.toF32(t.andBits(t.shiftRight(word, 8 * i), 255)));
    }
  }
  for (int64_t number = 0; number < tokens; ++number) {
    Value at = getToken(token, number);
    SmallVector<Value> dots(digits.size(), t.constant(0.0f));
    for (int64_t i = 0; i < 8 * geometry.slices; ++i) {
      Value column = t.add(piece.column, i / run * 4 * run + i % run), x;
      if (geometry.masked) {
        Value last = t.index(layout.getColumns() - 1);
        x = t.select(t.less(last, column), t.constant(0.0f),
                     t.load(input, {at, t.min(column, last)}));
      } else {
        x = t.load(input, {at, column});
      }
      for (auto [dot, ofPlane] : llvm::zip(dots, digits))
        dot = t.fma(ofPlane[i], x, dot);
    }
    Value sum;
    if (layout.usesSumsInGroups()) {
      Value counts = t.equal(quarter(), 0);
      if (piece.first)
        counts = t.both(counts, piece.first);
      sum = t.select(counts, t.load(op.getSums(), {at, piece.group}),
                     t.constant(0.0f));
    }
    addTerms(piece.tiles[0], dots, sum, sums[number]);
  }
}

/// Each term's combination, a float, times its coefficient.
void DigitLinear::addTerms(const TilePiece &tile, ArrayRef<Value> dots,
                           Value sum, Value &total) {
  for (int64_t term = 0; term < layout.getNumTermsInGroups(); ++term)
    total = t.fma(t.toF32(getBracket(term, dots, sum)),
                  t.toF32(tile.coefficients[term]), total);
}

/// The combination of a term: exact in int32, or of floats. What a mask adds to
/// it comes with the salient digits.
Value DigitLinear::getBracket(int64_t term, ArrayRef<Value> dots, Value sum) {
  if (bits)
    return getBitBracket(term, dots, sum);
  Value total = integer ? t.constantI32(0) : t.constant(0.0f);
  int64_t planes = dots.size();
  if (integer && startsWithSums())
    for (int64_t plane = 0; plane < planes; ++plane)
      if (findTermFrom(plane) == term)
        return dots[plane];
  for (int64_t i = 0; i <= planes; ++i) {
    int64_t factor =
        layout.getTerm(term, i < planes ? i : layout.getNumPlanes());
    if (factor == 0)
      continue;
    Value part = i < planes ? dots[i] : sum;
    total = integer ? t.add(total, t.mul(part, t.constantI32(factor)))
                    : t.fma(part, t.constant(float(factor)), total);
  }
  return total;
}
