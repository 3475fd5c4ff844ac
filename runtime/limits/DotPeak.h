// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How many 8-bit multiply-adds a team of workers can do when nothing is loaded
// or stored: the limit that prefill is held against. Registers only, so no
// product of matrices reaches it.
// Output: operations a second, two for a multiply-add; 0 where the processor
// has no such instructions, or there is no loop of them here.
#ifndef TBQ_RUNTIME_LIMITS_DOTPEAK_H
#define TBQ_RUNTIME_LIMITS_DOTPEAK_H

#include "runtime/Workers.h"

namespace tbq {

/// vpmaddubsw and what adds its products to 32 bits; vpdpbusd of 512 bits;
/// tdpbsud, as any product of tiles of bytes.
enum class DotInstructions { Avx2, Vnni, Amx };

/// The best of four tries, about `seconds` together.
double measureDotPeak(Workers &workers, DotInstructions instructions,
                      double seconds);

} // namespace tbq

#endif // TBQ_RUNTIME_LIMITS_DOTPEAK_H
