// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The artifact's last step: link, weights streamed and hashed into the artifact
// or a sidecar, hashes into the manifest, seal, rename. Temporary files lie in
// the output's folder and are gone at the end, whatever happened.
// Invariant: memory does not grow with the weights.

#include "AttachWeights.h"
#include "DataObject.h"
#include "Link.h"
#include "OutputFile.h"

#include "tbq/Emit.h"

#include "format/Artifact.h"
#include "format/CheckedSize.h"
#include "format/MappedFile.h"
#include "format/Sha256.h"
#include "format/Sidecar.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/Path.h"

using namespace mlir::tbq;
using ::tbq::makeError;
using ::tbq::Manifest;
using ::tbq::Result;
using ::tbq::Status;

namespace {
/// Hashes weights as they pass: all of them, and each block.
class WeightHasher {
public:
  explicit WeightHasher(Manifest::Weights &weights) : weights(weights) {
    weights.bytes = 0;
    weights.hashes.clear();
    block.reserve(weights.hashBlock);
  }

  void append(llvm::ArrayRef<uint8_t> bytes) {
    whole.update(bytes.data(), bytes.size());
    weights.bytes += bytes.size();
    while (!bytes.empty()) {
      size_t count =
          std::min<size_t>(bytes.size(), weights.hashBlock - block.size());
      block.insert(block.end(), bytes.begin(), bytes.begin() + count);
      bytes = bytes.drop_front(count);
      if (block.size() == weights.hashBlock)
        closeBlock();
    }
  }

  ::tbq::Sha256Digest finish() {
    if (!block.empty())
      closeBlock();
    ::tbq::Sha256Digest digest = whole.finish();
    weights.sha256 = ::tbq::toHex(digest);
    return digest;
  }

private:
  void closeBlock() {
    for (uint64_t hash :
         ::tbq::hashWeightBlocks(block.data(), block.size(), weights.hashBlock))
      weights.hashes.push_back(hash);
    block.clear();
  }

  Manifest::Weights &weights;
  ::tbq::Sha256 whole;
  std::vector<uint8_t> block;
};

/// The artifact without the bytes of weights and their hashes.
struct LinkedImage {
  std::vector<uint8_t> bytes;
  ::tbq::FileRange manifest;
  uint64_t weightsOffset = 0; // in the artifact, if they are there
};
} // namespace

/// The weights as the manifest describes them before their hashes are known: of
/// the same length as text.
static void reserveHashes(Manifest::Weights &weights) {
  if (!weights.shapeOnly)
    weights.hashes.assign(
        *::tbq::checkedCeilDiv(weights.bytes, weights.hashBlock), 0);
  weights.sha256.assign(2 * sizeof(::tbq::Sha256Digest), '0');
}

/// Room for what linking adds to the objects: headers, tables, padding.
static constexpr uint64_t kLinkOverhead = uint64_t(256) << 10;

/// The bytes written.
static Result<uint64_t> writeData(OutputFile &file, const ArtifactParts &parts,
                                  const llvm::Triple &triple) {
  Result<DataObject> data = DataObject::create(file, triple);
  if (!data)
    return data.error();
  std::string text = ::tbq::manifestText(parts.manifest);
  const std::tuple<const char *, const char *, llvm::ArrayRef<uint8_t>>
      sections[] = {
          {::tbq::manifestSectionName, kManifestSymbol,
           llvm::arrayRefFromStringRef(text)},
          {::tbq::tokenizerSectionName, kTokenizerSymbol, parts.tokenizer},
          {".tbq.kernels", kKernelsSymbol,
           llvm::arrayRefFromStringRef(parts.kernels)}};
  for (auto [name, symbol, bytes] : sections) {
    if (symbol == kKernelsSymbol && bytes.empty()) {
      data->addAbsent(symbol, 0);
      continue;
    }
    if (Status status = data->beginSection(name, symbol, 64); !status)
      return status.error();
    if (Status status = data->append(bytes); !status)
      return status.error();
  }
  const uint64_t size = parts.manifest.weights.bytes;
  if (parts.place != WeightsPlace::Embedded)
    data->addAbsent(kWeightsSymbol, size);
  else
    data->addMemory(::tbq::weightsSectionName, kWeightsSymbol,
                    ::tbq::artifactWeightsAlignment, size);
  if (Status status = data->finish(); !status)
    return status.error();
  return data->size();
}

