// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Containment under the model root with openat and O_NOFOLLOW, so that what is
// checked is what is opened.
// Input: a directory and names out of untrusted files; output: descriptors.
// Invariant: see ModelDirectory.h; every refusal says what to do instead.
#include "ModelDirectory.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <unistd.h>

using namespace tbq;

bool ModelDirectory::isPlainName(const std::string &name) {
  return !name.empty() && name != "." && name != ".." && name.size() <= 255 &&
         name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

static FileDescriptor openAt(int directory, const char *name, int flags) {
  int number;
  do
    number = ::openat(directory, name,
                      flags | O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  while (number < 0 && errno == EINTR);
  return FileDescriptor(number);
}

/// Whether `path` (absolute, without links) is
/// .../models--X/snapshots/REVISION.
static bool isHubSnapshot(const std::string &path) {
  size_t revision = path.rfind('/');
  size_t snapshots = path.rfind('/', revision - 1);
  if (revision == 0 || snapshots == 0 || snapshots == std::string::npos)
    return false;
  size_t model = path.rfind('/', snapshots - 1);
  return path.compare(snapshots, revision - snapshots, "/snapshots") == 0 &&
         path.compare(model, 9, "/models--") == 0;
}

Result<ModelDirectory> ModelDirectory::open(const std::string &path) {
  ModelDirectory result;
  result.directory = path;
  result.root =
      FileDescriptor(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!result.root.valid())
    return makeError(path, "",
                     errno == ENOTDIR
                         ? "is not a directory, expected a model directory "
                           "with config.json"
                         : std::string("cannot open: ") + strerror(errno));
  std::unique_ptr<char, decltype(&std::free)> absolute(
      ::realpath(path.c_str(), nullptr), &std::free);
  if (!absolute)
    return makeError(path, "",
                     std::string("cannot resolve: ") + strerror(errno));
  std::string resolved = absolute.get();
  result.base = resolved.substr(resolved.rfind('/') + 1);
  result.hubSnapshot = isHubSnapshot(resolved);
  return result;
}

std::string ModelDirectory::pathOf(const std::string &name) const {
  return directory.back() == '/' ? directory + name : directory + "/" + name;
}

Result<std::optional<FileDescriptor>>
ModelDirectory::openFile(const std::string &name) const {
  if (!isPlainName(name))
    return makeError(directory, "",
                     "file name '" + name +
                         "' is not a plain name inside the model directory");
  FileDescriptor file = openAt(root.get(), name.c_str(), 0);
  if (file.valid())
    return std::optional(std::move(file));
  if (errno == ENOENT)
    return std::optional<FileDescriptor>();
  if (errno != ELOOP)
    return makeError(pathOf(name), "",
                     std::string("cannot open: ") + strerror(errno));
  auto blob = openBlob(name);
  if (!blob)
    return blob.error();
  return std::optional(*std::move(blob));
}

Result<FileDescriptor> ModelDirectory::openBlob(const std::string &name) const {
  char target[4096];
  ssize_t length =
      ::readlinkat(root.get(), name.c_str(), target, sizeof(target));
  if (length < 0)
    return makeError(pathOf(name), "",
                     std::string("cannot read link: ") + strerror(errno));
  std::string link(target, static_cast<size_t>(length));
  const std::string prefix = "../../blobs/";
  std::string blob;
  if (link.compare(0, prefix.size(), prefix) == 0)
    blob = link.substr(prefix.size());
  if (!hubSnapshot || !isPlainName(blob))
    return makeError(pathOf(name), "",
                     "is a symbolic link (to '" + link +
                         "'), put the file itself into the model directory");
  FileDescriptor blobs = openAt(root.get(), "../../blobs", O_DIRECTORY);
  FileDescriptor file;
  if (blobs.valid())
    file = openAt(blobs.get(), blob.c_str(), 0);
  if (!file.valid())
    return makeError(pathOf(name), "",
                     "cannot open its blob '" + link +
                         "' in the Hugging Face cache: " + strerror(errno));
  return file;
}

Result<std::optional<MappedFile>>
ModelDirectory::mapFile(const std::string &name) const {
  auto descriptor = openFile(name);
  if (!descriptor)
    return descriptor.error();
  if (!*descriptor)
    return std::optional<MappedFile>();
  auto file = MappedFile::fromDescriptor((*descriptor)->get(), pathOf(name));
  if (!file)
    return file.error();
  return std::optional(*std::move(file));
}

Result<std::optional<std::string>>
ModelDirectory::readFile(const std::string &name, uint64_t limit) const {
  auto descriptor = openFile(name);
  if (!descriptor)
    return descriptor.error();
  if (!*descriptor)
    return std::optional<std::string>();
  auto text = readWholeFile((*descriptor)->get(), pathOf(name), limit);
  if (!text)
    return text.error();
  return std::optional(*std::move(text));
}
