// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// An artifact's manifest. What is read and written again reads the same.
#include "FuzzInput.h"

#include "format/ChatFormat.h"
#include "format/Manifest.h"

using namespace tbq;
using namespace tbq::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto manifest = parseManifest(FuzzInput(data, size).rest(), "file");
  if (!isGood(manifest))
    return 0;
  const std::string text = manifestText(*manifest);
  auto again = parseManifest(text, "file");
  require(bool(again) && manifestText(*again) == text);
  if (manifest->chat.is_null())
    return 0;
  auto chat = JsonObject::from(manifest->chat, "file", "manifest.chat");
  if (isGood(chat))
    (void)isGood(chatFormatFromJson(*chat));
  return 0;
}
