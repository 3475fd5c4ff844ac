// RUN: tbq-opt %s --tbq-lower-team-to-gpu --canonicalize | FileCheck %s
// A barrier with a phase notes when the block came, all its threads, and when
// it went on: in what byte 136 of tbq_device_barrier points to.

module attributes {tbq.phases = ["a", "b", ""]} {
// CHECK-LABEL: func.func @layer(
// CHECK-SAME: %[[TEAM:.*]]: !llvm.ptr, %[[LAYER:.*]]: index
func.func @layer(%team: !tbq.team, %layer: index) {
  // CHECK-DAG: %[[THREE:.*]] = arith.constant 3 : index
  // CHECK-DAG: %[[ONE:.*]] = arith.constant 1 : index
  // CHECK: %[[BEFORE:.*]] = arith.muli %[[LAYER]], %[[THREE]]
  // CHECK: %[[NUMBER:.*]] = arith.addi %[[BEFORE]], %[[ONE]]
  // CHECK: %[[WORD:.*]] = arith.index_cast %[[NUMBER]] : index to i64
  // CHECK: %[[SEEN:.*]] = llvm.call @tbq_barrier_arrive(%[[TEAM]], %[[WORD]]) : (!llvm.ptr, i64) -> i32
  // CHECK: llvm.call @tbq_barrier_wait(%[[TEAM]], %[[SEEN]], %{{.*}}) : (!llvm.ptr, i32, i64) -> ()
  tbq.barrier %team phase 1 layer %layer
  return
}
}

// CHECK-LABEL: llvm.func internal @tbq_barrier_arrive(
// CHECK-SAME: %[[BARRIER:.*]]: !llvm.ptr, %[[NUMBER:.*]]: i64) -> i32
// CHECK: nvvm.barrier0
// CHECK: %[[CAME:.*]] = nvvm.read.ptx.sreg.clock64
// CHECK: %[[BLOCKS:.*]] = llvm.zext
// CHECK: %[[BLOCK:.*]] = llvm.zext
// CHECK: %[[FIRST:.*]] = llvm.mul %[[NUMBER]], %[[BLOCKS]]
// CHECK: %[[OWN:.*]] = llvm.add %[[FIRST]], %[[BLOCK]]
// CHECK: %[[FIELD:.*]] = llvm.getelementptr %[[BARRIER]][136] : (!llvm.ptr) -> !llvm.ptr, i8
// CHECK: %[[TIMES:.*]] = llvm.load %[[FIELD]]
// CHECK: %[[TIME:.*]] = llvm.getelementptr %[[TIMES]][%[[OWN]]] : (!llvm.ptr, i64) -> !llvm.ptr, !llvm.array<2 x i64>
// CHECK: llvm.store %[[CAME]], %[[TIME]]
// CHECK: llvm.fence
// CHECK: llvm.atomicrmw

// CHECK-LABEL: llvm.func internal @tbq_barrier_wait(
// CHECK-SAME: %[[BARRIER:.*]]: !llvm.ptr, %{{.*}}: i32, %[[NUMBER:.*]]: i64)
// CHECK: llvm.mul %[[NUMBER]],
// CHECK: %[[TIME:.*]] = llvm.getelementptr %{{.*}}[%{{.*}}] : (!llvm.ptr, i64) -> !llvm.ptr, !llvm.array<2 x i64>
// CHECK: llvm.load %[[BARRIER]] atomic syncscope("device") acquire
// CHECK: %[[LEFT:.*]] = nvvm.read.ptx.sreg.clock64
// CHECK: %[[SECOND:.*]] = llvm.getelementptr %[[TIME]][8]
// CHECK: llvm.store %[[LEFT]], %[[SECOND]]
// CHECK: nvvm.barrier0
