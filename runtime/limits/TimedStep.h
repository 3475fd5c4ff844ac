// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How long workers take for a step that only measures: it gets `what` as its
// arena and `count` as its count.
#ifndef TBQ_RUNTIME_LIMITS_TIMEDSTEP_H
#define TBQ_RUNTIME_LIMITS_TIMEDSTEP_H

#include "runtime/Workers.h"

#include <chrono>

namespace tbq {

/// Seconds; 0 if it did not run, but threads have no way to fail.
inline double secondsOfStep(Workers &workers, tbq_step_fn step, void *what,
                            const uint8_t *weights, int64_t count) {
  auto begin = std::chrono::steady_clock::now();
  StepCall call = {step,    static_cast<uint8_t *>(what),
                   weights, nullptr,
                   nullptr, nullptr,
                   {},      count,
                   0};
  if (!workers.run(call))
    return 0;
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin)
      .count();
}

} // namespace tbq

#endif // TBQ_RUNTIME_LIMITS_TIMEDSTEP_H
