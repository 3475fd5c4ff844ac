// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// An artifact: trailer, ELF header and sections. The trailer is read as it is,
// then with its own hash put right, so that its ranges are reached.
#include "FuzzInput.h"

#include "format/Artifact.h"

#include <cstring>
#include <elf.h>
#include <vector>

using namespace tbq;
using namespace tbq::fuzz;

static void requireInside(const FileRange &range, uint64_t size) {
  require(range.offset <= size && range.size <= size - range.offset);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::vector<uint8_t> bytes(data, data + size);
  (void)isGood(readTrailer(bytes.data(), size, "file"));
  (void)isGood(checkElfHeader(bytes.data(), size, "file", EM_X86_64));
  for (const char *name :
       {manifestSectionName, tokenizerSectionName, weightsSectionName}) {
    auto section = findElfSection(bytes.data(), size, "file", name);
    if (isGood(section) && *section)
      requireInside(**section, size);
  }
  if (size < artifactTrailerBytes)
    return 0;
  uint8_t *start = bytes.data() + size - artifactTrailerBytes;
  const Sha256Digest digest =
      sha256(start, artifactTrailerBytes - sizeof(Sha256Digest));
  std::memcpy(start + artifactTrailerBytes - sizeof(digest), digest.data(),
              sizeof(digest));
  auto trailer = readTrailer(bytes.data(), size, "file");
  if (!isGood(trailer))
    return 0;
  require(trailer->imageSize == size - artifactTrailerBytes);
  for (const FileRange &range :
       {trailer->manifest, trailer->tokenizer, trailer->weights})
    requireInside(range, trailer->imageSize);
  (void)isGood(checkImageHash(*trailer, bytes.data(), "file"));
  return 0;
}
