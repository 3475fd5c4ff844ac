// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Linears of every scheme: digits chosen by hand against the weights that they
// stand for, in floats and in integers, as a graph and in the packed form.

#include "InterpretedModel.h"

#include "format/Float16.h"

#include <cmath>

using namespace mlir;
using namespace mlir::tbq;

using Doubles = std::vector<double>;

namespace {
/// Two rows of four columns, in groups of three.
struct Case {
  const char *weights; // ops that make the operands
  const char *linear;  // what follows %w
  const char *types;   // of %w and what follows
  Doubles expected;    // the weights, row by row
};

#define SCALES                                                                 \
  "%a = tbq.weight \"lm_head.scale\" : tensor<2x2xf16>\n"                      \
  "%c = tbq.weight \"lm_head.shift\" : tensor<2x2xf16>\n"
#define SCALE "tensor<2x2xf16>"

const Case cases[] = {
    {"%w = tbq.weight \"lm_head.codes\" : !tbq.digits<2x4, ternary>\n" SCALES,
     "scale(%a) shift(%c)",
     "!tbq.digits<2x4, ternary>, " SCALE ", " SCALE,
     {-0.5 + 0.25, 0.25, 0.5 + 0.25, 2 + 8, 1, 1, 1, -4 - 2}},
    {"%w = tbq.weight \"lm_head.planes\" : !tbq.digits<2x4, binary>\n" SCALES,
     "scale(%a) shift(%c)",
     "!tbq.digits<2x4, binary>, " SCALE ", " SCALE,
     {0.75, -0.25, 0.75, 10, -3 + 1, 3 + 1, -3 + 1, -4 - 2}},
    {"%w = tbq.weight \"lm_head.planes\" : !tbq.digits<2x4, binary>\n" SCALES,
     "scale(%a)",
     "!tbq.digits<2x4, binary>, " SCALE,
     {0.5, -0.5, 0.5, 2, -3, 3, -3, -4}},
    {"%w = tbq.weight \"lm_head.pairs\" : !tbq.digits<2x4, "
     "dual_binary>\n" SCALES,
     "scale(%a, %c)",
     "!tbq.digits<2x4, dual_binary>, " SCALE ", " SCALE,
     {0.5 + 0.25, 0, 0.5, 2, 1, 3 + 1, 0, -2}},
    {"%w = tbq.weight \"lm_head.q\" : !tbq.digits<2x4, int8>\n" SCALES,
     "scale(%a)",
     "!tbq.digits<2x4, int8>, " SCALE,
     {-0.5 * 128, 0.5 * 127, 0, 2 * 5, 3, -3, 6, -4 * 7}},
    {"%w = tbq.weight \"lm_head.nibbles\" : !tbq.digits<2x4, int4>\n" SCALES,
     "scale(%a)",
     "!tbq.digits<2x4, int4>, " SCALE,
     {-0.5 * 8, 0.5 * 7, 0, 2, 3, 6, 9, 4 * 4}},
    // Salient: column 1 of row 0, columns 0 and 3 of row 1; zeros 3 and -1.
    {"%w = tbq.weight \"lm_head.rest\" : !tbq.digits<2x4, binary>\n" SCALES
     "%m = tbq.weight \"lm_head.mask\" : !tbq.digits<2x4, salient_mask>\n"
     "%v = tbq.weight \"lm_head.values\" : tensor<3xi8>\n"
     "%o = tbq.weight \"lm_head.offsets\" : tensor<3xi32>\n"
     "%s = tbq.weight \"lm_head.value_scale\" : tensor<2xf16>\n"
     "%z = tbq.weight \"lm_head.zero\" : tensor<2xi16>\n",
     "scale(%a) shift(%c) salient(%m, %v, %o, %s, %z)",
     "!tbq.digits<2x4, binary>, " SCALE ", " SCALE
     ", !tbq.digits<2x4, salient_mask>, tensor<3xi8>, tensor<3xi32>, "
     "tensor<2xf16>, tensor<2xi16>",
     {0.75, 0.5 * (100 - 3), 0.75, 10, 0.25 * (-128 + 1), 3 + 1, -3 + 1,
      0.25 * (7 + 1)}},
};

class Linear : public InterpretedModel {
protected:
  Linear() {
    // T: -1 0 1 1 / 0 0 0 -1; bits: 1 0 1 1 / 0 1 0 0, and 1 0 0 0 / 1 1 0 1.
    model.tensors["lm_head.codes"] =
        integers<uint8_t>("U8", {2, 1}, {0b10100100, 0b00010101});
    model.tensors["lm_head.planes"] =
        integers<uint8_t>("U8", {1, 2, 1}, {0xd, 0x2});
    model.tensors["lm_head.pairs"] =
        integers<uint8_t>("U8", {2, 2, 1}, {0xd, 0x2, 0x1, 0xb});
    model.tensors["lm_head.q"] =
        integers<int8_t>("I8", {2, 4}, {-128, 127, 0, 5, 1, -1, 2, -7});
    model.tensors["lm_head.nibbles"] =
        integers<uint8_t>("U8", {2, 2}, {0xf0, 0x98, 0xa9, 0xcb});
    model.tensors["lm_head.scale"] = halves({2, 2}, {0.5, 2, 3, 4});
    model.tensors["lm_head.shift"] = halves({2, 2}, {0.25, 8, 1, -2});
    model.tensors["lm_head.bias"] = halves({2}, {0.5, -0.25});
    model.tensors["lm_head.rest"] =
        integers<uint8_t>("U8", {1, 2, 1}, {0xd, 0x2});
    model.tensors["lm_head.mask"] = integers<uint8_t>("U8", {2, 1}, {0x2, 0x9});
    model.tensors["lm_head.values"] =
        integers<int8_t>("I8", {3}, {100, -128, 7});
    model.tensors["lm_head.offsets"] = integers<int32_t>("I32", {3}, {0, 1, 3});
    model.tensors["lm_head.value_scale"] = halves({2}, {0.5, 0.25});
    model.tensors["lm_head.zero"] = integers<int16_t>("I16", {2}, {3, -1});
  }

