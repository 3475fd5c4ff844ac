// RUN: tbq-opt %s --tbq-lower-team-to-gpu --canonicalize | FileCheck %s
// A worker is a block; the team is a pointer to tbq_device_barrier
// (format/DeviceAbi.h): the counter at byte 0.

// CHECK-LABEL: func.func @numbers(
// CHECK-SAME: %[[TEAM:.*]]: !llvm.ptr) -> (index, index)
func.func @numbers(%team: !tbq.team) -> (index, index) {
  // CHECK: nvvm.read.ptx.sreg.ctaid.x range <i32, 0, 65536>
  %0 = tbq.worker %team
  // CHECK: nvvm.read.ptx.sreg.nctaid.x range <i32, 1, 65537>
  %1 = tbq.workers %team
  // CHECK: %[[SEEN:.*]] = llvm.call @tbq_barrier_arrive(%[[TEAM]]) : (!llvm.ptr) -> i32
  // CHECK-NEXT: llvm.call @tbq_barrier_wait(%[[TEAM]], %[[SEEN]]) : (!llvm.ptr, i32) -> ()
  tbq.barrier %team
  return %0, %1 : index, index
}

// Halves of a barrier stand apart.
// CHECK-LABEL: func.func @apart(
// CHECK-SAME: %[[TEAM:.*]]: !llvm.ptr)
func.func @apart(%team: !tbq.team) -> index {
  // CHECK: %[[SEEN:.*]] = llvm.call @tbq_barrier_arrive(%[[TEAM]])
  // CHECK: nvvm.read.ptx.sreg.ctaid.x
  // CHECK: llvm.call @tbq_barrier_wait(%[[TEAM]], %[[SEEN]])
  // CHECK-NOT: llvm.call
  // CHECK: return
  tbq.barrier %team {tbq.arrives}
  %0 = tbq.worker %team
  tbq.barrier %team {tbq.waits}
  return %0 : index
}

// Thread 0 looks at the counter; the block's threads meet; thread 0 adds behind
// a fence.
// CHECK-LABEL: llvm.func internal @tbq_barrier_arrive(
// CHECK-SAME: %[[BARRIER:.*]]: !llvm.ptr) -> i32
// CHECK-DAG: %[[ONE:.*]] = llvm.mlir.constant(1 : i32) : i32
// CHECK-DAG: %[[ZERO:.*]] = llvm.mlir.constant(0 : i32) : i32
// CHECK-DAG: %[[ALL:.*]] = llvm.mlir.constant(-2147483648 : i32) : i32
// CHECK: nvvm.read.ptx.sreg.tid.x
// CHECK: llvm.cond_br %[[FIRST:.*]], ^[[LOOK:bb[0-9]+]], ^[[MEET:bb[0-9]+]](%[[ZERO]] : i32)
// CHECK: ^[[LOOK]]:
// CHECK: %[[LOOKED:.*]] = llvm.load %[[BARRIER]] atomic syncscope("device") monotonic
// CHECK: llvm.br ^[[MEET]](%[[LOOKED]] : i32)
// CHECK: ^[[MEET]](%[[SEEN:.*]]: i32):
// CHECK-NEXT: nvvm.barrier0
// CHECK: llvm.cond_br %[[FIRST]], ^[[ARRIVE:bb[0-9]+]], ^[[DONE:bb[0-9]+]]
// CHECK: ^[[ARRIVE]]:
// CHECK: %[[OTHERS:.*]] = llvm.sub %{{.*}}, %[[ONE]]
// CHECK: %[[REST:.*]] = llvm.sub %[[ALL]], %[[OTHERS]]
// CHECK: %[[AMOUNT:.*]] = llvm.select %{{.*}}, %[[REST]], %[[ONE]]
// CHECK: llvm.fence syncscope("device") acq_rel
// CHECK: llvm.atomicrmw add %[[BARRIER]], %[[AMOUNT]] syncscope("device") monotonic
// CHECK: ^[[DONE]]:
// CHECK-NEXT: llvm.return %[[SEEN]]

// It waits for the highest bit to change; the threads meet again.
// CHECK-LABEL: llvm.func internal @tbq_barrier_wait(
// CHECK-SAME: %[[BARRIER:.*]]: !llvm.ptr, %[[SEEN:.*]]: i32)
// CHECK: %[[ZERO:.*]] = llvm.mlir.constant(0 : i32) : i32
// CHECK: llvm.cond_br %{{.*}}, ^[[BEGIN:bb[0-9]+]], ^[[DONE:bb[0-9]+]]
// CHECK: ^[[BEGIN]]:
// CHECK-NEXT: llvm.br ^[[WAIT:bb[0-9]+]]
// CHECK: ^[[WAIT]]:
// CHECK: %[[NOW:.*]] = llvm.load %[[BARRIER]] atomic syncscope("device") acquire
// CHECK: %[[CHANGED:.*]] = llvm.xor %[[NOW]], %[[SEEN]]
// CHECK: %[[HIGHEST:.*]] = llvm.icmp "slt" %[[CHANGED]], %[[ZERO]]
// CHECK: llvm.cond_br %[[HIGHEST]], ^[[ARRIVED:bb[0-9]+]], ^[[WAIT]]
// CHECK: ^[[ARRIVED]]:
// CHECK-NEXT: llvm.br ^[[DONE]]
// CHECK: ^[[DONE]]:
// CHECK-NEXT: nvvm.barrier0
// CHECK-NEXT: llvm.return
