// RUN: tbq-opt %s --tbq-lower-linear-to-gpu --canonicalize --cse --split-input-file --verify-diagnostics | FileCheck %s
// One generator for every layout: tiles of four rows, strides, terms.

// Decode, int8, ternary with a shift. A lane takes 16 columns of four rows at
// once: 16 bytes of digits and 16 of activations, four dot products a row.
// 2048 columns are 128 strides: at 132 blocks there are fewer tiles than warps,
// and two warps share a tile.
!ternary = !tbq.packed<4096x2048, digits [2], terms [[1, -1], [0, 1]], group 128, tile 8>
// CHECK-LABEL: func.func @decode_i8(
func.func @decode_i8(%x: memref<1x2048xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x4096xf32>,
    %section: memref<4194304xi8>, %count: index, %begin: index, %end: index) {
  // CHECK-DAG: %[[MASK:.*]] = arith.constant 50529027 : i32
  // CHECK-DAG: %[[TWO:.*]] = arith.constant 2 : i32
  // CHECK: tbq.packed_bytes
  // Eight tiles a round; a warp without a tile has no strides.
  // CHECK: scf.for %[[FIRST:.*]] = %arg6 to %arg7 step %c8 {
  // CHECK: %[[TILE:.*]] = arith.addi %[[FIRST]], %{{.*}}
  // CHECK: %[[ACTIVE:.*]] = arith.cmpi slt, %[[TILE]], %arg7
  // CHECK: arith.select %[[ACTIVE]], %c128, %c0
  // The loads of a stride, before anything of it is used.
  // CHECK: %[[CODES:.*]] = vector.load %{{.*}} {alignment = 16 : i64} : memref<2359296xi8>, vector<16xi8>
  // CHECK: %[[WORDS:.*]] = vector.bitcast %[[CODES]] : vector<16xi8> to vector<4xi32>
  // CHECK: vector.load %{{.*}} {alignment = 8 : i64} : memref<2359296xi8>, vector<8xi8>
  // CHECK: vector.load %{{.*}} {alignment = 8 : i64} : memref<2359296xi8>, vector<8xi8>
  // CHECK: vector.load %arg0[%{{.*}}] {alignment = 16 : i64} : memref<1x2048xi8>, vector<16xi8>
  // CHECK: %[[WORD:.*]] = vector.extract %[[WORDS]][0]
  // CHECK: arith.andi %[[WORD]], %[[MASK]]
  // CHECK: nvvm.dot.accumulate.4way %{{.*}} <unsigned>, %{{.*}} <signed>, %{{.*}} : vector<4xi8>, vector<4xi8>
  // CHECK: %[[SHIFTED:.*]] = arith.shrui %[[WORD]], %[[TWO]]
  // CHECK: arith.andi %[[SHIFTED]], %[[MASK]]
  // CHECK-COUNT-15: nvvm.dot.accumulate.4way
  // The group's sum counts once, in its first stride.
  // CHECK: %[[SUM:.*]] = memref.load %arg1
  // CHECK: arith.select %{{.*}}, %[[SUM]], %{{.*}} : i32
  // CHECK: math.fma
  // CHECK-NOT: nvvm.dot.accumulate.4way
  // Lanes, then the two warps.
  // CHECK: nvvm.shfl.sync bfly
  // CHECK: memref.get_global @tbq_shared_linear : memref<512xf32, 3>
  // CHECK: nvvm.barrier0
  // CHECK: memref.store
  // CHECK: nvvm.barrier0
  // CHECK: arith.mulf %{{.*}} : f32
  // CHECK: memref.store %{{.*}}, %arg3
  // CHECK: nvvm.barrier0
  // CHECK-NEXT: return
  %w = tbq.placed_weight [0] in %section : memref<4194304xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x2048xi8>, !ternary, memref<1x16xi32>, memref<1x16xf32>, memref<1x4096xf32>, index, index, index) -> ()
  return
}

// -----

