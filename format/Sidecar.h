// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A sidecar: the weights of one artifact in a file of their own, named by the
// artifact's manifest and lying in the same folder. A header of one page, then
// the weights as they are mapped, to the end of the file. Little-endian:
//     0  "TBQWEIGH"
//     8  u32 version, u32 header size
//    16  u64 size of the weights
//    24  SHA-256 of the weights
//    56  zeros
//  4064  SHA-256 of the preceding 4064 bytes
// Invariant: flipping any bit of the header, or cutting the file anywhere,
// makes readSidecarHeader fail.
#ifndef TBQ_FORMAT_SIDECAR_H
#define TBQ_FORMAT_SIDECAR_H

#include "format/Manifest.h"
#include "format/MappedFile.h"
#include "format/Result.h"
#include "format/Sha256.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace tbq {

constexpr uint32_t sidecarVersion = 1;

/// A page, so that the weights after it start on one.
constexpr uint64_t sidecarHeaderBytes = 4096;

struct SidecarHeader {
  uint64_t weightsSize = 0;
  Sha256Digest weightsHash{};
};

std::array<uint8_t, sidecarHeaderBytes>
encodeSidecarHeader(const SidecarHeader &header);

/// The header of a file of `size` bytes at `data`, its own hash and the file's
/// size checked. Does not read the weights.
Result<SidecarHeader> readSidecarHeader(const uint8_t *data, uint64_t size,
                                        const std::string &file);

/// The sidecar of the artifact `path`: "model.so" has "model.so.weights".
std::string sidecarPath(const std::string &path);

/// Whether a manifest may name this file: a plain name in the same folder.
bool isSidecarName(std::string_view name);

/// Maps the sidecar that the manifest of the artifact `path` names.
Result<MappedFile> mapSidecar(const std::string &path,
                              const Manifest::Weights &weights);

/// Whether a mapped sidecar is whole and holds these weights, by the hash that
/// its header states. The weights start sidecarHeaderBytes into it.
Status checkSidecar(const MappedFile &sidecar,
                    const Manifest::Weights &weights);

} // namespace tbq

#endif // TBQ_FORMAT_SIDECAR_H
