// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Memory of a session: zero-filled pages straight from the system, untouched
// until used. Invariant: data is 64-byte aligned and ends where a page without
// access begins, so that a step that writes past its end stops at once. What is
// as large as a huge page ends where one does.
#ifndef TBQ_RUNTIME_ZEROPAGES_H
#define TBQ_RUNTIME_ZEROPAGES_H

#include "runtime/Outcome.h"

#include <cstddef>
#include <cstdint>
#include <utility>

namespace tbq {

class ZeroPages {
public:
  ZeroPages() = default;
  ZeroPages(ZeroPages &&other) noexcept { *this = std::move(other); }
  ZeroPages &operator=(ZeroPages &&other) noexcept;
  ~ZeroPages();

  /// `what` names the memory in the error.
  static Outcome create(uint64_t bytes, const char *what, ZeroPages &pages);

  uint8_t *data() const { return start; }

  /// Puts what of `bytes` from `offset` on lies in whole huge pages into such,
  /// what was never touched too. Where the system cannot, nothing changes: only
  /// speed depends on it.
  void useHugePages(uint64_t offset, uint64_t bytes);

private:
  uint8_t *start = nullptr;
  void *mapping = nullptr;
  size_t mapped = 0;
};

} // namespace tbq

#endif // TBQ_RUNTIME_ZEROPAGES_H
