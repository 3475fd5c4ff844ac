// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The ops that multiply no weights, against values worked out by hand.

#include "InterpretedModel.h"

#include <cmath>

using namespace mlir;
using namespace mlir::tbq;

using Interpreted = InterpretedModel;
using Doubles = std::vector<double>;

static const char *const pair = "(tensor<?x2xf32>, tensor<?x2xf32>) -> "
                                "tensor<?x2xf32>\n";

TEST_F(Interpreted, RmsNorm) {
  model.tensors["lm_head.n"] = halves({4}, {1, 2, 0.5, -1});
  // Mean of squares: (1 + 1 + 9 + 1) / 4 = 3; epsilon makes it 4.
  EXPECT_EQ(run({{1, -1, 3, 1}}, 4, R"mlir(
    %w = tbq.weight "lm_head.n" : tensor<4xf16>
    %y = tbq.rms_norm %x, %w epsilon 1.0 features 4 : (tensor<?x4xf32>, tensor<4xf16>) -> tensor<?x4xf32>
    return %y : tensor<?x4xf32>)mlir"),
            (Doubles{0.5, -1, 0.75, -0.5}));
}

TEST_F(Interpreted, GatedActivationAndAdd) {
  const std::string body = std::string("%g = tbq.gated_activation %x, %x : ") +
                           pair + "%y = tbq.add %g, %x : " + pair +
                           "return %y : tensor<?x2xf32>";
  const Doubles found = run({{2, -1}}, 2, body);
  EXPECT_DOUBLE_EQ(found[0], 2 / (1 + std::exp(-2.0)) * 2 + 2);
  EXPECT_DOUBLE_EQ(found[1], -1 / (1 + std::exp(1.0)) * -1 - 1);
  // In float32 every operation is rounded.
  const Doubles rounded =
      run({{2, -1}}, 2, body, {Arithmetic::Float::Float32, false});
  EXPECT_EQ(rounded[0], 2.0f / (1.0f + std::exp(-2.0f)) * 2.0f + 2.0f);
  EXPECT_NE(rounded[0], found[0]);
}

TEST_F(Interpreted, LayerNorm) {
  model.tensors["lm_head.n"] = halves({4}, {1, 2, 0.5, -1});
  model.tensors["lm_head.b"] = halves({4}, {0, 1, 0, 2});
  // The mean is 2, the variance (1 + 9 + 1 + 1) / 4 = 3; epsilon makes it 4.
  EXPECT_EQ(run({{1, 5, 1, 1}}, 4, R"mlir(
    %w = tbq.weight "lm_head.n" : tensor<4xf16>
    %b = tbq.weight "lm_head.b" : tensor<4xf16>
    %y = tbq.layer_norm %x, %w, %b epsilon 1.0 features 4 : (tensor<?x4xf32>, tensor<4xf16>, tensor<4xf16>) -> tensor<?x4xf32>
    return %y : tensor<?x4xf32>)mlir"),
            (Doubles{-0.5, 4, -0.25, 2.5}));
}

TEST_F(Interpreted, MagnitudesOfLayerNorm) {
  model.tensors["lm_head.n"] = halves({4}, {1, 2, 0.5, -1});
  model.tensors["lm_head.b"] = halves({4}, {0, 1, 0, -2});
  // The mean is 1, of magnitudes 1.5; the variance 2, epsilon makes it 4.
  // |x| + 1.5 + 1.5 |x - 1| / 2 is 6, 4, 2.5 and 2.5.
  EXPECT_EQ(run({{3, -1, 1, 1}}, 4, R"mlir(
    %w = tbq.weight "lm_head.n" : tensor<4xf16>
    %b = tbq.weight "lm_head.b" : tensor<4xf16>
    %y = tbq.layer_norm %x, %w, %b epsilon 2.0 features 4 : (tensor<?x4xf32>, tensor<4xf16>, tensor<4xf16>) -> tensor<?x4xf32>
    return %y : tensor<?x4xf32>)mlir",
                {Arithmetic::Float::Float64, false, true}),
            (Doubles{3, 5, 0.625, 3.25}));
}

TEST_F(Interpreted, Activations) {
  EXPECT_EQ(run({{2, -1}}, 2, R"mlir(
    %y = tbq.activation %x relu : (tensor<?x2xf32>) -> tensor<?x2xf32>
    return %y : tensor<?x2xf32>)mlir"),
            (Doubles{2, 0}));
  // A normal distribution has 97.7 % below 2 deviations, and 1.3e-3 below -3.
  const Doubles found = run({{2, -3}}, 2, R"mlir(
    %y = tbq.activation %x gelu : (tensor<?x2xf32>) -> tensor<?x2xf32>
    return %y : tensor<?x2xf32>)mlir");
  EXPECT_DOUBLE_EQ(found[0], 2 * 0.97724986805182079);
  EXPECT_DOUBLE_EQ(found[1], -3 * 0.0013498980316300933);
}

