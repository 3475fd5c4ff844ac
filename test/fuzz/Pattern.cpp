// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A layer name pattern, then a name: of "layers" in a quantisation config, of
// a policy file.
#include "FuzzInput.h"

#include "format/NamePattern.h"

using namespace tbq;
using namespace tbq::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  FuzzInput input(data, size);
  auto pattern = NamePattern::compile(std::string(input.next()));
  if (isGood(pattern))
    (void)isGood((*pattern)->matches(std::string(input.rest())));
  return 0;
}
