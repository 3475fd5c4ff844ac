// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A file that appears under its name whole, or not at all: written under
// another name in the same folder, then renamed.
// Invariant: unless keep() succeeded, nothing is left, also after a signal.
#ifndef TBQ_LIB_EMIT_OUTPUTFILE_H
#define TBQ_LIB_EMIT_OUTPUTFILE_H

#include "format/Result.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/FileSystem.h"

#include <optional>
#include <string>

namespace mlir::tbq {

class OutputFile {
public:
  /// Errors name `path`, never the temporary file.
  static ::tbq::Result<OutputFile> create(const std::string &path);
  OutputFile(OutputFile &&other) noexcept;
  ~OutputFile();

  const std::string &temporaryPath() const { return file->TmpName; }
  ::tbq::Status write(llvm::ArrayRef<uint8_t> bytes);
  /// Writes at `offset`, where something was written before.
  ::tbq::Status overwrite(uint64_t offset, llvm::ArrayRef<uint8_t> bytes);
  /// Fails if the file system has no room for `bytes` more.
  ::tbq::Status checkRoom(uint64_t bytes);
  /// Gives the file its name.
  ::tbq::Status keep();

  /// Both or neither: `last` has its name only if `first` has, and if `last`
  /// cannot get it, the file that `first` replaced is there again, where the
  /// file system has hard links.
  static ::tbq::Status keepBoth(OutputFile &first, OutputFile &last);

private:
  OutputFile(std::string path, llvm::sys::fs::TempFile file)
      : path(std::move(path)), file(std::move(file)) {}

  std::string path;
  std::optional<llvm::sys::fs::TempFile> file; // nothing once kept or moved
};

} // namespace mlir::tbq

#endif // TBQ_LIB_EMIT_OUTPUTFILE_H
