// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Registers what the tbq dialect consists of, and names layouts in printed IR.

#include "tbq/IR/Tbq.h"

#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::tbq;

#include "tbq/IR/TbqDialect.cpp.inc"
#include "tbq/IR/TbqEnums.cpp.inc"

namespace {
/// Packed types are long and few: print each once, at the head of the module.
struct TbqAsmInterface : OpAsmDialectInterface {
  using OpAsmDialectInterface::OpAsmDialectInterface;
  AliasResult getAlias(Type type, raw_ostream &os) const override {
    if (isa<PackedType>(type)) {
      os << "packed";
      return AliasResult::FinalAlias;
    }
    if (isa<CacheType>(type)) {
      os << "cache";
      return AliasResult::FinalAlias;
    }
    return AliasResult::NoAlias;
  }
};
} // namespace

void TbqDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "tbq/IR/TbqOps.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "tbq/IR/TbqTypes.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "tbq/IR/TbqAttrs.cpp.inc"
      >();
  addInterfaces<TbqAsmInterface>();
}

#define GET_ATTRDEF_CLASSES
#include "tbq/IR/TbqAttrs.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "tbq/IR/TbqTypes.cpp.inc"
