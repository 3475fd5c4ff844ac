// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The salient part of a binary linear.
// Input: an open Checkpoint and a linear with its sign plane; output: views.
// Invariant: a row has as many values as its mask has bits, its offsets say
// so, and no weight is both salient and positive in the sign plane.
#include "LinearTensors.h"

#include <bitset>
#include <cstring>

using namespace tbq;

static constexpr int32_t zeroLimit = 128;

static int32_t offsetAt(const TensorView &offsets, int64_t row) {
  int32_t value;
  std::memcpy(&value, offsets.data + 4 * row, sizeof(value));
  return value;
}

/// Offsets, mask and sign plane, row by row.
static Status checkRows(const SalientTensors &salient,
                        const LinearTensors &linear) {
  const TensorView &offsets = *salient.offsets, &mask = *salient.mask;
  if (offsetAt(offsets, 0) != 0)
    return makeError(offsets.file, offsets.name,
                     "begins with " + std::to_string(offsetAt(offsets, 0)) +
                         ", expected 0");
  const int64_t rowBytes = mask.shape[1];
  int64_t total = 0;
  for (int64_t row = 0; row < linear.rows; ++row) {
    const uint8_t *bits = mask.data + row * rowBytes;
    const uint8_t *signs = linear.planes->data + row * rowBytes;
    for (int64_t at = 0; at < rowBytes; ++at) {
      total += static_cast<int64_t>(std::bitset<8>(bits[at]).count());
      if (bits[at] & signs[at])
        return makeError(linear.planes->file, linear.planes->name,
                         "byte " + std::to_string(at) + " of row " +
                             std::to_string(row) +
                             " has bits where the mask says that weights are "
                             "salient");
    }
    if (offsetAt(offsets, row + 1) != total)
      return makeError(offsets.file, offsets.name,
                       "element [" + std::to_string(row + 1) + "] is " +
                           std::to_string(offsetAt(offsets, row + 1)) +
                           ", but the mask has " + std::to_string(total) +
                           " bits up to there");
  }
  return Status::ok();
}

static Status checkZeros(const TensorView &zero) {
  for (int64_t row = 0; row < zero.shape[0]; ++row) {
    int16_t value;
    std::memcpy(&value, zero.data + 2 * row, sizeof(value));
    if (value < -zeroLimit || value >= zeroLimit)
      return makeError(zero.file, zero.name,
                       "element " + indexOf(zero, static_cast<uint64_t>(row)) +
                           " is " + std::to_string(value) +
                           ", expected -128 to 127");
  }
  return Status::ok();
}

Status tbq::readSalient(const Checkpoint &checkpoint, LinearTensors &linear) {
  const std::string prefix = linear.name + ".salient_";
  if (!checkpoint.find(prefix + "mask"))
    return Status::ok();
  SalientTensors salient;
  struct Part {
    const char *name;
    DType dtype;
    std::vector<int64_t> shape;
    const TensorView *&tensor;
  };
  const Part parts[] = {
      {"mask",
       DType::U8,
       {linear.rows, (linear.columns - 1) / 8 + 1},
       salient.mask},
      {"offsets", DType::I32, {linear.rows + 1}, salient.offsets},
      {"scale", DType::F16, {linear.rows}, salient.scale},
      {"zero", DType::I16, {linear.rows}, salient.zero}};
  for (const Part &part : parts) {
    if (part.dtype == DType::I16 && !checkpoint.find(prefix + part.name))
      continue;
    auto tensor =
        checkpoint.require(prefix + part.name, {part.dtype}, part.shape);
    if (!tensor)
      return tensor.error();
    part.tensor = *tensor;
  }
  if (Status status = checkUnusedBits(*salient.mask, linear.columns, 1);
      !status)
    return status;
  if (Status status = checkRows(salient, linear); !status)
    return status;
  auto values = checkpoint.require(prefix + "values", {DType::I8},
                                   {offsetAt(*salient.offsets, linear.rows)});
  if (!values)
    return values.error();
  salient.values = *values;
  if (Status status = checkFiniteF16(*salient.scale); !status)
    return status;
  linear.salient = salient;
  return salient.zero ? checkZeros(*salient.zero) : Status::ok();
}
