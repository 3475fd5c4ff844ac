// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Loops of dot products on registers, run by the same worker pool as a model's
// step. More sums than an instruction's latency hides behind its throughput
// (vpdpbusd: 5 cycles, at most 2 a cycle), fewer than there are registers.
#include "runtime/limits/DotPeak.h"
#include "runtime/limits/TimedStep.h"

#include "format/Cpu.h"

#include <algorithm>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace tbq;

#if defined(__x86_64__)

namespace {

/// Does `rounds` rounds; the result keeps them alive.
using Loop = int32_t (*)(int64_t rounds);

struct Peak {
  const char *feature;
  Loop loop;
  double operationsOfRound;
};

constexpr int vnniSums = 12;

__attribute__((target("avx512f,avx512vnni"))) int32_t
multiplyAdd512(int64_t rounds) {
  __m512i codes = _mm512_set1_epi8(1), values = _mm512_set1_epi8(-1);
  // Sums that begin alike stay alike, and a compiler makes them one.
  __m512i totals[vnniSums];
  for (int i = 0; i < vnniSums; ++i)
    totals[i] = _mm512_set1_epi32(i);
  for (int64_t round = 0; round < rounds; ++round)
    for (__m512i &total : totals)
      total = _mm512_dpbusd_epi32(total, codes, values);
  __m512i all = _mm512_setzero_si512();
  for (__m512i total : totals)
    all = _mm512_xor_si512(all, total);
  return _mm_cvtsi128_si32(_mm512_castsi512_si128(all));
}

constexpr int avx2Sums = 6, avx2Products = 4;

/// As kernels do it: products of a few codes are added in 16 bits, and then
/// once in 32.
__attribute__((target("avx2"))) int32_t multiplyAdd256(int64_t rounds) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i codes[avx2Products], totals[avx2Sums];
  for (int i = 0; i < avx2Sums; ++i)
    totals[i] = _mm256_set1_epi32(i + 1);
  for (int i = 0; i < avx2Products; ++i)
    codes[i] = _mm256_set1_epi8(static_cast<char>(1 << i));
  for (int64_t round = 0; round < rounds; ++round)
    for (__m256i &total : totals) {
      // Values that no compiler knows, of the sum itself.
      __m256i pairs = _mm256_setzero_si256();
      for (__m256i code : codes)
        pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(code, total));
      total = _mm256_add_epi32(total, _mm256_madd_epi16(pairs, ones));
    }
  __m256i all = _mm256_setzero_si256();
  for (__m256i total : totals)
    all = _mm256_xor_si256(all, total);
  return _mm_cvtsi128_si32(_mm256_castsi256_si128(all));
}

/// The shape of all eight tiles: 16 rows of 64 bytes.
struct TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t rowBytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileShapes) == 64);

constexpr int tileSums = 6;

__attribute__((target("amx-tile,amx-int8"))) int32_t
multiplyAddTiles(int64_t rounds) {
  const TileShapes shapes;
  _tile_loadconfig(&shapes);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int64_t round = 0; round < rounds; ++round) {
    _tile_dpbusd(0, 6, 7);
    _tile_dpbusd(1, 6, 7);
    _tile_dpbusd(2, 6, 7);
    _tile_dpbusd(3, 6, 7);
    _tile_dpbusd(4, 6, 7);
    _tile_dpbusd(5, 6, 7);
  }
  _tile_release();
  return 0;
}

Peak peakOf(DotInstructions instructions) {
  switch (instructions) {
  case DotInstructions::Avx2:
    return {"avx2", multiplyAdd256, avx2Sums * avx2Products * 32 * 2.0};
  case DotInstructions::Vnni:
    return {"avx512vnni", multiplyAdd512, vnniSums * 64 * 2.0};
  case DotInstructions::Amx:
    return {"amx-int8", multiplyAddTiles, tileSums * 16 * 16 * 64 * 2.0};
  }
  return {"", nullptr, 0};
}

/// Each worker runs the loop; the arena keeps the result alive.
struct Run {
  Loop loop;
  int32_t sink;
};

void dotStep(uint8_t *arena, const uint8_t *, uint8_t *, const int32_t *,
             float *, int64_t, int64_t rounds, int64_t, const tbq_team *) {
  auto *run = reinterpret_cast<Run *>(arena);
  __atomic_fetch_add(&run->sink, run->loop(rounds), __ATOMIC_RELAXED);
}

double secondsOf(Workers &workers, Loop loop, int64_t rounds) {
  Run run = {loop, 0};
  return secondsOfStep(workers, dotStep, &run, nullptr, rounds);
}

} // namespace

double tbq::measureDotPeak(Workers &workers, DotInstructions instructions,
                           double seconds) {
  const Peak peak = peakOf(instructions);
  if (!hostHasFeature(peak.feature))
    return 0;
  constexpr int64_t trial = 1 << 14;
  secondsOf(workers, peak.loop, trial); // wakes the workers
  double once = std::max(secondsOf(workers, peak.loop, trial), 1e-7);
  auto rounds = static_cast<int64_t>(std::max(1.0, seconds / 4 / once) *
                                     static_cast<double>(trial));
  double fastest = secondsOf(workers, peak.loop, rounds);
  for (int repetition = 1; repetition < 4; ++repetition)
    fastest = std::min(fastest, secondsOf(workers, peak.loop, rounds));
  return peak.operationsOfRound * static_cast<double>(rounds) *
         static_cast<double>(workers.count()) / fastest;
}

#else

double tbq::measureDotPeak(Workers &, DotInstructions, double) { return 0; }

#endif
