// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a layout's terms make of its digits, as bytes with a sign that lie as
// far up in their byte as they go: so that products need no sum of activations
// taken away, and no digit is shifted down.
#ifndef TBQ_GPU_SIGNEDDIGITS_H
#define TBQ_GPU_SIGNEDDIGITS_H

#include "tbq/IR/Tbq.h"

namespace mlir::tbq {

/// How a four of a word becomes bytes: shifted until the digit's highest bit is
/// that of `bits`, these bits of it taken, and `flipped`. Then each is `scale`
/// times what the term makes of a digit.
struct SignedDigits {
  int64_t scale;
  uint32_t bits, flipped; // of a byte
  /// Of two bits, digits 0, 1, 2 become -1, 0, 1: first the higher is exchanged
  /// if the lower is set.
  bool isTernary = false;

  /// Of a plane's; null: they cannot be such bytes, as of several terms.
  static std::optional<SignedDigits> get(LayoutAttr layout, int64_t plane);
};

/// Of what plane a term is; -1: of none.
int64_t findPlane(LayoutAttr layout, int64_t term);

/// Whether all planes can be, and no other term has coefficients in groups.
bool areSigned(LayoutAttr layout);

} // namespace mlir::tbq

#endif // TBQ_GPU_SIGNEDDIGITS_H
