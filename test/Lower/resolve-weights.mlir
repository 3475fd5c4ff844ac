// RUN: tbq-opt %s --tbq-resolve-weights --canonicalize | FileCheck %s
// A weight's bytes are a view of the section where the weight was placed.

!row = !tbq.packed<1x16, f32, tile 1>

// One table for each list of offsets, in the order of need; none where all
// layers read one place.
// CHECK-DAG: memref.global "private" constant @tbq_offsets_0 : memref<2xi64> = dense<[0, 64]>
// CHECK-DAG: memref.global "private" constant @tbq_offsets_1 : memref<3xi64> = dense<[0, 64, 128]>
// CHECK-NOT: memref.global

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
