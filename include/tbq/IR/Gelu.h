// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What every target computes gelu with.
#ifndef TBQ_IR_GELU_H
#define TBQ_IR_GELU_H

namespace mlir::tbq {

/// Of what gelu leaves above here, float32 holds nothing.
inline constexpr float kGeluEnd = 15.0f;
/// The share of a normal distribution above u >= 0, times exp(u^2 / 2), is
/// t P(t) with t = 1 / (1 + kTailSlope u), within 3.5e-9 of itself up to 13.4,
/// from where on exp(-u^2 / 2) is zero. A weighted least-squares fit at
/// Chebyshev's points, its weights moved until the error was even.
inline constexpr float kTailSlope = 0.3f;
inline constexpr float kTail[] = {
    0.119686514f, 0.119575098f, 0.110209599f,  0.0785039589f, 0.0958423987f,
    -0.07886485f, 0.191142052f, -0.227751374f, 0.112246469f,  -0.020589862f};

} // namespace mlir::tbq

#endif // TBQ_IR_GELU_H
