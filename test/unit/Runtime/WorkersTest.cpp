// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Threads run a step with barriers right, for more workers than CPUs too;
// fibers run in the order they promise and catch a missing or unequal barrier.
#include "FakeArtifact.h"

#include "runtime/Session.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <numeric>

using namespace tbq;
using namespace tbq::test;

namespace {

void barrier(const tbq_team *team) {
  tbq_barrier *b = team->barrier;
  uint32_t seen = __atomic_load_n(&b->generation, __ATOMIC_RELAXED);
  if (__atomic_add_fetch(&b->arrived, 1, __ATOMIC_ACQ_REL) == team->workers) {
    __atomic_store_n(&b->arrived, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&b->generation, seen + 1, __ATOMIC_RELEASE);
    return;
  }
  int64_t polls = 0;
  while (__atomic_load_n(&b->generation, __ATOMIC_ACQUIRE) == seen)
    if (polls++ >= team->spins)
      team->wait(team->wait_context, &b->generation, seen);
}

/// Writes its number plus one, and after a barrier sums everybody's.
void exchangeStep(uint8_t *arena, const uint8_t *, uint8_t *cache,
                  const int32_t *, float *, int64_t position, int64_t rounds,
                  int64_t, const tbq_team *team) {
  auto *cells = reinterpret_cast<int64_t *>(arena);
  auto *sums = reinterpret_cast<int64_t *>(cache);
  for (int64_t round = 0; round < rounds; ++round) {
    cells[team->worker] = (team->worker + 1) * (position + round + 1);
    barrier(team);
    sums[team->worker] += std::accumulate(cells, cells + team->workers, 0l);
    barrier(team);
  }
}

StepCall callOf(tbq_step_fn step, void *arena, void *cache, int64_t position,
                int64_t count) {
  return {step,
          static_cast<uint8_t *>(arena),
          nullptr,
          static_cast<uint8_t *>(cache),
          nullptr,
          nullptr,
          {position, 0},
          count,
          0};
}

void expectExchange(Workers &workers) {
  int64_t n = workers.count(), expected = 0;
  std::vector<int64_t> cells(n), sums(n);
  for (int64_t call = 0; call < 20; ++call) {
    constexpr int64_t rounds = 5;
    ASSERT_TRUE(workers.run(
        callOf(exchangeStep, cells.data(), sums.data(), call, rounds)));
    for (int64_t round = 0; round < rounds; ++round)
      expected += n * (n + 1) / 2 * (call + round + 1);
    for (int64_t sum : sums)
      ASSERT_EQ(sum, expected);
  }
}

/// Notes who enters each of three phases, in order.
void orderStep(uint8_t *arena, const uint8_t *, uint8_t *, const int32_t *,
               float *, int64_t, int64_t, int64_t, const tbq_team *team) {
  auto *order = reinterpret_cast<std::vector<int64_t> *>(arena);
  for (int phase = 0; phase < 3; ++phase) {
    if (phase)
      barrier(team);
    order->push_back(team->worker);
  }
}

/// Worker 1 forgets the barrier.
void unequalStep(uint8_t *, const uint8_t *, uint8_t *, const int32_t *,
                 float *, int64_t, int64_t, int64_t, const tbq_team *team) {
  if (team->worker != 1)
    barrier(team);
}

std::vector<int64_t> orderOf(int64_t count, FiberOrder order, uint64_t seed) {
  std::unique_ptr<Workers> fibers;
  EXPECT_TRUE(createFibers(count, order, seed, fibers));
  std::vector<int64_t> result;
  EXPECT_TRUE(fibers->run(callOf(orderStep, &result, nullptr, 0, 1)));
  return result;
}

/// The logits of 8 tokens by fibers in this order.
std::vector<float> logitsByFibers(std::shared_ptr<const Model> model,
                                  FiberOrder order, uint64_t seed) {
  std::unique_ptr<Workers> fibers;
  EXPECT_TRUE(createFibers(5, order, seed, fibers));
  std::unique_ptr<Session> session;
  EXPECT_TRUE(Session::create(std::move(model), std::move(fibers), 0, session));
  std::vector<int32_t> tokens = {3, 1, 4, 1, 5, 9, 2, 6};
  std::vector<float> rows(tokens.size() * TEST_VOCAB);
  EXPECT_TRUE(session->eval(tokens.data(), 8, rows.data()));
  return rows;
}

} // namespace

