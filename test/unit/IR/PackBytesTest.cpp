// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Packing against unpacking, for every code byte and for shapes with every
// kind of tail; one tile against bytes written out by hand; padding is zero.

#include "tbq/IR/PackBytes.h"

#include "format/Float16.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/Support/Endian.h"
#include "gtest/gtest.h"

#include <bitset>
#include <cmath>
#include <limits>
#include <random>

using namespace mlir;
using namespace mlir::tbq;
namespace endian = llvm::support::endian;

namespace {

struct Matrix {
  int64_t rows, columns, group;
};

class PackBytes : public testing::Test {
protected:
  PackBytes() { context.loadDialect<TbqDialect>(); }

  LayoutAttr digits(Matrix shape, ArrayRef<int64_t> bits,
                    ArrayRef<int64_t> terms, bool bias = false,
                    int64_t panel = 0) {
    return LayoutAttr::get(&context, shape.rows, shape.columns, Type(), bits,
                           terms, shape.group, 16, bias, false,
                           panel ? panel : shape.columns);
  }
  LayoutAttr floats(int64_t rows, int64_t columns, Type type, int64_t tile,
                    bool bias = false, int64_t panel = 0) {
    return LayoutAttr::get(&context, rows, columns, type, ArrayRef<int64_t>(),
                           ArrayRef<int64_t>(), columns, tile, bias, false,
                           panel ? panel : columns);
  }
  Type f32() { return Float32Type::get(&context); }
  Type f16() { return Float16Type::get(&context); }
  Type bf16() { return BFloat16Type::get(&context); }

  std::vector<uint8_t> randomBytes(size_t count) {
    std::vector<uint8_t> bytes(count);
    for (uint8_t &byte : bytes)
      byte = static_cast<uint8_t>(random());
    return bytes;
  }

