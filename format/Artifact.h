// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// model.so = an ELF shared object followed by a trailer of fixed size, so that
// the file can be judged before any of its code runs. Little-endian:
//     0  "TBQMODEL"
//     8  u32 trailer version, u32 trailer size
//    16  u64 file size before the trailer (the image)
//    24  u64 offset, u64 size: manifest, tokenizer, weights (inside the image)
//    72  SHA-256 of the image without the weights' bytes
//   104  SHA-256 of the trailer's preceding 104 bytes
// Invariant: flipping any byte outside the weights, or cutting the file
// anywhere, makes readTrailer or checkImageHash fail.
#ifndef TBQ_FORMAT_ARTIFACT_H
#define TBQ_FORMAT_ARTIFACT_H

#include "format/Elf.h"
#include "format/Result.h"
#include "format/Sha256.h"

#include <array>
#include <cstdint>
#include <string>

namespace tbq {

constexpr uint32_t artifactTrailerVersion = 1;
constexpr uint64_t artifactTrailerBytes = 136;

/// The weights start on a page of the file, so that the kernel maps them.
constexpr uint64_t artifactWeightsAlignment = 4096;

constexpr const char *manifestSectionName = ".tbq.manifest";
constexpr const char *tokenizerSectionName = ".tbq.tokenizer";
constexpr const char *weightsSectionName = ".tbq.weights";

struct ArtifactTrailer {
  uint64_t imageSize = 0;
  FileRange manifest, tokenizer, weights;
  Sha256Digest imageHash{};
};

std::array<uint8_t, artifactTrailerBytes>
encodeTrailer(const ArtifactTrailer &trailer);

/// The trailer at the end of `size` bytes at `data`, its own hash and every
/// range checked. Does not read the image.
Result<ArtifactTrailer> readTrailer(const uint8_t *data, uint64_t size,
                                    const std::string &file);

/// Compares the image (without its weights) with the trailer's hash.
Status checkImageHash(const ArtifactTrailer &trailer, const uint8_t *data,
                      const std::string &file);

/// Turns the linked shared object at `path` into an artifact: finds the three
/// sections (the tokenizer's may be absent, and the weights' where they are in
/// a sidecar) and appends the trailer. The caller renames the finished file.
Status sealArtifact(const std::string &path);

} // namespace tbq

#endif // TBQ_FORMAT_ARTIFACT_H
