// RUN: rm -rf %t && split-file %s %t
// RUN: bash -c 'tbqc %t/call.mlir --start-after=cpu --emit=obj -o %t/o 2> %t/call; test $? -eq 2'
// RUN: FileCheck %s --check-prefix=CALL --input-file=%t/call
// CALL: tbqc: error: emit: the code calls 'expf', which no artifact may need
// RUN: not ls %t/o
// RUN: bash -c 'tbqc %t/fast.mlir --start-after=cpu --emit=obj -o %t/o 2> %t/fast; test $? -eq 2'
// RUN: FileCheck %s --check-prefix=FAST --input-file=%t/fast
// FAST: tbqc: error: @decode: fast-math flags
// RUN: bash -c 'tbqc %t/missing.mlir --start-after=cpu --emit=obj -o %t/o 2> %t/missing; test $? -eq 2'
// RUN: FileCheck %s --check-prefix=MISSING --input-file=%t/missing
// MISSING: tbqc: error: @prefill: the step is missing
// RUN: bash -c 'tbqc %t/type.mlir --start-after=cpu --emit=obj -o %t/o 2> %t/type; test $? -eq 2'
// RUN: FileCheck %s --check-prefix=TYPE --input-file=%t/type
// TYPE: tbqc: error: @decode: the step has not the arguments of format/StepAbi.h
// RUN: bash -c 'tbqc %t/size.mlir --start-after=cpu --emit=obj -o %t/o 2> %t/size; test $? -eq 2'
// RUN: FileCheck %s --check-prefix=SIZE --input-file=%t/size
// SIZE: tbqc: error: tbq.cache_bytes: the module does not say this size
// RUN: bash -c 'tbqc %t/parse.mlir --emit=obj -o %t/o 2> %t/parse; test $? -eq 1'
// RUN: FileCheck %s --check-prefix=PARSE --input-file=%t/parse
// PARSE: tbqc: error: {{.*}}parse.mlir:2:3:
// RUN: bash -c 'tbqc %t/select.mlir --start-after=cpu --emit=obj --mtriple=x86_64-linux-gnu --mcpu=x86-64 -o %t/o 2> %t/select; test $? -eq 2'
// RUN: FileCheck %s --check-prefix=SELECT --input-file=%t/select --implicit-check-not={{.}}
// SELECT: {{^}}tbqc: error: inside LLVM: {{.+$}}

//--- call.mlir
!p = !llvm.ptr
module attributes {tbq.arena_bytes = 0 : i64, tbq.cache_bytes = 0 : i64, tbq.decode_tokens = 1 : i64, tbq.prefill_tokens = 1 : i64, tbq.logits_stride = 16 : i64} {
  llvm.func @expf(f32) -> f32
  llvm.func @decode(%arena: !p, %1: !p, %2: !p, %3: !p, %4: !p, %5: i64, %6: i64, %7: i64, %8: !p) {
    %x = llvm.load %arena : !p -> f32
    %y = llvm.call @expf(%x) : (f32) -> f32
    llvm.store %y, %arena : f32, !p
    llvm.return
  }
  llvm.func @prefill(%0: !p, %1: !p, %2: !p, %3: !p, %4: !p, %5: i64, %6: i64, %7: i64, %8: !p) {
    llvm.return
  }
}
//--- fast.mlir
!p = !llvm.ptr
module attributes {tbq.arena_bytes = 0 : i64, tbq.cache_bytes = 0 : i64, tbq.decode_tokens = 1 : i64, tbq.prefill_tokens = 1 : i64, tbq.logits_stride = 16 : i64} {
  llvm.func @decode(%arena: !p, %1: !p, %2: !p, %3: !p, %4: !p, %5: i64, %6: i64, %7: i64, %8: !p) {
    %x = llvm.load %arena : !p -> f32
    %y = llvm.fadd %x, %x {fastmathFlags = #llvm.fastmath<contract>} : f32
    llvm.store %y, %arena : f32, !p
    llvm.return
  }
  llvm.func @prefill(%0: !p, %1: !p, %2: !p, %3: !p, %4: !p, %5: i64, %6: i64, %7: i64, %8: !p) {
    llvm.return
  }
}
//--- missing.mlir
!p = !llvm.ptr
module attributes {tbq.arena_bytes = 0 : i64, tbq.cache_bytes = 0 : i64, tbq.decode_tokens = 1 : i64, tbq.prefill_tokens = 1 : i64, tbq.logits_stride = 16 : i64} {
  llvm.func @decode(%0: !p, %1: !p, %2: !p, %3: !p, %4: !p, %5: i64, %6: i64, %7: i64, %8: !p) {
    llvm.return
  }
}
//--- type.mlir
!p = !llvm.ptr
module attributes {tbq.arena_bytes = 0 : i64, tbq.cache_bytes = 0 : i64, tbq.decode_tokens = 1 : i64, tbq.prefill_tokens = 1 : i64, tbq.logits_stride = 16 : i64} {
  llvm.func @decode(%0: !p, %1: !p, %2: !p, %3: !p, %4: !p, %5: i64, %6: i64, %7: i64) {
    llvm.return
  }
}
//--- size.mlir
module attributes {tbq.arena_bytes = 0 : i64} {
}
//--- parse.mlir
module {
  llvm.funk @decode()
}
//--- select.mlir
!p = !llvm.ptr
module attributes {tbq.arena_bytes = 0 : i64, tbq.cache_bytes = 0 : i64, tbq.decode_tokens = 1 : i64, tbq.prefill_tokens = 1 : i64, tbq.logits_stride = 16 : i64} {
  llvm.func @decode(%arena: !p, %1: !p, %2: !p, %3: !p, %4: !p, %5: i64, %6: i64, %7: i64, %8: !p) {
    %x = llvm.load %arena : !p -> vector<16xi32>
    %b = llvm.load %arena : !p -> vector<64xi8>
    %y = llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"(%x, %b, %b) : (vector<16xi32>, vector<64xi8>, vector<64xi8>) -> vector<16xi32>
    llvm.store %y, %arena : vector<16xi32>, !p
    llvm.return
  }
  llvm.func @prefill(%0: !p, %1: !p, %2: !p, %3: !p, %4: !p, %5: i64, %6: i64, %7: i64, %8: !p) {
    llvm.return
  }
}
