// RUN: tbq-opt %s --tbq-lower-team-to-cpu --canonicalize | FileCheck %s
// A value is shown by worker 0, if the team has an observer: at byte 48 of
// tbq_team (format/StepAbi.h), its context at 56.

// CHECK-LABEL: func.func @show(
// CHECK-SAME: %[[TEAM:.*]]: !llvm.ptr, %[[ROWS:.*]]: index, %[[LAYER:.*]]: index, %[[BUFFER:.*]]: memref<8x64xf32>, %[[TOKENS:.*]]: memref<8xi32>)
func.func @show(%team: !tbq.team, %rows: index, %layer: index, %buffer: memref<8x64xf32>, %tokens: memref<8xi32>) {
  // CHECK-DAG: %[[NUMBER:.*]] = llvm.mlir.constant(7 : i64)
  // CHECK-DAG: %[[VALUE:.*]] = llvm.mlir.constant(2 : i64)
  // CHECK-DAG: %[[STRIDE:.*]] = llvm.mlir.constant(64 : i64)
  // CHECK-DAG: %[[ONE:.*]] = llvm.mlir.constant(1 : i64)
  // CHECK: %[[INDEX:.*]] = memref.extract_aligned_pointer_as_index %[[BUFFER]]
  // CHECK: %[[DATA:.*]] = llvm.inttoptr
  // CHECK: llvm.call @tbq_observe_value(%[[TEAM]], %[[NUMBER]], %{{.*}}, %[[VALUE]], %[[DATA]], %{{.*}}, %[[STRIDE]])
  tbq.observe %team operation 7 value 2 layer %layer rows %rows of %buffer : memref<8x64xf32>
  // CHECK: llvm.call @tbq_observe_value(%[[TEAM]], {{.*}}, %[[ONE]])
  tbq.observe %team operation 8 value 0 layer %layer rows %rows of %tokens : memref<8xi32>
  return
}

// CHECK-LABEL: llvm.func internal @tbq_observe_value(
// CHECK-SAME: %[[TEAM:.*]]: !llvm.ptr, %[[NUMBER:.*]]: i64, %[[LAYER:.*]]: i64, %[[VALUE:.*]]: i64, %[[DATA:.*]]: !llvm.ptr, %[[ROWS:.*]]: i64, %[[STRIDE:.*]]: i64)
// CHECK: %[[WORKER:.*]] = llvm.load %[[TEAM]] : !llvm.ptr -> i64
// CHECK: %[[AT:.*]] = llvm.getelementptr %[[TEAM]][48]
// CHECK: %[[HOOK:.*]] = llvm.load %[[AT]]
// CHECK: llvm.icmp "eq" %[[WORKER]]
// CHECK: llvm.icmp "ne" %[[HOOK]]
// CHECK: llvm.cond_br %{{.*}}, ^[[LOOK:bb[0-9]+]], ^[[DONE:bb[0-9]+]]
// CHECK: ^[[LOOK]]:
// CHECK: %[[OF:.*]] = llvm.getelementptr %[[TEAM]][56]
// CHECK: %[[CONTEXT:.*]] = llvm.load %[[OF]]
// CHECK: llvm.call %[[HOOK]](%[[CONTEXT]], %[[NUMBER]], %[[LAYER]], %[[VALUE]], %[[DATA]], %[[ROWS]], %[[STRIDE]])
// CHECK: ^[[DONE]]:
// CHECK-NEXT: llvm.return
