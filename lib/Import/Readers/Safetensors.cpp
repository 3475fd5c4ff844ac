// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One safetensors file: 8 bytes header length, JSON header, data.
// Input: a mapped, untrusted file; output: tensor views or a one-line error.
// Invariant: header <= 100 MB and starting with '{', no key twice, data
// offsets contiguous from 0 without hole or overlap up to the file's end, and
// each range exactly as long as shape and type say.
#include "Safetensors.h"

#include "Tensor.h"
#include "format/BoundedReader.h"
#include "format/CheckedSize.h"
#include "format/Json.h"

#include <algorithm>

using namespace tbq;

static constexpr uint64_t headerLimit = 100'000'000;

static Error fileError(const MappedFile &file, std::string_view field,
                       std::string_view detail) {
  return makeError(file.path(), field, detail);
}

/// Elements of a JSON array as non-negative 64-bit integers.
static Result<std::vector<int64_t>> integers(const JsonObject &object,
                                             const std::string &key) {
  auto array = object.array(key);
  if (!array)
    return array.error();
  std::vector<int64_t> values;
  for (const nlohmann::json &element : **array) {
    if (!element.is_number_unsigned() ||
        element.get<uint64_t>() > uint64_t(INT64_MAX))
      return object.error(key, "must hold integers in [0, 2^63) (got " +
                                   describeJson(element) + ")");
    values.push_back(element.get<int64_t>());
  }
  return values;
}

static Result<TensorView> readEntry(const MappedFile &file,
                                    const std::string &name,
                                    const nlohmann::json &value,
                                    BoundedReader data) {
  auto entry = JsonObject::from(value, file.path(), name);
  if (!entry)
    return entry.error();
  for (const auto &[key, unused] : value.items())
    if (key != "dtype" && key != "shape" && key != "data_offsets")
      return entry->error(key, "unknown field of a tensor");

  TensorView view;
  view.name = name;
  view.file = file.path();
  auto dtype = entry->string("dtype");
  if (!dtype)
    return dtype.error();
  auto known = dtypeNamed(*dtype);
  if (!known)
    return entry->error("dtype", "unsupported element type '" + *dtype + "'");
  view.dtype = *known;

  auto shape = integers(*entry, "shape");
  if (!shape)
    return shape.error();
  view.shape = *std::move(shape);
  auto offsets = integers(*entry, "data_offsets");
  if (!offsets)
    return offsets.error();
  if (offsets->size() != 2 || (*offsets)[0] > (*offsets)[1])
    return entry->error("data_offsets", "must be [begin, end] with begin <= "
                                        "end (got " +
                                            shapeText(*offsets) + ")");
  const auto begin = static_cast<uint64_t>((*offsets)[0]);
  view.bytes = static_cast<uint64_t>((*offsets)[1]) - begin;

  CheckedSize needed = checkedTensorBytes(view.shape, dtypeBits(view.dtype));
  if (!needed || *needed != view.bytes)
    return entry->error(
        "data_offsets",
        "span " + std::to_string(view.bytes) + " bytes, but " + *dtype + " " +
            shapeText(view.shape) + " takes " +
            (needed ? std::to_string(*needed) : "more than 2^64"));
  if (data.seek(begin))
    if (auto bytes = data.readBytes(view.bytes)) {
      view.data = *bytes;
      return view;
    }
  return entry->error("data_offsets",
                      "end at " + std::to_string((*offsets)[1]) +
                          ", beyond the " + std::to_string(data.size()) +
                          " bytes of data: the file is truncated or damaged");
}

static Status checkMetadata(const MappedFile &file,
                            const nlohmann::json &value) {
  auto metadata = JsonObject::from(value, file.path(), "__metadata__");
  if (!metadata)
    return metadata.error();
  for (const auto &[key, text] : value.items())
    if (!text.is_string())
      return metadata->unexpected(key, "a string");
  return Status::ok();
}

/// Offsets must tile [0, size of the data) exactly.
static Status checkContiguous(const MappedFile &file, const uint8_t *data,
                              uint64_t size, std::vector<TensorView> &tensors) {
  std::sort(tensors.begin(), tensors.end(),
            [](const TensorView &a, const TensorView &b) {
              return a.data != b.data ? a.data < b.data : a.bytes < b.bytes;
            });
  uint64_t end = 0;
  for (const TensorView &tensor : tensors) {
    const auto begin = static_cast<uint64_t>(tensor.data - data);
    if (begin != end)
      return fileError(file, tensor.name,
                       "data_offsets begin at " + std::to_string(begin) +
                           (begin > end ? ", a hole after "
                                        : ", an overlap "
                                          "with data to ") +
                           std::to_string(end));
    end = begin + tensor.bytes;
  }
  if (end != size)
    return fileError(file, "header",
                     "describes " + std::to_string(end) +
                         " bytes of data, the file has " +
                         std::to_string(size));
  return Status::ok();
}

Result<std::vector<TensorView>> tbq::readSafetensors(const MappedFile &file) {
  BoundedReader reader(file.data(), file.size());
  auto length = reader.read<uint64_t>();
  if (!length)
    return fileError(file, "header",
                     "file of " + std::to_string(file.size()) +
                         " bytes is too short for a safetensors file");
  if (*length > headerLimit)
    return fileError(
        file, "header",
        "length (" + std::to_string(*length) + ") is more than the limit of " +
            std::to_string(headerLimit) + ": not a safetensors file?");
  auto text = reader.readString(*length);
  if (!text)
    return fileError(file, "header",
                     "length (" + std::to_string(*length) +
                         ") goes beyond the file's " +
                         std::to_string(file.size()) +
                         " bytes: the file is truncated or damaged");
  if (text->empty() || text->front() != '{')
    return fileError(file, "header", "does not start with '{'");
  auto header = parseJson(*text, file.path(), headerLimit);
  if (!header)
    return header.error();

  const uint64_t dataSize = reader.remaining();
  BoundedReader data(file.data() + reader.offset(), dataSize);
  std::vector<TensorView> tensors;
  for (const auto &[name, value] : header->items()) {
    if (name == "__metadata__") {
      if (Status status = checkMetadata(file, value); !status)
        return status.error();
      continue;
    }
    auto tensor = readEntry(file, name, value, data);
    if (!tensor)
      return tensor.error();
    tensors.push_back(*std::move(tensor));
  }
  Status contiguous =
      checkContiguous(file, file.data() + reader.offset(), dataSize, tensors);
  if (!contiguous)
    return contiguous.error();
  return tensors;
}
