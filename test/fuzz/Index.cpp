// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// model.safetensors.index.json over two shards that are always the same.
#include "FuzzFiles.h"

#include "lib/Import/Readers/Safetensors.h"

using namespace tbq;
using namespace tbq::fuzz;

static std::string shardOf(const std::string &tensor) {
  return safetensorsBytes(
      "{\"" + tensor + R"(":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
      "ab");
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static FuzzDirectory folder;
  static const bool written = [] {
    folder.write("a.safetensors", shardOf("one"));
    folder.write("b.safetensors", shardOf("two"));
    return true;
  }();
  require(written);
  folder.write("model.safetensors.index.json", FuzzInput(data, size).rest());
  auto directory = ModelDirectory::open(folder.path());
  require(bool(directory));
  (void)isGood(readModelWeights(*directory));
  return 0;
}
