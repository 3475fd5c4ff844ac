// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Weights that are quantised while the section is written, against the closed
// forms group by group.

#include "WrittenSection.h"
#include "tbq/ClosedForm.h"

#include "format/Float16.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::isErrorAbout;

namespace {

const char *const quantizeRecipe = R"mlir(
  %w = tbq.weight "lm_head.weight" : tensor<9000x40xf32>
  %t, %c:2 = tbq.quantize %w ternary group 16
    : tensor<9000x40xf32> -> !tbq.digits<9000x40, ternary>, tensor<9000x3xf16>, tensor<9000x3xf16>
  %p = tbq.pack %t coefficients(%c#0, %c#1) : (!tbq.digits<9000x40, ternary>, tensor<9000x3xf16>, tensor<9000x3xf16>)
    -> !tbq.packed<9000x40, digits [2], terms [[1, -1], [0, 1]], group 16, tile 16>
  tbq.place %p at 0 "head" : !tbq.packed<9000x40, digits [2], terms [[1, -1], [0, 1]], group 16, tile 16>
)mlir";
constexpr int64_t quantizedBytes = 563 * 3 * 128;

std::vector<float> waves(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i)
    values[i] = std::sin(0.37f * float(i)) + 0.1f;
  return values;
}

// More rows than are quantised at a time.
TEST_F(WeightWriter, QuantisesInClosedForm) {
  std::vector<float> matrix = waves(9000 * 40);
  model.tensors["lm_head.weight"] = floats({9000, 40}, matrix);
  ASSERT_EQ(write(quantizedBytes, quantizeRecipe), "");
  // Floats, digits, two coefficients; a chunk of rows and one of tiles.
  EXPECT_EQ(memory, 9000 * 40 * 4 + 9000 * 10 + 2 * 9000 * 3 * 2 + (2 << 20));
  UnpackedWeight weight = placed("head");
  std::vector<uint8_t> digits(16);
  for (int64_t row = 0; row < 9000; ++row)
    for (int64_t g = 0; g < 3; ++g) {
      const int64_t count = g < 2 ? 16 : 8, first = row * 40 + g * 16;
      ::tbq::GroupFit fit =
          ::tbq::fitTernary(matrix.data() + first, count, digits.data());
      ASSERT_EQ(weight.coefficients[0][row * 3 + g], ::tbq::roundToF16(fit[0]));
      ASSERT_EQ(weight.coefficients[1][row * 3 + g], ::tbq::roundToF16(fit[1]));
      for (int64_t i = 0; i < count; ++i)
        ASSERT_EQ(weight.planes[0][first + i], digits[i]);
    }
}

/// An 8 x 40 matrix, quantised in groups of 32 and packed as `digits`.
std::string bitRecipe(const std::string &scheme, const std::string &form) {
  const std::string digits = "!tbq.digits<8x40, " + scheme + ">",
                    f16 = "tensor<8x2xf16>",
                    packed = "!tbq.packed<8x40, " + form + ", tile 16>";
  return "%w = tbq.weight \"lm_head.weight\" : tensor<8x40xf32>\n"
         "%t, %c:2 = tbq.quantize %w " +
         scheme + " group 32 : tensor<8x40xf32> -> " + digits + ", " + f16 +
         ", " + f16 + "\n%p = tbq.pack %t coefficients(%c#0, %c#1) : (" +
         digits + ", " + f16 + ", " + f16 + ") -> " + packed +
         "\ntbq.place %p at 0 \"head\" : " + packed + "\n";
}

TEST_F(WeightWriter, QuantisesToBits) {
  std::vector<float> matrix = waves(8 * 40);
  model.tensors["lm_head.weight"] = floats({8, 40}, matrix);
  std::vector<uint8_t> digits(32);
  for (bool dual : {false, true}) {
    ASSERT_EQ(
        dual ? write(384, bitRecipe("dual_binary",
                                    "digits [1, 1], terms [[1, 0, 0], [0, 1, "
                                    "0]], group 32"))
             : write(256,
                     bitRecipe("binary", "digits [1], terms [[2, -1], [0, 1]], "
                                         "group 32")),
        "");
    UnpackedWeight weight = placed("head");
    for (int64_t row = 0; row < 8; ++row)
      for (int64_t g = 0; g < 2; ++g) {
        const int64_t count = g == 0 ? 32 : 8, first = row * 40 + g * 32;
        auto *fit = dual ? ::tbq::fitDualBinary : ::tbq::fitBinary;
        ::tbq::GroupFit fitted =
            fit(matrix.data() + first, count, digits.data());
        for (size_t i = 0; i < 2; ++i)
          ASSERT_EQ(weight.coefficients[i][row * 2 + g],
                    ::tbq::roundToF16(fitted[i]));
        for (int64_t i = 0; i < count; ++i)
          for (size_t plane = 0; plane < weight.planes.size(); ++plane)
            ASSERT_EQ(weight.planes[plane][first + i], digits[i] >> plane & 1);
      }
  }
  EXPECT_EQ(write(384, bitRecipe("binary", "digits [1, 1], terms [[1, 0, 0], "
                                           "[0, 1, 0]], group 32")),
            "tbq.weights: binary digits are packed into planes of other "
            "widths");
  std::string recipe =
      bitRecipe("binary", "digits [1], terms [[2, -1], [0, 1]], group 32");
  recipe.replace(recipe.find("group 32"), 8, "group 24");
  EXPECT_TRUE(isErrorAbout(write(256, recipe), model.path(),
                           "lm_head.weight: is quantised in groups of 24, but "
                           "packed in groups of 32"));
}