  MLIRContext context;
  std::mt19937 random{3};
};

/// All parts of tiles, `perCall` at a time, over memory that was not zero
/// before.
std::vector<uint8_t> packAll(LayoutAttr layout, const PackSource &source,
                             int64_t perCall) {
  std::vector<uint8_t> bytes = packTable(layout, source);
  for (int64_t part = 0; part < getNumParts(layout); part += perCall) {
    const int64_t end = std::min(part + perCall, getNumParts(layout));
    const size_t written = bytes.size();
    size_t size = written;
    for (int64_t i = part; i < end; ++i)
      size += getPartBytes(layout, source, i);
    bytes.resize(size, 0xff);
    packParts(layout, source, part, end - part, bytes.data() + written);
  }
  return bytes;
}

template <typename Range> uint64_t countBits(const Range &values) {
  uint64_t count = 0;
  for (auto value : values)
    count += std::bitset<64>(value).count();
  return count;
}

/// The digit that a plane as stored stands for: 8 bits are two's complement,
/// 0 to 255 in a layout.
uint8_t digitAt(const std::vector<uint8_t> &plane, int64_t bits,
                int64_t columns, int64_t row, int64_t column) {
  const int64_t rowBytes = (columns * bits + 7) / 8;
  const int64_t bit = column * bits;
  const uint8_t stored = plane[row * rowBytes + bit / 8];
  if (bits == 8)
    return static_cast<uint8_t>(static_cast<int8_t>(stored) + 128);
  return stored >> (bit % 8) & ((1 << bits) - 1);
}

// One group of 16 columns, 16 rows: each row's 4 bytes, column 4 j + i in byte
// i, bits [2 j, 2 j + 2); then 16 scales, 16 shifts.
TEST_F(PackBytes, TernaryTileByHand) {
  LayoutAttr layout = digits({16, 16, 16}, {2}, {1, -1, 0, 1});
  std::vector<uint8_t> codes(16 * 4, 0x55), scale(32), shift(32);
  // Row 3: digits 2 0 1 1, 1 2 1 1, 1 1 0 1, 1 1 1 2.
  codes[12] = 0x52, codes[13] = 0x59, codes[14] = 0x45, codes[15] = 0x95;
  scale[6] = 0x34, scale[7] = 0x12; // row 3
  shift[30] = 0x78, shift[31] = 0x56;
  PackSource source;
  source.planes = {codes.data()};
  source.coefficients = {scale.data(), shift.data()};
  std::vector<uint8_t> bytes = packAll(layout, source, 1);
  ASSERT_EQ(bytes.size(), 64u + 32 + 32);
  EXPECT_EQ(bytes[8], 0x55);
  // Byte 0: columns 0, 4, 8, 12 = 2 1 1 1; byte 1: 0 2 1 1; byte 2: 1 1 0 1;
  // byte 3: 1 1 1 2.
  EXPECT_EQ(bytes[12], 2 | 1 << 2 | 1 << 4 | 1 << 6);
  EXPECT_EQ(bytes[13], 0 | 2 << 2 | 1 << 4 | 1 << 6);
  EXPECT_EQ(bytes[14], 1 | 1 << 2 | 0 << 4 | 1 << 6);
  EXPECT_EQ(bytes[15], 1 | 1 << 2 | 1 << 4 | 2 << 6);
  EXPECT_EQ(bytes[64 + 6], 0x34);
  EXPECT_EQ(bytes[64 + 7], 0x12);
  EXPECT_EQ(bytes[96 + 30], 0x78);
  EXPECT_EQ(bytes[96 + 31], 0x56);
}

// Digits by threes: two tiles of two bands, two panels of one group of 64.
TEST_F(PackBytes, ThreesByHand) {
  LayoutAttr layout =
      LayoutAttr::get(&context, 256, 128, Type(), ArrayRef<int64_t>{2},
                      ArrayRef<int64_t>{1, -1}, 64, 128, true, false, 64);
  EXPECT_EQ(layout.getNumTiles(), 2);
  EXPECT_EQ(layout.getNumBands(), 2);
  EXPECT_EQ(layout.getPartBytes(1), 7 * 128 + 128);
  EXPECT_EQ(layout.getPanelOffset(1), 2 * 1024);
  EXPECT_EQ(layout.getBiasOffset(), 4 * 1024);
  EXPECT_EQ(layout.getTileBytes(), 4 * 1024 + 4 * 128);
  EXPECT_EQ(layout.getBitsPerWeight(64, 0), 1.75 + 0.25 + 0.25);
  // Row 70, in the second band, has digits 2 0 1 ... 2 in its second group.
  std::vector<uint8_t> codes(256 * 32), scale(2 * 256 * 2);
  uint8_t *group = &codes[70 * 32 + 16];
  group[0] = 2 | 0 << 2 | 1 << 4; // columns 0, 1, 2
  group[2] = 1 << 2;              // column 9
  group[15] = 2 << 4 | 2 << 6;    // columns 62, 63
  scale[2 * (2 * 70 + 1)] = 0x34;
  std::vector<float> bias(256);
  bias[70] = 1.0f;
  PackSource source;
  source.planes = {codes.data()};
  source.coefficients = {scale.data()};
  source.bias = reinterpret_cast<uint8_t *>(bias.data());
  source.biasType = f32();
  std::vector<uint8_t> bytes = packAll(layout, source, 1);
  ASSERT_EQ(bytes.size(), 2u * layout.getTileBytes());
  const uint8_t *band = bytes.data() + layout.getPanelOffset(1) + 1024;
  auto word = [&](int64_t i) {
    return endian::read16le(band + 2 * (64 * i + 6));
  };
  EXPECT_EQ(word(0), 2 + 3 * 0 + 9 * 1 | 1 << 15);
  EXPECT_EQ(word(1), 1);
  EXPECT_EQ(word(6), (9 * 2) << 10);
  EXPECT_EQ(band[7 * 128 + 2 * 6], 0x34);
  EXPECT_EQ(bytes[4 * 1024 + 4 * 70 + 3], 0x3f); // of 1.0f
  EXPECT_EQ(countBits(bytes), 3 + 1 + 1 + 2 + 3 + 7);
}

// Every digit comes back, whatever the bands, panels and shorter last group.
TEST_F(PackBytes, ThreesComeBack) {
  struct Shape {
    int64_t rows, columns, group, tile, panel;
  };
  for (Shape shape : {Shape{64, 64, 64, 64, 64}, Shape{384, 448, 128, 192, 256},
                      Shape{256, 320, 320, 256, 320}}) {
    LayoutAttr layout =
        LayoutAttr::get(&context, shape.rows, shape.columns, Type(),
                        ArrayRef<int64_t>{2}, ArrayRef<int64_t>{1, -1, 0, 1},
                        shape.group, shape.tile, true, false, shape.panel);
    std::vector<uint8_t> codes(shape.rows * shape.columns / 4);
    std::vector<uint8_t> digits;
    for (uint8_t &byte : codes)
      for (int64_t i = 0; i < 4; ++i) {
        digits.push_back(random() % 3);
        byte |= digits.back() << (2 * i);
      }
    const int64_t groups = layout.getNumGroups();
    std::vector<uint8_t> scale = randomBytes(2 * shape.rows * groups);
    std::vector<uint8_t> shift = randomBytes(2 * shape.rows * groups);
    std::vector<float> bias(shape.rows);
    for (int64_t row = 0; row < shape.rows; ++row)
      bias[row] = float(row);
    PackSource source;
    source.planes = {codes.data()};
    source.coefficients = {scale.data(), shift.data()};
    source.bias = reinterpret_cast<uint8_t *>(bias.data());
    source.biasType = f32();
    std::vector<uint8_t> bytes = packAll(layout, source, 2);
    ASSERT_EQ(int64_t(bytes.size()), layout.getBytes());
    UnpackedWeight weight = unpack(layout, bytes.data());
    EXPECT_EQ(weight.planes[0], digits);
    EXPECT_EQ(weight.bias, bias);
    for (int64_t i = 0; i < shape.rows * groups; ++i) {
      EXPECT_EQ(weight.coefficients[0][i], endian::read16le(&scale[2 * i]));
      EXPECT_EQ(weight.coefficients[1][i], endian::read16le(&shift[2 * i]));
    }
  }
}

// 18 rows, three groups of 4 columns, panels of two: both tiles' first groups,
// then both tiles' third one with the biases.
TEST_F(PackBytes, PanelsByHand) {
  LayoutAttr layout = digits({18, 12, 4}, {8}, {1, -128}, true, 8);
  EXPECT_EQ(layout.getNumPanels(), 2);
  EXPECT_EQ(layout.getPartBytes(0), 2 * (64 + 32));
  EXPECT_EQ(layout.getPartBytes(1), 64 + 32 + 64);
  EXPECT_EQ(layout.getPanelOffset(1), 2 * 2 * (64 + 32));
  EXPECT_EQ(layout.getTileBytes(), 3 * (64 + 32) + 64);
  std::vector<uint8_t> stored(18 * 12), scale(2 * 18 * 3);
  for (int row = 0; row < 18; ++row)
    for (int column = 0; column < 12; ++column)
      stored[12 * row + column] = (12 * row + column) ^ 0x80;
  std::vector<float> bias(18);
  bias[17] = 1.0f;
  PackSource source;
  source.planes = {stored.data()};
  source.coefficients = {scale.data()};
  source.bias = reinterpret_cast<uint8_t *>(bias.data());
  source.biasType = f32();
  std::vector<uint8_t> bytes = packAll(layout, source, 1);
  ASSERT_EQ(bytes.size(), 2u * (3 * 96 + 64));
  for (int row = 0; row < 18; ++row)
    for (int column = 0; column < 12; ++column) {
      int tile = row / 16, group = column / 4;
      int part = group < 2 ? 192 * tile + 96 * group : 2 * 192 + 160 * tile;
      EXPECT_EQ(bytes[part + 4 * (row % 16) + column % 4], 12 * row + column);
    }
  EXPECT_EQ(bytes[2 * 192 + 160 + 96 + 4 * 1 + 3], 0x3f);
  EXPECT_EQ(packAll(layout, source, 3), bytes);
}

// Ten groups of 32 columns, nine rows, in tiles of eight: shifts stand behind
// eight groups and behind the last two, 32 words of a row and two groups each.
TEST_F(PackBytes, ShiftsByEights) {
  LayoutAttr layout =
      LayoutAttr::get(&context, 9, 320, Type(), ArrayRef<int64_t>{2},
                      ArrayRef<int64_t>{1, -1, 0, 1}, 32, 8, false, false);
  std::vector<uint8_t> codes(9 * 80, 0x55);
  std::vector<uint16_t> scale(90), shift(90);
  for (uint16_t i = 0; i < 90; ++i)
    scale[i] = 500 + i, shift[i] = 1000 + i; // row i / 10, group i % 10
  PackSource source;
  source.planes = {codes.data()};
  source.coefficients = {reinterpret_cast<const uint8_t *>(scale.data()),
                         reinterpret_cast<const uint8_t *>(shift.data())};
  std::vector<uint8_t> bytes = packAll(layout, source, 1);
  const size_t group = 64 + 16, tile = 10 * group + 2 * 128;
  ASSERT_EQ(bytes.size(), 2 * tile);
  auto at = [&](size_t byte) { return bytes[byte] | bytes[byte + 1] << 8; };
  EXPECT_EQ(at(7 * group + 64 + 2 * 3), 500 + 37);
  EXPECT_EQ(at(8 * group + 128 + 64 + 2 * 3), 500 + 38);
  for (size_t row = 0; row < 8; ++row)
    for (size_t word = 0; word < 4; ++word) {
      const size_t first = 8 * group + 16 * row + 4 * word;
      const size_t last = tile - 128 + 16 * row + 4 * word;
      EXPECT_EQ(at(first), int(1000 + 10 * row + word));
      EXPECT_EQ(at(first + 2), int(1000 + 10 * row + word + 4));
      EXPECT_EQ(at(last), word < 2 ? int(1000 + 10 * row + word + 8) : 0);
      EXPECT_EQ(at(last + 2), 0);
    }
  EXPECT_EQ(at(tile + 8 * group + 4 * 2 + 2), 1000 + 86); // row 8
  EXPECT_EQ(at(tile + 8 * group + 16), 0);                // there is no row 9
  UnpackedWeight weight = unpack(layout, bytes.data());
  EXPECT_EQ(weight.coefficients[0], scale);
  EXPECT_EQ(weight.coefficients[1], shift);
}

// Two rows of int8 weights, 5 columns: -128 is stored as 0x80 and packed as 0,
// 0 as 128; what lies past the last column stays 0.
TEST_F(PackBytes, SignedBytesByHand) {
  LayoutAttr layout = digits({2, 5, 5}, {8}, {1, -128});
  const int8_t stored[] = {-128, -1, 0, 1, 127, /**/ 2, 3, 4, 5, -6};
  const std::vector<uint8_t> scale(4);
  PackSource source;
  source.planes = {reinterpret_cast<const uint8_t *>(stored)};
  source.coefficients = {scale.data()};
  std::vector<uint8_t> bytes = packAll(layout, source, 1);
  ASSERT_EQ(bytes.size(), 2u * 64 + 32);
  const uint8_t steps[2][8] = {{0, 127, 128, 129, 130, 131, 132, 133},
                               {255, 0, 0, 0, 122, 0, 0, 0}};
  for (int step = 0; step < 2; ++step)
    for (int i = 0; i < 64; ++i)
      EXPECT_EQ(bytes[64 * step + i], i < 8 ? steps[step][i] : 0) << i;
}

// What is packed in parts of its groups is what would be packed of a weight
// whose coefficients are stored for each part.
TEST_F(PackBytes, PartsOfAGroupRepeatItsCoefficients) {
  const int64_t rows = 17, columns = 100, part = 16;
  for (int64_t group : {int64_t(32), int64_t(48), columns}) {
    LayoutAttr layout = digits({rows, columns, part}, {8}, {1, -128, 0, 1});
    const int64_t stored = (columns + group - 1) / group, parts = 7;
    const std::vector<uint8_t> plane = randomBytes(rows * columns);
    std::vector<uint8_t> once[2], repeated[2];
    PackSource source, expanded;
    for (int term = 0; term < 2; ++term) {
      once[term] = randomBytes(2 * rows * stored);
      for (int64_t row = 0; row < rows; ++row)
        for (int64_t i = 0; i < parts; ++i)
          for (int64_t byte = 0; byte < 2; ++byte)
            repeated[term].push_back(
                once[term][2 * (row * stored + i * part / group) + byte]);
      source.coefficients.push_back(once[term].data());
      expanded.coefficients.push_back(repeated[term].data());
    }
    source.planes = expanded.planes = {plane.data()};
    source.coefficientGroup = group;
    EXPECT_EQ(packAll(layout, source, 1), packAll(layout, expanded, 2))
        << "groups of " << group;
  }
}

// Every value of every source byte, at each of the four places of a step.
TEST_F(PackBytes, EveryCodeByte) {
  for (int64_t bits : {1, 2, 4, 8}) {
    const int64_t columns = 32 / bits;
    LayoutAttr layout = digits({1024, columns, columns}, {bits}, {1, 0});
    std::vector<uint8_t> plane(1024 * 4), scale(1024 * 2);
    for (int64_t row = 0; row < 1024; ++row)
      plane[row * 4 + row / 256] = row % 256;
    PackSource source;
    source.planes = {plane.data()};
    source.coefficients = {scale.data()};
    UnpackedWeight weight = unpack(layout, packAll(layout, source, 5).data());
    for (int64_t row = 0; row < 1024; ++row)
      for (int64_t column = 0; column < columns; ++column)
        ASSERT_EQ(weight.planes[0][row * columns + column],
                  digitAt(plane, bits, columns, row, column))
            << bits << " bits, row " << row << ", column " << column;
  }
}

TEST_F(PackBytes, ShapesPlanesAndTails) {
  const Matrix shapes[] = {{1, 1, 1},      {16, 64, 64},  {17, 65, 65},
                           {15, 7, 7},     {33, 96, 32},  {31, 100, 64},
                           {48, 129, 128}, {5, 576, 128}, {20, 172, 64},
                           {16, 33, 32},   {64, 31, 31},  {2, 128, 128}};
  const std::vector<int64_t> planeSets[] = {{2}, {1},    {8},
                                            {4}, {1, 1}, {1, 8, 2}};
  for (Matrix shape : shapes)
    for (const std::vector<int64_t> &bits : planeSets)
      for (bool bias : {false, true}) {
        // Panels of one group, of two, or none.
        int64_t panel = int64_t(random() % 3) * shape.group;
        SmallVector<int64_t> terms(2 * (bits.size() + 1), 1);
        LayoutAttr layout =
            digits(shape, bits, terms, bias, std::min(panel, shape.columns));
        PackSource source;
        std::vector<std::vector<uint8_t>> planes, coefficients;
        for (int64_t width : bits) {
          // Bits behind the last column are set: they must not come through.
          const int64_t rowBytes = (shape.columns * width + 7) / 8;
          planes.push_back(randomBytes(shape.rows * rowBytes));
          source.planes.push_back(planes.back().data());
        }
        const int64_t groups = layout.getNumGroups();
        for (int64_t term = 0; term < 2; ++term) {
          coefficients.push_back(randomBytes(2 * shape.rows * groups));
          source.coefficients.push_back(coefficients.back().data());
        }
        std::vector<uint8_t> biases = randomBytes(2 * shape.rows);
        source.bias = biases.data();
        source.biasType = bf16();

        std::vector<uint8_t> bytes = packAll(layout, source, 2);
        EXPECT_EQ(bytes, packAll(layout, source, 1));
        UnpackedWeight weight = unpack(layout, bytes.data());
        uint64_t set = 0;
        for (size_t p = 0; p < bits.size(); ++p) {
          set += countBits(weight.planes[p]);
          for (int64_t row = 0; row < shape.rows; ++row)
            for (int64_t c = 0; c < shape.columns; ++c)
              ASSERT_EQ(weight.planes[p][row * shape.columns + c],
                        digitAt(planes[p], bits[p], shape.columns, row, c))
                  << "plane " << p << " of " << shape.rows << "x"
                  << shape.columns;
        }
        for (int64_t term = 0; term < 2; ++term) {
          set += countBits(weight.coefficients[term]);
          ASSERT_EQ(std::memcmp(weight.coefficients[term].data(),
                                coefficients[term].data(),
                                2 * shape.rows * groups),
                    0);
        }
        for (size_t row = 0; row < weight.bias.size(); ++row) {
          const uint16_t stored = biases[2 * row] | biases[2 * row + 1] << 8;
          ASSERT_EQ(::tbq::floatToBits(weight.bias[row]), uint32_t(stored)
                                                              << 16);
          set += std::bitset<16>(stored).count();
        }
        EXPECT_EQ(weight.bias.size(), bias ? size_t(shape.rows) : 0);
        EXPECT_EQ(countBits(bytes), set)
            << "padding is not zero: " << shape.rows << "x" << shape.columns;
      }
}

/// Random planes, coefficients and values of a layout with salient digits,
/// about `share` of all.
struct SalientSource {
  SalientSource(LayoutAttr layout, double share, std::mt19937 &random) {
    const int64_t rows = layout.getRows(), columns = layout.getColumns();
    const int64_t rowBytes = (columns + 7) / 8;
    std::bernoulli_distribution isSalient(share);
    signs.resize(rows * rowBytes);
    mask.resize(rows * rowBytes);
    offsets.push_back(0);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t c = 0; c < columns; ++c) {
        const bool salient = isSalient(random);
        mask[row * rowBytes + c / 8] |= salient << (c % 8);
        signs[row * rowBytes + c / 8] |= (!salient && random() % 2) << (c % 8);
        if (salient)
          values.push_back(static_cast<uint8_t>(random()));
      }
      offsets.push_back(static_cast<int32_t>(values.size()));
      rowScale.push_back(static_cast<uint16_t>(random()));
      zero.push_back(static_cast<int16_t>(int(random() % 256) - 128));
    }
    for (int64_t i = 0; i < layout.getNumGroupTerms(); ++i) {
      coefficients.emplace_back();
      for (int64_t j = 0; j < 2 * rows * layout.getNumGroups(); ++j)
        coefficients.back().push_back(static_cast<uint8_t>(random()));
      source.coefficients.push_back(coefficients.back().data());
    }
    source.planes = {signs.data(), mask.data()};
    source.salientDigits = values.data();
    source.salientOffsets = reinterpret_cast<uint8_t *>(offsets.data());
    source.rowCoefficients = reinterpret_cast<uint8_t *>(rowScale.data());
    source.zeroPoints = reinterpret_cast<uint8_t *>(zero.data());
  }

  std::vector<uint8_t> signs, mask, values;
  std::vector<int32_t> offsets;
  std::vector<uint16_t> rowScale;
  std::vector<int16_t> zero;
  std::vector<std::vector<uint8_t>> coefficients;
  PackSource source;
};

