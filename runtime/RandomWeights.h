// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Weights that no checkpoint has, for measuring.
#ifndef TBQ_RUNTIME_RANDOMWEIGHTS_H
#define TBQ_RUNTIME_RANDOMWEIGHTS_H

#include <cstdint>

namespace tbq {

/// The same bytes each time, each word from its place alone. Read as f16 they
/// are 1.25 to 1.5, as f32 or bf16 0.03 to 0.13, of either sign: whatever a
/// layout has there, no step makes an infinity or a denormal number of it.
/// Digits of a packed weight are any.
void fillRandomly(uint8_t *to, uint64_t bytes);

} // namespace tbq

#endif // TBQ_RUNTIME_RANDOMWEIGHTS_H
