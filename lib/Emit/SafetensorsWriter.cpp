// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See SafetensorsWriter.h. The header is 8 bytes of length, then JSON padded
// with spaces to a multiple of 8.

#include "SafetensorsWriter.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/raw_ostream.h"

#include <tuple>

using namespace mlir::tbq;
using ::tbq::Result;
using ::tbq::Status;

uint64_t TensorShape::bytes() const {
  uint64_t elements = 1;
  for (int64_t size : shape)
    elements *= static_cast<uint64_t>(size);
  return elements * ::tbq::dtypeBits(dtype) / 8;
}

static std::string makeHeader(llvm::ArrayRef<TensorShape> tensors) {
  std::string text;
  llvm::raw_string_ostream out(text);
  llvm::json::OStream json(out);
  uint64_t offset = 0;
  json.object([&] {
    json.attributeObject("__metadata__",
                         [&] { json.attribute("format", "pt"); });
    for (const TensorShape &tensor : tensors)
      json.attributeObject(tensor.name, [&] {
        json.attribute("dtype", ::tbq::dtypeName(tensor.dtype));
        json.attributeArray("shape", [&] {
          for (int64_t size : tensor.shape)
            json.value(size);
        });
        json.attributeArray("data_offsets", [&] {
          json.value(offset);
          json.value(offset += tensor.bytes());
        });
      });
  });
  text.resize(llvm::alignTo(text.size(), 8), ' ');
  return text;
}

Result<SafetensorsWriter>
SafetensorsWriter::create(const std::string &path,
                          std::vector<TensorShape> tensors) {
  llvm::sort(tensors, [](const TensorShape &a, const TensorShape &b) {
    return std::make_tuple(b.dtype, std::cref(a.name)) <
           std::make_tuple(a.dtype, std::cref(b.name));
  });
  Result<OutputFile> file = OutputFile::create(path);
  if (!file)
    return file.error();
  SafetensorsWriter writer(std::move(*file));
  const std::string header = makeHeader(tensors);
  uint64_t end = sizeof(uint64_t) + header.size();
  for (const TensorShape &tensor : tensors) {
    writer.offsets[tensor.name] = end;
    end += tensor.bytes();
  }
  if (Status status = writer.file.checkRoom(end); !status)
    return status.error();
  std::vector<uint8_t> length(sizeof(uint64_t));
  llvm::support::endian::write64le(length.data(), header.size());
  for (llvm::ArrayRef<uint8_t> bytes :
       {llvm::ArrayRef(length), llvm::arrayRefFromStringRef(header)})
    if (Status status = writer.file.write(bytes); !status)
      return status.error();
  return writer;
}

Status SafetensorsWriter::write(llvm::StringRef name,
                                llvm::ArrayRef<uint8_t> bytes) {
  return file.overwrite(offsets.at(name), bytes);
}