TEST_F(PackBytes, SalientDigits) {
  const int64_t terms[] = {2, 1, 0, -1, 0, -1, 0, 1, 0, 0, 1, 0};
  const Matrix shapes[] = {{1, 1, 1},     {16, 64, 64},   {17, 65, 65},
                           {33, 96, 32},  {31, 100, 64},  {48, 129, 128},
                           {5, 576, 128}, {20, 172, 64},  {16, 33, 32},
                           {100, 31, 31}, {18, 300, 300}, {16, 512, 256}};
  for (Matrix shape : shapes)
    for (double share : {0.0, 0.1, 0.5, 1.0})
      for (bool bias : {false, true}) {
        LayoutAttr layout = LayoutAttr::get(&context, shape.rows, shape.columns,
                                            Type(), ArrayRef<int64_t>{1, 1, 8},
                                            ArrayRef<int64_t>(terms),
                                            shape.group, 16, bias, true);
        SalientSource made(layout, share, random);
        std::vector<float> biases(shape.rows);
        for (float &value : biases)
          value = float(random() % 1000);
        made.source.bias = reinterpret_cast<uint8_t *>(biases.data());
        made.source.biasType = f32();
        std::vector<uint8_t> bytes = packAll(layout, made.source, 2);
        EXPECT_EQ(bytes, packAll(layout, made.source, 1));
        EXPECT_LE(int64_t(bytes.size()), layout.getBytes(made.values.size()));
        EXPECT_EQ(bytes.size() % 64, 0u);
        UnpackedWeight weight = unpack(layout, bytes.data());
        uint64_t counts = 0, set = 0;
        const uint8_t *value = made.values.data();
        for (int64_t row = 0; row < shape.rows; ++row)
          for (int64_t c = 0; c < shape.columns; ++c) {
            const int64_t i = row * shape.columns + c;
            ASSERT_EQ(weight.planes[0][i],
                      digitAt(made.signs, 1, shape.columns, row, c));
            const uint8_t salient =
                digitAt(made.mask, 1, shape.columns, row, c);
            ASSERT_EQ(weight.planes[1][i], salient);
            // Stored less 128: the digit is the code itself.
            const uint8_t digit = salient ? *value++ ^ 0x80 : 0;
            ASSERT_EQ(weight.planes[2][i], digit) << row << ", " << c;
            set += std::bitset<8>(digit).count();
          }
        EXPECT_EQ(weight.coefficients[2], made.rowScale);
        for (int64_t row = 0; row < shape.rows; ++row)
          EXPECT_EQ(weight.zeroPoints[row], made.zero[row] + 128);
        EXPECT_EQ(weight.bias.size(), bias ? size_t(shape.rows) : 0);
        // Nothing else is set but the table and the blocks' counts and columns.
        set += countBits(made.signs);
        for (const auto &plane : weight.coefficients)
          set += countBits(plane);
        for (int16_t zero : weight.zeroPoints)
          set += std::bitset<16>(zero).count();
        for (float b : weight.bias)
          set += std::bitset<32>(::tbq::floatToBits(b)).count();
        for (int64_t i = 0; i < layout.getTableBytes(); ++i)
          counts += std::bitset<8>(bytes[i]).count();
        for (int64_t tile = 0; tile < layout.getNumTiles(); ++tile)
          for (int64_t g = 0; g < layout.getNumGroups(); ++g)
            for (int64_t first = 0; first < layout.getGroupColumns(g);
                 first += 128) {
              const int64_t last = std::min(16 * tile + 16, shape.rows);
              const int64_t end =
                  std::min(first + 128, layout.getGroupColumns(g));
              for (int64_t row = 16 * tile; row < last; ++row) {
                uint64_t number = 0;
                for (int64_t c = first; c < end; ++c)
                  if (weight.planes[1][row * shape.columns + g * shape.group +
                                       c]) {
                    ++number;
                    counts += std::bitset<64>(c - first).count();
                  }
                counts += std::bitset<64>(number).count();
              }
            }
        EXPECT_EQ(countBits(bytes), set + counts) << "padding is not zero";
      }
}

