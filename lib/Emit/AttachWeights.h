// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Weights are linked as memory without bytes and then written behind the linked
// image, so that neither the linker's memory nor a second copy on the disk
// grows with them.
#ifndef TBQ_LIB_EMIT_ATTACHWEIGHTS_H
#define TBQ_LIB_EMIT_ATTACHWEIGHTS_H

#include "format/Result.h"

#include "llvm/ADT/ArrayRef.h"

#include <cstdint>
#include <string>

namespace mlir::tbq {

/// Of x86-64, and of aarch64 with pages of 4 KiB.
inline constexpr uint64_t hugePageBytes = 2 << 20;

/// Makes the weights section of a linked image one of the file, read-only, and
/// returns the offset behind the image where its bytes are to stand.
::tbq::Result<uint64_t> attachWeights(llvm::MutableArrayRef<uint8_t> image,
                                      const std::string &path);

} // namespace mlir::tbq

#endif // TBQ_LIB_EMIT_ATTACHWEIGHTS_H
