// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Element types by name and width, and reading floats out of a mapped tensor.
// Input: views whose bytes were checked against their shape; output: floats.
// Invariant: no read assumes alignment or the host's byte order.
#include "Tensor.h"

#include "format/BoundedReader.h"
#include "format/Float16.h"

#include <cassert>

using namespace tbq;

namespace {
struct DTypeInfo {
  DType dtype;
  const char *name;
  unsigned bits;
};
} // namespace

static constexpr DTypeInfo dtypes[] = {
    {DType::Bool, "BOOL", 8},      {DType::U8, "U8", 8},
    {DType::I8, "I8", 8},          {DType::F8E5M2, "F8_E5M2", 8},
    {DType::F8E4M3, "F8_E4M3", 8}, {DType::I16, "I16", 16},
    {DType::U16, "U16", 16},       {DType::F16, "F16", 16},
    {DType::BF16, "BF16", 16},     {DType::I32, "I32", 32},
    {DType::U32, "U32", 32},       {DType::F32, "F32", 32},
    {DType::I64, "I64", 64},       {DType::U64, "U64", 64},
    {DType::F64, "F64", 64}};

static const DTypeInfo &info(DType dtype) {
  const DTypeInfo &entry = dtypes[static_cast<unsigned>(dtype)];
  assert(entry.dtype == dtype && "table is in the order of the enumeration");
  return entry;
}

const char *tbq::dtypeName(DType dtype) { return info(dtype).name; }

unsigned tbq::dtypeBits(DType dtype) { return info(dtype).bits; }

bool tbq::isFloatWeight(DType dtype) {
  return dtype == DType::F32 || dtype == DType::F16 || dtype == DType::BF16;
}

std::optional<DType> tbq::dtypeNamed(std::string_view name) {
  for (const DTypeInfo &entry : dtypes)
    if (name == entry.name)
      return entry.dtype;
  return std::nullopt;
}

std::string tbq::shapeText(const std::vector<int64_t> &shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size() && text.size() < 100; ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + (text.size() < 100 ? "]" : ", ...]");
}

int64_t TensorView::elements() const {
  return static_cast<int64_t>(bytes * 8 / dtypeBits(dtype));
}

void tbq::readFloats(const TensorView &tensor, int64_t first, int64_t count,
                     float *out) {
  assert(isFloatWeight(tensor.dtype) && first >= 0 && count >= 0 &&
         first <= tensor.elements() && count <= tensor.elements() - first);
  const uint64_t width = dtypeBits(tensor.dtype) / 8;
  BoundedReader reader(tensor.data, tensor.bytes);
  reader.seek(static_cast<uint64_t>(first) * width);
  for (int64_t i = 0; i < count; ++i) {
    if (tensor.dtype == DType::F32)
      out[i] = *reader.readFloat();
    else if (tensor.dtype == DType::F16)
      out[i] = f16ToFloat(*reader.read<uint16_t>());
    else
      out[i] = bf16ToFloat(*reader.read<uint16_t>());
  }
}
