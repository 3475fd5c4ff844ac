// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From packed tiles back to rows, for tests.
// Invariant: written from the layout's description, digit by digit, and apart
// from PackBytes.cpp, so that the two can disagree.

#include "tbq/IR/PackBytes.h"

#include "FloatElements.h"

#include <numeric>

using namespace mlir;
using namespace mlir::tbq;
namespace endian = llvm::support::endian;

/// Where the groups of a tile begin, of which `parts` has one a panel.
static SmallVector<const uint8_t *>
findGroups(LayoutAttr layout, ArrayRef<const uint8_t *> parts) {
  SmallVector<const uint8_t *> groups;
  int64_t salientDigits = 0;
  for (int64_t g = 0; g < layout.getNumGroups(); ++g) {
    const int64_t panel = g * layout.getGroup() / layout.getPanel();
    groups.push_back(parts[panel] + layout.getGroupOffset(g, salientDigits));
    const int64_t columns = layout.getGroupColumns(g);
    const uint8_t *block = groups.back() + layout.getBlockOffset(columns);
    for (int64_t b = 0; b < layout.getNumBlocks(columns); ++b) {
      const int64_t number =
          std::accumulate(block, block + layout.getTile(), 0);
      salientDigits += number;
      block += layout.getTile() + 2 * number;
    }
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

/// The same of digits by threes.
static uint8_t unpackTriple(const uint8_t *group, int64_t row, int64_t within) {
  const int64_t column = within % 64;
  auto word = [&](int64_t i) {
    return endian::read16le(group + within / 64 * (7 * 2 * 64) +
                            2 * (i * 64 + row));
  };
  if (column == 63)
    return word(0) >> 15 << 1 | word(1) >> 15;
  const int64_t three = word(column / 9) >> (5 * (column / 3 % 3)) & 31;
  const int64_t powers[] = {1, 3, 9};
  return three / powers[column % 3] % 3;
}

/// Digits of one dense plane and row, one a byte.
static void unpackDigits(LayoutAttr layout, ArrayRef<const uint8_t *> groups,
                         int64_t plane, int64_t row, uint8_t *out) {
  for (int64_t column = 0; column < layout.getColumns(); ++column) {
    const uint8_t *group = groups[column / layout.getGroup()];
    const int64_t within = column % layout.getGroup();
    out[column] = layout.hasTriples()
                      ? unpackTriple(group, row, within)
                      : unpackDigit(layout, group, plane, row, within);
  }
}

/// Salient digits of one row, one a byte, and their mask.
static void unpackSalient(LayoutAttr layout, ArrayRef<const uint8_t *> groups,
                          int64_t row, uint8_t *mask, uint8_t *out) {
  for (auto [g, group] : llvm::enumerate(groups)) {
    const int64_t columns = layout.getGroupColumns(g);
    const uint8_t *block = group + layout.getBlockOffset(columns);
    for (int64_t first = 0; first < columns; first += 128) {
      SmallVector<int64_t> left(block, block + layout.getTile());
      block += layout.getTile();
      while (llvm::any_of(left, [](int64_t digits) { return digits > 0; })) {
        int64_t before = 0, number = 0; // of this round's digits
        for (int64_t r = 0; r < layout.getTile(); ++r) {
          before += r < row ? std::min<int64_t>(left[r], 4) : 0;
          number += std::min<int64_t>(left[r], 4);
        }
        for (int64_t i = before; i < before + std::min<int64_t>(left[row], 4);
             ++i) {
          const int64_t column = g * layout.getGroup() + first + block[i];
          mask[column] = 1;
          out[column] = block[number + i];
        }
        block += 2 * number;
        for (int64_t &digits : left)
          digits -= std::min<int64_t>(digits, 4);
      }
    }
  }
}

/// The same, from a list behind the groups.
static void unpackListed(LayoutAttr layout, const uint8_t *tile, int64_t row,
                         uint8_t *mask, uint8_t *out) {
  const uint32_t number = endian::read32le(tile + layout.getListSizeOffset());
  for (uint32_t i = 0; i < number; ++i) {
    const uint32_t word =
        endian::read32le(tile + layout.getListOffset() + 4 * i);
    if ((word >> 8 & 7) != row)
      continue;
    mask[word >> 11] = 1;
    out[word >> 11] = word & 255;
  }
}

static void unpackRow(LayoutAttr layout, ArrayRef<const uint8_t *> parts,
                      int64_t row, UnpackedWeight &weight) {
  const int64_t r = row % layout.getBandRows(), columns = layout.getColumns();
  const uint8_t *tile = parts.front(); // of a layout without panels
  const SmallVector<const uint8_t *> groups = findGroups(layout, parts);
  if (layout.isFloat())
    withFloat(layout.getElementType(), [&](auto type) {
      using Float = decltype(type);
      for (int64_t c = 0; c < columns; ++c)
        weight.elements.push_back(Float::load(
            parts[c / layout.getPanel()] +
            (c % layout.getPanel() * layout.getTile() + r) * Float::kBytes));
    });
  for (int64_t plane = 0; plane < layout.getNumDensePlanes(); ++plane)
    unpackDigits(layout, groups, plane, r,
                 weight.planes[plane].data() + row * columns);
  for (int64_t term = 0; term < layout.getNumTermsInGroups(); ++term)
    for (auto [g, group] : llvm::enumerate(groups))
      weight.coefficients[term].push_back(endian::read16le(
          group + layout.getCoefficientOffset(term, layout.getGroupColumns(g)) +
          2 * r));
  // Behind eight groups stand 32 words, of a row and two groups four apart.
  for (int64_t g = 0; layout.hasSumTerm() && g < layout.getNumGroups(); ++g) {
    const int64_t last = std::min(g / 8 * 8 + 7, layout.getNumGroups() - 1);
    const uint8_t *word = groups[last] +
                          layout.getGroupBytes(layout.getGroup()) + 16 * r +
                          g % 4 * 4;
    weight.coefficients[layout.getNumTermsInGroups()].push_back(
        endian::read16le(word + (g % 8 < 4 ? 0 : 2)));
  }
  if (layout.getSalient()) {
    uint8_t *mask = weight.planes.end()[-2].data() + row * columns;
    uint8_t *digits = weight.planes.back().data() + row * columns;
    if (layout.listsSalient())
      unpackListed(layout, tile, r, mask, digits);
    else
      unpackSalient(layout, groups, r, mask, digits);
    weight.coefficients.back().push_back(
        endian::read16le(tile + layout.getRowCoefficientOffset() + 2 * r));
    weight.zeroPoints.push_back(
        endian::read16le(tile + layout.getZeroPointOffset() + 2 * r));
  }
  if (layout.getBias())
    weight.bias.push_back(
        layout.hasTriples()
            ? F32::load(parts.front() -
                        row % layout.getTile() / 64 * layout.getPartBytes(0) +
                        layout.getBiasOffset() + 4 * (row % layout.getTile()))
            : F32::load(parts.back() + layout.getBiasOffset() + 4 * r));
}

UnpackedWeight mlir::tbq::unpack(LayoutAttr layout, const uint8_t *bytes) {
  UnpackedWeight weight;
  weight.planes.assign(
      layout.getNumPlanes(),
      std::vector<uint8_t>(layout.getRows() * layout.getColumns()));
  weight.coefficients.resize(layout.getNumTerms());
  for (int64_t row = 0; row < layout.getRows(); ++row) {
    const int64_t tile = row / layout.getTile();
    SmallVector<const uint8_t *> parts;
    if (layout.getSalient())
      parts = {bytes + kAlignment * endian::read32le(bytes + 4 * tile)};
    else
      for (int64_t panel = 0; panel < layout.getNumPanels(); ++panel)
        parts.push_back(
            bytes + layout.getPanelOffset(panel) +
            (layout.hasTriples()
                 ? tile * layout.getTileBytes() +
                       row % layout.getTile() / 64 * layout.getPartBytes(panel)
                 : tile * layout.getPartBytes(panel)));
    unpackRow(layout, parts, row, weight);
  }
  return weight;
}
