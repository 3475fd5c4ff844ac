// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Input: a JSON file, written by whoever made the model. Output: its object.
// Invariant: it is bounded in size and depth, and says nothing to the compiler.

#include "tbq/Compile.h"

#include "format/Json.h"
#include "format/MappedFile.h"

using namespace mlir::tbq;
using ::tbq::makeError;
using ::tbq::MappedFile;
using ::tbq::Result;

static constexpr uint64_t kRecordLimit = uint64_t(1) << 20;

Result<nlohmann::json> mlir::tbq::readRecord(const std::string &path) {
  Result<MappedFile> file = MappedFile::open(path);
  if (!file)
    return file.error();
  std::string_view text(reinterpret_cast<const char *>(file->data()),
                        file->size());
  Result<nlohmann::json> value = ::tbq::parseJson(text, path, kRecordLimit);
  if (value && !value->is_object())
    return makeError(path, "", "must be a JSON object");
  return value;
}
