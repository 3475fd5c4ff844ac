// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From a checkpoint's row-major weights to packed tiles.
// Input: a layout and views of the parts; output: bytes.
// Invariant: sizes and offsets come from the layout alone (Layout.cpp); the
// order of digits within a step stands here once, in DigitOrder.

#include "tbq/IR/PackBytes.h"

#include "FloatElements.h"

#include <algorithm>
#include <cassert>
#include <cstring>

using namespace mlir;
using namespace mlir::tbq;
namespace endian = llvm::support::endian;

//===----------------------------------------------------------------------===//
// Floats
//===----------------------------------------------------------------------===//

/// `count` elements of row `row`, each `stride` elements after the last.
template <typename From, typename To>
static void copyRow(const uint8_t *from, uint8_t *to, int64_t count,
                    int64_t stride) {
  if constexpr (std::is_same_v<From, To>) { // bits as they are, NaNs too
    for (int64_t i = 0; i < count; ++i)
      std::memcpy(to + i * stride * To::kBytes, from + i * From::kBytes,
                  To::kBytes);
  } else {
    for (int64_t i = 0; i < count; ++i)
      To::store(to + i * stride * To::kBytes,
                From::load(from + i * From::kBytes));
  }
}

/// A tile's part of a float layout: `columns` columns of `rows` of the matrix's
/// rows, from `elements` on.
template <typename From, typename To>
static void packFloatPart(LayoutAttr layout, const uint8_t *elements,
                          int64_t rows, int64_t columns, uint8_t *out) {
  const int64_t tile = layout.getTile();
  // Blocks of columns, so that the rows of a tile meet in the first cache.
  constexpr int64_t kBlock = 256;
  for (int64_t first = 0; first < columns; first += kBlock)
    for (int64_t row = 0; row < rows; ++row)
      copyRow<From, To>(elements +
                            (row * layout.getColumns() + first) * From::kBytes,
                        out + (first * tile + row) * To::kBytes,
                        std::min(kBlock, columns - first), tile);
}

//===----------------------------------------------------------------------===//
// Digits
//===----------------------------------------------------------------------===//

namespace {
/// The order of digits of one width within the 32 bits that a row has in a
/// step: column 4 j + i goes to byte i, field j. Tables turn four source bytes
/// (columns in order, low bits first) into them at once.
class DigitOrder {
public:
  explicit DigitOrder(int64_t bits) : bits(bits) {
    for (int64_t byte = 0; byte < 4; ++byte)
      for (uint32_t value = 0; value < 256; ++value)
        tables[byte][value] = permute(value << (8 * byte));
  }

  uint32_t operator()(uint32_t columns) const {
    return tables[0][columns & 255] | tables[1][columns >> 8 & 255] |
           tables[2][columns >> 16 & 255] | tables[3][columns >> 24];
  }

private:
  uint32_t permute(uint32_t columns) const {
    uint32_t result = 0;
    const uint32_t mask = (1u << bits) - 1;
    for (int64_t column = 0; column < 32 / bits; ++column) {
      const uint32_t digit = columns >> (bits * column) & mask;
      result |= digit << (8 * (column % 4) + bits * (column / 4));
    }
    return result;
  }

  int64_t bits;
  uint32_t tables[4][256];
};
} // namespace

/// The `bits` bits, at most 32, that start at byte `from`; no byte past them is
/// read.
static uint32_t loadBits(const uint8_t *from, int64_t bits) {
  if (bits >= 32)
    return endian::read32le(from);
  uint32_t value = 0;
  for (int64_t bit = 0; bit < bits; bit += 8)
    value |= uint32_t(from[bit / 8]) << bit;
  return value & ((1u << bits) - 1);
}

/// The sign bits of the 8-bit digits among `bits` bits: a stored byte is two's
/// complement, its digit stored + 128.
static uint32_t getSignBits(int64_t bits) {
  return bits >= 32 ? 0x80808080 : 0x80808080 & ((1u << bits) - 1);
}

