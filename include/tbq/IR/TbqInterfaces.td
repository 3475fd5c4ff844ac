// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What planning and distributing need to know of an op, whatever it computes.

#ifndef TBQ_INTERFACES_TD
#define TBQ_INTERFACES_TD

include "mlir/IR/OpBase.td"

def Tbq_StepOpInterface : OpInterface<"StepOp"> {
  let cppNamespace = "::mlir::tbq";
  let description = [{
    An op of the step that all workers run together. On tensors it has results;
    in buffer form it writes `into` memrefs instead, computes the first `count`
    tokens, and of its units of work those in `range`.
  }];
  let methods = [
    InterfaceMethod<[{
      Units of work a token has, or 0 if the units do not depend on the number
      of tokens (then see getFixedUnits). Two workers never write the same
      element.
    }], "int64_t", "getUnitsPerToken">,
    InterfaceMethod<"Units of work, if independent of the number of tokens.",
      "int64_t", "getFixedUnits", (ins), "", "return 0;">,
    InterfaceMethod<[{
      Columns of a row that one unit touches, in every row-wise operand alike;
      0: the whole row. If the units do not depend on the number of tokens: in
      what the op writes, and what it may overwrite.
    }], "int64_t", "getUnitColumns", (ins), "", "return 0;">,
    InterfaceMethod<"The KV cache the op names, or null.",
      "::mlir::Value", "getCacheMemory", (ins), "", "return {};">,
    InterfaceMethod<"Whether the op writes the KV cache it names.",
      "bool", "writesCache", (ins), "", "return false;">,
    InterfaceMethod<[{
      Whether the op reads only what earlier steps left in the cache, at
      positions that no op of this step writes.
    }], "bool", "readsEarlierCache", (ins), "", "return false;">,
    InterfaceMethod<[{
      Whether result 0 may lie in the buffer of operand `operand`, because each
      element is read by the unit that writes it, and before.
    }], "bool", "mayOverwrite", (ins "::mlir::Value":$operand), "", "return false;">,
    InterfaceMethod<"", "::mlir::MutableOperandRange", "getIntoMutable">,
    InterfaceMethod<"", "::mlir::MutableOperandRange", "getCountMutable">,
    InterfaceMethod<"", "::mlir::MutableOperandRange", "getRangeMutable">,
    InterfaceMethod<"", "::mlir::OperandRange", "getInto">,
    InterfaceMethod<"", "::mlir::OperandRange", "getRange">,
  ];
}

#endif // TBQ_INTERFACES_TD
