// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Checks that the tensors of a linear and those of the embedding share.
#ifndef TBQ_IMPORT_READERS_LINEARTENSORS_H
#define TBQ_IMPORT_READERS_LINEARTENSORS_H

#include "tbq/Checkpoint.h"

namespace tbq {

/// Bits past the last of `columns` digits of `bits` bits in the rows of a U8
/// tensor must be 0.
Status checkUnusedBits(const TensorView &digits, int64_t columns, int64_t bits);

Status checkFiniteF16(const TensorView &tensor);

/// Every tensor called LINEAR.something must be one of the linear's own.
Status checkNothingLeft(const Checkpoint &checkpoint,
                        const LinearTensors &linear);

} // namespace tbq

#endif // TBQ_IMPORT_READERS_LINEARTENSORS_H
