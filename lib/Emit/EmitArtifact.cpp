// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The artifact's last step: weights streamed and hashed, manifest, tokenizer,
// link, seal, rename. Temporary files lie in the output's folder and are gone
// at the end, whatever happened.

#include "DataObject.h"
#include "Link.h"
#include "OutputFile.h"

#include "tbq/Emit.h"

#include "format/Artifact.h"
#include "format/Sha256.h"

#include "llvm/ADT/StringExtras.h"

using namespace mlir::tbq;
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

  void finish() {
    if (!block.empty())
      closeBlock();
    weights.sha256 = ::tbq::toHex(whole.finish());
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
} // namespace

/// Room for what linking adds to the objects: headers, tables, padding, and
/// the trailer.
static constexpr uint64_t kLinkOverhead = uint64_t(256) << 10;

/// The bytes written.
static Result<uint64_t> writeData(OutputFile &file, ArtifactParts &parts,
                                  const llvm::Triple &triple,
                                  std::string &text) {
  Result<DataObject> data = DataObject::create(file, triple);
  if (!data)
    return data.error();
  if (Status status =
          data->beginSection(::tbq::weightsSectionName, kWeightsSymbol,
                             ::tbq::artifactWeightsAlignment);
      !status)
    return status.error();
  WeightHasher hasher(parts.manifest.weights);
  Status written = parts.writeWeights([&](llvm::ArrayRef<uint8_t> bytes) {
    hasher.append(bytes);
    return data->append(bytes);
  });
  if (!written)
    return written.error();
  hasher.finish();

  text = ::tbq::manifestText(parts.manifest);
  const std::tuple<const char *, const char *, llvm::ArrayRef<uint8_t>>
      sections[] = {
          {::tbq::manifestSectionName, kManifestSymbol,
           llvm::arrayRefFromStringRef(text)},
          {::tbq::tokenizerSectionName, kTokenizerSymbol, parts.tokenizer}};
  for (auto [name, symbol, bytes] : sections) {
    if (Status status = data->beginSection(name, symbol, 64); !status)
      return status.error();
    if (Status status = data->append(bytes); !status)
      return status.error();
  }
  if (Status status = data->finish(); !status)
    return status.error();
  return data->size();
}

Status mlir::tbq::writeArtifact(const std::string &path, ArtifactParts parts,
                                const CodeTarget &target,
                                std::string *manifestText) {
  llvm::Triple triple(target.triple);
  Result<OutputFile> artifact = OutputFile::create(path);
  if (!artifact)
    return artifact.error();
  Result<OutputFile> code = OutputFile::create(path);
  if (!code)
    return code.error();
  Result<OutputFile> data = OutputFile::create(path);
  if (!data)
    return data.error();

  uint64_t expected = parts.manifest.weights.bytes;
  std::string text;
  Result<uint64_t> dataBytes = writeData(*data, parts, triple, text);
  if (!dataBytes)
    return dataBytes.error();
  if (parts.manifest.weights.bytes != expected)
    return ::tbq::makeError(path, ::tbq::weightsSectionName,
                            std::to_string(parts.manifest.weights.bytes) +
                                " bytes written, " + std::to_string(expected) +
                                " placed");
  if (Status status = code->write(llvm::arrayRefFromStringRef(parts.code));
      !status)
    return status;
  // lld maps its output: where the disk is full it would die of a signal.
  if (Status status =
          artifact->checkRoom(*dataBytes + parts.code.size() + kLinkOverhead);
      !status)
    return status;
  if (Status status = linkShared({code->temporaryPath(), data->temporaryPath()},
                                 artifact->temporaryPath(), triple);
      !status)
    return status;
  if (Status status = ::tbq::sealArtifact(artifact->temporaryPath()); !status)
    return status;
  if (manifestText)
    *manifestText = std::move(text);
  return artifact->keep();
}
