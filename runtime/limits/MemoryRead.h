// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How fast a team of workers can read bytes where they lie: the limit that
// decoding is held against. Input: a mapping; output: bytes a second, the best
// of plain and prefetched loads with 1 and 4 streams a worker.
// Invariant: every byte (of whole 4-stream blocks) is loaded in every pass.
#ifndef TBQ_RUNTIME_LIMITS_MEMORYREAD_H
#define TBQ_RUNTIME_LIMITS_MEMORYREAD_H

#include "runtime/Workers.h"

namespace tbq {

struct ReadLimit {
  double bytesPerSecond = 0;
  const char *method = ""; // which of the four was best
};

/// Reads `size` bytes at `data` for about `seconds` for each of the methods.
ReadLimit measureReadLimit(Workers &workers, const uint8_t *data, uint64_t size,
                           double seconds);

} // namespace tbq

#endif // TBQ_RUNTIME_LIMITS_MEMORYREAD_H
