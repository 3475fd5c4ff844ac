// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Writes, finds and judges the file that format/Sidecar.h describes.
// Invariant: nothing from the file is used before its header's hash and the
// file's size agree with it.
#include "format/Sidecar.h"

#include "format/BoundedReader.h"
#include "format/BoundedWriter.h"
#include "format/CheckedSize.h"

#include <cstring>

using namespace tbq;

static constexpr char magic[] = "TBQWEIGH";
static constexpr uint64_t hashedBytes =
    sidecarHeaderBytes - sizeof(Sha256Digest);

std::array<uint8_t, sidecarHeaderBytes>
tbq::encodeSidecarHeader(const SidecarHeader &header) {
  std::array<uint8_t, sidecarHeaderBytes> bytes{};
  BoundedWriter writer(bytes.data(), bytes.size());
  writer.writeString(magic);
  writer.write<uint32_t>(sidecarVersion);
  writer.write<uint32_t>(sidecarHeaderBytes);
  writer.write(header.weightsSize);
  writer.writeBytes(header.weightsHash.data(), header.weightsHash.size());
  Sha256Digest own = sha256(bytes.data(), hashedBytes);
  writer.seek(hashedBytes);
  writer.writeBytes(own.data(), own.size());
  return bytes;
}

static Sha256Digest readDigest(BoundedReader &reader) {
  Sha256Digest digest;
  std::memcpy(digest.data(), *reader.readBytes(digest.size()), digest.size());
  return digest;
}

Result<SidecarHeader> tbq::readSidecarHeader(const uint8_t *data, uint64_t size,
                                             const std::string &file) {
  if (size == 0)
    return makeError(file, "", "empty file, not the weights of a model");
  BoundedReader reader(data, size);
  if (reader.readString(8) != std::string_view(magic))
    return makeError(file, "sidecar.magic", "not the weights of a model");
  if (size < sidecarHeaderBytes)
    return makeError(file, "sidecar.header",
                     "cut short: " + std::to_string(size) +
                         " bytes, smaller than a header");
  auto version = *reader.read<uint32_t>();
  if (version != sidecarVersion)
    return makeError(file, "sidecar.version",
                     "must be " + std::to_string(sidecarVersion) + " (got " +
                         std::to_string(version) + ")");
  auto headerSize = *reader.read<uint32_t>();
  if (headerSize != sidecarHeaderBytes)
    return makeError(file, "sidecar.size",
                     "must be " + std::to_string(sidecarHeaderBytes) +
                         " (got " + std::to_string(headerSize) + ")");
  SidecarHeader header;
  header.weightsSize = *reader.read<uint64_t>();
  header.weightsHash = readDigest(reader);
  reader.seek(hashedBytes);
  if (readDigest(reader) != sha256(data, hashedBytes))
    return makeError(file, "sidecar.sha256", "header is damaged");
  CheckedSize whole = checkedAdd(sidecarHeaderBytes, header.weightsSize);
  if (!whole || *whole != size)
    return makeError(file, "sidecar.weights",
                     std::to_string(header.weightsSize) +
                         " bytes and a header, but the file has " +
                         std::to_string(size) + ": cut short or overwritten");
  return header;
}

std::string tbq::sidecarPath(const std::string &path) {
  return path + ".weights";
}

bool tbq::isSidecarName(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

Result<MappedFile> tbq::mapSidecar(const std::string &path,
                                   const Manifest::Weights &weights) {
  // The folder with its slash; empty for a name without one.
  std::string folder = path.substr(0, path.rfind('/') + 1);
  Result<MappedFile> file = MappedFile::open(folder + *weights.sidecar);
  if (!file)
    return Error{file.error().message + " (it holds the model's weights)"};
  return file;
}

Status tbq::checkSidecar(const MappedFile &sidecar,
                         const Manifest::Weights &weights) {
  Result<SidecarHeader> header =
      readSidecarHeader(sidecar.data(), sidecar.size(), sidecar.path());
  if (!header)
    return header.error();
  if (header->weightsSize != weights.bytes ||
      toHex(header->weightsHash) != weights.sha256)
    return makeError(sidecar.path(), "sidecar.weights",
                     "are another model's: SHA-256 " +
                         toHex(header->weightsHash) + ", the manifest says " +
                         weights.sha256);
  return Status::ok();
}
