// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a step that was compiled for a GPU calls, as a CPU does it: of the
// thread that runs. See Emulator.h.
#include "Emulator.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdarg>
#include <cstring>
#include <emmintrin.h>

using namespace emulator;

namespace {
uint32_t shuffle(uint32_t mask, uint32_t value, int source) {
  if (mask != ~0u)
    fail("a shuffle of a part of a warp");
  Fiber &fiber = fibers[current];
  fiber.given = value;
  fiber.source = source;
  leave(State::Shuffling);
  return fiber.taken;
}
template <class To, class From> To bits(From from) {
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}
/// asks: an operand says whether it adds.
void startProducts(GroupProduct product, bool adds, va_list operands,
                   int32_t *result, bool asks = false) {
  for (int i = 0; !product.rowStep && i < 4 * product.slices; ++i)
    product.digits.push_back(va_arg(operands, uint32_t));
  if (product.rowStep)
    product.rows = va_arg(operands, uint32_t);
  product.columns = va_arg(operands, uint32_t);
  bool isAdded = !asks || va_arg(operands, uint32_t);
  for (int i = 0; adds && i < product.tokens / 2; ++i) {
    int32_t sum = va_arg(operands, int32_t);
    product.sums[i] = isAdded ? sum : 0;
  }
  fibers[current].group = product;
  leave(State::MultiplyingGroup);
  fibers[current].started.push_back(fibers[current].group);
  std::fill_n(result, product.tokens / 2, 0x5a5a5a5a);
}
} // namespace

