// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The one place where sizes that come from a file are computed: unsigned
// 64-bit arithmetic that yields nothing instead of wrapping.
// Invariant: a returned value is the exact mathematical result.
#ifndef TBQ_FORMAT_CHECKEDSIZE_H
#define TBQ_FORMAT_CHECKEDSIZE_H

#include <cstdint>
#include <optional>
#include <vector>

namespace tbq {

using CheckedSize = std::optional<uint64_t>;

inline CheckedSize checkedAdd(CheckedSize a, CheckedSize b) {
  uint64_t sum;
  if (!a || !b || __builtin_add_overflow(*a, *b, &sum))
    return std::nullopt;
  return sum;
}

inline CheckedSize checkedMul(CheckedSize a, CheckedSize b) {
  uint64_t product;
  if (!a || !b || __builtin_mul_overflow(*a, *b, &product))
    return std::nullopt;
  return product;
}

/// ceil(a / divisor); nothing if the divisor is 0.
inline CheckedSize checkedCeilDiv(CheckedSize a, uint64_t divisor) {
  if (!a || divisor == 0)
    return std::nullopt;
  return *a / divisor + (*a % divisor != 0);
}

/// The smallest multiple of `multiple` that is not below `a`.
inline CheckedSize checkedRoundUp(CheckedSize a, uint64_t multiple) {
  return checkedMul(checkedCeilDiv(a, multiple), multiple);
}

/// Number of elements of a shape; nothing for a negative dimension. The
/// product of the dimensions that are not 0 must fit too, so that no partial
/// product of an empty tensor's shape can wrap elsewhere.
inline CheckedSize checkedElements(const std::vector<int64_t> &shape) {
  CheckedSize product = 1;
  bool empty = false;
  for (int64_t dimension : shape) {
    if (dimension < 0)
      return std::nullopt;
    if (dimension == 0)
      empty = true;
    else
      product = checkedMul(product, static_cast<uint64_t>(dimension));
  }
  if (!product)
    return std::nullopt;
  return empty ? 0 : *product;
}

/// Bytes of a dense tensor whose elements take `elementBits` bits.
inline CheckedSize checkedTensorBytes(const std::vector<int64_t> &shape,
                                      uint64_t elementBits) {
  return checkedCeilDiv(checkedMul(checkedElements(shape), elementBits), 8);
}

} // namespace tbq

#endif // TBQ_FORMAT_CHECKEDSIZE_H