TEST(Threads, ExchangeAcrossBarriers) {
  for (int64_t count : {1, 2, 3, 5, 16}) {
    std::unique_ptr<Workers> workers;
    ASSERT_TRUE(createThreads(count, workers));
    EXPECT_EQ(workers->count(), count);
    expectExchange(*workers);
  }
}

TEST(Threads, WakeAfterSleep) {
  std::unique_ptr<Workers> workers;
  ASSERT_TRUE(createThreads(3, workers));
  for (int i = 0; i < 3; ++i) {
    timespec pause = {0, 5'000'000}; // longer than they spin
    nanosleep(&pause, nullptr);
    expectExchange(*workers);
  }
}

TEST(Threads, PoolsComeAndGo) {
  for (int i = 0; i < 50; ++i) {
    std::unique_ptr<Workers> one, two;
    ASSERT_TRUE(createThreads(2, one));
    ASSERT_TRUE(createThreads(2, two));
    if (i % 2)
      expectExchange(*two);
  }
}

TEST(Threads, CountIsChecked) {
  std::unique_ptr<Workers> workers;
  for (int64_t count : {int64_t(-1), kMostWorkers + 1}) {
    Outcome created = createThreads(count, workers);
    EXPECT_EQ(created.status, TBQ_ERROR_ARGUMENT);
    EXPECT_NE(created.message.find("got " + std::to_string(count)),
              std::string::npos);
  }
  ASSERT_TRUE(createThreads(0, workers));
  EXPECT_EQ(workers->count(), usableCpus());
}

TEST(Fibers, ExchangeAcrossBarriers) {
  for (FiberOrder order :
       {FiberOrder::Forward, FiberOrder::Backward, FiberOrder::Random})
    for (int64_t count : {1, 2, 7}) {
      std::unique_ptr<Workers> workers;
      ASSERT_TRUE(createFibers(count, order, 7, workers));
      expectExchange(*workers);
    }
}

TEST(Fibers, RunInTheirOrder) {
  using Order = std::vector<int64_t>;
  EXPECT_EQ(orderOf(3, FiberOrder::Forward, 0),
            Order({0, 1, 2, 2, 1, 0, 0, 1, 2}));
  EXPECT_EQ(orderOf(3, FiberOrder::Backward, 0),
            Order({2, 1, 0, 0, 1, 2, 2, 1, 0}));
  Order random = orderOf(8, FiberOrder::Random, 1);
  EXPECT_EQ(random, orderOf(8, FiberOrder::Random, 1));
  EXPECT_NE(random, orderOf(8, FiberOrder::Random, 2));
  for (int phase = 0; phase < 3; ++phase) {
    auto begin = random.begin() + phase * 8;
    std::sort(begin, begin + 8);
    for (int64_t worker = 0; worker < 8; ++worker)
      EXPECT_EQ(begin[worker], worker);
  }
}

TEST(Fibers, UnequalBarriersAreAnError) {
  std::unique_ptr<Workers> fibers;
  ASSERT_TRUE(createFibers(3, FiberOrder::Forward, 0, fibers));
  Outcome ran = fibers->run(callOf(unequalStep, nullptr, nullptr, 0, 1));
  EXPECT_EQ(ran.status, TBQ_ERROR_INTERNAL);
  EXPECT_NE(ran.message.find("never reach: 0 2"), std::string::npos)
      << ran.message;
  expectExchange(*fibers); // and they are good again
}

TEST(Fibers, MissingBarrierChangesTheResult) {
  FakeArtifact fake;
  auto good = openGood(fake.write("barrier.so"));
  auto expected = logitsByFibers(good, FiberOrder::Forward, 0);
  EXPECT_EQ(logitsByFibers(good, FiberOrder::Backward, 0), expected);
  for (uint64_t seed = 0; seed < 20; ++seed)
    EXPECT_EQ(logitsByFibers(good, FiberOrder::Random, seed), expected);
  fake.missingBarrier = true;
  auto bad = openGood(fake.write("nobarrier.so"));
  EXPECT_NE(logitsByFibers(bad, FiberOrder::Forward, 0), expected);
  EXPECT_NE(logitsByFibers(bad, FiberOrder::Backward, 0), expected);
}
