// RUN: tbq-opt %s --tbq-lower-team-to-gpu --canonicalize | FileCheck %s
// The first block shows a value in the host's window, if that is open: at byte
// 128 of tbq_device_barrier (format/DeviceAbi.h).

// CHECK-LABEL: func.func @show(
// CHECK-SAME: %[[TEAM:.*]]: !llvm.ptr, %[[ROWS:.*]]: index, %[[LAYER:.*]]: index
func.func @show(%team: !tbq.team, %rows: index, %layer: index, %buffer: memref<8x64xf32>, %tokens: memref<8xi32>, %cache: memref<4096xi8>) {
  // CHECK-DAG: %[[NUMBER:.*]] = arith.constant 7 : index
  // CHECK-DAG: %[[VALUE:.*]] = arith.constant 2 : index
  // CHECK-DAG: %[[STRIDE:.*]] = arith.constant 64 : index
  // CHECK-DAG: %[[ONE:.*]] = arith.constant 1 : index
  // CHECK-DAG: %[[ROW:.*]] = arith.constant 256 : index
  // CHECK-DAG: %[[WORD:.*]] = arith.constant 4 : index
  // CHECK-DAG: %[[CACHE:.*]] = arith.constant 4096 : index
  // CHECK: %[[DATA:.*]] = memref.extract_aligned_pointer_as_index %{{.*}} : memref<8x64xf32>
  // CHECK: %[[BYTES:.*]] = arith.muli %[[ROWS]], %[[ROW]]
  // CHECK: call @tbq_observe_value(%[[TEAM]], %[[NUMBER]], %[[LAYER]], %[[VALUE]], %[[ROWS]], %[[STRIDE]], %[[BYTES]], %[[DATA]])
  tbq.observe %team operation 7 value 2 layer %layer rows %rows of %buffer : memref<8x64xf32>
  // CHECK: %[[WORDS:.*]] = arith.muli %[[ROWS]], %[[WORD]]
  // CHECK: call @tbq_observe_value({{.*}}, %[[ROWS]], %[[ONE]], %[[WORDS]], %{{.*}})
  tbq.observe %team operation 8 value 0 layer %layer rows %rows of %tokens : memref<8xi32>
  // A cache is shown as a whole.
  // CHECK: call @tbq_observe_value({{.*}}, %[[ROWS]], %[[ONE]], %[[CACHE]], %{{.*}})
  tbq.observe %team operation 9 value 1 layer %layer rows %rows of %cache : memref<4096xi8>
  return
}

// The threads copy a part; when all have, one of them releases it, to the host
// too, and waits.
// CHECK-LABEL: func.func private @tbq_observe_value(
// CHECK: %[[FIELD:.*]] = llvm.getelementptr %{{.*}}[128]
// CHECK: %[[WINDOW:.*]] = llvm.load %[[FIELD]]
// CHECK: llvm.icmp "ne" %[[WINDOW]]
// CHECK: nvvm.read.ptx.sreg.ctaid.x
// CHECK: scf.for
// CHECK: scf.for
// CHECK: llvm.load
// CHECK: llvm.store
// CHECK: nvvm.barrier0
// CHECK: scf.if
// CHECK-COUNT-7: llvm.store %{{.*}} : i64, !llvm.ptr
// CHECK: llvm.fence acq_rel
// CHECK: llvm.load %[[WINDOW]] atomic monotonic
// CHECK: %[[NEXT:.*]] = arith.addi
// CHECK: llvm.store %[[NEXT]], %[[WINDOW]] atomic release
// CHECK: scf.while
// CHECK: %[[ADDRESS:.*]] = llvm.getelementptr %[[WINDOW]][128]
// CHECK: %[[SEEN:.*]] = llvm.load %[[ADDRESS]] atomic acquire
// CHECK: arith.cmpi ne, %[[SEEN]], %[[NEXT]]
// CHECK: nvvm.barrier0
