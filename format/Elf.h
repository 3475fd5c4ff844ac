// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The little of ELF that an artifact needs: is this a 64-bit little-endian
// shared object for a machine, and where in the file is a section.
// Invariant: a returned range lies inside the image.
#ifndef TBQ_FORMAT_ELF_H
#define TBQ_FORMAT_ELF_H

#include "format/Result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tbq {

struct FileRange {
  uint64_t offset = 0;
  uint64_t size = 0;

  uint64_t end() const { return offset + size; }
};

/// Checks the ELF header of `size` bytes at `data`; `machine` is an e_machine
/// value (EM_X86_64, EM_AARCH64). Errors name `file` and the header field.
Status checkElfHeader(const uint8_t *data, uint64_t size,
                      const std::string &file, uint16_t machine);

/// Where the section called `name` lies in the file; nothing if it has none.
Result<std::optional<FileRange>> findElfSection(const uint8_t *data,
                                                uint64_t size,
                                                const std::string &file,
                                                std::string_view name);

} // namespace tbq

#endif // TBQ_FORMAT_ELF_H
