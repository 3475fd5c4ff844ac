// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reads little-endian integers, bytes and strings from a (pointer, size) view
// of untrusted data, front to back, on hosts of any byte order.
// Invariant: 0 <= offset <= size; a read that does not fit returns nothing and
// leaves the offset where it was.
#ifndef TBQ_FORMAT_BOUNDEDREADER_H
#define TBQ_FORMAT_BOUNDEDREADER_H

#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <type_traits>

namespace tbq {

class BoundedReader {
public:
  BoundedReader(const uint8_t *data, uint64_t size) : data(data), bytes(size) {}

  uint64_t size() const { return bytes; }
  uint64_t offset() const { return position; }
  uint64_t remaining() const { return bytes - position; }

  bool seek(uint64_t offset) {
    if (offset > bytes)
      return false;
    position = offset;
    return true;
  }

  bool skip(uint64_t count) { return readBytes(count).has_value(); }

  /// The next `count` bytes, in place.
  std::optional<const uint8_t *> readBytes(uint64_t count) {
    if (count > remaining())
      return std::nullopt;
    const uint8_t *here = data + position;
    position += count;
    return here;
  }

  std::optional<std::string_view> readString(uint64_t count) {
    auto here = readBytes(count);
    if (!here)
      return std::nullopt;
    return std::string_view(reinterpret_cast<const char *>(*here), count);
  }

  /// Any integer type, little-endian, two's complement.
  template <class Integer> std::optional<Integer> read() {
    static_assert(std::is_integral_v<Integer> &&
                  !std::is_same_v<Integer, bool>);
    auto here = readBytes(sizeof(Integer));
    if (!here)
      return std::nullopt;
    uint64_t value = 0;
    for (size_t i = 0; i < sizeof(Integer); ++i)
      value |= static_cast<uint64_t>((*here)[i]) << (8 * i);
    return static_cast<Integer>(value);
  }

  std::optional<float> readFloat() {
    auto pattern = read<uint32_t>();
    if (!pattern)
      return std::nullopt;
    float value;
    std::memcpy(&value, &*pattern, sizeof(value));
    return value;
  }

private:
  const uint8_t *data;
  uint64_t bytes;
  uint64_t position = 0;
};

} // namespace tbq

#endif // TBQ_FORMAT_BOUNDEDREADER_H
