// RUN: tbq-opt %s --tbq-lower-team-to-cpu --canonicalize | FileCheck %s
// The team is a pointer to tbq_team (format/StepAbi.h): worker at byte 0,
// workers at 8, barrier at 16, spins at 24, wait at 32, its context at 40.

!row = !tbq.packed<1x16, f32, tile 1>

// One table for each list of offsets, in the order of need; none where all
// layers read one place.
// CHECK-DAG: memref.global "private" constant @tbq_offsets_0 : memref<2xi64> = dense<[0, 64]>
// CHECK-DAG: memref.global "private" constant @tbq_offsets_1 : memref<3xi64> = dense<[0, 64, 128]>
// CHECK-NOT: memref.global

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

// CHECK-LABEL: func.func @bytes(
// CHECK-SAME: %[[SECTION:.*]]: memref<4096xi8>, %[[LAYER:.*]]: index)
func.func @bytes(%section: memref<4096xi8>, %layer: index) -> (i8, i8, i8, i8, i8) {
  // CHECK-NOT: tbq.
  %i = arith.constant 5 : index
  // CHECK-DAG: %[[C256:.*]] = arith.constant 256 : index
  // CHECK-DAG: %[[C192:.*]] = arith.constant 192 : index
  // CHECK: memref.view %[[SECTION]][%[[C256]]][] : memref<4096xi8> to memref<64xi8>
  %alone = tbq.placed_weight [256] in %section : memref<4096xi8> : !row
  %b0 = tbq.packed_bytes %alone : !row -> memref<64xi8>
  %0 = memref.load %b0[%i] : memref<64xi8>
  // CHECK: %[[T0:.*]] = memref.get_global @tbq_offsets_0 : memref<2xi64>
  // CHECK: %[[O0:.*]] = memref.load %[[T0]][%[[LAYER]]]
  // CHECK: %[[AT0:.*]] = arith.index_cast %[[O0]] : i64 to index
  // CHECK: memref.view %[[SECTION]][%[[AT0]]][]
  %two = tbq.placed_weight [0, 64] layer(%layer) in %section : memref<4096xi8> : !row
  %b1 = tbq.packed_bytes %two : !row -> memref<64xi8>
  %1 = memref.load %b1[%i] : memref<64xi8>
  // CHECK: memref.get_global @tbq_offsets_1 : memref<3xi64>
  %three = tbq.placed_weight [0, 64, 128] layer(%layer) in %section : memref<4096xi8> : !row
  %b2 = tbq.packed_bytes %three : !row -> memref<64xi8>
  %2 = memref.load %b2[%i] : memref<64xi8>
  // CHECK: memref.get_global @tbq_offsets_0 : memref<2xi64>
  %again = tbq.placed_weight [0, 64] layer(%layer) in %section : memref<4096xi8> : !row
  %b3 = tbq.packed_bytes %again : !row -> memref<64xi8>
  %3 = memref.load %b3[%i] : memref<64xi8>
  // CHECK-NOT: memref.get_global
  // CHECK: memref.view %[[SECTION]][%[[C192]]][]
  %same = tbq.placed_weight [192, 192, 192] layer(%layer) in %section : memref<4096xi8> : !row
  %b4 = tbq.packed_bytes %same : !row -> memref<64xi8>
  %4 = memref.load %b4[%i] : memref<64xi8>
  return %0, %1, %2, %3, %4 : i8, i8, i8, i8, i8
}

// Alone: no atomics. The last to arrive resets the count, then releases the
// next generation; who waits acquires it. After `spins` looks the hook is
// called, and called again until the generation has changed.
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