TEST_F(PackBytes, ListedSalientDigits) {
  const int64_t terms[] = {2, 1, 0, -1, 0, -1, 0, 1, 0, 0, 1, 0};
  const Matrix shapes[] = {{1, 1, 1},     {4, 64, 64},    {7, 65, 65},
                           {9, 96, 32},   {5, 576, 128},  {8, 129, 128},
                           {20, 172, 64}, {18, 300, 300}, {16, 5000, 64}};
  for (Matrix shape : shapes)
    for (double share : {0.0, 0.1, 1.0})
      for (bool bias : {false, true}) {
        LayoutAttr layout = LayoutAttr::get(&context, shape.rows, shape.columns,
                                            Type(), ArrayRef<int64_t>{1, 1, 8},
                                            ArrayRef<int64_t>(terms),
                                            shape.group, 4, bias, true);
        SalientSource made(layout, share, random);
        std::vector<float> biases(shape.rows, 1.0f);
        made.source.bias = reinterpret_cast<uint8_t *>(biases.data());
        made.source.biasType = f32();
        std::vector<uint8_t> bytes = packAll(layout, made.source, 2);
        EXPECT_EQ(bytes, packAll(layout, made.source, 1));
        EXPECT_LE(int64_t(bytes.size()), layout.getBytes(made.values.size()));
        EXPECT_EQ(bytes.size() % 64, 0u);
        UnpackedWeight weight = unpack(layout, bytes.data());
        const uint8_t *value = made.values.data();
        for (int64_t row = 0; row < shape.rows; ++row)
          for (int64_t c = 0; c < shape.columns; ++c) {
            const int64_t i = row * shape.columns + c;
            ASSERT_EQ(weight.planes[0][i],
                      digitAt(made.signs, 1, shape.columns, row, c));
            const uint8_t salient =
                digitAt(made.mask, 1, shape.columns, row, c);
            ASSERT_EQ(weight.planes[1][i], salient);
            ASSERT_EQ(weight.planes[2][i], salient ? *value++ ^ 0x80 : 0);
          }
        EXPECT_EQ(value, made.values.data() + made.values.size());
        EXPECT_EQ(weight.coefficients[2], made.rowScale);
        for (int64_t row = 0; row < shape.rows; ++row)
          EXPECT_EQ(weight.zeroPoints[row], made.zero[row] + 128);
        EXPECT_EQ(weight.bias.size(), bias ? size_t(shape.rows) : 0);
      }
}

