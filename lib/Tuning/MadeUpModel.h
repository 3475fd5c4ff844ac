// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A model directory of shapes alone, to measure with where the user names none:
// a llama of 1.1B's widths and a few layers, more than caches hold. Its weights
// are holes of a file, so it takes no room on a disk.
#ifndef TBQ_LIB_TUNING_MADEUPMODEL_H
#define TBQ_LIB_TUNING_MADEUPMODEL_H

#include "format/Result.h"

#include <string>

namespace mlir::tbq {

/// Writes its files into a folder that is there.
::tbq::Status writeMadeUpModel(const std::string &folder);

} // namespace mlir::tbq

#endif // TBQ_LIB_TUNING_MADEUPMODEL_H