// What the compiled step calls: NVVM's intrinsics, dots as underscores.
extern "C" {
int32_t nvvm_read_ptx_sreg_tid_x() { return current; }
int32_t nvvm_read_ptx_sreg_ctaid_x() { return 0; }
int32_t nvvm_read_ptx_sreg_nctaid_x() { return 1; }
int64_t nvvm_read_ptx_sreg_clock64() {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}
float nvvm_rcp_approx_ftz_f(float x) {
  return std::fabs(x) > 0x1p126f ? std::copysign(0.0f, x) : 1 / x;
}
float nvvm_rsqrt_approx_ftz_f(float x) { return 1 / std::sqrt(x); }
float nvvm_ex2_approx_ftz_f32(float x) { return std::exp2(x); }
void nvvm_barrier_cta_sync_aligned_all(int32_t) { leave(State::AtBarrier); }
void nvvm_bar_warp_sync(int32_t mask) {
  if (mask != -1)
    fail("a part of a warp meets");
  leave(State::Meeting);
}
/// A warp takes registers that others leave; here, of as many as it likes.
void nvvm_setmaxnreg_inc_sync_aligned_u32(int32_t) { leave(State::Meeting); }
void nvvm_setmaxnreg_dec_sync_aligned_u32(int32_t) { leave(State::Meeting); }
void nvvm_cp_async_cg_shared_global_16(void *to, const void *from) {
  copyLater(to, from, 16, 16, fibers[current].open);
}
void nvvm_cp_async_ca_shared_global_4(void *to, const void *from) {
  copyLater(to, from, 4, 4, fibers[current].open);
}
void nvvm_cp_async_commit_group() {
  Fiber &fiber = fibers[current];
  fiber.pending.push_back(std::move(fiber.open));
  fiber.open.clear();
}
/// As late as may be, so that a wait too few is seen.
void nvvm_cp_async_wait_group(int32_t left) {
  std::deque<std::vector<Copy>> &pending = fibers[current].pending;
  for (; int32_t(pending.size()) > left; pending.pop_front())
    for (const Copy &copy : pending.front())
      std::memcpy(copy.to, copy.from, copy.bytes);
}
int32_t nvvm_shfl_sync_bfly_i32(int32_t mask, int32_t value, int32_t distance,
                                int32_t) {
  return int32_t(shuffle(mask, value, (current % lanes) ^ distance));
}
float nvvm_shfl_sync_bfly_f32(int32_t mask, float value, int32_t distance,
                              int32_t) {
  return bits<float>(
      shuffle(mask, bits<uint32_t>(value), (current % lanes) ^ distance));
}
int32_t nvvm_shfl_sync_idx_i32(int32_t mask, int32_t value, int32_t lane,
                               int32_t) {
  return int32_t(shuffle(mask, uint32_t(value), lane));
}
float nvvm_shfl_sync_idx_f32(int32_t mask, float value, int32_t lane, int32_t) {
  return bits<float>(shuffle(mask, bits<uint32_t>(value), lane));
}
bool nvvm_vote_any_sync(int32_t mask, bool condition) {
  uint32_t any = condition;
  for (int distance = 1; distance < lanes; distance *= 2)
    any |= shuffle(uint32_t(mask), any, (current % lanes) ^ distance);
  return any;
}
uint32_t nvvm_prmt(uint32_t low, uint32_t high, uint32_t selector) {
  if (selector & 0x8888)
    fail("a byte's sign is asked for");
  uint64_t both = uint64_t(high) << 32 | low;
  uint32_t word = 0;
  for (int i = 0; i < 4; ++i)
    word |= (both >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i;
  return word;
}
int32_t nvvm_idp4a_s_s(uint32_t x, uint32_t y, int32_t sum) {
  for (int i = 0; i < 4; ++i)
    sum += int8_t(x >> 8 * i) * int8_t(y >> 8 * i);
  return sum;
}
int32_t nvvm_redux_sync_add(int32_t value, int32_t mask) {
  for (int distance = 1; distance < lanes; distance *= 2)
    value +=
        int32_t(shuffle(mask, uint32_t(value), (current % lanes) ^ distance));
  return value;
}
uint32_t nvvm_redux_sync_umax(uint32_t value, int32_t mask) {
  for (int distance = 1; distance < lanes; distance *= 2)
    value = std::max(value, shuffle(mask, value, (current % lanes) ^ distance));
  return value;
}
/// Returns four words, in memory that the caller names first: that is how LLVM
/// calls it.
void nvvm_mma_m16n8k32_row_col_u8_s8(int32_t *result, uint32_t a0, uint32_t a1,
                                     uint32_t a2, uint32_t a3, uint32_t b0,
                                     uint32_t b1, int32_t c0, int32_t c1,
                                     int32_t c2, int32_t c3) {
  Product &product = fibers[current].product;
  product = {{a0, a1, a2, a3}, {b0, b1}, {c0, c1, c2, c3}};
  leave(State::Multiplying);
  std::memcpy(result, product.sums, sizeof product.sums);
}
void nvvm_mma_and_popc_m16n8k256_row_col_b1(int32_t *result, uint32_t a0,
                                            uint32_t a1, uint32_t a2,
                                            uint32_t a3, uint32_t b0,
                                            uint32_t b1, int32_t c0, int32_t c1,
                                            int32_t c2, int32_t c3) {
  Product &product = fibers[current].product;
  product = {{a0, a1, a2, a3}, {b0, b1}, {c0, c1, c2, c3}, /*ofBits=*/true};
  leave(State::Multiplying);
  std::memcpy(result, product.sums, sizeof product.sums);
}
void nvvm_mma_and_popc_m16n8k128_row_col_b1(int32_t *result, uint32_t a0,
                                            uint32_t a1, uint32_t b0,
                                            int32_t c0, int32_t c1, int32_t c2,
                                            int32_t c3) {
  nvvm_mma_and_popc_m16n8k256_row_col_b1(result, a0, a1, 0, 0, b0, 0, c0, c1,
                                         c2, c3);
}
/// The same of f16: two of them come in the lowest bytes of a vector register,
/// and emulator.py makes the result a vector.
__m128 nvvm_mma_m16n8k16_row_col_f32_f32(__m128i a0, __m128i a1, __m128i a2,
                                         __m128i a3, __m128i b0, __m128i b1,
                                         float c0, float c1, float c2,
                                         float c3) {
  auto word = [](__m128i x) { return uint32_t(_mm_cvtsi128_si32(x)); };
  HalfProduct &product = fibers[current].halves;
  product = {{word(a0), word(a1), word(a2), word(a3)},
             {word(b0), word(b1)},
             {c0, c1, c2, c3}};
  leave(State::MultiplyingHalves);
  return _mm_loadu_ps(product.sums);
}
__m128 nvvm_mma_m16n8k8_row_col_f32_f32(__m128i a0, __m128i a1, __m128i b0,
                                        float c0, float c1, float c2,
                                        float c3) {
  __m128i none = _mm_setzero_si128();
  return nvvm_mma_m16n8k16_row_col_f32_f32(a0, a1, none, none, b0, none, c0, c1,
                                           c2, c3);
}
}

// What it calls instead of PTX (lib/GPU/Warpgroup.h).
extern "C" {
void tbq_init_barrier(uintptr_t at, int arrivals) {
  if (at % 8 || barriers.count(at))
    fail("a barrier where there is one, or where none can be");
  TurnBarrier &barrier = barriers[at];
  barrier.arrivals = barrier.missing = arrivals;
}
void tbq_end_barrier(uintptr_t at) {
  if (!getBarrier(at).copies.empty())
    fail("a barrier ends before its copies have come");
  barriers.erase(at);
}
void tbq_arrive_and_expect(uintptr_t at, int bytes) {
  TurnBarrier &barrier = getBarrier(at);
  endTurn(barrier);
  barrier.expected += bytes;
  --barrier.missing;
}
void tbq_arrive(uintptr_t at) { tbq_arrive_and_expect(at, 0); }
void tbq_wait_for_turn(uintptr_t at, int parity) {
  fibers[current].barrier = at;
  fibers[current].parity = parity;
  leave(State::WaitingForTurn);
}
void tbq_copy_bulk(void *to, const void *from, int bytes, uintptr_t at) {
  TurnBarrier &barrier = getBarrier(at);
  if (bytes % 16)
    fail("a copy of no multiple of 16 bytes");
  copyLater(to, from, size_t(bytes), 16, barrier.copies);
  barrier.expected -= bytes;
}
int tbq_elect() {
  leave(State::Meeting);
  return current % lanes == 0;
}
void tbq_fence_copies() {}
/// Return as many words as half their tokens, in memory that the caller names:
/// here, until they are finished, none that anyone could use.
void tbq_start_products(int32_t *result, int tokens, int slices, int adds,
                        int step, ...) {
  va_list operands;
  va_start(operands, step);
  startProducts({false, tokens, slices, step, {}, 0, {}}, adds, operands,
                result);
  va_end(operands);
}
void tbq_start_half_products(int32_t *result, int tokens, int slices, int adds,
                             int step, ...) {
  va_list operands;
  va_start(operands, step);
  startProducts({true, tokens, slices, step, {}, 0, {}}, adds, operands,
                result);
  va_end(operands);
}
void tbq_start_half_products_if(int32_t *result, int tokens, int slices,
                                int adds, int step, ...) {
  va_list operands;
  va_start(operands, step);
  startProducts({true, tokens, slices, step, {}, 0, {}}, adds, operands, result,
                true);
  va_end(operands);
}
void tbq_start_row_products(int32_t *result, int tokens, int slices,
                            int rowStep, int step, ...) {
  va_list operands;
  va_start(operands, step);
  startProducts({true, tokens, slices, step, {}, 0, {}, rowStep}, false,
                operands, result);
  va_end(operands);
}
void tbq_finish_products(int32_t *result, int words, int later, ...) {
  std::deque<GroupProduct> &started = fibers[current].started;
  if (int(started.size()) != later + 1 || started.front().tokens != 2 * words)
    fail("other products are finished than were started");
  std::copy_n(started.front().sums, words, result);
  started.pop_front();
}
}
