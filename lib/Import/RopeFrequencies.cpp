// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Rotation frequencies of rotary embeddings, as transformers computes them.
// Input: a llama config; output: headDim / 2 floats.
// Invariant: every operation is rounded to float32 on its own, in the order
// PyTorch has them (a number over a tensor is number * reciprocal).

#include "tbq/Import.h"

#include <cmath>

#pragma clang fp contract(off)

using namespace mlir::tbq;
using ::tbq::LlamaConfig;
using ::tbq::RopeScaling;

/// Llama 3's scaling of one frequency: long wavelengths are divided by the
/// factor, short ones kept, those between interpolated.
static float scaleLlama3(float frequency, const RopeScaling &scaling) {
  const auto context = static_cast<double>(scaling.originalMaxPosition);
  const double low = scaling.lowFrequencyFactor,
               high = scaling.highFrequencyFactor;
  const auto factor = static_cast<float>(scaling.factor);
  const float reciprocal = 1.0f / frequency;
  const float wavelength = reciprocal * static_cast<float>(2 * M_PI);
  const bool isLong = wavelength > static_cast<float>(context / low);
  const bool isShort = wavelength < static_cast<float>(context / high);
  if (isLong)
    return frequency / factor;
  if (isShort)
    return frequency;
  const float turns = 1.0f / wavelength * static_cast<float>(context);
  const float smooth =
      (turns - static_cast<float>(low)) / static_cast<float>(high - low);
  const float scaled = (1.0f - smooth) * frequency / factor;
  const float kept = smooth * frequency;
  return scaled + kept;
}

std::vector<float> mlir::tbq::computeRopeFrequencies(const LlamaConfig &config,
                                                     int64_t headDim) {
  std::vector<float> frequencies;
  const auto theta = static_cast<float>(config.ropeTheta);
  const auto dimension = static_cast<float>(headDim);
  for (int64_t i = 0; i < headDim; i += 2) {
    const float exponent = static_cast<float>(i) / dimension;
    // The power rounded once: what float32 pow gives, without its last-bit
    // differences between libraries.
    const auto power =
        static_cast<float>(std::pow(double(theta), double(exponent)));
    float frequency = 1.0f / power;
    if (config.rope.kind == RopeScaling::Kind::Linear)
      frequency /= static_cast<float>(config.rope.factor);
    else if (config.rope.kind == RopeScaling::Kind::Llama3)
      frequency = scaleLlama3(frequency, config.rope);
    frequencies.push_back(frequency);
  }
  return frequencies;
}