static Result<LinkedImage> linkImage(const std::string &path,
                                     const ArtifactParts &parts,
                                     const llvm::Triple &triple) {
  std::vector<OutputFile> files; // code, data, and both linked
  for (int i = 0; i < 3; ++i) {
    Result<OutputFile> file = OutputFile::create(path);
    if (!file)
      return file.error();
    files.push_back(std::move(*file));
  }
  if (Status status = files[0].write(llvm::arrayRefFromStringRef(parts.code));
      !status)
    return status.error();
  Result<uint64_t> dataBytes = writeData(files[1], parts, triple);
  if (!dataBytes)
    return dataBytes.error();
  // lld maps its output: where the disk is full it would die of a signal.
  if (Status status =
          files[2].checkRoom(parts.code.size() + *dataBytes + kLinkOverhead);
      !status)
    return status.error();
  const std::string &linked = files[2].temporaryPath();
  if (Status status = linkShared(
          {files[0].temporaryPath(), files[1].temporaryPath()}, linked, triple);
      !status)
    return status.error();

  Result<::tbq::MappedFile> file = ::tbq::MappedFile::open(linked);
  if (!file)
    return file.error();
  LinkedImage image;
  image.bytes.assign(file->data(), file->data() + file->size());
  auto manifest = ::tbq::findElfSection(file->data(), file->size(), path,
                                        ::tbq::manifestSectionName);
  if (!manifest)
    return manifest.error();
  image.manifest = manifest->value_or(::tbq::FileRange());
  if (parts.place == WeightsPlace::Embedded) {
    Result<uint64_t> offset = attachWeights(image.bytes, path);
    if (!offset)
      return offset.error();
    image.weightsOffset = *offset;
  }
  return image;
}

namespace {
/// Writes to a file in whole huge pages, each at a multiple of its size: what
/// is written at once is kept together in memory, and mapped so, which spares a
/// step most of its misses in the TLB.
class HugePageWriter {
public:
  /// `offset`: where the file ends.
  HugePageWriter(OutputFile &file, uint64_t offset)
      : file(file), offset(offset) {}

  Status append(llvm::ArrayRef<uint8_t> bytes) {
    while (!bytes.empty()) {
      const uint64_t filled = offset + pending.size();
      const uint64_t room = hugePageBytes - filled % hugePageBytes;
      const auto piece = bytes.take_front(room);
      pending.insert(pending.end(), piece.begin(), piece.end());
      bytes = bytes.drop_front(piece.size());
      if (piece.size() < room)
        break;
      if (Status status = flush(); !status)
        return status;
    }
    return Status::ok();
  }

  Status flush() {
    Status written = file.write(pending);
    offset += pending.size();
    pending.clear();
    return written;
  }

private:
  OutputFile &file;
  uint64_t offset;
  std::vector<uint8_t> pending;
};
} // namespace

/// Hands the weights to `file`, where they stand from `offset` on. Fills in
/// their hashes.
static Status streamWeights(OutputFile &file, uint64_t offset,
                            ArtifactParts &parts, const std::string &path,
                            ::tbq::Sha256Digest &digest) {
  Manifest::Weights &weights = parts.manifest.weights;
  const uint64_t expected = weights.bytes;
  WeightHasher hasher(weights);
  HugePageWriter writer(file, offset);
  Status written = parts.writeWeights([&](llvm::ArrayRef<uint8_t> bytes) {
    hasher.append(bytes);
    return writer.append(bytes);
  });
  if (written)
    written = writer.flush();
  if (!written)
    return written;
  digest = hasher.finish();
  if (weights.bytes != expected)
    return makeError(path, ::tbq::weightsSectionName,
                     std::to_string(weights.bytes) + " bytes written, " +
                         std::to_string(expected) + " placed");
  return Status::ok();
}

