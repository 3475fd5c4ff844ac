// RUN: tbq-opt %s --tbq-mark-kernels --split-input-file | FileCheck %s
// RUN: tbq-opt %s --tbq-mark-kernels --split-input-file | FileCheck %s --check-prefix=FROM
// decode and prefill are kernels of blocks of 512 threads. Weights alone are
// never written: what is, no read-only path may cache.

// CHECK: llvm.func @decode(%{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr {llvm.noalias, llvm.readonly}, %{{.*}}: !llvm.ptr)
// CHECK-SAME: nvvm.kernel
// CHECK-SAME: nvvm.minctasm = 1 : i32
// CHECK-SAME: nvvm.reqntid = array<i32: 512>
llvm.func @decode(%arena: !llvm.ptr, %weights: !llvm.ptr, %cache: !llvm.ptr) {
  llvm.return
}
// CHECK: llvm.func @prefill(
// CHECK-SAME: nvvm.kernel
llvm.func @prefill(%arena: !llvm.ptr, %weights: !llvm.ptr, %cache: !llvm.ptr) {
  llvm.return
}
// CHECK: llvm.func @layer(%{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr) {
llvm.func @layer(%arena: !llvm.ptr, %weights: !llvm.ptr) {
  llvm.return
}

// -----

// A step that takes one token has one.
// CHECK-LABEL: module attributes
module attributes {tbq.decode_tokens = 1 : i64} {
llvm.func @layers(i64)
// CHECK: llvm.func @decode(
// CHECK: %[[ONE:.*]] = llvm.mlir.constant(1 : i64)
// CHECK: llvm.call @layers(%[[ONE]])
llvm.func @decode(%arena: !llvm.ptr, %weights: !llvm.ptr, %cache: !llvm.ptr, %tokens: !llvm.ptr, %logits: !llvm.ptr,
                  %position: i64, %count: i64) {
  llvm.call @layers(%count) : (i64) -> ()
  llvm.return
}
// CHECK: llvm.func @prefill(
// CHECK: llvm.call @layers(%arg6)
llvm.func @prefill(%arena: !llvm.ptr, %weights: !llvm.ptr, %cache: !llvm.ptr, %tokens: !llvm.ptr, %logits: !llvm.ptr,
                   %position: i64, %count: i64) {
  llvm.call @layers(%count) : (i64) -> ()
  llvm.return
}
}

// -----

// Fewer sequences go one after the other: by how many a step has room for, and
// how wide the model is.
// FROM: module attributes {tbq.batch_from = 3 : i64, tbq.batch_tokens = 8 : i64
module attributes {tbq.batch_tokens = 8 : i64, tbq.model = {hidden = 4096 : i64}} {
}

// -----

// FROM: module attributes {tbq.batch_from = 4 : i64, tbq.batch_tokens = 9 : i64
module attributes {tbq.batch_tokens = 9 : i64, tbq.model = {hidden = 576 : i64}} {
}

// -----

// FROM: module attributes {tbq.batch_from = 5 : i64, tbq.batch_tokens = 64 : i64
module attributes {tbq.batch_tokens = 64 : i64, tbq.model = {hidden = 2560 : i64}} {
}

// -----

// FROM: module attributes {tbq.batch_from = 6 : i64, tbq.batch_tokens = 64 : i64
module attributes {tbq.batch_tokens = 64 : i64, tbq.model = {hidden = 4096 : i64}} {
}

// -----

// FROM: module attributes {tbq.batch_from = 4 : i64, tbq.batch_tokens = 64 : i64
module attributes {tbq.batch_tokens = 64 : i64, tbq.model = {hidden = 8192 : i64}} {
}
