// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Little-endian floats in bytes, of the types that a layout's elements may
// have, by way of f32.
#ifndef TBQ_LIB_IR_FLOATELEMENTS_H
#define TBQ_LIB_IR_FLOATELEMENTS_H

#include "format/Float16.h"

#include "mlir/IR/BuiltinTypes.h"
#include "llvm/Support/Endian.h"

#include <cassert>

namespace mlir::tbq {

struct F32 {
  static constexpr int64_t kBytes = 4;
  static float load(const uint8_t *from) {
    return ::tbq::bitsToFloat(llvm::support::endian::read32le(from));
  }
  static void store(uint8_t *to, float value) {
    llvm::support::endian::write32le(to, ::tbq::floatToBits(value));
  }
};
struct F16 {
  static constexpr int64_t kBytes = 2;
  static float load(const uint8_t *from) {
    return ::tbq::f16ToFloat(llvm::support::endian::read16le(from));
  }
  static void store(uint8_t *to, float value) {
    llvm::support::endian::write16le(to, ::tbq::floatToF16(value));
  }
};
struct BF16 {
  static constexpr int64_t kBytes = 2;
  static float load(const uint8_t *from) {
    return ::tbq::bf16ToFloat(llvm::support::endian::read16le(from));
  }
  static void store(uint8_t *to, float value) {
    llvm::support::endian::write16le(to, ::tbq::floatToBf16(value));
  }
};

/// Calls `function` with an object of the struct above that `type` names.
template <typename Function> auto withFloat(Type type, Function function) {
  if (type.isF32())
    return function(F32());
  if (type.isF16())
    return function(F16());
  assert(type.isBF16() && "elements are f32, f16 or bf16");
  return function(BF16());
}

} // namespace mlir::tbq

#endif // TBQ_LIB_IR_FLOATELEMENTS_H
