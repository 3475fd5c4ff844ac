// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A whole model directory: config.json, the header of model.safetensors, its
// data. What opens is asked for every linear, the embedding and the head.
#include "FuzzFiles.h"

#include "tbq/Checkpoint.h"

using namespace tbq;
using namespace tbq::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static FuzzDirectory folder;
  FuzzInput input(data, size);
  folder.write("config.json", input.next());
  std::string_view header = input.next();
  folder.write("model.safetensors", safetensorsBytes(header, input.rest()));
  auto checkpoint = Checkpoint::open(folder.path());
  if (!isGood(checkpoint))
    return 0;
  (void)isGood(checkpoint->embedding());
  (void)isGood(checkpoint->head());
  const ModelParts &parts = checkpoint->config().parts;
  for (const ModelParts::Linear &linear : parts.layerLinears) {
    const std::string name = parts.layers + ".0." + linear.name;
    (void)isGood(checkpoint->schemeOf(name));
    (void)isGood(
        checkpoint->linear(name, linear.rows, linear.columns, linear.bias));
  }
  return 0;
}
