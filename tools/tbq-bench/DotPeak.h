// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How many 8-bit multiply-adds a team of workers can do when nothing is loaded
// or stored: the limit that prefill is held against. Registers only, so no
// product of matrices reaches it.
// Output: operations a second, two for a multiply-add; 0 where the processor
// has no vpdpbusd of 512 bits.
#ifndef TBQ_TOOLS_TBQBENCH_DOTPEAK_H
#define TBQ_TOOLS_TBQBENCH_DOTPEAK_H

#include "runtime/Workers.h"

namespace tbq {

/// The best of four tries, about `seconds` together.
double measureDotPeak(Workers &workers, double seconds);

} // namespace tbq

#endif // TBQ_TOOLS_TBQBENCH_DOTPEAK_H
