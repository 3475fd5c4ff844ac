// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=amx fma" --canonicalize --cse --split-input-file | FileCheck %s
// Blocks whose groups are whole AMX tiles: 16 tokens x 64 columns x 16 rows.
// Their terms are none of signed bytes (lower-term-tiles.mlir): no byte holds
// three times any digit less a sum, or so it is taken.

// Ternary by groups of 128: two tiles of columns. What was spread is a tile as
// it stands; its digits are unsigned, activations signed.
!ternary = !tbq.packed<32x128, digits [2], terms [[3, -1]], group 128, tile 16>
// CHECK-LABEL: func.func @prefill_i8(
// Scratch memory: 2 x 32 rows of digits, 2 x 64 of sums, 2 x 16 of products.
// CHECK: %[[SCRATCH:.*]] = memref.alloca() {alignment = 64 : i64} : memref<14336xi8>
func.func @prefill_i8(%x: memref<64x128xi8>, %sums: memref<64x16xi32>, %scale: memref<64x16xf32>, %y: memref<64x32xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: %[[DIGITS:.*]] = memref.view %[[SCRATCH]][%c0][] : {{.*}} to memref<64x64xi8>
  // CHECK: %[[PRODUCTS:.*]] = memref.view %[[SCRATCH]][%c12288][] : {{.*}} to memref<32x16xi32>
  // CHECK: scf.for %[[TOKEN:.*]] = %{{.*}} to %{{.*}} step %c16 {
  // CHECK: %[[ZERO:.*]] = amx.tile_zero : !amx.tile<16x16xi32>
  // CHECK: amx.tile_zero
  // CHECK: %[[X:.*]] = amx.tile_load %arg0[%[[TOKEN]], %c0] : memref<64x128xi8> into !amx.tile<16x64xi8>
  // CHECK: %[[D:.*]] = amx.tile_load %[[DIGITS]][%c0, %c0] : memref<64x64xi8> into !amx.tile<16x64xi8>
  // CHECK: %[[P:.*]] = amx.tile_muli %[[X]], %[[D]] zext, %[[ZERO]]
  // The second tile of rows takes the same activations.
  // CHECK: %[[D2:.*]] = amx.tile_load %[[DIGITS]][%c32, %c0]
  // CHECK: amx.tile_muli %[[X]], %[[D2]] zext,
  // CHECK: amx.tile_load %arg0[%[[TOKEN]], %c64]
  // CHECK: %[[D:.*]] = amx.tile_load %[[DIGITS]][%c16, %c0]
  // CHECK: %[[ALL:.*]] = amx.tile_muli %{{.*}}, %[[D]] zext, %[[P]]
  // CHECK: amx.tile_load %[[DIGITS]][%c48, %c0]
  // CHECK: amx.tile_muli
  // CHECK: amx.tile_store %[[PRODUCTS]][%c0, %c0], %[[ALL]]
  // CHECK: amx.tile_store %[[PRODUCTS]][%c16, %c0]
  // CHECK-NOT: amx.tile_
  // Then each token's brackets, as ever.
  // CHECK: scf.for %[[T:.*]] = %c0 to %c16 step %c4 {
  // CHECK: %[[DOT:.*]] = vector.load %[[PRODUCTS]][%[[T]], %c0] : memref<32x16xi32>, vector<16xi32>
  // CHECK: %[[THRICE:.*]] = arith.muli %[[DOT]],
  // CHECK: arith.subi %[[THRICE]],
  // CHECK-NOT: {{amx.tile_|vpdpbusd}}
  // CHECK: return
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<64x128xi8>, !ternary, memref<64x16xi32>, memref<64x16xf32>, memref<64x32xf32>, index, index, index) -> ()
  return
}

// -----

// Two planes and two digits of i16: four products each of two tiles of rows;
// the high digits' count 256 times.
!dual = !tbq.packed<32x64, digits [1, 1], terms [[3, 0, 0], [0, 1, 0]], group 64, tile 16>
// CHECK-LABEL: func.func @dual_i16(
func.func @dual_i16(%h: memref<16x64xi8>, %l: memref<16x64xi8>, %scale: memref<16x16xf32>, %y: memref<16x32xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK-DAG: %[[EIGHT:.*]] = arith.constant dense<8> : vector<16xi32>
  // CHECK: %[[PRODUCTS:.*]] = memref.view %{{.*}} to memref<128x16xi32>
  // CHECK-COUNT-2: amx.tile_load %arg0[
  // CHECK-COUNT-2: amx.tile_load %arg1[
  // CHECK: %[[HIGH:.*]] = vector.load %[[PRODUCTS]]
  // CHECK: %[[H256:.*]] = arith.shli %[[HIGH]], %[[EIGHT]]
  // CHECK: %[[LOW:.*]] = vector.load %[[PRODUCTS]]
  // CHECK: arith.addi %[[H256]], %[[LOW]]
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !dual
  tbq.packed_linear %h, %w low(%l) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<16x64xi8>, !dual, memref<16x64xi8>, memref<16x16xf32>, memref<16x32xf32>, index, index, index) -> ()
  return
}

// -----

// A long group: what does not fill a round first, then rounds of eight tiles,
// which load what the ones before have left.
!row = !tbq.packed<16x1088, digits [2], terms [[3, -1]], group 1088, tile 16>
// CHECK-LABEL: func.func @row(
func.func @row(%x: memref<16x1088xi8>, %sums: memref<16x16xi32>, %scale: memref<16x16xf32>, %y: memref<16x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK-COUNT-2: amx.tile_muli
  // CHECK-COUNT-2: amx.tile_store %[[PRODUCTS:.*]][
  // CHECK: scf.for %{{.*}} = %c1 to %c17 step %c8 {
  // CHECK-COUNT-2: amx.tile_load %{{.*}} into !amx.tile<16x16xi32>
  // CHECK-COUNT-16: amx.tile_muli
  // CHECK-NOT: amx.tile_muli
  // CHECK-COUNT-2: amx.tile_store
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !row
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<16x1088xi8>, !row, memref<16x16xi32>, memref<16x16xf32>, memref<16x16xf32>, index, index, index) -> ()
  return
}

// -----

// What is no whole tile goes on as with VNNI: the last group, of 32 columns; and
// all of it where a token tile would reach past the last row.
!groups = !tbq.packed<16x96, digits [2], terms [[1, -1]], group 64, tile 16>
// CHECK-LABEL: func.func @last_group(
func.func @last_group(%x: memref<16x96xi8>, %sums: memref<16x16xi32>, %scale: memref<16x16xf32>, %y: memref<16x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: amx.tile_muli
  // CHECK: scf.for %{{.*}} = %{{.*}} to %{{.*}} step %c8 {
  // CHECK: vpdpbusd
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !groups
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<16x96xi8>, !groups, memref<16x16xi32>, memref<16x16xf32>, memref<16x16xf32>, index, index, index) -> ()
  return
}
// CHECK-LABEL: func.func @few_tokens(
func.func @few_tokens(%x: memref<24x96xi8>, %sums: memref<24x16xi32>, %scale: memref<24x16xf32>, %y: memref<24x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK-NOT: amx
  // CHECK: vpdpbusd
  // CHECK-NOT: amx
  // CHECK: return
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !groups
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<24x96xi8>, !groups, memref<24x16xi32>, memref<24x16xf32>, memref<24x16xf32>, index, index, index) -> ()
  return
}