// Two planes: 32 columns a stride, a load for each plane. i16: two digits of an
// activation, high and low.
!dual = !tbq.packed<64x64, digits [1, 1], terms [[1, 0, 0], [0, 1, 0]], group 32, tile 8>
// CHECK-LABEL: func.func @decode_i16(
func.func @decode_i16(%x: memref<1x64xi8>, %low: memref<1x64xi8>, %scale: memref<1x16xf32>, %y: memref<1x64xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK-DAG: %[[MASK:.*]] = arith.constant 16843009 : i32
  // CHECK-DAG: %[[HIGH:.*]] = arith.constant 256 : i32
  // CHECK: vector.load %{{.*}} {alignment = 16 : i64} : memref<{{.*}}>, vector<16xi8>
  // CHECK: vector.load %{{.*}} {alignment = 16 : i64} : memref<{{.*}}>, vector<16xi8>
  // CHECK: vector.load %arg0
  // CHECK-COUNT-32: nvvm.dot.accumulate.4way
  // CHECK: vector.load %arg1
  // CHECK-COUNT-32: nvvm.dot.accumulate.4way
  // CHECK: arith.muli %{{.*}}, %[[HIGH]]
  // CHECK-COUNT-64: nvvm.dot.accumulate.4way
  // CHECK-NOT: nvvm.dot.accumulate.4way
  // CHECK-NOT: tbq_shared_linear
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !dual
  tbq.packed_linear %x, %w low(%low) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xi8>, !dual, memref<1x64xi8>, memref<1x16xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// -----

// A float matrix: 16 bytes are two columns of four rows of bf16.
!float = !tbq.packed<8x64, bf16, tile 8>
// CHECK-LABEL: func.func @decode_float(
func.func @decode_float(%x: memref<1x64xf32>, %y: memref<1x16xf32>, %section: memref<65536xi8>,
    %count: index, %begin: index, %end: index) {
  // CHECK: %[[W:.*]] = vector.load %{{.*}} {alignment = 16 : i64} : memref<1024xi8>, vector<16xi8>
  // CHECK: vector.bitcast %[[W]] : vector<16xi8> to vector<8xbf16>
  // CHECK: arith.extf %{{.*}} : bf16 to f32
  // CHECK-COUNT-8: math.fma
  // CHECK-NOT: math.fma
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !float
  tbq.packed_linear %x, %w into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, !float, memref<1x16xf32>, index, index, index) -> ()
  return
}

// -----

// Prefill: eight tokens' sums at once, and the digits of a stride loaded once
// for all of them; one lane stores each row of each token.
!ternary = !tbq.packed<16x16, digits [2], terms [[1, -1]], group 16, tile 8>
// CHECK-LABEL: func.func @prefill_i8(
func.func @prefill_i8(%x: memref<64x16xi8>, %sums: memref<64x16xi32>, %scale: memref<64x16xf32>, %y: memref<64x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: scf.for %{{.*}} = %c0 to %arg5 step %c8 {
  // CHECK-COUNT-128: nvvm.dot.accumulate.4way
  // CHECK-NOT: nvvm.dot.accumulate.4way
  // CHECK: memref.store %{{.*}}, %arg3
  // CHECK-NOT: memref.store %{{.*}}, %arg3
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<64x16xi8>, !ternary, memref<64x16xi32>, memref<64x16xf32>, memref<64x16xf32>, index, index, index) -> ()
  return
}

// The tile begins where the table says. Behind the strides, each lane takes
// words of the list: a digit, its row, its column.
!salient = !tbq.packed<16x40, digits [1, 1, 8], terms [[2, 1, 0, -1], [0, 0, 1, 0]], salient, group 40, tile 8>
// CHECK-LABEL: func.func @salient(
func.func @salient(%x: memref<1x48xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: scf.for {{.*}} iter_args
  // CHECK: %[[PLACE:.*]] = arith.index_castui %{{.*}} : i32 to index
  // CHECK: arith.muli %[[PLACE]], %c64
  // CHECK: nvvm.dot.accumulate.4way
  // CHECK: scf.for {{.*}} iter_args
  // CHECK: %[[ROW:.*]] = arith.andi %{{.*}}, %c3_i32 : i32
  // CHECK: arith.index_castui %[[ROW]]
  // CHECK: %[[ZERO:.*]] = arith.extsi %{{.*}} : i16 to i32
  // CHECK: arith.subi %{{.*}}, %[[ZERO]] : i32
  // CHECK-COUNT-4: arith.addf
  // CHECK: nvvm.shfl.sync
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !salient
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x48xi8>, !salient, memref<1x16xi32>, memref<1x16xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}

// -----

!wide = !tbq.packed<16x16, digits [2], terms [[1, 0]], group 16, tile 16>
func.func @tile(%x: memref<1x16xi8>, %scale: memref<1x16xf32>, %y: memref<1x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !wide
  // expected-error @below {{on a GPU needs tiles of four rows, not #tbq.layout<16x16, digits [2], terms [[1, 0]], group 16, tile 16>}}
  tbq.packed_linear %x, %w activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x16xi8>, !wide, memref<1x16xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}
