// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// An ELF relocatable object that holds data alone: read-only sections, each
// with a hidden symbol at its start and an absolute one, NAME_bytes, for its
// size. Sections are streamed; memory does not grow with them.
#ifndef TBQ_LIB_EMIT_DATAOBJECT_H
#define TBQ_LIB_EMIT_DATAOBJECT_H

#include "OutputFile.h"

#include "llvm/TargetParser/Triple.h"

#include <string>
#include <vector>

namespace mlir::tbq {

class DataObject {
public:
  /// `file` is empty and outlives the object.
  static ::tbq::Result<DataObject> create(OutputFile &file,
                                          const llvm::Triple &triple);

  /// What follows goes into a new section. `alignment` is a power of two.
  ::tbq::Status beginSection(std::string name, std::string symbol,
                             uint64_t alignment);
  ::tbq::Status append(llvm::ArrayRef<uint8_t> bytes);
  ::tbq::Status finish();
  /// Bytes written so far.
  uint64_t size() const { return position; }

private:
  struct Section {
    std::string name, symbol;
    uint64_t alignment, offset, size;
  };

  DataObject(OutputFile &file, uint16_t machine)
      : file(&file), machine(machine) {}
  ::tbq::Status pad(uint64_t alignment);

  OutputFile *file;
  uint16_t machine;
  uint64_t position = 0;
  std::vector<Section> sections;
};

} // namespace mlir::tbq

#endif // TBQ_LIB_EMIT_DATAOBJECT_H
