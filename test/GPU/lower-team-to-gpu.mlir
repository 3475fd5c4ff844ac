// RUN: tbq-opt %s --tbq-lower-team-to-gpu --canonicalize | FileCheck %s
// A worker is a block; the team is a pointer to tbq_device_barrier
// (format/DeviceAbi.h): arrivals at byte 0, the generation at 128.

// CHECK-LABEL: func.func @numbers(
// CHECK-SAME: %[[TEAM:.*]]: !llvm.ptr) -> (index, index)
func.func @numbers(%team: !tbq.team) -> (index, index) {
  // CHECK: nvvm.read.ptx.sreg.ctaid.x
  %0 = tbq.worker %team
  // CHECK: nvvm.read.ptx.sreg.nctaid.x
  %1 = tbq.workers %team
  // CHECK: llvm.call @tbq_barrier_wait(%[[TEAM]]) : (!llvm.ptr) -> ()
  tbq.barrier %team
  return %0, %1 : index, index
}

// The block's threads meet; thread 0 counts the block's arrival between fences
// and waits; the threads meet again.
// CHECK-LABEL: llvm.func internal @tbq_barrier_wait(
// CHECK-SAME: %[[BARRIER:.*]]: !llvm.ptr)
// CHECK-DAG: %[[ONE:.*]] = llvm.mlir.constant(1 : i32) : i32
// CHECK: %[[GENERATION:.*]] = llvm.getelementptr %[[BARRIER]][128]
// CHECK: nvvm.barrier0
// CHECK: nvvm.read.ptx.sreg.tid.x
// CHECK: llvm.cond_br %{{.*}}, ^[[ARRIVE:bb[0-9]+]], ^[[DONE:bb[0-9]+]]
// CHECK: ^[[ARRIVE]]:
// CHECK: %[[SEEN:.*]] = llvm.load %[[GENERATION]] atomic syncscope("device") monotonic
// CHECK: llvm.fence syncscope("device") acq_rel
// CHECK: %[[BEFORE:.*]] = llvm.atomicrmw add %[[BARRIER]], %[[ONE]] syncscope("device") monotonic
// CHECK: %[[LAST:.*]] = llvm.icmp "eq" %[[BEFORE]], %{{.*}} : i32
// CHECK: llvm.cond_br %[[LAST]], ^[[RELEASE:bb[0-9]+]], ^[[WAIT:bb[0-9]+]]
// CHECK: ^[[RELEASE]]:
// CHECK: llvm.store %{{.*}}, %[[BARRIER]] atomic syncscope("device") monotonic
// CHECK: %[[NEXT:.*]] = llvm.add %[[SEEN]], %[[ONE]]
// CHECK: llvm.store %[[NEXT]], %[[GENERATION]] atomic syncscope("device") release
// CHECK: llvm.br ^[[ARRIVED:bb[0-9]+]]
// CHECK: ^[[WAIT]]:
// CHECK: %[[NOW:.*]] = llvm.load %[[GENERATION]] atomic syncscope("device") acquire
// CHECK: %[[CHANGED:.*]] = llvm.icmp "ne" %[[NOW]], %[[SEEN]]
// CHECK: llvm.cond_br %[[CHANGED]], ^[[ARRIVED]], ^[[WAIT]]
// CHECK: ^[[ARRIVED]]:
// CHECK: llvm.fence syncscope("device") acq_rel
// CHECK: llvm.br ^[[DONE]]
// CHECK: ^[[DONE]]:
// CHECK-NEXT: nvvm.barrier0
// CHECK-NEXT: llvm.return