/// The sidecar, whole but for its name.
static Status writeSidecar(OutputFile &file, ArtifactParts &parts,
                           const std::string &path) {
  const uint64_t size = parts.manifest.weights.bytes;
  if (Status status = file.checkRoom(::tbq::sidecarHeaderBytes + size); !status)
    return status;
  // The hash is known at the end.
  if (Status status =
          file.write(std::vector<uint8_t>(::tbq::sidecarHeaderBytes));
      !status)
    return status;
  ::tbq::SidecarHeader header;
  header.weightsSize = size;
  if (Status status = streamWeights(file, ::tbq::sidecarHeaderBytes, parts,
                                    path, header.weightsHash);
      !status)
    return status;
  return file.overwrite(0, ::tbq::encodeSidecarHeader(header));
}

/// The artifact's weights, behind the image.
static Status writeEmbedded(OutputFile &file, ArtifactParts &parts,
                            const LinkedImage &image, const std::string &path) {
  if (Status status = file.write(
          std::vector<uint8_t>(image.weightsOffset - image.bytes.size()));
      !status)
    return status;
  ::tbq::Sha256Digest digest;
  return streamWeights(file, image.weightsOffset, parts, path, digest);
}

Status mlir::tbq::writeArtifact(const std::string &path, ArtifactParts parts,
                                const CodeTarget &target,
                                std::string *manifestText) {
  Manifest::Weights &weights = parts.manifest.weights;
  weights.shapeOnly = parts.place == WeightsPlace::Nowhere;
  reserveHashes(weights);
  if (parts.place == WeightsPlace::Sidecar) {
    weights.sidecar = llvm::sys::path::filename(::tbq::sidecarPath(path)).str();
    if (!llvm::json::isUTF8(*weights.sidecar))
      return makeError(path, "", "a sidecar needs a name in UTF-8");
  }
  Result<OutputFile> artifact = OutputFile::create(path);
  if (!artifact)
    return artifact.error();
  Result<LinkedImage> image =
      linkImage(path, parts, llvm::Triple(target.triple));
  if (!image)
    return image.error();

  const uint64_t imageBytes = std::max<uint64_t>(
      image->bytes.size(),
      weights.areEmbedded() ? image->weightsOffset + weights.bytes : 0);
  if (Status status =
          artifact->checkRoom(imageBytes + ::tbq::artifactTrailerBytes);
      !status)
    return status;
  if (Status status = artifact->write(image->bytes); !status)
    return status;
  std::optional<OutputFile> sidecar;
  if (weights.sidecar) {
    Result<OutputFile> file = OutputFile::create(::tbq::sidecarPath(path));
    if (!file)
      return file.error();
    sidecar.emplace(std::move(*file));
  }
  if (sidecar) {
    if (Status status = writeSidecar(*sidecar, parts, path); !status)
      return status;
  } else if (weights.areEmbedded()) {
    if (Status status = writeEmbedded(*artifact, parts, *image, path); !status)
      return status;
  }

  std::string text = ::tbq::manifestText(parts.manifest);
  if (text.size() != image->manifest.size)
    return makeError(path, ::tbq::manifestSectionName,
                     "changed its size when the hashes came in");
  if (Status status = artifact->overwrite(image->manifest.offset,
                                          llvm::arrayRefFromStringRef(text));
      !status)
    return status;
  if (Status status = ::tbq::sealArtifact(artifact->temporaryPath()); !status)
    return status;
  if (manifestText)
    *manifestText = std::move(text);
  return sidecar ? OutputFile::keepBoth(*sidecar, *artifact) : artifact->keep();
}
