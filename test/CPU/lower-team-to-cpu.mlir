// RUN: tbq-opt %s --tbq-lower-team-to-cpu --canonicalize | FileCheck %s
// The team is a pointer to tbq_team (format/StepAbi.h): worker at byte 0,
// workers at 8, barrier at 16, spins at 24, wait at 32, its context at 40.

// CHECK-LABEL: func.func @numbers(
// CHECK-SAME: %[[TEAM:.*]]: !llvm.ptr) -> (index, index)
func.func @numbers(%team: !tbq.team) -> (index, index) {
  // CHECK: %[[W:.*]] = llvm.load %[[TEAM]] : !llvm.ptr -> i64
  // CHECK: arith.index_cast %[[W]] : i64 to index
  %0 = tbq.worker %team
  // CHECK: %[[AT:.*]] = llvm.getelementptr %[[TEAM]][8] : (!llvm.ptr) -> !llvm.ptr, i8
  // CHECK: llvm.load %[[AT]] : !llvm.ptr -> i64
  %1 = tbq.workers %team
  // CHECK: llvm.call @tbq_barrier_wait(%[[TEAM]]) : (!llvm.ptr) -> ()
  tbq.barrier %team
  return %0, %1 : index, index
}

// CHECK-LABEL: llvm.func internal @tbq_barrier_wait(
// CHECK-SAME: %[[TEAM:.*]]: !llvm.ptr)
// CHECK-DAG: %[[ZERO:.*]] = llvm.mlir.constant(0 : i32) : i32
// CHECK-DAG: %[[ONE:.*]] = llvm.mlir.constant(1 : i32) : i32
// CHECK-DAG: %[[ONLY:.*]] = llvm.mlir.constant(1 : i64) : i64
// CHECK: llvm.getelementptr %[[TEAM]][8]
// CHECK: %[[WORKERS:.*]] = llvm.load
// CHECK: %[[ALONE:.*]] = llvm.icmp "eq" %[[WORKERS]], %[[ONLY]]
// CHECK: llvm.cond_br %[[ALONE]], ^[[DONE:bb[0-9]+]], ^[[TOGETHER:bb[0-9]+]]
// CHECK: ^[[TOGETHER]]:
// CHECK: llvm.getelementptr %[[TEAM]][16]
// CHECK: %[[BARRIER:.*]] = llvm.load
// CHECK: %[[GENERATION:.*]] = llvm.getelementptr %[[BARRIER]][64]
// CHECK: %[[SEEN:.*]] = llvm.load %[[GENERATION]] atomic monotonic {alignment = 4 : i64}
// CHECK: %[[ARRIVED:.*]] = llvm.atomicrmw add %[[BARRIER]], %[[ONE]] acq_rel
// CHECK: %[[LAST:.*]] = llvm.icmp "eq" %[[ARRIVED]], %{{.*}} : i32
// CHECK: llvm.getelementptr %[[TEAM]][24]
// CHECK: %[[SPINS:.*]] = llvm.load
// CHECK: llvm.cond_br %[[LAST]], ^[[RELEASE:bb[0-9]+]], ^[[SPIN:bb[0-9]+]](%[[SPINS]] : i64)
// CHECK: ^[[RELEASE]]:
// CHECK: llvm.store %[[ZERO]], %[[BARRIER]] atomic monotonic
// CHECK: %[[NEXT:.*]] = llvm.add %[[SEEN]], %[[ONE]]
// CHECK: llvm.store %[[NEXT]], %[[GENERATION]] atomic release
// CHECK: llvm.br ^[[DONE]]
// CHECK: ^[[SPIN]](%[[LEFT:.*]]: i64):
// CHECK: %[[NOW:.*]] = llvm.load %[[GENERATION]] atomic acquire
// CHECK: %[[CHANGED:.*]] = llvm.icmp "ne" %[[NOW]], %[[SEEN]]
// CHECK: llvm.cond_br %[[CHANGED]], ^[[DONE]], ^[[AGAIN:bb[0-9]+]]
// CHECK: ^[[AGAIN]]{{.*}}:
// CHECK: llvm.icmp "sgt"
// CHECK: llvm.cond_br %{{.*}}, ^[[SPIN]](%{{.*}} : i64), ^[[WAIT:bb[0-9]+]]
// CHECK: ^[[WAIT]]:
// CHECK: llvm.getelementptr %[[TEAM]][32]
// CHECK: %[[HOOK:.*]] = llvm.load
// CHECK: llvm.getelementptr %[[TEAM]][40]
// CHECK: %[[CONTEXT:.*]] = llvm.load
// CHECK: llvm.call %[[HOOK]](%[[CONTEXT]], %[[GENERATION]], %[[SEEN]]) : !llvm.ptr, (!llvm.ptr, !llvm.ptr, i32) -> ()
// CHECK: llvm.br ^[[SPIN]]
// CHECK: ^[[DONE]]:
// CHECK-NEXT: llvm.return
