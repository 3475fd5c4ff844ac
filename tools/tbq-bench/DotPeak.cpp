// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One loop of vpdpbusd on registers, run by the same worker pool as a model's
// step. More sums than the instruction's latency hides behind its throughput
// (5 cycles, at most 2 a cycle), fewer than there are registers.
#include "DotPeak.h"

#include "format/Cpu.h"

#include <algorithm>
#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace tbq;

#if defined(__x86_64__)

namespace {

constexpr int sums = 16;
constexpr double operationsOfRound = sums * 64 * 2.0;

__attribute__((target("avx512f,avx512vnni"))) int32_t
multiplyAdd(int64_t rounds) {
  __m512i codes = _mm512_set1_epi8(1), values = _mm512_set1_epi8(-1);
  __m512i totals[sums] = {};
  for (int64_t round = 0; round < rounds; ++round)
    for (__m512i &total : totals)
      total = _mm512_dpbusd_epi32(total, codes, values);
  __m512i all = totals[0];
  for (__m512i total : totals)
    all = _mm512_xor_si512(all, total);
  return _mm_cvtsi128_si32(_mm512_castsi512_si128(all));
}

/// Each worker does `rounds` rounds; the arena keeps the result alive.
void dotStep(uint8_t *arena, const uint8_t *, uint8_t *, const int32_t *,
             float *, int64_t, int64_t rounds, int64_t, const tbq_team *) {
  __atomic_fetch_add(reinterpret_cast<int32_t *>(arena), multiplyAdd(rounds),
                     __ATOMIC_RELAXED);
}

double secondsOf(Workers &workers, int64_t rounds) {
  alignas(64) int32_t sink = 0;
  auto begin = std::chrono::steady_clock::now();
  StepCall call = {dotStep, reinterpret_cast<uint8_t *>(&sink),
                   nullptr, nullptr,
                   nullptr, nullptr,
                   0,       rounds,
                   0};
  if (!workers.run(call)) // threads have no way to fail
    return 0;
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin)
      .count();
}

} // namespace

double tbq::measureDotPeak(Workers &workers, double seconds) {
  if (!hostHasFeature("avx512vnni"))
    return 0;
  constexpr int64_t trial = 1 << 14;
  secondsOf(workers, trial); // wakes the workers
  double once = std::max(secondsOf(workers, trial), 1e-7);
  auto rounds = static_cast<int64_t>(std::max(1.0, seconds / 4 / once) *
                                     static_cast<double>(trial));
  double fastest = secondsOf(workers, rounds);
  for (int repetition = 1; repetition < 4; ++repetition)
    fastest = std::min(fastest, secondsOf(workers, rounds));
  return operationsOfRound * static_cast<double>(rounds) *
         static_cast<double>(workers.count()) / fastest;
}

#else

double tbq::measureDotPeak(Workers &, double) { return 0; }

#endif
