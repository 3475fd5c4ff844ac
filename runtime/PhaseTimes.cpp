// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See PhaseTimes.h. The first block's clock says in which order the barriers of
// a step were reached: the same for all.
#include "runtime/PhaseTimes.h"

#include <algorithm>

using namespace tbq;

void PhaseTimes::add() {
  std::vector<const tbq_device_time *> barriers;
  for (size_t at = 0; at < noted.size(); at += size_t(blocks))
    if (noted[at].left)
      barriers.push_back(&noted[at]);
  std::sort(barriers.begin(), barriers.end(),
            [](const auto *a, const auto *b) { return a->came < b->came; });
  std::vector<uint64_t> work(static_cast<size_t>(blocks));
  for (size_t i = 0; i + 1 < barriers.size(); ++i) {
    const tbq_device_time *before = barriers[i], *behind = barriers[i + 1];
    uint64_t wait = UINT64_MAX, whole = 0;
    for (int64_t b = 0; b < blocks; ++b) {
      work[size_t(b)] = behind[b].came - before[b].left;
      wait = std::min(wait, behind[b].left - behind[b].came);
      whole += behind[b].left - before[b].left;
    }
    std::sort(work.begin(), work.end());
    auto number = size_t((before - noted.data()) / blocks);
    PhaseTime &sum = sums[number % sums.size()];
    ++sum.times;
    sum.median += double(work[work.size() / 2]);
    sum.largest += double(work.back());
    sum.barrier += double(wait);
    sum.whole += double(whole) / double(blocks);
  }
  ++added;
}

void PhaseTimes::clear() {
  sums.assign(sums.size(), {});
  added = 0;
}
