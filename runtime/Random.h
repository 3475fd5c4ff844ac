// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// PCG32 (O'Neill 2014, XSH-RR 64/32): the same numbers from the same seed on
// every machine, which the standard library's distributions do not promise.
#ifndef TBQ_RUNTIME_RANDOM_H
#define TBQ_RUNTIME_RANDOM_H

#include <cstdint>

namespace tbq {

class Random {
public:
  explicit Random(uint64_t seed) {
    next();
    state += seed;
    next();
  }

  uint32_t next() {
    uint64_t old = state;
    state = old * 6364136223846793005u + 1442695040888963407u;
    auto mixed = static_cast<uint32_t>(((old >> 18) ^ old) >> 27);
    auto rotation = static_cast<uint32_t>(old >> 59);
    return mixed >> rotation | mixed << (-rotation & 31);
  }

  /// Uniform in [0, bound), bound >= 1, without bias.
  uint32_t below(uint32_t bound) {
    uint32_t threshold = -bound % bound;
    for (;;)
      if (uint32_t value = next(); value >= threshold)
        return value % bound;
  }

  /// Uniform in [0, 1), a multiple of 2^-53.
  double unit() {
    uint64_t high = next() >> 5, low = next() >> 6;
    return static_cast<double>(high << 26 | low) * 0x1p-53;
  }

private:
  uint64_t state = 0;
};

} // namespace tbq

#endif // TBQ_RUNTIME_RANDOM_H
