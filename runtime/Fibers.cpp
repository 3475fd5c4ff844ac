// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Workers as fibers on the caller's thread. A fiber runs until it waits at a
// barrier (spins is 0, so the wait hook is called at once) or returns; then the
// next one that can run is chosen by the order.
// Invariant: the same order and seed give the same interleaving.
#include "runtime/Random.h"
#include "runtime/Workers.h"
#include "runtime/ZeroPages.h"

#include <ucontext.h>
#include <vector>

using namespace tbq;

namespace {

class Fibers final : public Workers {
public:
  Fibers(int64_t count, FiberOrder order, uint64_t seed)
      : fibers(count), order(order), random(seed) {}

  Outcome start();
  int64_t count() const override { return static_cast<int64_t>(fibers.size()); }
  Outcome run(const StepCall &call) override;

private:
  struct Fiber {
    Fibers *pool;
    tbq_team team;
    ZeroPages stack;
    ucontext_t context;
    bool finished;
    bool waiting; // at a barrier, for its generation to leave `seen`
    uint32_t seen;
  };

  static constexpr uint64_t stackBytes = uint64_t(1) << 20;

  static void fiberMain(unsigned high, unsigned low);
  static void wait(void *fiber, const uint32_t *generation, uint32_t seen);
  void prepare(Fiber &fiber);
  Fiber *choose();
  bool canRun(const Fiber &fiber) const {
    return !fiber.finished &&
           !(fiber.waiting && fiber.seen == barrier.generation);
  }

  std::vector<Fiber> fibers;
  const FiberOrder order;
  Random random;
  const StepCall *call = nullptr;
  uint32_t firstGeneration = 0; // of this run
  tbq_barrier barrier = {};
  ucontext_t scheduler;
};

} // namespace

Outcome Fibers::start() {
  for (size_t i = 0; i < fibers.size(); ++i) {
    Fiber &fiber = fibers[i];
    fiber.pool = this;
    fiber.team = {static_cast<int64_t>(i),
                  count(),
                  &barrier,
                  0,
                  wait,
                  &fiber,
                  nullptr,
                  nullptr};
    Outcome created = ZeroPages::create(stackBytes, "fiber stack", fiber.stack);
    if (!created)
      return created;
  }
  return Outcome::ok();
}

void Fibers::fiberMain(unsigned high, unsigned low) {
  // makecontext passes ints only.
  auto *fiber =
      reinterpret_cast<Fiber *>(static_cast<uintptr_t>(high) << 32 | low);
  (*fiber->pool->call)(fiber->team);
  fiber->finished = true;
}

void Fibers::wait(void *argument, const uint32_t *, uint32_t seen) {
  auto *fiber = static_cast<Fiber *>(argument);
  fiber->waiting = true;
  fiber->seen = seen;
  swapcontext(&fiber->context, &fiber->pool->scheduler);
  fiber->waiting = false;
}

void Fibers::prepare(Fiber &fiber) {
  fiber.finished = fiber.waiting = false;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.data();
  fiber.context.uc_stack.ss_size = stackBytes;
  fiber.context.uc_link = &scheduler;
  auto address = reinterpret_cast<uintptr_t>(&fiber);
  makecontext(&fiber.context, reinterpret_cast<void (*)()>(fiberMain), 2,
              static_cast<unsigned>(address >> 32),
              static_cast<unsigned>(address));
}

/// The next fiber to run; null if none can.
Fibers::Fiber *Fibers::choose() {
  size_t size = fibers.size();
  if (order == FiberOrder::Random) {
    uint32_t candidates = 0;
    Fiber *chosen = nullptr;
    for (Fiber &fiber : fibers)
      if (canRun(fiber) && random.below(++candidates) == 0)
        chosen = &fiber;
    return chosen;
  }
  bool up = (order == FiberOrder::Forward) ==
            ((barrier.generation - firstGeneration) % 2 == 0);
  for (size_t i = 0; i < size; ++i) {
    Fiber &fiber = fibers[up ? i : size - 1 - i];
    if (canRun(fiber))
      return &fiber;
  }
  return nullptr;
}

Outcome Fibers::run(const StepCall &stepCall) {
  call = &stepCall;
  firstGeneration = barrier.generation;
  for (Fiber &fiber : fibers)
    prepare(fiber);
  while (Fiber *fiber = choose())
    swapcontext(&scheduler, &fiber->context);

  std::string stuck;
  for (const Fiber &fiber : fibers)
    if (!fiber.finished)
      stuck += " " + std::to_string(fiber.team.worker);
  if (stuck.empty() && barrier.arrived == 0)
    return Outcome::ok();
  barrier = {};
  return Outcome::failure(TBQ_ERROR_INTERNAL, "step",
                          "workers wait at a barrier that others never reach:" +
                              stuck);
}

Outcome tbq::createFibers(int64_t count, FiberOrder order, uint64_t seed,
                          std::unique_ptr<Workers> &workers) {
  if (Outcome checked = checkWorkerCount(count); !checked)
    return checked;
  auto fibers = std::make_unique<Fibers>(count, order, seed);
  Outcome started = fibers->start();
  if (started)
    workers = std::move(fibers);
  return started;
}