/// One plane of one group of a tile. `digits`: the tile's first row at the
/// group's first column, rows `rowBytes` apart.
static void packPlane(LayoutAttr layout, const DigitOrder &order, int64_t plane,
                      int64_t columns, const uint8_t *digits, int64_t rowBytes,
                      int64_t rows, uint8_t *group) {
  const int64_t bits = layout.getDigits()[plane];
  for (int64_t step = 0; step < layout.getSteps(plane, columns); ++step) {
    uint8_t *out = group + layout.getStepOffset(plane, step);
    const int64_t left = std::max<int64_t>(0, columns * bits - step * 32);
    const uint8_t *from = digits + step * 4;
    const uint32_t flipped = bits == 8 ? getSignBits(left) : 0;
    for (int64_t row = 0; row < rows && left > 0; ++row)
      endian::write32le(out + 4 * row,
                        order(loadBits(from + row * rowBytes, left) ^ flipped));
  }
}

namespace {
/// The numbers of three ternary digits each that a row has in a step of digits
/// by threes, from its 64 digits of two bits.
class TripleOrder {
public:
  TripleOrder() {
    for (uint32_t three = 0; three < 64; ++three)
      numbers[three] = (three & 3) + 3 * (three >> 2 & 3) + 9 * (three >> 4);
  }

  void pack(const uint8_t *digits, uint16_t (&words)[7]) const {
    uint64_t lower = endian::read64le(digits);
    uint64_t upper = endian::read64le(digits + 8);
    for (uint16_t &word : words) {
      word = numbers[lower & 63] | numbers[lower >> 6 & 63] << 5 |
             numbers[lower >> 12 & 63] << 10;
      lower = lower >> 18 | upper << 46;
      upper >>= 18;
    }
    words[0] |= (lower & 2) << 14;
    words[1] |= (lower & 1) << 15;
  }

private:
  uint8_t numbers[64];
};
} // namespace

/// One group of a tile, of digits by threes; see packPlane.
static void packTriples(LayoutAttr layout, int64_t columns,
                        const uint8_t *digits, int64_t rowBytes, int64_t rows,
                        uint8_t *group) {
  static const TripleOrder order;
  for (int64_t step = 0; step < layout.getSteps(0, columns); ++step)
    for (int64_t row = 0; row < rows; ++row) {
      uint16_t words[7];
      order.pack(digits + row * rowBytes + step * kTripleColumns / 4, words);
      uint8_t *out = group + layout.getStepOffset(0, step) + 2 * row;
      for (auto [i, word] : llvm::enumerate(words))
        endian::write16le(out + 2 * i * kBandRows, word);
    }
}

/// Stored values of a salient part are less by this than digits.
static constexpr int kStoredOffset = 128;

/// Digits of the rows before `row`.
static int64_t countSalient(LayoutAttr layout, const PackSource &source,
                            int64_t row) {
  if (!layout.getSalient())
    return 0;
  const int64_t last = std::min(row, layout.getRows());
  return endian::read32le(source.salientOffsets + 4 * last);
}

namespace {
/// The salient digits of a tile's rows, taken from the stream of each row.
class SalientRows {
public:
  SalientRows(LayoutAttr layout, const PackSource &source, int64_t firstRow,
              int64_t rows)
      : layout(layout), mask(source.planes.back()),
        digits(source.salientDigits), firstRow(firstRow) {
    for (int64_t row = 0; row < rows; ++row)
      next.push_back(countSalient(layout, source, firstRow + row));
  }

  /// Writes the blocks of group `g` to `out` and gives the number of digits.
  int64_t packGroup(int64_t g, uint8_t *out) {
    const int64_t first = g * layout.getGroup();
    const int64_t last = first + layout.getGroupColumns(g);
    int64_t number = 0;
    for (int64_t c = first; c < last; c += layout.getBlockColumns())
      number += packBlock(c, std::min(c + layout.getBlockColumns(), last), out);
    return number;
  }

