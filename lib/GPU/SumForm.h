// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Sums of groups of activations, of at most 128, as tensor cores take them: two
// f16, of which one has the lower bits.
#ifndef TBQ_GPU_SUMFORM_H
#define TBQ_GPU_SUMFORM_H

#include "ThreadBuilder.h"

namespace mlir::tbq {

/// Groups that a product adds up (m16n8k16), and half of them.
inline constexpr int64_t kEightGroups = 8, kFourGroups = 4;

class SumForm {
public:
  /// hasLow: of i16 activations.
  explicit SumForm(bool hasLow) : hasLow(hasLow) {}

  /// The higher and the lower half of a sum (i32), which together are 2^-k of
  /// it for getScale(), k; of two sums the higher halves, and the lower.
  Value split(ThreadBuilder &t, Value sum) const;
  std::pair<Value, Value> split(ThreadBuilder &t, Value one, Value other) const;
  int64_t getScale() const;

private:
  /// The bits of a sum, scaled; f32.
  Value take(ThreadBuilder &t, Value sum, bool areLow) const;

  bool hasLow;
};

} // namespace mlir::tbq

#endif // TBQ_GPU_SUMFORM_H
