// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// An ELF relocatable object that holds data alone: sections, each with a hidden
// symbol at its start and an absolute one, NAME_bytes, for its size. A section
// has bytes, which are streamed, or stands for memory that gets them later.
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
  /// A section of `size` bytes that are not in the object. The linker puts it
  /// last, into a segment of its own.
  void addMemory(std::string name, std::string symbol, uint64_t alignment,
                 uint64_t size);
  /// No section: the address is null, the size is stated all the same.
  void addAbsent(std::string symbol, uint64_t size);
  ::tbq::Status finish();
  /// Bytes written so far.
  uint64_t size() const { return position; }

private:
  struct Section {
    std::string name, symbol; // no name: absent
    uint64_t alignment, offset, size;
    bool isMemory = false;
  };

  DataObject(OutputFile &file, uint16_t machine)
      : file(&file), machine(machine) {}
  ::tbq::Status pad(uint64_t alignment);

  OutputFile *file;
  uint16_t machine;
  uint64_t position = 0;
  std::vector<Section> sections;
  bool inSection = false; // whether appended bytes belong to the last one
};

} // namespace mlir::tbq

#endif // TBQ_LIB_EMIT_DATAOBJECT_H
