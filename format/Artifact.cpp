// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Writes and judges the trailer that format/Artifact.h describes.
// Invariant: nothing from the file is used as an offset before it was compared
// with the file's size.
#include "format/Artifact.h"

#include "format/BoundedReader.h"
#include "format/BoundedWriter.h"
#include "format/CheckedSize.h"
#include "format/MappedFile.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

using namespace tbq;

static constexpr char magic[] = "TBQMODEL";
static constexpr uint64_t hashedTrailerBytes =
    artifactTrailerBytes - sizeof(Sha256Digest);

std::array<uint8_t, artifactTrailerBytes>
tbq::encodeTrailer(const ArtifactTrailer &trailer) {
  std::array<uint8_t, artifactTrailerBytes> bytes{};
  BoundedWriter writer(bytes.data(), bytes.size());
  writer.writeString(magic);
  writer.write<uint32_t>(artifactTrailerVersion);
  writer.write<uint32_t>(artifactTrailerBytes);
  writer.write(trailer.imageSize);
  for (const FileRange *range :
       {&trailer.manifest, &trailer.tokenizer, &trailer.weights}) {
    writer.write(range->offset);
    writer.write(range->size);
  }
  writer.writeBytes(trailer.imageHash.data(), trailer.imageHash.size());
  Sha256Digest own = sha256(bytes.data(), hashedTrailerBytes);
  writer.writeBytes(own.data(), own.size());
  return bytes;
}

static Sha256Digest readDigest(BoundedReader &reader) {
  Sha256Digest digest;
  std::memcpy(digest.data(), *reader.readBytes(digest.size()), digest.size());
  return digest;
}

Result<ArtifactTrailer> tbq::readTrailer(const uint8_t *data, uint64_t size,
                                         const std::string &file) {
  if (size == 0)
    return makeError(file, "", "empty file, not a model artifact");
  if (size < artifactTrailerBytes)
    return makeError(file, "trailer.magic",
                     "not a model artifact (" + std::to_string(size) +
                         " bytes, smaller than a trailer)");
  const uint8_t *start = data + (size - artifactTrailerBytes);
  BoundedReader reader(start, artifactTrailerBytes);
  if (*reader.readString(8) != magic)
    return makeError(file, "trailer.magic",
                     "no model trailer at the end of the file: not a model "
                     "artifact, or cut short");
  auto version = *reader.read<uint32_t>();
  if (version != artifactTrailerVersion)
    return makeError(file, "trailer.version",
                     "must be " + std::to_string(artifactTrailerVersion) +
                         " (got " + std::to_string(version) + ")");
  auto trailerSize = *reader.read<uint32_t>();
  if (trailerSize != artifactTrailerBytes)
    return makeError(file, "trailer.size",
                     "must be " + std::to_string(artifactTrailerBytes) +
                         " (got " + std::to_string(trailerSize) + ")");
  ArtifactTrailer trailer;
  trailer.imageSize = *reader.read<uint64_t>();
  for (FileRange *range :
       {&trailer.manifest, &trailer.tokenizer, &trailer.weights}) {
    range->offset = *reader.read<uint64_t>();
    range->size = *reader.read<uint64_t>();
  }
  trailer.imageHash = readDigest(reader);
  if (readDigest(reader) != sha256(start, hashedTrailerBytes))
    return makeError(file, "trailer.sha256", "trailer is damaged");

  if (trailer.imageSize != size - artifactTrailerBytes)
    return makeError(file, "trailer.image_size",
                     std::to_string(trailer.imageSize) +
                         " bytes and a trailer, but the file has " +
                         std::to_string(size));
  const std::pair<const char *, const FileRange *> ranges[] = {
      {"trailer.manifest", &trailer.manifest},
      {"trailer.tokenizer", &trailer.tokenizer},
      {"trailer.weights", &trailer.weights}};
  for (auto [field, range] : ranges) {
    CheckedSize end = checkedAdd(range->offset, range->size);
    if (!end || *end > trailer.imageSize)
      return makeError(file, field,
                       "offset " + std::to_string(range->offset) +
                           " and size " + std::to_string(range->size) +
                           " leave the image of " +
                           std::to_string(trailer.imageSize) + " bytes");
  }
  if (trailer.weights.offset % artifactWeightsAlignment)
    return makeError(file, "trailer.weights",
                     "offset " + std::to_string(trailer.weights.offset) +
                         " is not page aligned");
  return trailer;
}

/// SHA-256 of the first `imageSize` bytes at `data` without `weights`.
static Sha256Digest hashImage(const uint8_t *data, uint64_t imageSize,
                              FileRange weights) {
  Sha256 hash;
  hash.update(data, weights.offset);
  hash.update(data + weights.end(), imageSize - weights.end());
  return hash.finish();
}

Status tbq::checkImageHash(const ArtifactTrailer &trailer, const uint8_t *data,
                           const std::string &file) {
  if (hashImage(data, trailer.imageSize, trailer.weights) != trailer.imageHash)
    return makeError(file, "trailer.image_sha256",
                     "the file is damaged: its bytes do not have the recorded "
                     "hash");
  return Status::ok();
}

Status tbq::sealArtifact(const std::string &path) {
  ArtifactTrailer trailer;
  {
    Result<MappedFile> image = MappedFile::open(path);
    if (!image)
      return image.error();
    trailer.imageSize = image->size();
    const std::pair<const char *, FileRange *> sections[] = {
        {manifestSectionName, &trailer.manifest},
        {tokenizerSectionName, &trailer.tokenizer},
        {weightsSectionName, &trailer.weights}};
    for (auto [name, range] : sections) {
      Result<std::optional<FileRange>> found =
          findElfSection(image->data(), image->size(), path, name);
      if (!found)
        return found.error();
      if (*found)
        *range = **found;
      else if (name == manifestSectionName)
        return makeError(path, name, "no such ELF section");
    }
    if (trailer.weights.offset % artifactWeightsAlignment)
      return makeError(path, weightsSectionName, "not page aligned");
    trailer.imageHash =
        hashImage(image->data(), trailer.imageSize, trailer.weights);
  }
  auto bytes = encodeTrailer(trailer);
  int descriptor = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (descriptor < 0)
    return makeError(path, "", std::strerror(errno));
  FileDescriptor file(descriptor);
  uint64_t written = 0;
  while (written < bytes.size()) {
    ssize_t count =
        ::write(file.get(), bytes.data() + written, bytes.size() - written);
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return makeError(path, "trailer", std::strerror(errno));
    written += static_cast<uint64_t>(count);
  }
  return Status::ok();
}
