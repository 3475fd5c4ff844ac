// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The decode loop (eval one token, sample, accept) allocates nothing, takes no
// lock and touches no file after its first round (RELIABILITY R32). Every such
// call of the program is counted here; a sanitizer brings its own malloc, so
// then the test is left out.
#include "FakeArtifact.h"

#include "runtime/Sampler.h"
#include "runtime/Session.h"

#include <atomic>
#include <cstdarg>
#include <cstdlib>
#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <mutex>
#include <pthread.h>
#include <unistd.h>

using namespace tbq;
using namespace tbq::test;

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TBQ_SANITIZED 1
#endif
#endif

#ifndef TBQ_SANITIZED
static std::atomic<long> allocations{0}, locks{0}, files{0};

/// What the program would have called without this file.
template <class Function> static Function *next(const char *name) {
  return reinterpret_cast<Function *>(dlsym(RTLD_NEXT, name));
}

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

int pthread_mutex_lock(pthread_mutex_t *mutex) noexcept {
  static auto *const lock = next<int(pthread_mutex_t *)>("pthread_mutex_lock");
  ++locks;
  return lock(mutex);
}
int pthread_rwlock_rdlock(pthread_rwlock_t *rwlock) noexcept {
  static auto *const lock =
      next<int(pthread_rwlock_t *)>("pthread_rwlock_rdlock");
  ++locks;
  return lock(rwlock);
}
int open(const char *path, int flags, ...) {
  static auto *const real = next<int(const char *, int, ...)>("open");
  va_list arguments;
  va_start(arguments, flags);
  const int mode = flags & O_CREAT ? va_arg(arguments, int) : 0;
  va_end(arguments);
  ++files;
  return real(path, flags, mode);
}
ssize_t read(int file, void *data, size_t size) {
  static auto *const real = next<ssize_t(int, void *, size_t)>("read");
  ++files;
  return real(file, data, size);
}
ssize_t write(int file, const void *data, size_t size) {
  static auto *const real = next<ssize_t(int, const void *, size_t)>("write");
  ++files;
  return real(file, data, size);
}
}

TEST(Allocation, CounterCounts) {
  const long locked = locks, touched = files;
  std::mutex mutex;
  std::lock_guard<std::mutex>{mutex};
  EXPECT_EQ(locks - locked, 1);
  char byte;
  const int file = open("/dev/zero", O_RDONLY);
  EXPECT_EQ(read(file, &byte, 1), 1);
  EXPECT_EQ(write(file, &byte, 1), -1);
  close(file);
  EXPECT_EQ(files - touched, 3);
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
  ASSERT_TRUE(Session::create(model, std::move(workers), 0, session,
                              /*sequences=*/2));
  tbq_sampler_options options = samplerDefaults(nullptr);
  options.top_k = 0;
  options.repeat_penalty = 1.1f;
  std::unique_ptr<Sampler> sampler;
  ASSERT_TRUE(Sampler::create(model->vocab(), options, sampler));

  int32_t token = 1;
  const int32_t numbers[] = {1, 0}, tokens[] = {3, 4};
  bool good = true;
  auto round = [&] {
    good = good && session->eval(&token, 1) &&
           session->evalBatch(numbers, tokens, 2) &&
           sampler->sample(session->logits(), token) && sampler->accept(token);
  };
  round();
  const long before = allocations, locked = locks, touched = files;
  for (int i = 0; i < 30; ++i)
    round();
  EXPECT_EQ(allocations, before);
  EXPECT_EQ(locks, locked);
  EXPECT_EQ(files, touched);
  EXPECT_TRUE(good);
  EXPECT_EQ(session->position(), 2 * 31);
}
#endif
