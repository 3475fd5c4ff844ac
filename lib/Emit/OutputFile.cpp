// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Temporary files next to their final name, and text output.
// Invariant: every write is checked; an interrupted one is continued.

#include "OutputFile.h"

#include "tbq/Emit.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Errno.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Signals.h"
#include "llvm/Support/raw_ostream.h"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

using namespace mlir::tbq;
using ::tbq::makeError;
using ::tbq::Result;
using ::tbq::Status;
namespace fs = llvm::sys::fs;

Result<OutputFile> OutputFile::create(const std::string &path) {
  fs::file_status status;
  if (!fs::status(path, status) && !fs::is_regular_file(status))
    return makeError(path, "", "exists and is not a regular file");
  auto file = fs::TempFile::create(path + ".tmp-%%%%%%%%");
  if (!file)
    return makeError(path, "", llvm::toString(file.takeError()));
  return OutputFile(path, std::move(*file));
}

OutputFile::OutputFile(OutputFile &&other) noexcept
    : path(std::move(other.path)), file(std::move(other.file)) {
  other.file.reset();
}

OutputFile::~OutputFile() {
  if (file)
    llvm::consumeError(file->discard());
}

Status OutputFile::write(llvm::ArrayRef<uint8_t> bytes) {
  while (!bytes.empty()) {
    ssize_t count = ::write(file->FD, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return makeError(path, "", llvm::sys::StrError());
    bytes = bytes.drop_front(count);
  }
  return Status::ok();
}

Status OutputFile::overwrite(uint64_t offset, llvm::ArrayRef<uint8_t> bytes) {
  while (!bytes.empty()) {
    ssize_t count = ::pwrite(file->FD, bytes.data(), bytes.size(),
                             static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return makeError(path, "", llvm::sys::StrError());
    bytes = bytes.drop_front(count);
    offset += count;
  }
  return Status::ok();
}

Status OutputFile::checkRoom(uint64_t bytes) {
  // Taken and given back: an estimate of free blocks would know no quota.
  int error = ::posix_fallocate(file->FD, 0, static_cast<off_t>(bytes));
  if (::ftruncate(file->FD, 0) != 0 && !error)
    error = errno;
  if (error)
    return makeError(path, "", llvm::sys::StrError(error));
  return Status::ok();
}

Status OutputFile::keep() {
  llvm::Error error = file->keep(path);
  file.reset();
  if (error)
    return makeError(path, "", llvm::toString(std::move(error)));
  return Status::ok();
}

Status OutputFile::keepBoth(OutputFile &first, OutputFile &last) {
  const std::string path = first.path, older = first.temporaryPath() + ".old";
  const bool hadOlder = ::link(path.c_str(), older.c_str()) == 0;
  if (hadOlder)
    llvm::sys::RemoveFileOnSignal(older);
  Status kept = first.keep();
  if (kept) {
    kept = last.keep();
    if (!kept && hadOlder)
      ::rename(older.c_str(), path.c_str());
    else if (!kept)
      ::unlink(path.c_str());
  }
  if (hadOlder) {
    ::unlink(older.c_str());
    llvm::sys::DontRemoveFileOnSignal(older);
  }
  return kept;
}

Status mlir::tbq::checkOutput(const std::string &path) {
  Result<OutputFile> file = OutputFile::create(path);
  return file ? Status::ok() : Status(file.error());
}

Status mlir::tbq::writeOutput(const std::string &path,
                              llvm::StringRef content) {
  fs::file_status status;
  bool exists = !fs::status(path, status);
  if (path == "-" ||
      (exists && !fs::is_regular_file(status) && !fs::is_directory(status))) {
    // A stream: stdout, a pipe, a device.
    std::error_code code;
    llvm::raw_fd_ostream out(path, code);
    if (!code) {
      out << content;
      out.flush();
      code = out.error();
      out.clear_error();
    }
    if (code)
      return makeError(path, "", code.message());
    return Status::ok();
  }
  Result<OutputFile> file = OutputFile::create(path);
  if (!file)
    return file.error();
  if (Status written = file->write(llvm::arrayRefFromStringRef(content));
      !written)
    return written;
  return file->keep();
}
