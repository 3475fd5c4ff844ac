// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Files for readers that take a mapped file or a directory.
// Invariant: a process reuses its one folder, and removes it at its end.
#ifndef TBQ_TEST_FUZZ_FUZZFILES_H
#define TBQ_TEST_FUZZ_FUZZFILES_H

#include "FuzzInput.h"
#include "format/MappedFile.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

namespace tbq::fuzz {

/// The bytes as a mapped file that is on no disk.
inline MappedFile mapBytes(std::string_view bytes) {
  FileDescriptor file(memfd_create("fuzz", MFD_CLOEXEC));
  require(write(file.get(), bytes.data(), bytes.size()) ==
          ssize_t(bytes.size()));
  auto mapped = MappedFile::fromDescriptor(file.get(), "file");
  require(bool(mapped));
  return *std::move(mapped);
}

class FuzzDirectory {
public:
  FuzzDirectory() {
    // In memory where there is such a place: it is written for every input.
    std::filesystem::path parent = "/dev/shm";
    if (access(parent.c_str(), W_OK) != 0)
      parent = std::filesystem::temp_directory_path();
    name = (parent / "tbq-fuzz-XXXXXX").string();
    require(mkdtemp(name.data()) != nullptr);
  }
  ~FuzzDirectory() { std::filesystem::remove_all(name); }

  const std::string &path() const { return name; }
  void write(const std::string &file, std::string_view content) const {
    std::ofstream(name + "/" + file, std::ios::binary) << content;
  }

private:
  std::string name;
};

/// 8 bytes of length, the header, the data.
inline std::string safetensorsBytes(std::string_view header,
                                    std::string_view data) {
  std::string bytes;
  for (int i = 0; i < 8; ++i)
    bytes += static_cast<char>(uint64_t(header.size()) >> (8 * i));
  return bytes.append(header).append(data);
}

} // namespace tbq::fuzz

#endif // TBQ_TEST_FUZZ_FUZZFILES_H
