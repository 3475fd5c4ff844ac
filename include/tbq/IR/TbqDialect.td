// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The dialect: what a low-bit decoder-only transformer computes, from the
// model's own words (graph) to work divided among workers (lower).

#ifndef TBQ_DIALECT_TD
#define TBQ_DIALECT_TD

include "mlir/IR/OpBase.td"

def Tbq_Dialect : Dialect {
  let name = "tbq";
  let cppNamespace = "::mlir::tbq";
  let summary = "low-bit transformers";
  let description = [{
    One dialect carries a model through all stages. Ops come in three layers:

    - *graph*: `tbq.weight`, `tbq.linear`, `tbq.rms_norm`, `tbq.attention`, ...
      on tensors of f32, one row a token. The scheme of a quantised linear
      (scale, shift, salient weights) shows in its assembly.
    - *pack*: every weight is a `!tbq.packed` value with a layout, every linear
      a `tbq.packed_linear` in the one form of digit planes; equal layers are
      one function that `tbq.layers` repeats.
    - *lower*: the same ops on memrefs of a static arena (`into`), with the
      number of tokens (`count`) and the worker's share of the work (`range`),
      and `tbq.barrier` where workers depend on one another.
  }];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
  let dependentDialects = ["::mlir::arith::ArithDialect"];
}

#endif // TBQ_DIALECT_TD
