// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The readers, one for each width of load, run by the same worker pool as a
// model's step. They load and combine; they compute nothing.
#include "runtime/limits/MemoryRead.h"
#include "runtime/limits/TimedStep.h"

#include "format/Cpu.h"

#include <algorithm>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace tbq;

namespace {

constexpr uint64_t line = 64;
constexpr uint64_t prefetchAhead = 8192;

/// One pass over `streams` pieces of `bytes` each, all read side by side.
using Reader = uint64_t (*)(const uint8_t *data, uint64_t bytes);

// Eight words a line; the compiler makes 16-byte loads of it.
template <int streams, bool prefetch>
uint64_t readPortable(const uint8_t *data, uint64_t bytes) {
  uint64_t sums[8] = {};
  for (uint64_t at = 0; at < bytes; at += line)
    for (int s = 0; s < streams; ++s) {
      const uint8_t *from = data + uint64_t(s) * bytes + at;
      if (prefetch)
        __builtin_prefetch(from + prefetchAhead);
      uint64_t words[8];
      std::memcpy(words, from, line);
      for (int i = 0; i < 8; ++i)
        sums[i] ^= words[i];
    }
  uint64_t sum = 0;
  for (uint64_t value : sums)
    sum ^= value;
  return sum;
}

#if defined(__x86_64__)
template <int streams, bool prefetch>
__attribute__((target("avx2"))) uint64_t readAvx2(const uint8_t *data,
                                                  uint64_t bytes) {
  __m256i low[streams] = {}, high[streams] = {};
  for (uint64_t at = 0; at < bytes; at += line)
    for (int s = 0; s < streams; ++s) {
      const uint8_t *from = data + uint64_t(s) * bytes + at;
      if (prefetch)
        _mm_prefetch(reinterpret_cast<const char *>(from + prefetchAhead),
                     _MM_HINT_T0);
      auto *vectors = reinterpret_cast<const __m256i *>(from);
      low[s] = _mm256_xor_si256(low[s], _mm256_loadu_si256(vectors));
      high[s] = _mm256_xor_si256(high[s], _mm256_loadu_si256(vectors + 1));
    }
  uint64_t sum = 0;
  for (int s = 0; s < streams; ++s)
    sum ^= static_cast<uint64_t>(
        _mm256_extract_epi64(_mm256_xor_si256(low[s], high[s]), 0));
  return sum;
}

template <int streams, bool prefetch>
__attribute__((target("avx512f"))) uint64_t readAvx512(const uint8_t *data,
                                                       uint64_t bytes) {
  __m512i sums[streams] = {};
  for (uint64_t at = 0; at < bytes; at += line)
    for (int s = 0; s < streams; ++s) {
      const uint8_t *from = data + uint64_t(s) * bytes + at;
      if (prefetch)
        _mm_prefetch(reinterpret_cast<const char *>(from + prefetchAhead),
                     _MM_HINT_T0);
      sums[s] = _mm512_xor_si512(sums[s], _mm512_loadu_si512(from));
    }
  uint64_t sum = 0;
  for (int s = 0; s < streams; ++s)
    sum ^= static_cast<uint64_t>(
        _mm_cvtsi128_si64(_mm512_castsi512_si128(sums[s])));
  return sum;
}
#endif

struct Method {
  const char *name;
  int streams;
  Reader reader;
};

std::vector<Method> methods() {
#if defined(__x86_64__)
  if (hostHasFeature("avx512f"))
    return {{"plain, 1 stream", 1, readAvx512<1, false>},
            {"prefetched, 1 stream", 1, readAvx512<1, true>},
            {"plain, 4 streams", 4, readAvx512<4, false>},
            {"prefetched, 4 streams", 4, readAvx512<4, true>}};
  if (hostHasFeature("avx2"))
    return {{"plain, 1 stream", 1, readAvx2<1, false>},
            {"prefetched, 1 stream", 1, readAvx2<1, true>},
            {"plain, 4 streams", 4, readAvx2<4, false>},
            {"prefetched, 4 streams", 4, readAvx2<4, true>}};
#endif
  return {{"plain, 1 stream", 1, readPortable<1, false>},
          {"prefetched, 1 stream", 1, readPortable<1, true>},
          {"plain, 4 streams", 4, readPortable<4, false>},
          {"prefetched, 4 streams", 4, readPortable<4, true>}};
}

/// What the workers share during a measurement.
struct Pass {
  Reader reader;
  int streams;
  uint64_t bytesPerStream;
  uint64_t sink; // keeps the loads alive
};

/// Each worker reads its part of the weights `passes` times.
void readStep(uint8_t *arena, const uint8_t *weights, uint8_t *,
              const int32_t *, float *, int64_t, int64_t passes, int64_t,
              const tbq_team *team) {
  auto *pass = reinterpret_cast<Pass *>(arena);
  uint64_t part = static_cast<uint64_t>(pass->streams) * pass->bytesPerStream;
  const uint8_t *mine = weights + static_cast<uint64_t>(team->worker) * part;
  uint64_t sum = 0;
  for (int64_t i = 0; i < passes; ++i)
    sum += pass->reader(mine, pass->bytesPerStream);
  __atomic_fetch_add(&pass->sink, sum, __ATOMIC_RELAXED);
}

double secondsOf(Workers &workers, Pass &pass, const uint8_t *data,
                 int64_t passes) {
  return secondsOfStep(workers, readStep, &pass, data, passes);
}

} // namespace

ReadLimit tbq::measureReadLimit(Workers &workers, const uint8_t *data,
                                uint64_t size, double seconds) {
  ReadLimit best;
  for (const Method &method : methods()) {
    auto parts = static_cast<uint64_t>(workers.count() * method.streams);
    Pass pass = {method.reader, method.streams, size / parts / line * line, 0};
    auto bytes = static_cast<double>(pass.bytesPerStream * parts);
    if (bytes == 0)
      continue;
    double once = secondsOf(workers, pass, data, 1); // also faults pages in
    once = std::max(std::min(once, secondsOf(workers, pass, data, 1)), 1e-7);
    // Small mappings are read often, so that starting a pass costs nothing.
    auto passes = static_cast<int64_t>(std::max(1.0, seconds / 4 / once));
    for (int repetition = 0; repetition < 4; ++repetition) {
      double took = secondsOf(workers, pass, data, passes);
      double rate = bytes * static_cast<double>(passes) / took;
      if (rate > best.bytesPerSecond)
        best = {rate, method.name};
    }
  }
  return best;
}