// Row 2 of 16, columns 1, 6 and 34 of 40: offsets and order written out.
TEST_F(PackBytes, SalientTileByHand) {
  LayoutAttr layout = LayoutAttr::get(
      &context, 3, 40, Type(), ArrayRef<int64_t>{1, 1, 8},
      ArrayRef<int64_t>{2, 1, 0, -1, 0, 0, 1, 0}, 32, 16, false, true);
  std::vector<uint8_t> signs(15), mask(15), scale(3 * 2 * 2);
  mask[10] = 1 << 1 | 1 << 6;                        // row 2, columns 1 and 6
  mask[14] = 1 << 2;                                 // column 34
  mask[5] = 1 << 7;                                  // row 1, column 7
  const uint8_t values[] = {0x91, 0x80, 0x7f, 0x00}; // row 1; row 2
  const int32_t offsets[] = {0, 0, 1, 4};
  const uint16_t rowScale[] = {1, 2, 3};
  PackSource source;
  source.planes = {signs.data(), mask.data()};
  source.coefficients = {scale.data()};
  source.salientDigits = values;
  source.salientOffsets = reinterpret_cast<const uint8_t *>(offsets);
  source.rowCoefficients = reinterpret_cast<const uint8_t *>(rowScale);
  std::vector<uint8_t> bytes = packAll(layout, source, 1);
  // Table 64; head 64; groups of 64 + 32 + 16, a digit and its column two more.
  ASSERT_EQ(bytes.size(), 64u + 320); // 64 + 112 + 6 + 112 + 2 = 296
  EXPECT_EQ(bytes[0], 1);             // the tile begins at 64
  const uint8_t *tile = bytes.data() + 64;
  EXPECT_EQ(tile[4], 3);    // the row coefficient of row 2
  EXPECT_EQ(tile[32], 128); // zero points that are not stored
  EXPECT_EQ(tile[32 + 2 * 2], 128);
  const uint8_t *block = tile + 64 + 96;
  EXPECT_EQ(block[0], 0);
  EXPECT_EQ(block[1], 1);
  EXPECT_EQ(block[2], 2);
  EXPECT_EQ(block[16], 7); // row 1
  EXPECT_EQ(block[17], 1); // row 2
  EXPECT_EQ(block[18], 6);
  EXPECT_EQ(block[19], 0x11); // 0x91 less 128
  EXPECT_EQ(block[20], 0x00);
  EXPECT_EQ(block[21], 0xff);
  block += 22 + 96;
  EXPECT_EQ(block[2], 1);
  EXPECT_EQ(block[16], 2); // column 34
  EXPECT_EQ(block[17], 0x80);
}

