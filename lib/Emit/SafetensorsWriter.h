// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A safetensors file whose tensors are known before their bytes, which may then
// come in any order.
// Invariant: tensors lie in the order of the reference implementation (wider
// types first, then by name), so that it writes the same bytes.
#ifndef TBQ_LIB_EMIT_SAFETENSORSWRITER_H
#define TBQ_LIB_EMIT_SAFETENSORSWRITER_H

#include "OutputFile.h"

#include "tbq/Checkpoint.h"

#include "llvm/ADT/StringMap.h"

namespace mlir::tbq {

struct TensorShape {
  std::string name;
  ::tbq::DType dtype;
  std::vector<int64_t> shape;

  uint64_t bytes() const;
};

class SafetensorsWriter {
public:
  /// Takes the room that the file needs at once.
  static ::tbq::Result<SafetensorsWriter>
  create(const std::string &path, std::vector<TensorShape> tensors);

  /// All bytes of a tensor named to create().
  ::tbq::Status write(llvm::StringRef name, llvm::ArrayRef<uint8_t> bytes);
  /// Gives the file its name.
  ::tbq::Status keep() { return file.keep(); }

private:
  explicit SafetensorsWriter(OutputFile file) : file(std::move(file)) {}

  OutputFile file;
  llvm::StringMap<uint64_t> offsets; // of each tensor in the file
};

} // namespace mlir::tbq

#endif // TBQ_LIB_EMIT_SAFETENSORSWRITER_H
