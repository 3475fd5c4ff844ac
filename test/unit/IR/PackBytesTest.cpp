// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Packing against unpacking, for every code byte and for shapes with every
// kind of tail; one tile against bytes written out by hand; padding is zero.

#include "tbq/IR/PackBytes.h"

#include "format/Float16.h"
#include "mlir/IR/MLIRContext.h"
#include "gtest/gtest.h"

#include <bitset>
#include <cmath>
#include <limits>
#include <random>

using namespace mlir;
using namespace mlir::tbq;

namespace {

struct Matrix {
  int64_t rows, columns, group;
};

class PackBytes : public testing::Test {
protected:
  PackBytes() { context.loadDialect<TbqDialect>(); }

  LayoutAttr digits(Matrix shape, ArrayRef<int64_t> bits,
                    ArrayRef<int64_t> terms, bool bias = false) {
    return LayoutAttr::get(&context, shape.rows, shape.columns, Type(), bits,
                           terms, shape.group, 16, bias);
  }
  LayoutAttr floats(int64_t rows, int64_t columns, Type type, int64_t tile,
                    bool bias = false) {
    return LayoutAttr::get(&context, rows, columns, type, ArrayRef<int64_t>(),
                           ArrayRef<int64_t>(), columns, tile, bias);
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

/// All tiles, `perCall` at a time, over memory that was not zero before.
std::vector<uint8_t> packAll(LayoutAttr layout, const PackSource &source,
                             int64_t perCall) {
  std::vector<uint8_t> bytes(layout.getBytes(), 0xff);
  for (int64_t tile = 0; tile < layout.getNumTiles(); tile += perCall)
    packTiles(layout, source, tile,
              std::min(perCall, layout.getNumTiles() - tile),
              bytes.data() + tile * layout.getTileBytes());
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
        SmallVector<int64_t> terms(2 * (bits.size() + 1), 1);
        LayoutAttr layout = digits(shape, bits, terms, bias);
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
        LayoutAttr layout = floats(rows, columns, type, tile);
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
