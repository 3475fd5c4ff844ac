// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Who runs a step: a team of workers that all call the step function with equal
// arguments and meet at its barriers (format/StepAbi.h).
// On a CPU: threads are for use; fibers, all on one thread and switched only at
// barriers, are for tests: a missing barrier gives a wrong result by certainty.
// Invariant: when run returns, every worker has returned from the step.
#ifndef TBQ_RUNTIME_WORKERS_H
#define TBQ_RUNTIME_WORKERS_H

#include "format/StepAbi.h"
#include "runtime/Model.h"
#include "runtime/Outcome.h"
#include "runtime/PhaseTimes.h"

#include <algorithm>
#include <cstdint>
#include <memory>

namespace tbq {

/// The arguments of a step that are equal for all workers.
struct StepCall {
  tbq_step_fn step;
  uint8_t *arena;
  const uint8_t *weights;
  uint8_t *caches; // of all sequences
  const int32_t *tokens;
  float *logits;
  tbq_place place; // of the first token, of one sequence
  int64_t count;
  int64_t firstLogitsRow;
  tbq_observe_fn observe = nullptr; // null: nobody looks
  void *observeContext = nullptr;
  // Of a batch, and places of its tokens.
  tbq_batch_fn batch = nullptr;
  const tbq_place *places = nullptr; // null: the tokens are of one sequence

  void operator()(tbq_team team) const {
    team.observe = observe;
    team.observe_context = observeContext;
    if (places)
      batch(arena, weights, caches, tokens, logits, places, count,
            firstLogitsRow, &team);
    else
      step(arena, weights, caches + place.cache, tokens, logits, place.position,
           count, firstLogitsRow, &team);
  }
};

/// Tokens of one step, at most, whose logits are all asked for: a vocabulary's
/// are half a megabyte a token.
constexpr int64_t mostLogitsRows = 128;
static_assert(mostLogitsRows >= kMostSequences, "a batch is one step");

/// Tokens of one step, at most.
inline int64_t countStepTokens(const tbq_model_table &table) {
  return std::max(
      {table.decode_tokens, table.prefill_tokens, table.batch_tokens});
}

inline int64_t countLogitsRows(const tbq_model_table &table) {
  return std::min(countStepTokens(table), mostLogitsRows);
}

/// Bytes from one sequence's cache to the next one's.
inline uint64_t cacheStride(const tbq_model_table &table) {
  return (table.cache_bytes + 63) / 64 * 64;
}

class Workers {
public:
  virtual ~Workers() = default;
  virtual int64_t count() const = 0;
  /// Runs the call on all workers. Threads always succeed; fibers report a
  /// barrier that not all workers reach.
  virtual Outcome run(const StepCall &call) = 0;
  /// Where all calls are to have their logits, of as many tokens as
  /// countLogitsRows says; null: anywhere.
  virtual float *logitsMemory() { return nullptr; }
  /// Of the steps so far, of an artifact that notes them; else null.
  virtual PhaseTimes *phaseTimes() { return nullptr; }
};

/// Persistent threads; the caller of run is worker 0. count 0: one a CPU.
Outcome createThreads(int64_t count, std::unique_ptr<Workers> &workers);

/// What the model is compiled for: threads, or the blocks of an NVIDIA GPU's
/// launches, with the model's weights on the device and room for the caches of
/// `sequences` sequences.
Outcome createWorkers(std::shared_ptr<const Model> model, int64_t threads,
                      std::unique_ptr<Workers> &workers, int64_t sequences = 1);
/// 1 to what a step of the model can carry.
Outcome checkSequences(const Model &model, int64_t sequences);

/// In which order fibers run between two barriers. The last to reach a barrier
/// must be the first to leave it, so Forward goes up (0, 1, ...) before the
/// first barrier, down after it, up after the next; Backward the other way
/// round. Together they put every pair of workers in both orders everywhere.
enum class FiberOrder { Forward, Backward, Random };

Outcome createFibers(int64_t count, FiberOrder order, uint64_t seed,
                     std::unique_ptr<Workers> &workers);

/// CPUs this process may run on.
int64_t usableCpus();

/// The number checked: 1 .. kMostWorkers, or the default for 0.
Outcome checkWorkerCount(int64_t &count);

} // namespace tbq

#endif // TBQ_RUNTIME_WORKERS_H
