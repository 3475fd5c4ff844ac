// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which tensor names a llama checkpoint may hold.
#ifndef TBQ_IMPORT_READERS_LLAMATENSORS_H
#define TBQ_IMPORT_READERS_LLAMATENSORS_H

#include "tbq/Checkpoint.h"

namespace tbq {

/// An error for the first tensor that no part of the configured model owns: a
/// part that would be left out silently makes another model.
Status checkLlamaTensorNames(const std::vector<TensorView> &tensors,
                             const LlamaConfig &config);

} // namespace tbq

#endif // TBQ_IMPORT_READERS_LLAMATENSORS_H