  /// Writes the list of all groups to `out` and gives the number of digits.
  int64_t packList(uint8_t *out) {
    const int64_t rowBytes = (layout.getColumns() + 7) / 8;
    int64_t number = 0;
    for (uint32_t row = 0; row < next.size(); ++row) {
      const uint8_t *bits = mask + (firstRow + row) * rowBytes;
      for (uint32_t c = 0; c < layout.getColumns(); ++c)
        if (bits[c / 8] >> (c % 8) & 1) {
          const uint8_t digit = digits[next[row]++] + kStoredOffset;
          endian::write32le(out + 4 * number++, digit | row << 8 | c << 11);
        }
    }
    return number;
  }

private:
  int64_t packBlock(int64_t first, int64_t last, uint8_t *&out) {
    const int64_t rowBytes = (layout.getColumns() + 7) / 8;
    size_t most = 0, number = 0;
    columns.assign(next.size(), {});
    for (size_t row = 0; row < next.size(); ++row) {
      const uint8_t *bits = mask + (firstRow + row) * rowBytes;
      for (int64_t c = first; c < last; ++c)
        if (bits[c / 8] >> (c % 8) & 1)
          columns[row].push_back(static_cast<uint8_t>(c - first));
      out[row] = static_cast<uint8_t>(columns[row].size());
      most = std::max(most, columns[row].size());
      number += columns[row].size();
    }
    out += layout.getBlockHeadBytes();
    for (size_t from = 0; from < most; from += 4) {
      for (const SmallVector<uint8_t> &row : columns)
        for (size_t i = from; i < std::min(from + 4, row.size()); ++i)
          *out++ = row[i];
      for (size_t row = 0; row < next.size(); ++row)
        for (size_t i = from; i < std::min(from + 4, columns[row].size()); ++i)
          *out++ = static_cast<uint8_t>(digits[next[row]++] + kStoredOffset);
    }
    return number;
  }

  LayoutAttr layout;
  const uint8_t *mask, *digits;
  int64_t firstRow;
  SmallVector<int64_t> next; // each row's first digit that is not yet packed
  std::vector<SmallVector<uint8_t>> columns; // of each row's digits, in a block
};
} // namespace

/// Row coefficients and zero points of a salient tile.
static void packHead(LayoutAttr layout, const PackSource &source,
                     int64_t firstRow, int64_t rows, uint8_t *tile) {
  std::memcpy(tile + layout.getRowCoefficientOffset(),
              source.rowCoefficients + 2 * firstRow, 2 * rows);
  uint8_t *zeros = tile + layout.getZeroPointOffset();
  for (int64_t row = 0; row < rows; ++row) {
    const int stored = source.zeroPoints
                           ? int16_t(endian::read16le(source.zeroPoints +
                                                      2 * (firstRow + row)))
                           : 0;
    endian::write16le(zeros + 2 * row, stored + kStoredOffset);
  }
}

static void packDigitPart(LayoutAttr layout, ArrayRef<DigitOrder> orders,
                          const PackSource &source, int64_t panel,
                          int64_t firstRow, int64_t rows, uint8_t *out) {
  const int64_t firstGroup = panel * layout.getPanelGroups();
  const int64_t groups =
      std::min(firstGroup + layout.getPanelGroups(), layout.getNumGroups());
  const int64_t coefficientGroup =
      source.coefficientGroup ? source.coefficientGroup : layout.getGroup();
  const int64_t coefficients =
      llvm::divideCeil(layout.getColumns(), coefficientGroup);
  SalientRows salient(layout, source, firstRow, layout.getSalient() ? rows : 0);
  int64_t salientDigits = 0;
  if (layout.getSalient())
    packHead(layout, source, firstRow, rows, out);
  for (int64_t g = firstGroup; g < groups; ++g) {
    const int64_t columns = layout.getGroupColumns(g);
    uint8_t *group = out + layout.getGroupOffset(g, salientDigits);
    for (int64_t plane = 0; plane < layout.getNumDensePlanes(); ++plane) {
      const int64_t bits = layout.getDigits()[plane];
      const int64_t rowBytes = (layout.getColumns() * bits + 7) / 8;
      const uint8_t *digits = source.planes[plane] + firstRow * rowBytes +
                              g * layout.getGroup() * bits / 8;
      if (layout.hasTriples())
        packTriples(layout, columns, digits, rowBytes, rows, group);
      else
        packPlane(layout, orders[plane], plane, columns, digits, rowBytes, rows,
                  group);
    }
    for (int64_t term = 0; term < layout.getNumGroupTerms(); ++term) {
      const int64_t number = g * layout.getGroup() / coefficientGroup;
      const uint8_t *from =
          source.coefficients[term] + 2 * (firstRow * coefficients + number);
      const bool inGroup = term < layout.getNumTermsInGroups();
      for (int64_t row = 0; row < rows; ++row)
        std::memcpy(inGroup
                        ? group + layout.getCoefficientOffset(term, columns) +
                              2 * row
                        : out + layout.getSumEightOffset(g / 8) +
                              layout.getSumCoefficientOffset(g, row),
                    from + 2 * row * coefficients, 2);
    }
    if (layout.getSalient() && !layout.listsSalient())
      salientDigits +=
          salient.packGroup(g, group + layout.getBlockOffset(columns));
  }
  if (layout.listsSalient())
    endian::write32le(out + layout.getListSizeOffset(),
                      salient.packList(out + layout.getListOffset()));
}

