// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Opens files of a model directory by plain name, and nothing outside it.
// Invariant: no name with a slash is opened and no symbolic link is followed,
// with one exception: in a Hugging Face cache (models--*/snapshots/REVISION)
// links of the form ../../blobs/NAME reach the cache's own blobs.
#ifndef TBQ_IMPORT_READERS_MODELDIRECTORY_H
#define TBQ_IMPORT_READERS_MODELDIRECTORY_H

#include "format/MappedFile.h"
#include "format/Result.h"

#include <optional>
#include <string>

namespace tbq {

class ModelDirectory {
public:
  static Result<ModelDirectory> open(const std::string &path);
  /// Whether a file of this name lies in the directory itself.
  static bool isPlainName(const std::string &name);

  const std::string &path() const { return directory; }
  /// The last part of the directory's absolute path.
  const std::string &baseName() const { return base; }
  /// How errors name a file of the directory.
  std::string pathOf(const std::string &name) const;

  /// Nothing if no such file exists.
  Result<std::optional<FileDescriptor>> openFile(const std::string &name) const;
  Result<std::optional<MappedFile>> mapFile(const std::string &name) const;
  Result<std::optional<std::string>> readFile(const std::string &name,
                                              uint64_t limit) const;

private:
  Result<FileDescriptor> openBlob(const std::string &name) const;

  std::string directory;
  std::string base;
  bool hubSnapshot = false; // lies in models--*/snapshots/
  FileDescriptor root;
};

} // namespace tbq

#endif // TBQ_IMPORT_READERS_MODELDIRECTORY_H
