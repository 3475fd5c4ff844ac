// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which of a model's kernels a GPU gets: its machine code, if the artifact has
// it, else PTX, which the driver compiles.
#ifndef TBQ_RUNTIME_CUDAKERNELS_H
#define TBQ_RUNTIME_CUDAKERNELS_H

#include "runtime/CudaDriver.h"
#include "runtime/Model.h"

namespace tbq {

/// The cubin that runs on a GPU of this compute capability; null: none does.
/// Machine code is of one major version and of its minor one or a later one;
/// with a letter behind the number ("sm_90a"), of that one alone.
const Manifest::Target::Cubin *findCubin(const Manifest::Target &target,
                                         int major, int minor);

Outcome loadCudaModule(const CudaDriver &driver, const Model &model, int device,
                       const std::string &purpose, CudaModule &module);

} // namespace tbq

#endif // TBQ_RUNTIME_CUDAKERNELS_H
