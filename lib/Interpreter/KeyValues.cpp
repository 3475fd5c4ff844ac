// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The cache as the interpreter holds it, and how it is read from the memory of
// a compiled step, whose arrangement !tbq.cache describes.

#include "tbq/Interpreter.h"

#include "format/Float16.h"

using namespace mlir;
using namespace mlir::tbq;

void KeyValues::store(int64_t layer, int64_t position, const Matrix &keys,
                      const Matrix &values) {
  const bool isHalf = type.getElementType().isF16();
  auto append = [&](std::vector<double> &into, const Matrix &rows) {
    into.resize((position + rows.rows) * rows.columns);
    double *out = into.data() + position * rows.columns;
    for (double value : rows.values) {
      const float single = static_cast<float>(value);
      *out++ = isHalf ? ::tbq::f16ToFloat(::tbq::floatToF16(single)) : single;
    }
  };
  append(layers[layer].keys, keys);
  append(layers[layer].values, values);
}

void KeyValues::load(int64_t layer, int64_t positions, const uint8_t *cache) {
  const int64_t heads = type.getKvHeads(), headDim = type.getHeadDim();
  const int64_t size = type.getElementBytes();
  auto element = [&](int64_t offset) -> double {
    uint16_t half;
    float single;
    const uint8_t *at = cache + layer * type.getLayerBytes() + offset * size;
    if (size == sizeof(half)) {
      std::memcpy(&half, at, sizeof(half));
      return ::tbq::f16ToFloat(half);
    }
    std::memcpy(&single, at, sizeof(single));
    return single;
  };
  Layer &into = layers[layer];
  into.keys.resize(positions * heads * headDim);
  into.values.resize(positions * heads * headDim);
  constexpr int64_t kBlock = CacheType::kBlock;
  const int64_t padded = type.getPaddedHeadDim();
  auto getTile = [&](int64_t p, int64_t i) {
    return (p / kBlock * (padded / kLanes) + i / kLanes) * kBlock * kLanes;
  };
  // Of a head's keys, and of its values.
  auto getKey = [&](int64_t p, int64_t i) {
    if (!type.getTiled())
      return (p / kBlock * headDim + i) * kBlock + p % kBlock;
    const int64_t lane = p % kBlock / 2 * 4 + i % kLanes / 4;
    return getTile(p, i) + lane * 8 + p % 2 * 4 + i % 4;
  };
  auto getValue = [&](int64_t p, int64_t i) {
    if (!type.getTiled())
      return p * padded + i;
    const int64_t four = i % kLanes / 2 * 8 + p % kBlock / 2;
    return getTile(p, i) + four * 4 + i % 2 * 2 + p % 2;
  };
  for (int64_t p = 0, next = 0; p < positions; ++p)
    for (int64_t head = 0; head < heads; ++head) {
      const int64_t keys = head * type.getKeyHeadBytes() / size;
      const int64_t values =
          (type.getValuesOffset() + head * type.getValueHeadBytes()) / size;
      for (int64_t i = 0; i < headDim; ++i, ++next) {
        into.keys[next] = element(keys + getKey(p, i));
        into.values[next] = element(values + getValue(p, i));
      }
    }
}
