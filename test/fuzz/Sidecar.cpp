// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A sidecar: the size its header states, the input as the start of the header,
// as it is and with the header's own hash put right.
#include "FuzzInput.h"

#include "format/Sidecar.h"

#include <algorithm>
#include <cstring>
#include <vector>

using namespace tbq;
using namespace tbq::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::vector<uint8_t> bytes(data, data + size);
  (void)isGood(readSidecarHeader(bytes.data(), bytes.size(), "file"));
  bytes.resize(std::max<size_t>(size, sidecarHeaderBytes));
  const Sha256Digest digest =
      sha256(bytes.data(), sidecarHeaderBytes - sizeof(Sha256Digest));
  std::memcpy(bytes.data() + sidecarHeaderBytes - sizeof(digest), digest.data(),
              sizeof(digest));
  auto header = readSidecarHeader(bytes.data(), bytes.size(), "file");
  if (isGood(header))
    require(header->weightsSize == bytes.size() - sidecarHeaderBytes);
  return 0;
}
