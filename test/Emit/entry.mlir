// RUN: tbqc %s --start-after=cpu --emit=llvm -O0 --mtriple=x86_64-linux-gnu --mcpu=x86-64-v4 | FileCheck %s
// RUN: tbqc %s --start-after=cpu --emit=llvm -O0 --mtriple=aarch64-linux-gnu | FileCheck %s --check-prefix=ARM

// The table of format/StepAbi.h; only the query is visible, and an unknown ABI
// version gets null.

// CHECK: target triple = "x86_64-unknown-linux-gnu"
// CHECK: %tbq_model_table = type { i32, i32, ptr, i64, ptr, i64, ptr, i64, i64, i64, i64, i64, i64, i64, i64, ptr, ptr, ptr, ptr, i64 }
// CHECK: @tbq_table = internal constant %tbq_model_table { i32 5, i32 152, ptr @tbq_manifest,
// CHECK-SAME: ptr @tbq_tokenizer, {{.*}} ptr @tbq_weights,
// CHECK-SAME: i64 4096, i64 8192, i64 0, i64 1, i64 64, i64 1, i64 272, ptr @decode, ptr @prefill, ptr null, ptr @tbq_kernels, i64 ptrtoint (ptr @tbq_kernels_bytes to i64) }, align 64
// CHECK: define internal void @layer({{.*}}) [[ATTRIBUTES:#[0-9]+]]
// CHECK: define internal void @decode({{.*}}) [[ATTRIBUTES]]
// CHECK: define internal void @prefill(
// CHECK: define ptr @tbq_model_query(i32 %0) [[ATTRIBUTES]]
// CHECK: [[KNOWN:%.*]] = icmp eq i32 %0, 5
// CHECK: select i1 [[KNOWN]], ptr @tbq_table, ptr null
// CHECK: attributes [[ATTRIBUTES]] = { nounwind
// CHECK-SAME: "prefer-vector-width"="512" "target-cpu"="x86-64-v4"
// CHECK-NOT: uwtable

// ARM: target triple = "aarch64-unknown-linux-gnu"
// ARM-NOT: prefer-vector-width

module attributes {
  tbq.arena_bytes = 4096 : i64, tbq.cache_bytes = 8192 : i64, tbq.decode_tokens = 1 : i64,
  tbq.prefill_tokens = 64 : i64, tbq.logits_stride = 272 : i64} {
  llvm.func @layer(%arena: !llvm.ptr) {
    %zero = llvm.mlir.constant(0.0 : f32) : f32
    llvm.store %zero, %arena : f32, !llvm.ptr
    llvm.return
  }
  llvm.func @decode(%arena: !llvm.ptr, %weights: !llvm.ptr, %cache: !llvm.ptr, %tokens: !llvm.ptr, %logits: !llvm.ptr, %position: i64, %count: i64, %first: i64, %team: !llvm.ptr) {
    llvm.call @layer(%arena) : (!llvm.ptr) -> ()
    llvm.return
  }
  llvm.func @prefill(%arena: !llvm.ptr, %weights: !llvm.ptr, %cache: !llvm.ptr, %tokens: !llvm.ptr, %logits: !llvm.ptr, %position: i64, %count: i64, %first: i64, %team: !llvm.ptr) {
    llvm.return
  }
  tbq.weights @weights bytes 0 {
  }
}
