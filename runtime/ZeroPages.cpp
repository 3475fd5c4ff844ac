// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One anonymous mapping: the data, pushed against its end, then a guard page.
#include "runtime/ZeroPages.h"

#include "format/CheckedSize.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

using namespace tbq;

// Linux 6.1 has it, glibc 2.36 not yet.
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static constexpr uint64_t hugePage = 2 << 20;

ZeroPages &ZeroPages::operator=(ZeroPages &&other) noexcept {
  std::swap(start, other.start);
  std::swap(mapping, other.mapping);
  std::swap(mapped, other.mapped);
  return *this;
}

ZeroPages::~ZeroPages() {
  if (mapping)
    munmap(mapping, mapped);
}

Outcome ZeroPages::create(uint64_t bytes, const char *what, ZeroPages &pages) {
  auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  CheckedSize rounded = checkedRoundUp(bytes, 64);
  CheckedSize usable = checkedRoundUp(rounded, page);
  // Room to move the end to the end of a huge page.
  uint64_t room = bytes < hugePage ? 0 : hugePage;
  CheckedSize total = checkedAdd(usable, page + room);
  void *mapping = MAP_FAILED;
  if (total)
    mapping = mmap(nullptr, *total, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED)
    return Outcome::failure(TBQ_ERROR_MEMORY, what,
                            "cannot get " + std::to_string(bytes) + " bytes: " +
                                std::strerror(total ? errno : ENOMEM));
  pages = ZeroPages();
  pages.mapping = mapping;
  pages.mapped = *total;
  auto *end = static_cast<uint8_t *>(mapping) + *usable + room;
  if (room)
    end -= reinterpret_cast<uintptr_t>(end) % hugePage;
  pages.start = end - *rounded;
  if (mprotect(end, page, PROT_NONE) != 0)
    return Outcome::failure(TBQ_ERROR_MEMORY, what, std::strerror(errno));
  return Outcome::ok();
}

void ZeroPages::useHugePages(uint64_t offset, uint64_t bytes) {
  uint8_t *begin = start + offset, *end = begin + bytes;
  begin += -reinterpret_cast<uintptr_t>(begin) % hugePage;
  end -= reinterpret_cast<uintptr_t>(end) % hugePage;
  if (begin >= end)
    return;
  // What was never touched gets them when it is; Linux 6.18 refuses to collapse
  // that.
  const auto size = static_cast<size_t>(end - begin);
  madvise(begin, size, MADV_HUGEPAGE);
  madvise(begin, size, MADV_COLLAPSE);
}