TEST_F(PackBytes, FloatTiles) {
  for (auto [rows, columns] : {std::pair<int64_t, int64_t>{16, 4},
                               {1, 1},
                               {17, 300},
                               {40, 513},
                               {3, 16}})
    for (Type type : {f32(), f16(), bf16()})
      for (int64_t tile : {1, 16}) {
        // Finite patterns: the same bits must come back.
        const int64_t width = type.getIntOrFloatBitWidth() / 8;
        std::vector<uint8_t> data = randomBytes(rows * columns * width + 1);
        for (size_t i = width; i < data.size(); i += width)
          data[i] &= 0xbf; // no infinity, no NaN
        LayoutAttr layout = floats(rows, columns, type, tile, false,
                                   tile == 16 && columns > 128 ? 128 : 0);
        PackSource source;
        source.elements = data.data() + 1; // unaligned
        source.elementType = type;
        std::vector<uint8_t> bytes = packAll(layout, source, 2);
        UnpackedWeight weight = unpack(layout, bytes.data());
        ASSERT_EQ(weight.elements.size(), size_t(rows * columns));
        for (int64_t i = 0; i < rows * columns; ++i) {
          uint32_t stored = 0;
          std::memcpy(&stored, source.elements + i * width, width);
          float value = type.isF32()   ? ::tbq::bitsToFloat(stored)
                        : type.isF16() ? ::tbq::f16ToFloat(stored)
                                       : ::tbq::bf16ToFloat(stored);
          ASSERT_EQ(::tbq::floatToBits(weight.elements[i]),
                    ::tbq::floatToBits(value));
        }
        std::vector<uint8_t> used(data.begin() + 1, data.end());
        EXPECT_EQ(countBits(bytes), countBits(used));
      }
}

