// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From packed tiles back to rows, for tests.
// Invariant: written from the layout's description, digit by digit, and apart
// from PackBytes.cpp, so that the two can disagree.

#include "tbq/IR/PackBytes.h"

#include "FloatElements.h"

using namespace mlir;
using namespace mlir::tbq;
namespace endian = llvm::support::endian;

/// Where the groups of a tile begin.
static SmallVector<const uint8_t *> findGroups(LayoutAttr layout,
                                               const uint8_t *tile) {
  SmallVector<const uint8_t *> groups;
  int64_t salientDigits = 0;
  for (int64_t g = 0; g < layout.getNumGroups(); ++g) {
    groups.push_back(tile + layout.getGroupOffset(g, salientDigits));
    if (layout.getSalient())
      salientDigits +=
          endian::read32le(groups.back() + layout.getSalientCountOffset(
                                               layout.getGroupColumns(g)));
  }
  return groups;
}

/// The digit of a dense plane in a tile's row.
static uint8_t unpackDigit(LayoutAttr layout, const uint8_t *group,
                           int64_t plane, int64_t row, int64_t within) {
  const int64_t bits = layout.getDigits()[plane], perStep = 32 / bits;
  const uint8_t *step = group + layout.getStepOffset(plane, within / perStep);
  const int64_t i = within % perStep % 4, j = within % perStep / 4;
  return (step[4 * row + i] >> (bits * j)) & ((1 << bits) - 1);
}

/// Digits of one dense plane and row, one a byte.
static void unpackDigits(LayoutAttr layout, ArrayRef<const uint8_t *> groups,
                         int64_t plane, int64_t row, uint8_t *out) {
  for (int64_t column = 0; column < layout.getColumns(); ++column)
    out[column] = unpackDigit(layout, groups[column / layout.getGroup()], plane,
                              row, column % layout.getGroup());
}

/// Salient digits of one row, one a byte, by counting the mask's bits before
/// each in the order of the layout.
static void unpackSalient(LayoutAttr layout, ArrayRef<const uint8_t *> groups,
                          int64_t row, uint8_t *out) {
  const int64_t mask = layout.getNumPlanes() - 2;
  for (auto [g, group] : llvm::enumerate(groups)) {
    const int64_t columns = layout.getGroupColumns(g);
    const uint8_t *digit = group + layout.getGroupBytes(columns);
    for (int64_t four = 0; four < columns; four += 4)
      for (int64_t r = 0; r < layout.getTile(); ++r)
        for (int64_t c = four; c < std::min(four + 4, columns); ++c)
          if (unpackDigit(layout, group, mask, r, c)) {
            if (r == row)
              out[g * layout.getGroup() + c] = *digit;
            ++digit;
          }
  }
}

static void unpackRow(LayoutAttr layout, const uint8_t *tile, int64_t row,
                      UnpackedWeight &weight) {
  const int64_t r = row % layout.getTile(), columns = layout.getColumns();
  const SmallVector<const uint8_t *> groups = findGroups(layout, tile);
  if (layout.isFloat())
    withFloat(layout.getElementType(), [&](auto type) {
      using Float = decltype(type);
      for (int64_t c = 0; c < columns; ++c)
        weight.elements.push_back(
            Float::load(tile + (c * layout.getTile() + r) * Float::kBytes));
    });
  for (int64_t plane = 0; plane < layout.getNumDensePlanes(); ++plane)
    unpackDigits(layout, groups, plane, r,
                 weight.planes[plane].data() + row * columns);
  for (int64_t term = 0; term < layout.getNumGroupTerms(); ++term)
    for (auto [g, group] : llvm::enumerate(groups))
      weight.coefficients[term].push_back(endian::read16le(
          group + layout.getCoefficientOffset(term, layout.getGroupColumns(g)) +
          2 * r));
  if (layout.getSalient()) {
    unpackSalient(layout, groups, r,
                  weight.planes.back().data() + row * columns);
    weight.coefficients.back().push_back(
        endian::read16le(tile + layout.getRowCoefficientOffset() + 2 * r));
    weight.zeroPoints.push_back(
        endian::read16le(tile + layout.getZeroPointOffset() + 2 * r));
  }
  if (layout.getBias())
    weight.bias.push_back(F32::load(tile + layout.getBiasOffset() + 4 * r));
}

UnpackedWeight mlir::tbq::unpack(LayoutAttr layout, const uint8_t *bytes) {
  UnpackedWeight weight;
  weight.planes.assign(
      layout.getNumPlanes(),
      std::vector<uint8_t>(layout.getRows() * layout.getColumns()));
  weight.coefficients.resize(layout.getNumTerms());
  for (int64_t row = 0; row < layout.getRows(); ++row) {
    const int64_t tile = row / layout.getTile();
    const int64_t offset = layout.getSalient()
                               ? kAlignment * endian::read32le(bytes + 4 * tile)
                               : tile * layout.getTileBytes();
    unpackRow(layout, bytes + offset, row, weight);
  }
  return weight;
}
