// RUN: tbq-opt %s --tbq-share-worker-memory | FileCheck %s
// One buffer: the entry points' own ones, of which one lives at a time, and
// behind them those of layers.

// CHECK: memref.global "private" @tbq_shared_worker : memref<232448xi8, 3> = uninitialized {alignment = 128 : i64}
// CHECK-LABEL: func.func @decode(
func.func @decode() -> (memref<1x64xf32>, memref<1x16xi8>) {
  // CHECK: %[[ALL:.*]] = memref.get_global @tbq_shared_worker
  // CHECK: %[[VIEW:.*]] = memref.view %[[ALL]][%c0][] : memref<232448xi8, 3> to memref<1x64xf32, 3>
  // CHECK: %[[X:.*]] = memref.memory_space_cast %[[VIEW]] : memref<1x64xf32, 3> to memref<1x64xf32>
  %x = memref.alloca() {alignment = 64 : i64} : memref<1x64xf32>
  // CHECK: memref.view %{{.*}}[%c256][] : memref<232448xi8, 3> to memref<1x16xi8, 3>
  %q = memref.alloca() {alignment = 64 : i64} : memref<1x16xi8>
  // CHECK: return %[[X]]
  return %x, %q : memref<1x64xf32>, memref<1x16xi8>
}
// CHECK-LABEL: func.func private @layer(
func.func private @layer() -> memref<1x64xf32> {
  // CHECK: memref.view %{{.*}}[%c320][] : memref<232448xi8, 3> to memref<1x64xf32, 3>
  %x = memref.alloca() {alignment = 64 : i64} : memref<1x64xf32>
  return %x : memref<1x64xf32>
}