TEST_F(PackBytes, FloatTileByHand) {
  // 17 x 2 in bf16: element (16, 1) is the first of the second tile's column 1.
  std::vector<uint8_t> data(17 * 2 * 2);
  for (uint8_t i = 0; i < 34; ++i)
    data[2 * i] = i + 1;
  PackSource source;
  source.elements = data.data();
  source.elementType = bf16();
  std::vector<uint8_t> bytes = packAll(floats(17, 2, bf16(), 16), source, 1);
  ASSERT_EQ(bytes.size(), 2u * 64);
  EXPECT_EQ(bytes[0], 1);        // (0, 0)
  EXPECT_EQ(bytes[2], 3);        // (1, 0)
  EXPECT_EQ(bytes[32], 2);       // (0, 1)
  EXPECT_EQ(bytes[64 + 32], 34); // (16, 1)
  // Tile 1: rows padded to 16 elements.
  bytes = packAll(floats(17, 2, bf16(), 1), source, 3);
  ASSERT_EQ(bytes.size(), 17u * 32);
  EXPECT_EQ(bytes[2 * 32 + 2], 6); // (2, 1)
  EXPECT_EQ(bytes[2 * 32 + 4], 0);
}

TEST_F(PackBytes, ConvertsElements) {
  const float values[] = {1.0f + 0x1p-11f, 65520.0f, 1e-40f, -3.5f};
  PackSource source;
  source.elements = reinterpret_cast<const uint8_t *>(values);
  source.elementType = f32();
  LayoutAttr half = floats(1, 4, f16(), 1), brain = floats(1, 4, bf16(), 16);
  UnpackedWeight weight = unpack(half, packAll(half, source, 1).data());
  EXPECT_EQ(weight.elements,
            (std::vector<float>{1.0f, std::numeric_limits<float>::infinity(),
                                0.0f, -3.5f}));
  weight = unpack(brain, packAll(brain, source, 1).data());
  EXPECT_EQ(weight.elements[0], 1.0f);
  EXPECT_EQ(weight.elements[1], 65536.0f);
  EXPECT_EQ(weight.elements[3], -3.5f);

  const uint16_t stored[] = {0x3c01, 0xfbff, 0x0001};
  source.elements = reinterpret_cast<const uint8_t *>(stored);
  source.elementType = f16();
  LayoutAttr wide = floats(1, 3, f32(), 1);
  EXPECT_EQ(unpack(wide, packAll(wide, source, 1).data()).elements,
            (std::vector<float>{1.0009765625f, -65504.0f, 0x1p-24f}));
}

TEST_F(PackBytes, FloatBias) {
  std::vector<float> elements(18 * 3, 2.0f), biases(18);
  for (int i = 0; i < 18; ++i)
    biases[i] = i + 0.5f;
  PackSource source;
  source.elements = reinterpret_cast<const uint8_t *>(elements.data());
  source.bias = reinterpret_cast<const uint8_t *>(biases.data());
  source.elementType = source.biasType = f32();
  LayoutAttr layout = floats(18, 3, f32(), 16, /*bias=*/true);
  std::vector<uint8_t> bytes = packAll(layout, source, 1);
  ASSERT_EQ(bytes.size(), 2u * (3 * 64 + 64));
  EXPECT_EQ(unpack(layout, bytes.data()).bias, biases);
}

} // namespace
