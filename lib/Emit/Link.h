// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Objects to a shared object, by lld in this process.
#ifndef TBQ_LIB_EMIT_LINK_H
#define TBQ_LIB_EMIT_LINK_H

#include "format/Result.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/TargetParser/Triple.h"

#include <string>

namespace mlir::tbq {

/// Replaces `output`. Symbols that no object defines stay undefined: who
/// makes the objects has checked them.
::tbq::Status linkShared(llvm::ArrayRef<std::string> objects,
                         const std::string &output, const llvm::Triple &triple);

} // namespace mlir::tbq

#endif // TBQ_LIB_EMIT_LINK_H
