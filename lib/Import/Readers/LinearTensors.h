// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Checks that the readers of a linear's tensors share.
#ifndef TBQ_READERS_LINEARTENSORS_H
#define TBQ_READERS_LINEARTENSORS_H

#include "tbq/Checkpoint.h"

namespace tbq {

/// "[1, 2]" of the element `at`, counted row by row.
std::string indexOf(const TensorView &tensor, uint64_t at);

/// Bits past the last of `columns` columns in the rows of U8 planes.
Status checkUnusedBits(const TensorView &planes, int64_t columns);

Status checkFiniteF16(const TensorView &tensor);

/// Reads the salient part of a binary linear whose planes are read already, if
/// NAME.salient_mask exists.
Status readSalient(const Checkpoint &checkpoint, LinearTensors &linear);

} // namespace tbq

#endif // TBQ_READERS_LINEARTENSORS_H
