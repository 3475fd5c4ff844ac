// RUN: tbq-opt %s --tbq-resolve-weights --canonicalize | FileCheck %s
// A weight's bytes are a view of the section where the weight was placed.

!row = !tbq.packed<1x16, f32, tile 1>

// Arithmetic where offsets but for the first have one stride, or all layers read
// one place; else a table for each list, in the order of need.
// CHECK-DAG: memref.global "private" constant @tbq_offsets_0 : memref<4xi64> = dense<[0, 64, 192, 256]>
// CHECK-DAG: memref.global "private" constant @tbq_offsets_1 : memref<4xi64> = dense<[0, 64, 128, 256]>
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
  // CHECK: %[[T0:.*]] = memref.get_global @tbq_offsets_0 : memref<4xi64>
  // CHECK: %[[O0:.*]] = memref.load %[[T0]][%[[LAYER]]]
  // CHECK: %[[AT0:.*]] = arith.index_cast %[[O0]] : i64 to index
  // CHECK: memref.view %[[SECTION]][%[[AT0]]][]
  %four = tbq.placed_weight [0, 64, 192, 256] layer(%layer) in %section : memref<4096xi8> : !row
  %b1 = tbq.packed_bytes %four : !row -> memref<64xi8>
  %1 = memref.load %b1[%i] : memref<64xi8>
  // CHECK: memref.get_global @tbq_offsets_1 : memref<4xi64>
  %other = tbq.placed_weight [0, 64, 128, 256] layer(%layer) in %section : memref<4096xi8> : !row
  %b2 = tbq.packed_bytes %other : !row -> memref<64xi8>
  %2 = memref.load %b2[%i] : memref<64xi8>
  // CHECK: memref.get_global @tbq_offsets_0 : memref<4xi64>
  %again = tbq.placed_weight [0, 64, 192, 256] layer(%layer) in %section : memref<4096xi8> : !row
  %b3 = tbq.packed_bytes %again : !row -> memref<64xi8>
  %3 = memref.load %b3[%i] : memref<64xi8>
  // CHECK-NOT: memref.get_global
  // CHECK: memref.view %[[SECTION]][%[[C192]]][]
  %same = tbq.placed_weight [192, 192, 192] layer(%layer) in %section : memref<4096xi8> : !row
  %b4 = tbq.packed_bytes %same : !row -> memref<64xi8>
  %4 = memref.load %b4[%i] : memref<64xi8>
  return %0, %1, %2, %3, %4 : i8, i8, i8, i8, i8
}

// CHECK-LABEL: func.func @strides(
// CHECK-SAME: %[[SECTION:.*]]: memref<4096xi8>, %[[LAYER:.*]]: index)
func.func @strides(%section: memref<4096xi8>, %layer: index) -> (i8, i8) {
  %i = arith.constant 5 : index
  // CHECK-NOT: memref.get_global
  // CHECK: %[[OFF:.*]] = arith.muli %[[LAYER]], %c64
  // CHECK: %[[AT:.*]] = arith.addi %[[OFF]], %c256
  // CHECK: memref.view %[[SECTION]][%[[AT]]][]
  %all = tbq.placed_weight [256, 320, 384] layer(%layer) in %section : memref<4096xi8> : !row
  %b0 = tbq.packed_bytes %all : !row -> memref<64xi8>
  %0 = memref.load %b0[%i] : memref<64xi8>
  // The first one apart: 64 + 128 layer, but 0.
  // CHECK: arith.muli %[[LAYER]], %c128
  // CHECK: %[[REST:.*]] = arith.addi
  // CHECK: %[[FIRST:.*]] = arith.cmpi eq, %[[LAYER]], %c0
  // CHECK: %[[AT1:.*]] = arith.select %[[FIRST]], %c0, %[[REST]]
  // CHECK: memref.view %[[SECTION]][%[[AT1]]][]
  %but = tbq.placed_weight [0, 192, 320] layer(%layer) in %section : memref<4096xi8> : !row
  %b1 = tbq.packed_bytes %but : !row -> memref<64xi8>
  %1 = memref.load %b1[%i] : memref<64xi8>
  return %0, %1 : i8, i8
}

// Alone: no atomics. The last to arrive resets the count, then releases the
// next generation; who waits acquires it. After `spins` looks the hook is
// called, and called again until the generation has changed.