static const char *const positions = R"mlir(
    %t = tbq.weight "lm_head.p" : tensor<6x2xf16>
    %y = tbq.add_positions %x, %t at %position offset 2 : (tensor<?x2xf32>, tensor<6x2xf16>, index) -> tensor<?x2xf32>
    return %y : tensor<?x2xf32>)mlir";

TEST_F(Interpreted, PositionsBeginBehindTheOffset) {
  model.tensors["lm_head.p"] =
      halves({6, 2}, {9, 9, 9, 9, 9, 9, 1, 2, 3, 4, 5, 6});
  position = 1;
  EXPECT_EQ(run({{10, 20}, {30, 40}}, 2, positions), (Doubles{11, 22, 33, 44}));
}

TEST_F(Interpreted, RopeTurnsHalves) {
  position = 3;
  const Doubles found = run({{1, 2, 3, 4}, {1, 2, 3, 4}}, 4, R"mlir(
    %t = tbq.rope_table [0.5] : tensor<32x2xf32>
    %y = tbq.rope %x, %t at %position heads 2 x 2 : (tensor<?x4xf32>, tensor<32x2xf32>, index) -> tensor<?x4xf32>
    return %y : tensor<?x4xf32>)mlir");
  for (int t = 0; t < 2; ++t)
    for (int head = 0; head < 2; ++head) {
      const double c = float(std::cos(0.5 * (3 + t)));
      const double s = float(std::sin(0.5 * (3 + t)));
      const double low = 1 + 2 * head, high = 2 + 2 * head;
      EXPECT_EQ(found[4 * t + 2 * head], low * c - high * s);
      EXPECT_EQ(found[4 * t + 2 * head + 1], high * c + low * s);
    }
}

static const char *const attention = R"mlir(
    %y = tbq.layer "model.layers.1" number 1 (%x) : tensor<?x4xf32> {
    ^bb0(%h: tensor<?x4xf32>, %layer: index):
      %w = tbq.weight "lm_head.k" : tensor<2x4xf32>
      %k = tbq.linear %h, %w : (tensor<?x4xf32>, tensor<2x4xf32>) -> tensor<?x2xf32>
      tbq.append_cache %k, %k, %cache[%layer] at %position tokens %count CACHE : (tensor<?x2xf32>, tensor<?x2xf32>, CACHE, index, index, index) -> ()
      %a = tbq.attention %h, %cache[%layer] at %position heads 2 scale 2.0 CACHE : (tensor<?x4xf32>, CACHE, index, index) -> tensor<?x4xf32>
      tbq.yield %a : tensor<?x4xf32>
    }
    return %y : tensor<?x4xf32>)mlir";

/// `attention` with the cache's type in the place of its name.
static std::string withCache(const std::string &type) {
  std::string text = attention;
  for (size_t at = text.find("CACHE"); at != std::string::npos;
       at = text.find("CACHE"))
    text.replace(at, 5, type);
  return text;
}

TEST_F(Interpreted, CausalAttentionOfGroupedHeads) {
  // Keys and values are the first two columns.
  model.tensors["lm_head.k"] = floats({2, 4}, {1, 0, 0, 0, 0, 1, 0, 0});
  const Doubles found =
      run({{1, 0, 0, 1}, {0, 1, 0.5, 0}}, 4, withCache(cacheType));
  // The first token sees itself alone, in both heads.
  EXPECT_EQ(Doubles(found.begin(), found.begin() + 4), (Doubles{1, 0, 1, 0}));
  // The second: scores 2 (q . k) of head 0 are 0 and 2, of head 1 are 1 and 0.
  const double second = 1 / (1 + std::exp(-2.0)),
               fourth = 1 / (1 + std::exp(1.0));
  EXPECT_NEAR(found[4], 1 - second, 1e-15);
  EXPECT_DOUBLE_EQ(found[5], second);
  EXPECT_NEAR(found[6], 1 - fourth, 1e-15);
  EXPECT_DOUBLE_EQ(found[7], fourth);
}

TEST_F(Interpreted, CacheRoundsAndOutlivesAStep) {
  model.tensors["lm_head.k"] = floats({2, 4}, {1, 0, 0, 0, 0, 1, 0, 0});
  cacheType = "!tbq.cache<2 layers, 1 by 2, 32 tokens, f16>";
  const Doubles one = run({{1.0009765f, 0.3f, 0, 0}}, 4, withCache(cacheType));
  EXPECT_EQ(one[0], 1.0009765625);   // 1 + 2^-10
  EXPECT_EQ(one[1], 0.300048828125); // the f16 next to 0.3
  // A step later, a query of zeros sees both alike.
  position = 1;
  const Doubles two = run({{0, 0, 0, 0}}, 4, withCache(cacheType));
  EXPECT_EQ(two[0], 1.0009765625 / 2);
  EXPECT_EQ(cache->key(1, 0, 1)[0], 0);
  EXPECT_EQ(cache->value(1, 0, 0)[1], 0.300048828125);
}