/// A tile of digits by threes.
static void packBands(LayoutAttr layout, ArrayRef<DigitOrder> orders,
                      const PackSource &source, int64_t firstRow,
                      uint8_t *out) {
  for (int64_t panel = 0; panel < layout.getNumPanels(); ++panel)
    for (int64_t band = 0; band < layout.getNumBands(); ++band)
      packDigitPart(layout, orders, source, panel, firstRow + band * kBandRows,
                    kBandRows,
                    out + layout.getPanelOffset(panel) +
                        band * layout.getPartBytes(panel));
}

static int64_t getTileBytes(LayoutAttr layout, const PackSource &source,
                            int64_t tile) {
  const int64_t row = tile * layout.getTile();
  return layout.getTileBytes(
      countSalient(layout, source, row + layout.getTile()) -
      countSalient(layout, source, row));
}

int64_t mlir::tbq::getNumParts(LayoutAttr layout) {
  return (layout.hasTriples() ? 1 : layout.getNumPanels()) *
         layout.getNumTiles();
}

int64_t mlir::tbq::getPartBytes(LayoutAttr layout, const PackSource &source,
                                int64_t part) {
  return layout.getSalient() || layout.hasTriples()
             ? getTileBytes(layout, source, part)
             : layout.getPartBytes(part / layout.getNumTiles());
}

std::vector<uint8_t> mlir::tbq::packTable(LayoutAttr layout,
                                          const PackSource &source) {
  std::vector<uint8_t> table(layout.getTableBytes());
  int64_t offset = table.size();
  for (int64_t tile = 0; tile < layout.getNumTiles() && !table.empty();
       ++tile) {
    endian::write32le(table.data() + 4 * tile, offset / kAlignment);
    offset += getTileBytes(layout, source, tile);
  }
  return table;
}

void mlir::tbq::packParts(LayoutAttr layout, const PackSource &source,
                          int64_t first, int64_t number, uint8_t *out) {
  std::vector<DigitOrder> orders(layout.getDigits().begin(),
                                 layout.getDigits().end());
  for (int64_t part = first; part < first + number; ++part) {
    const int64_t bytes = getPartBytes(layout, source, part);
    std::memset(out, 0, bytes);
    const int64_t panel = part / layout.getNumTiles();
    const int64_t firstRow = part % layout.getNumTiles() * layout.getTile();
    const int64_t rows =
        std::min(layout.getTile(), layout.getRows() - firstRow);
    if (layout.isFloat())
      withFloat(source.elementType, [&](auto from) {
        withFloat(layout.getElementType(), [&](auto to) {
          using From = decltype(from);
          packFloatPart<From, decltype(to)>(
              layout,
              source.elements +
                  (firstRow * layout.getColumns() + panel * layout.getPanel()) *
                      From::kBytes,
              rows, layout.getPanelColumns(panel), out);
        });
      });
    else if (layout.hasTriples())
      packBands(layout, orders, source, firstRow, out);
    else
      packDigitPart(layout, orders, source, panel, firstRow, rows, out);
    if (layout.getBias() &&
        (layout.hasTriples() || panel + 1 == layout.getNumPanels()))
      withFloat(source.biasType, [&](auto from) {
        using From = decltype(from);
        copyRow<From, F32>(source.bias + firstRow * From::kBytes,
                           out + layout.getBiasOffset(), rows, 1);
      });
    out += bytes;
  }
}
