// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// config.json, then perhaps generation_config.json.
#include "FuzzInput.h"

#include "lib/Import/Readers/Config.h"

using namespace tbq;
using namespace tbq::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  FuzzInput input(data, size);
  auto config = parseJson(input.next(), "config.json");
  if (!isGood(config))
    return 0;
  auto root = JsonObject::from(*config, "config.json");
  if (!isGood(root))
    return 0;
  auto model = readModelConfig(*root);
  (void)isGood(readQuantizationConfig(*root));
  const int64_t vocab = isGood(model) ? model->vocab : 16;

  auto generation = parseJson(input.rest(), "generation_config.json");
  if (!isGood(generation)) {
    (void)isGood(readGenerationConfig(*root, nullptr, vocab));
    return 0;
  }
  auto defaults = JsonObject::from(*generation, "generation_config.json");
  if (isGood(defaults))
    (void)isGood(readGenerationConfig(*root, &*defaults, vocab));
  return 0;
}