  static std::string graph(const Case &scheme,
                           const std::string &activations = "") {
    return std::string(scheme.weights) + "%y = tbq.linear %x, %w " +
           scheme.linear + " group 3" + activations + " : (tensor<?x4xf32>, " +
           scheme.types + ") -> tensor<?x2xf32>\nreturn %y : tensor<?x2xf32>";
  }

  static Doubles product(const Case &scheme, const std::vector<float> &x) {
    Doubles y(2);
    for (int i = 0; i < 8; ++i)
      y[i / 4] += scheme.expected[i] * x[i % 4];
    return y;
  }
};

// Every product and sum is exact in float64; 127 makes the scale 1, so that the
// integers are the activations themselves.
const std::vector<float> activations = {127, -64, 3, 50};

TEST_F(Linear, EachSchemeIsItsWeights) {
  for (const Case &scheme : cases)
    for (int column = 0; column < 4; ++column) {
      std::vector<float> unit(4);
      unit[column] = 1;
      EXPECT_EQ(run({unit}, 2, graph(scheme)), product(scheme, unit))
          << scheme.types << " column " << column;
    }
}

TEST_F(Linear, IntegersGiveTheSame) {
  for (const Case &scheme : cases) {
    EXPECT_EQ(run({activations}, 2, graph(scheme, " activations i8")),
              product(scheme, activations))
        << scheme.types;
    EXPECT_EQ(run({activations, activations}, 2, graph(scheme))[2],
              product(scheme, activations)[0]);
  }
}

TEST_F(Linear, PackedFormFollowsTheTermsOfItsLayout) {
  // q + 128 in a digit; a term that counts from 127 would add S to the sum.
  model.tensors["lm_head.row_scale"] = halves({2, 1}, {0.5, 2});
  for (int64_t zero : {128, 127}) {
    const std::string type = "!tbq.packed<2x4, digits [8], terms [[1, -" +
                             std::to_string(zero) + "]], group 4, tile 16>";
    const std::string body =
        "%w = tbq.weight \"lm_head.q\" : !tbq.digits<2x4, int8>\n"
        "%a = tbq.weight \"lm_head.row_scale\" : tensor<2x1xf16>\n"
        "%p = tbq.pack %w coefficients(%a) : (!tbq.digits<2x4, int8>, "
        "tensor<2x1xf16>) -> " +
        type +
        "\n%q, %b, %t = tbq.quantize_activations %x columns 4 group 4 : "
        "(tensor<?x4xf32>) -> (tensor<?x4xi8>, tensor<?x1xf32>, "
        "tensor<?x1xi32>)\n%y = tbq.packed_linear %q, %p sums(%t) "
        "activation_scale(%b) : (tensor<?x4xi8>, " +
        type +
        ", tensor<?x1xi32>, tensor<?x1xf32>) -> tensor<?x2xf32>\n"
        "return %y : tensor<?x2xf32>";
    const double sum = zero == 128 ? 0 : 127 - 64 + 3 + 50;
    EXPECT_EQ(run({activations}, 2, body),
              (Doubles{0.5 * (-128 * 127 + 127 * -64 + 5 * 50 + sum),
                       2 * (127 + 64 + 6 - 350 + sum)}));
  }
}

TEST_F(Linear, IntegersRoundEachActivation) {
  // Steps of 2 / 127: 1 is 63.5, which goes to 64.
  const Doubles found =
      run({{2, 1, 0, 0}}, 2, graph(cases[4], " activations i8"));
  EXPECT_DOUBLE_EQ(found[0], (127 * -64.0 + 64 * 63.5) * 2 / 127);
}

TEST_F(Linear, BracketsAreFusedOnRequest) {
  model.tensors["lm_head.scale"] = halves({2, 2}, {0.1f, 0.3f, 3, 4});
  for (bool fused : {false, true}) {
    const Doubles found =
        run({activations}, 2, graph(cases[4], " activations i8"),
            {Arithmetic::Float::Float32, fused});
    const float first = ::tbq::f16ToFloat(::tbq::floatToF16(0.1f));
    const float second = ::tbq::f16ToFloat(::tbq::floatToF16(0.3f));
    const float bracket = -128.0f * 127 + 127.0f * -64, other = 5 * 50;
    const volatile float once = other * second; // rounded
    const volatile float begin = bracket * first;
    EXPECT_EQ(found[0], fused ? std::fma(other, second, begin) : once + begin)
        << fused;
  }
}

TEST_F(Linear, BiasAndResidualFollow) {
  model.tensors["lm_head.weight"] = floats({2, 2}, {1, 2, 3, 4});
  EXPECT_EQ(run({{10, 100}}, 2, R"mlir(
    %w = tbq.weight "lm_head.weight" : tensor<2x2xf32>
    %b = tbq.weight "lm_head.bias" : tensor<2xf16>
    %y = tbq.linear %x, %w bias(%b) residual(%x) : (tensor<?x2xf32>, tensor<2x2xf32>, tensor<2xf16>, tensor<?x2xf32>) -> tensor<?x2xf32>
    return %y : tensor<?x2xf32>)mlir"),
            (Doubles{210 + 0.5 + 10, 430 - 0.25 + 100}));
}

TEST_F(Linear, QuantisedWhenRead) {
  // The one largest of four is -8, so the scale is 1.
  model.tensors["lm_head.weight"] = floats({1, 4}, {-8, 3.2f, 0, 7});
  EXPECT_EQ(run({{1, 10, 100, 1000}}, 1, R"mlir(
    %f = tbq.weight "lm_head.weight" : tensor<1x4xf32>
    %w, %a = tbq.quantize %f int4 group 4 : tensor<1x4xf32> -> !tbq.digits<1x4, int4>, tensor<1x1xf16>
    %y = tbq.linear %x, %w scale(%a) group 4 : (tensor<?x4xf32>, !tbq.digits<1x4, int4>, tensor<1x1xf16>) -> tensor<?x1xf32>
    return %y : tensor<?x1xf32>)mlir"),
            (Doubles{-8 + 30 + 7000}));
}

TEST_F(Linear, EmbeddingOfDigits) {
  const Doubles found = run({{0, 0}, {0, 0}}, 4, R"mlir(
    %q = tbq.weight "lm_head.q" : !tbq.digits<2x4, int8>
    %a = tbq.weight "lm_head.scale" : tensor<2x2xf16>
    %y = tbq.embedding %tokens, %q scale(%a) group 3 : (tensor<?xi32>, !tbq.digits<2x4, int8>, tensor<2x2xf16>) -> tensor<?x4xf32>
    return %y : tensor<?x4xf32>)mlir");
  EXPECT_EQ(found, cases[4].expected);
}

TEST_F(Linear, WhatItCannotRead) {
  const std::string packed = "!tbq.packed<2x2, f32, tile 16>";
  EXPECT_EQ(fail("%w = tbq.placed_weight [0] : " + packed +
                 "\n%y = tbq.packed_linear %x, %w : (tensor<?x2xf32>, " +
                 packed + ") -> tensor<?x2xf32>\nreturn %y : tensor<?x2xf32>"),
            "tbq.placed_weight: tbq.placed_weight is no op of the graph stage");
  EXPECT_EQ(fail("%t = tbq.rope_table [1.0] : tensor<2x2xf32>\n"
                 "%y = tbq.linear %x, %t : (tensor<?x2xf32>, tensor<2x2xf32>) "
                 "-> tensor<?x2xf32>\nreturn %y : tensor<?x2xf32>"),
            "tbq.rope_table: is no tensor of the checkpoint and not made of "
            "one");
  EXPECT_EQ(fail("%t = tbq.rope_table [1.0] : tensor<2x2xf32>\n"
                 "%w, %a = tbq.quantize %t int8 group 2 : tensor<2x2xf32> -> "
                 "!tbq.digits<2x2, int8>, tensor<2x1xf16>\n"
                 "%y = tbq.linear %x, %w scale(%a) group 2 : "
                 "(tensor<?x2xf32>, !tbq.digits<2x2, int8>, tensor<2x1xf16>) "
                 "-> tensor<?x2xf32>\nreturn %y : tensor<?x2xf32>"),
            "tbq.quantize: tbq.quantize of no tensor of the checkpoint");
}
} // namespace
