// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The thread pool. A call is announced by raising `started`; threads that wait
// for it spin a while and then sleep on it as a futex. The caller works too and
// then waits until all others have raised `finished`.
// Invariant: after construction, run allocates nothing and takes no lock.
#include "runtime/Workers.h"

#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstring>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

using namespace tbq;

int64_t tbq::usableCpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0)
    return CPU_COUNT(&set);
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? online : 1;
}

Outcome tbq::checkWorkerCount(int64_t &count) {
  if (count == 0)
    count = std::min(usableCpus(), kMostWorkers);
  if (count >= 1 && count <= kMostWorkers)
    return Outcome::ok();
  return Outcome::failure(TBQ_ERROR_ARGUMENT, "threads",
                          "must be 1 to " + std::to_string(kMostWorkers) +
                              ", or 0 for one a CPU (got " +
                              std::to_string(count) + ")");
}

static void pauseCpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/// The wait hook of a step's barriers: another worker may need this CPU.
static void yieldCpu(void *, const uint32_t *, uint32_t) { sched_yield(); }

static void futex(std::atomic<uint32_t> &word, int operation, uint32_t value) {
  static_assert(sizeof(word) == sizeof(uint32_t));
  syscall(SYS_futex, &word, operation | FUTEX_PRIVATE_FLAG, value, nullptr,
          nullptr, 0);
}

namespace {

class Threads final : public Workers {
public:
  explicit Threads(int64_t count)
      : members(count),
        // With a CPU for each worker the others are about to arrive: wait for
        // them, some tens of microseconds, since a yield gives the CPU away to
        // whoever else there is. Without, whoever is waited for may need it.
        spins(count <= usableCpus() ? 100000 : 50),
        startPolls(count <= usableCpus() ? 20000 : 500) {}
  ~Threads() override;

  Outcome start();
  int64_t count() const override {
    return static_cast<int64_t>(members.size());
  }
  Outcome run(const StepCall &call) override;

private:
  struct Member {
    Threads *pool;
    tbq_team team;
    pthread_t thread;
  };

  static void *memberMain(void *member);
  void serve(const tbq_team &team);
  void announce();
  void awaitStart(uint32_t seen);

  std::vector<Member> members;    // [0] is the caller of run and has no thread
  const int64_t spins;            // at a barrier, a load each
  const int64_t startPolls;       // for the next call, a pause each
  size_t running = 1;             // members with a thread, and the caller
  const StepCall *call = nullptr; // null: stop
  alignas(64) tbq_barrier barrier = {};
  alignas(64) std::atomic<uint32_t> started{0};
  alignas(64) std::atomic<uint32_t> finished{0};
  alignas(64) std::atomic<uint32_t> sleeping{0};
};

} // namespace

Outcome Threads::start() {
  for (size_t i = 0; i < members.size(); ++i)
    members[i] = {this,
                  {static_cast<int64_t>(i), count(), &barrier, spins, yieldCpu,
                   nullptr, nullptr, nullptr},
                  {}};
  // Signals are for the program's own threads.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = 0;
  while (running < members.size() && error == 0) {
    Member &member = members[running];
    error = pthread_create(&member.thread, nullptr, memberMain, &member);
    running += error == 0;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error)
    return Outcome::failure(TBQ_ERROR_MEMORY, "threads",
                            "cannot start thread " + std::to_string(running) +
                                " of " + std::to_string(members.size()) + ": " +
                                std::strerror(error));
  return Outcome::ok();
}

Threads::~Threads() {
  call = nullptr;
  announce();
  for (size_t i = 1; i < running; ++i)
    pthread_join(members[i].thread, nullptr);
}

Outcome Threads::run(const StepCall &stepCall) {
  call = &stepCall;
  finished.store(0, std::memory_order_relaxed);
  announce();
  stepCall(members[0].team);
  for (int64_t polls = 0;
       finished.load(std::memory_order_acquire) + 1 != members.size(); ++polls)
    polls < startPolls / 10 ? pauseCpu() : yieldCpu(nullptr, nullptr, 0);
  return Outcome::ok();
}

void Threads::announce() {
  // A member first says that it sleeps and then looks at `started` (in the
  // kernel); here the other way round: at least one of the two sees the other.
  started.fetch_add(1, std::memory_order_seq_cst);
  if (sleeping.load(std::memory_order_seq_cst) != 0)
    futex(started, FUTEX_WAKE, INT_MAX);
}

void Threads::awaitStart(uint32_t seen) {
  // A while: the caller may be sampling a token.
  for (int64_t polls = 0; polls < startPolls; ++polls) {
    if (started.load(std::memory_order_acquire) != seen)
      return;
    pauseCpu();
  }
  sleeping.fetch_add(1, std::memory_order_seq_cst);
  while (started.load(std::memory_order_seq_cst) == seen)
    futex(started, FUTEX_WAIT, seen);
  sleeping.fetch_sub(1, std::memory_order_relaxed);
}

void Threads::serve(const tbq_team &team) {
  for (uint32_t seen = 0;; ++seen) {
    awaitStart(seen);
    const StepCall *current = call;
    if (!current)
      return;
    (*current)(team);
    finished.fetch_add(1, std::memory_order_release);
  }
}

void *Threads::memberMain(void *argument) {
  auto *member = static_cast<Member *>(argument);
  member->pool->serve(member->team);
  return nullptr;
}

Outcome tbq::createThreads(int64_t count, std::unique_ptr<Workers> &workers) {
  if (Outcome checked = checkWorkerCount(count); !checked)
    return checked;
  auto threads = std::make_unique<Threads>(count);
  Outcome started = threads->start();
  if (started)
    workers = std::move(threads);
  return started;
}
