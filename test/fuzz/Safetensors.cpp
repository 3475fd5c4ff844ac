// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A safetensors file: raw bytes, or, where they begin with a brace, a header
// that gets its length in front. Floats of what was accepted are read.
#include "FuzzFiles.h"

#include "lib/Import/Readers/Safetensors.h"

using namespace tbq;
using namespace tbq::fuzz;

static void readAll(std::string_view bytes) {
  MappedFile file = mapBytes(bytes);
  auto tensors = readSafetensors(file);
  if (!isGood(tensors))
    return;
  for (const TensorView &tensor : *tensors) {
    require(tensor.data >= file.data() &&
            tensor.data + tensor.bytes <= file.data() + file.size());
    const int64_t last = tensor.elements() - 1;
    float value;
    if (last >= 0 && isFloatWeight(tensor.dtype))
      readFloats(tensor, last, 1, &value);
  }
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  FuzzInput input(data, size);
  if (size && data[0] == '{') {
    std::string_view header = input.next();
    readAll(safetensorsBytes(header, input.rest()));
  } else {
    readAll(input.rest());
  }
  return 0;
}
