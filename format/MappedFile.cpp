// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Files as memory, over POSIX open, fstat, mmap and read.
// Input: paths and descriptors; output: views or one-line errors.
// Invariant: only regular files are mapped or read; their size is taken once,
// from the open descriptor.
#include "format/MappedFile.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace tbq;

static Error systemError(const std::string &path, const char *action) {
  return makeError(path, "", std::string(action) + ": " + strerror(errno));
}

FileDescriptor &FileDescriptor::operator=(FileDescriptor &&other) noexcept {
  std::swap(number, other.number);
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (valid())
    ::close(number);
}

Result<FileDescriptor> tbq::openForReading(const std::string &path) {
  int number;
  do
    number = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  while (number < 0 && errno == EINTR);
  if (number < 0)
    return systemError(path, "cannot open");
  return FileDescriptor(number);
}

static Result<uint64_t> regularFileSize(int descriptor,
                                        const std::string &path) {
  struct stat info;
  if (::fstat(descriptor, &info) != 0)
    return systemError(path, "cannot read its size");
  if (!S_ISREG(info.st_mode))
    return makeError(path, "",
                     S_ISDIR(info.st_mode) ? "is a directory, expected a file"
                                           : "is not a regular file");
  return static_cast<uint64_t>(info.st_size);
}

Result<MappedFile> MappedFile::open(const std::string &path) {
  auto descriptor = openForReading(path);
  if (!descriptor)
    return descriptor.error();
  return fromDescriptor(descriptor->get(), path);
}

Result<MappedFile> MappedFile::fromDescriptor(int descriptor,
                                              std::string path) {
  auto size = regularFileSize(descriptor, path);
  if (!size)
    return size.error();
  MappedFile file;
  file.name = std::move(path);
  if (*size == 0)
    return file;
  void *address = ::mmap(nullptr, *size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  if (address == MAP_FAILED)
    return systemError(file.name, "cannot map into memory");
  file.bytes = static_cast<const uint8_t *>(address);
  file.length = *size;
  return file;
}

MappedFile::~MappedFile() {
  if (bytes)
    ::munmap(const_cast<uint8_t *>(bytes), length);
}

void MappedFile::swap(MappedFile &other) noexcept {
  std::swap(bytes, other.bytes);
  std::swap(length, other.length);
  std::swap(name, other.name);
}

void MappedFile::readAhead() const {
  if (bytes)
    ::madvise(const_cast<uint8_t *>(bytes), length, MADV_WILLNEED);
}

void MappedFile::dropPages(uint64_t offset, uint64_t size) const {
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  if (offset >= length)
    return;
  uint64_t end = offset + std::min(size, length - offset);
  uint64_t begin = offset + (page - offset % page) % page;
  // The last page of the file holds nothing beyond it and may go whole.
  if (end != length)
    end -= end % page;
  if (begin < end)
    ::madvise(const_cast<uint8_t *>(bytes) + begin, end - begin, MADV_DONTNEED);
}

Result<std::string> tbq::readWholeFile(int descriptor, const std::string &path,
                                       uint64_t limit) {
  auto size = regularFileSize(descriptor, path);
  if (!size)
    return size.error();
  if (*size > limit)
    return makeError(path, "",
                     "is " + std::to_string(*size) +
                         " bytes, more than the limit of " +
                         std::to_string(limit));
  std::string text(*size, '\0');
  uint64_t done = 0;
  while (done < text.size()) {
    ssize_t count = ::pread(descriptor, &text[done], text.size() - done,
                            static_cast<off_t>(done));
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return systemError(path, "cannot read");
    if (count == 0)
      return makeError(path, "", "became shorter while it was read");
    done += static_cast<uint64_t>(count);
  }
  return text;
}
