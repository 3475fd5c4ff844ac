// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The decode loop (eval one token, sample, accept) allocates nothing after its
// first round (RELIABILITY R32). Every malloc of the program is counted here;
// a sanitizer brings its own malloc, so then the test is left out.
#include "FakeArtifact.h"

#include "runtime/Sampler.h"
#include "runtime/Session.h"

#include <atomic>
#include <cstdlib>
#include <gtest/gtest.h>

using namespace tbq;
using namespace tbq::test;

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TBQ_SANITIZED 1
#endif
#endif

#ifndef TBQ_SANITIZED
static std::atomic<long> allocations{0};

extern "C" {
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

void *malloc(size_t size) {
  ++allocations;
  return __libc_malloc(size);
}
void *calloc(size_t count, size_t size) {
  ++allocations;
  return __libc_calloc(count, size);
}
void *realloc(void *old, size_t size) {
  ++allocations;
  return __libc_realloc(old, size);
}
void *aligned_alloc(size_t alignment, size_t size) {
  ++allocations;
  return __libc_memalign(alignment, size);
}
}

TEST(Allocation, CounterCounts) {
  long before = allocations;
  std::vector<int> *fresh = new std::vector<int>(100);
  EXPECT_GE(allocations - before, 2);
  delete fresh;
}

TEST(Allocation, NoneInTheDecodeLoop) {
  auto model = openGood(FakeArtifact().write("allocation.so"));
  std::unique_ptr<Workers> workers;
  ASSERT_TRUE(createThreads(2, workers));
  std::unique_ptr<Session> session;
  ASSERT_TRUE(Session::create(model, std::move(workers), 0, session));
  tbq_sampler_options options = samplerDefaults(nullptr);
  options.top_k = 0;
  options.repeat_penalty = 1.1f;
  std::unique_ptr<Sampler> sampler;
  ASSERT_TRUE(Sampler::create(model->vocab(), options, sampler));

  int32_t token = 1;
  bool good = true;
  auto round = [&] {
    good = good && session->eval(&token, 1) &&
           sampler->sample(session->logits(), token) && sampler->accept(token);
  };
  round();
  long before = allocations;
  for (int i = 0; i < 60; ++i)
    round();
  EXPECT_EQ(allocations, before);
  EXPECT_TRUE(good);
  EXPECT_EQ(session->position(), 61);
}
#endif
