// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Names of element types and shapes, for the readers and their messages.
#ifndef TBQ_IMPORT_READERS_TENSOR_H
#define TBQ_IMPORT_READERS_TENSOR_H

#include "tbq/Checkpoint.h"

namespace tbq {

/// The element type a safetensors header calls `name`.
std::optional<DType> dtypeNamed(std::string_view name);

/// "[64, 128]", cut where it gets long.
std::string shapeText(const std::vector<int64_t> &shape);

} // namespace tbq

#endif // TBQ_IMPORT_READERS_TENSOR_H
