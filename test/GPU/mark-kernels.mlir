// RUN: tbq-opt %s --tbq-mark-kernels | FileCheck %s
// decode and prefill are kernels of blocks of 512 threads. Weights alone are
// never written: what is, no read-only path may cache.

// CHECK: llvm.func @decode(%{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr {llvm.noalias, llvm.readonly}, %{{.*}}: !llvm.ptr)
// CHECK-SAME: nvvm.kernel
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
