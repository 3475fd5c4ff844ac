// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Writes little-endian integers, bytes and strings into a (pointer, size) view,
// front to back, on hosts of any byte order: what BoundedReader reads.
// Invariant: 0 <= offset <= size; a write that does not fit returns false and
// changes nothing.
#ifndef TBQ_FORMAT_BOUNDEDWRITER_H
#define TBQ_FORMAT_BOUNDEDWRITER_H

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace tbq {

class BoundedWriter {
public:
  BoundedWriter(uint8_t *data, uint64_t size) : data(data), bytes(size) {}

  bool seek(uint64_t offset) {
    if (offset > bytes)
      return false;
    position = offset;
    return true;
  }

  bool writeBytes(const uint8_t *from, uint64_t count) {
    if (count > bytes - position)
      return false;
    std::copy_n(from, count, data + position);
    position += count;
    return true;
  }

  bool writeString(std::string_view text) {
    return writeBytes(reinterpret_cast<const uint8_t *>(text.data()),
                      text.size());
  }

  /// Any integer type, little-endian, two's complement.
  template <class Integer> bool write(Integer value) {
    static_assert(std::is_integral_v<Integer> &&
                  !std::is_same_v<Integer, bool>);
    uint8_t encoded[sizeof(Integer)];
    for (size_t i = 0; i < sizeof(Integer); ++i)
      encoded[i] =
          static_cast<uint8_t>(static_cast<uint64_t>(value) >> (8 * i));
    return writeBytes(encoded, sizeof(Integer));
  }

private:
  uint8_t *data;
  uint64_t bytes;
  uint64_t position = 0;
};

} // namespace tbq

#endif // TBQ_FORMAT_BOUNDEDWRITER_H
