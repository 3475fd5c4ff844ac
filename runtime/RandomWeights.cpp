// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See RandomWeights.h.
#include "runtime/RandomWeights.h"

#include <algorithm>
#include <cstring>

using namespace tbq;

/// SplitMix64's output for the number of a step (Steele, Lea, Flood 2014).
static uint64_t mix(uint64_t number) {
  uint64_t z = (number + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

void tbq::fillRandomly(uint8_t *to, uint64_t bytes) {
  // Of each 16 bits the sign and the lower byte are random.
  constexpr uint64_t random = 0x80ff80ff80ff80ffu, fixed = 0x3d003d003d003d00u;
  for (uint64_t at = 0; at < bytes; at += sizeof(uint64_t)) {
    uint64_t word = (mix(at / sizeof(word)) & random) | fixed;
    std::memcpy(to + at, &word, std::min<uint64_t>(sizeof(word), bytes - at));
  }
}
