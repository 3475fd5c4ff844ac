// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which tensor names a checkpoint may hold.
#ifndef TBQ_IMPORT_READERS_TENSORNAMES_H
#define TBQ_IMPORT_READERS_TENSORNAMES_H

#include "tbq/Checkpoint.h"

namespace tbq {

/// An error for the first tensor that no part of the configured model owns: a
/// part that would be left out silently makes another model.
Status checkTensorNames(const std::vector<TensorView> &tensors,
                        const ModelConfig &config);

} // namespace tbq

#endif // TBQ_IMPORT_READERS_TENSORNAMES_H
