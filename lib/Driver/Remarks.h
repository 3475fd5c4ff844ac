// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What passes say about each layer, as one line a remark.
#ifndef TBQ_LIB_DRIVER_REMARKS_H
#define TBQ_LIB_DRIVER_REMARKS_H

#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/StringRef.h"

#include <functional>

namespace mlir::tbq {

/// Hands on "remark: CATEGORY: LAYER: what became of it" for every remark whose
/// category (graph, pack, cpu) the regular expression matches.
void enableRemarks(MLIRContext &context, llvm::StringRef filter,
                   std::function<void(llvm::StringRef)> print);

} // namespace mlir::tbq

#endif // TBQ_LIB_DRIVER_REMARKS_H