TEST_F(Interpreted, SelectRowsKeepsTheLast) {
  first = 1;
  EXPECT_EQ(run({{1, 2}, {3, 4}, {5, 6}}, 2, R"mlir(
    %y = tbq.select_rows %x from %first : (tensor<?x2xf32>, index) -> tensor<?x2xf32>
    return %y : tensor<?x2xf32>)mlir"),
            (Doubles{3, 4, 5, 6}));
}

TEST_F(Interpreted, ActivationsInIntegers) {
  // The largest is 4: 4 -> 127; 2.5 of 127 / 4 is 79.375, -0.015748 is -0.5,
  // which goes to even.
  std::vector<Matrix> seen;
  observer = [&](StepOp op, ArrayRef<const Matrix *>,
                 ArrayRef<const Matrix *> results) {
    if (isa<QuantizeActivationsOp>(op))
      for (const Matrix *result : results)
        seen.push_back(*result);
  };
  run({{4, 2.5f, -0.015748031f}}, 3, R"mlir(
    %q, %a, %s = tbq.quantize_activations %x columns 3 group 2 : (tensor<?x3xf32>) -> (tensor<?x3xi8>, tensor<?x1xf32>, tensor<?x2xi32>)
    return %x : tensor<?x3xf32>)mlir",
      {Arithmetic::Float::Float32, false});
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_EQ(seen[0].values, (Doubles{127, 79, 0}));
  EXPECT_EQ(seen[1].values, (Doubles{4.0f / 127.0f}));
  EXPECT_EQ(seen[2].values, (Doubles{206, 0}));
}

TEST_F(Interpreted, GroupSums) {
  std::vector<double> seen;
  observer = [&](StepOp op, ArrayRef<const Matrix *>,
                 ArrayRef<const Matrix *> results) {
    if (isa<GroupSumsOp>(op))
      seen = results[0]->values;
  };
  const char *const body = R"mlir(
    %s = tbq.group_sums %x columns 5 group 2 : (tensor<?x5xf32>) -> tensor<?x3xf32>
    return %x : tensor<?x5xf32>)mlir";
  run({{1, -2, 4, 8, -16}}, 5, body);
  EXPECT_EQ(seen, (Doubles{-1, 12, -16}));
  run({{1, -2, 4, 8, -16}}, 5, body, {Arithmetic::Float::Float64, false, true});
  EXPECT_EQ(seen, (Doubles{3, 12, 16}));
}

TEST_F(Interpreted, ObserverSeesEachOpByItsLayersName) {
  std::vector<std::string> seen;
  observer = [&](StepOp op, ArrayRef<const Matrix *> operands,
                 ArrayRef<const Matrix *> results) {
    seen.push_back(getStepName(op) + " " + std::to_string(operands.size()) +
                   " " + std::to_string(results.size()));
  };
  run({{1, 2}}, 2,
      "%y = tbq.add %x, %x : (tensor<?x2xf32>, tensor<?x2xf32>) -> "
      "tensor<?x2xf32> loc(\"model.layers.7\")\nreturn %y : tensor<?x2xf32>");
  EXPECT_EQ(seen, (std::vector<std::string>{"tbq.embedding 1 1",
                                            "model.layers.7 2 1"}));
}

TEST_F(Interpreted, WhatItCannotEvaluate) {
  EXPECT_EQ(fail("%c = arith.constant 1 : index\nreturn %x : tensor<?x2xf32>"),
            "arith.constant: arith.constant is no op of the graph stage");
  EXPECT_TRUE(::tbq::isErrorAbout(
      fail("%w = tbq.weight \"lm_head.none\" : tensor<2xf32>\n"
           "%y = tbq.rms_norm %x, %w epsilon 1.0 features 2 : "
           "(tensor<?x2xf32>, tensor<2xf32>) -> tensor<?x2xf32>\n"
           "return %y : tensor<?x2xf32>"),
      model.path(), "lm_head.none"));
  EXPECT_EQ(fail("%c = arith.constant dense<1.0> : tensor<2xf32>\n"
                 "return %x : tensor<?x2xf32>"),
            "arith.constant: arith.constant is no op of the graph stage");
  EXPECT_EQ(
      fail("%w = tbq.weight \"lm_head.x\" : tensor<1x2xf32>\n"
           "%y = tbq.rope %x, %w at %position heads 1 x 2 : (tensor<?x2xf32>, "
           "tensor<1x2xf32>, index) -> tensor<?x2xf32>\n"
           "return %y : tensor<?x2xf32>"),
      "tbq.rope: its table is no tbq.rope_table");
  position = 1;
  EXPECT_EQ(fail("%t = tbq.weight \"lm_head.x\" : tensor<1x2xf32>\n"
                 "%y = tbq.add_positions %x, %t at %position offset 0 : "
                 "(tensor<?x2xf32>, tensor<1x2xf32>, index) -> "
                 "tensor<?x2xf32>\nreturn %y : tensor<?x2xf32>"),
            "tbq.add_positions: has no row for position 1");
}
