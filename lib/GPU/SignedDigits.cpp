// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See SignedDigits.h.

#include "SignedDigits.h"

using namespace mlir;
using namespace mlir::tbq;

/// The term, of a plane alone and perhaps of the sum; -1: it is of several, or
/// there are several.
static int64_t findTerm(LayoutAttr layout, int64_t plane) {
  int64_t found = -1;
  for (int64_t term = 0; term < layout.getNumTermsInGroups(); ++term) {
    if (layout.getTerm(term, plane) == 0)
      continue;
    for (int64_t other = 0; other < layout.getNumPlanes(); ++other)
      if (other != plane && layout.getTerm(term, other) != 0)
        return -1;
    if (found >= 0)
      return -1;
    found = term;
  }
  return found;
}

int64_t mlir::tbq::findPlane(LayoutAttr layout, int64_t term) {
  for (int64_t plane = 0; plane < layout.getNumPlanes(); ++plane)
    if (layout.getTerm(term, plane) != 0)
      return plane;
  return -1;
}

std::optional<SignedDigits> SignedDigits::get(LayoutAttr layout,
                                              int64_t plane) {
  int64_t term = findTerm(layout, plane);
  if (term < 0)
    return std::nullopt;
  int64_t bits = layout.getDigits()[plane],
          factor = layout.getTerm(term, plane),
          less = -layout.getTerm(term, layout.getNumPlanes());
  if (bits == 1 && factor == 2 && less == 1)
    return SignedDigits{64, 0x80, 0xc0};
  if (bits == 1 && factor == 1 && less == 0)
    return SignedDigits{64, 0x40, 0};
  if (bits == 2 && factor == 1 && less == 1)
    return SignedDigits{64, 0xc0, 0xc0, /*isTernary=*/true};
  if (factor == 1 && less == 1 << (bits - 1) && bits > 1)
    return SignedDigits{1 << (8 - bits), 0xffu & 0xff00u >> bits, 0x80};
  return std::nullopt;
}

bool mlir::tbq::areSigned(LayoutAttr layout) {
  for (int64_t plane = 0; plane < layout.getNumPlanes(); ++plane)
    if (!SignedDigits::get(layout, plane))
      return false;
  for (int64_t term = 0; term < layout.getNumTermsInGroups(); ++term)
    if (findPlane(layout, term) < 0)
      return false;
  return true;
}
