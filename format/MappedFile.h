// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A regular file mapped read-only and private, or read whole into memory with
// a limit on its size. Input: a path, or an open descriptor and the path to
// name it by in errors.
// Invariant: [data, data + size) stays readable until the object is destroyed
// (a file that another program truncates meanwhile is outside this promise).
#ifndef TBQ_FORMAT_MAPPEDFILE_H
#define TBQ_FORMAT_MAPPEDFILE_H

#include "format/Result.h"

#include <cstdint>
#include <string>
#include <utility>

namespace tbq {

/// Owns a file descriptor.
class FileDescriptor {
public:
  explicit FileDescriptor(int number = -1) : number(number) {}
  FileDescriptor(FileDescriptor &&other) noexcept : number(other.release()) {}
  FileDescriptor &operator=(FileDescriptor &&other) noexcept;
  ~FileDescriptor();

  bool valid() const { return number >= 0; }
  int get() const { return number; }
  int release() { return std::exchange(number, -1); }

private:
  int number;
};

/// Opens for reading. A FIFO or device is not waited for; callers learn that it
/// is not a regular file from what they do next.
Result<FileDescriptor> openForReading(const std::string &path);

class MappedFile {
public:
  static Result<MappedFile> open(const std::string &path);
  /// The descriptor is only borrowed; a mapping outlives it.
  static Result<MappedFile> fromDescriptor(int descriptor, std::string path);

  MappedFile(MappedFile &&other) noexcept { swap(other); }
  MappedFile &operator=(MappedFile &&other) noexcept {
    swap(other);
    return *this;
  }
  ~MappedFile();

  const uint8_t *data() const { return bytes; }
  uint64_t size() const { return length; }
  const std::string &path() const { return name; }

  /// Asks the system to read the file soon: a hint, which changes no result.
  void readAhead() const;

  /// Returns the pages inside [offset, offset + size) to the system; a later
  /// read brings them back from the file. A range outside the file is clipped.
  void dropPages(uint64_t offset, uint64_t size) const;

private:
  MappedFile() = default;
  void swap(MappedFile &other) noexcept;

  const uint8_t *bytes = nullptr; // null for an empty file
  uint64_t length = 0;
  std::string name;
};

/// The whole content of a regular file of at most `limit` bytes.
Result<std::string> readWholeFile(int descriptor, const std::string &path,
                                  uint64_t limit);

} // namespace tbq

#endif // TBQ_FORMAT_MAPPEDFILE_H