TEST_F(WeightWriter, PacksPartsOfGroups) {
  std::vector<float> matrix = waves(8 * 40);
  model.tensors["lm_head.weight"] = floats({8, 40}, matrix);
  auto recipe = [](const std::string &group) {
    return "%w = tbq.weight \"lm_head.weight\" : tensor<8x40xf32>\n"
           "%q, %a = tbq.quantize %w int4 group 32 : tensor<8x40xf32> -> "
           "!tbq.digits<8x40, int4>, tensor<8x2xf16>\n"
           "%p = tbq.pack %q coefficients(%a) group " +
           group +
           " : (!tbq.digits<8x40, int4>, tensor<8x2xf16>) -> !tbq.packed<8x40, "
           "digits [4], terms [[1, -8]], group 8, tile 16>\n"
           "tbq.place %p at 0 \"head\" : !tbq.packed<8x40, digits [4], terms "
           "[[1, -8]], group 8, tile 16>\n";
  };
  ASSERT_EQ(write(512, recipe("32")), "");
  UnpackedWeight weight = placed("head");
  std::vector<uint8_t> digits(32);
  for (int64_t row = 0; row < 8; ++row)
    for (int64_t part = 0; part < 5; ++part) {
      const int64_t first = row * 40 + part / 4 * 32;
      ::tbq::GroupFit fitted = ::tbq::fitInt4(matrix.data() + first,
                                              part < 4 ? 32 : 8, digits.data());
      EXPECT_EQ(weight.coefficients[0][row * 5 + part],
                ::tbq::roundToF16(fitted[0]));
    }
  // Groups of 24 are two a row as well.
  EXPECT_TRUE(isErrorAbout(write(512, recipe("24")), model.path(),
                           "lm_head.weight: is quantised in groups of 32, but "
                           "packed in groups of 24"));
}

TEST_F(WeightWriter, QuantisesToIntegers) {
  std::vector<float> matrix = waves(8 * 40);
  model.tensors["lm_head.weight"] = floats({8, 40}, matrix);
  std::vector<uint8_t> digits(32);
  for (bool wide : {true, false}) {
    const std::string scheme = wide ? "int8" : "int4",
                      type = "!tbq.digits<8x40, " + scheme + ">",
                      packed = "!tbq.packed<8x40, digits [" +
                               std::string(wide ? "8" : "4") +
                               "], terms [[1, " + (wide ? "-128" : "-8") +
                               "]], group 32, tile 16>";
    ASSERT_EQ(write(wide ? 704 : 384,
                    "%w = tbq.weight \"lm_head.weight\" : tensor<8x40xf32>\n"
                    "%q, %a = tbq.quantize %w " +
                        scheme + " group 32 : tensor<8x40xf32> -> " + type +
                        ", tensor<8x2xf16>\n%p = tbq.pack %q coefficients(%a) "
                        ": (" +
                        type + ", tensor<8x2xf16>) -> " + packed +
                        "\ntbq.place %p at 0 \"head\" : " + packed + "\n"),
              "");
    UnpackedWeight weight = placed("head");
    auto *fit = wide ? ::tbq::fitInt8 : ::tbq::fitInt4;
    for (int64_t row = 0; row < 8; ++row)
      for (int64_t g = 0; g < 2; ++g) {
        const int64_t count = g == 0 ? 32 : 8, first = row * 40 + g * 32;
        ::tbq::GroupFit fitted =
            fit(matrix.data() + first, count, digits.data());
        ASSERT_EQ(weight.coefficients[0][row * 2 + g],
                  ::tbq::roundToF16(fitted[0]));
        for (int64_t i = 0; i < count; ++i)
          ASSERT_EQ(weight.planes[0][first + i], digits[i] ^ (wide ? 0x80 : 0));
      }
  }
}

TEST_F(WeightWriter, NamesWhatCannotBeQuantised) {
  std::vector<float> matrix = waves(9000 * 40);
  matrix[8123 * 40 + 17] = std::numeric_limits<float>::quiet_NaN();
  model.tensors["lm_head.weight"] = floats({9000, 40}, matrix);
  EXPECT_TRUE(
      isErrorAbout(write(quantizedBytes, quantizeRecipe), model.path(),
                   "lm_head.weight: row 8123, group 1 has a coefficient"));
}

} // namespace
