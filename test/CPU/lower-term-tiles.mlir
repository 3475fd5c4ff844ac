// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=amx fma" --canonicalize --cse --split-input-file | FileCheck %s
// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=amx fma" --split-input-file --remarks-filter=cpu -o /dev/null 2>&1 | FileCheck %s --check-prefix=REMARK
// Whole AMX tiles of layouts whose terms have one plane at most: a bracket is
// the product of signed digits, and 16 tokens' sums stay in registers.

// Ternary: digits less one. The second term has a sum alone.
!ternary = !tbq.packed<32x256, digits [2], terms [[1, -1], [0, 1]], group 128, tile 16>
// REMARK: 64 tokens: digits of 2 bits in groups of 128, tiles of 16 rows, 1 at a time, their digits spread once a block of 64 tokens, tdpbssd"
// CHECK-LABEL: func.func @prefill_i8(
// Scratch memory: 2 x 32 rows of digits, 2 x 2 of coefficients, 64 of sums of
// activations, twice 16 of products.
// CHECK: %[[SCRATCH:.*]] = memref.alloca() {alignment = 64 : i64} : memref<10496xi8>
func.func @prefill_i8(%x: memref<64x256xi8>, %sums: memref<64x16xi32>, %scale: memref<64x16xf32>, %y: memref<64x32xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: %[[DIGITS:.*]] = memref.view %[[SCRATCH]][%c0][] : {{.*}} to memref<64x64xi8>
  // CHECK: %[[FACTORS:.*]] = memref.view %[[SCRATCH]][%c4096][] : {{.*}} to memref<4x16xf32>
  // CHECK: %[[FLOATS:.*]] = memref.view %[[SCRATCH]][%c4352][] : {{.*}} to memref<64x16xf32>
  // CHECK: %[[PRODUCTS:.*]] = memref.view %[[SCRATCH]][%c8448][] : {{.*}} to memref<32x16xi32>
  // The sums become floats once for all tiles of rows.
  // CHECK: %[[S:.*]] = vector.load %arg1[
  // CHECK: %[[FS:.*]] = arith.sitofp %[[S]]
  // CHECK: vector.store %[[FS]], %[[FLOATS]]
  // CHECK: scf.for %{{.*}} = %arg6 to %arg7 step %c1 {
  // Both groups are spread, then multiplied with 16 tokens at a time.
  // CHECK: scf.for %{{.*}} = %c0 to %c2 step %c1 {
  // CHECK: memref.prefetch
  // CHECK: %[[FOUR:.*]] = arith.addi %{{.*}}, %{{.*}} : vector<64xi8>
  // CHECK: vector.store %[[FOUR]], %[[DIGITS]]
  // CHECK: vector.store %{{.*}}, %[[FACTORS]]
  // CHECK: vector.store %{{.*}}, %[[FACTORS]]
  // CHECK: scf.for %[[TOKEN:.*]] = %{{.*}} to %{{.*}} step %c16 {
  // CHECK: %[[TOTALS:.*]]:16 = scf.for %{{.*}} = %c0 to %c2 step %c1 iter_args(
  // CHECK: %[[ZERO:.*]] = amx.tile_zero : !amx.tile<16x16xi32>
  // CHECK: %[[X:.*]] = amx.tile_load %arg0[%[[TOKEN]], %{{.*}}] : memref<64x256xi8> into !amx.tile<16x64xi8>
  // CHECK: %[[D:.*]] = amx.tile_load %[[DIGITS]][
  // CHECK: %[[P:.*]] = amx.tile_muli %[[X]], %[[D]], %[[ZERO]] :
  // CHECK: amx.tile_muli
  // CHECK: amx.tile_store %[[PRODUCTS]][
  // CHECK-COUNT-2: vector.load %[[FACTORS]]
  // CHECK: %[[DOT:.*]] = vector.load %[[PRODUCTS]]
  // CHECK: %[[BRACKET:.*]] = arith.sitofp %[[DOT]]
  // CHECK: %[[Y:.*]] = math.fma %[[BRACKET]],
  // CHECK: %[[SUM:.*]] = memref.load %[[FLOATS]]
  // CHECK: %[[ALL:.*]] = vector.broadcast %[[SUM]]
  // CHECK: math.fma %[[ALL]], %{{.*}}, %[[Y]]
  // CHECK-COUNT-30: math.fma
  // CHECK-NOT: {{math.fma|vpdpbusd}}
  // Only tokens that exist are stored.
  // CHECK-COUNT-16: scf.if
  // CHECK-NOT: scf.if
  // CHECK: return
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<64x256xi8>, !ternary, memref<64x16xi32>, memref<64x16xf32>, memref<64x32xf32>, index, index, index) -> ()
  return
}

// -----

// Two terms, of a plane each, and two digits of i16: four products of two loads
// of activations. Binary digits count twice, less one.
!dual = !tbq.packed<16x64, digits [1, 1], terms [[2, 0, -1], [0, 1, 0]], group 64, tile 16>
// CHECK-LABEL: func.func @dual_i16(
func.func @dual_i16(%h: memref<16x64xi8>, %l: memref<16x64xi8>, %sums: memref<16x16xi32>, %scale: memref<16x16xf32>, %y: memref<16x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK-DAG: %[[EIGHT:.*]] = arith.constant dense<8> : vector<16xi32>
  // CHECK: %[[TWICE:.*]] = arith.addi %[[ONCE:.*]], %[[ONCE]] : vector<64xi8>
  // CHECK: arith.addi %[[TWICE]],
  // CHECK: amx.tile_load %arg0[
  // CHECK: amx.tile_load %[[DIGITS:.*]][%c0, %c0]
  // CHECK: amx.tile_muli
  // CHECK: amx.tile_load %arg1[
  // CHECK: amx.tile_muli
  // CHECK: amx.tile_load %[[DIGITS]][%c16, %c0]
  // CHECK-COUNT-2: amx.tile_muli
  // CHECK-NOT: {{amx.tile_muli|amx.tile_load}}
  // CHECK: %[[H256:.*]] = arith.shli %{{.*}}, %[[EIGHT]]
  // CHECK: %[[DOT:.*]] = arith.addi %[[H256]],
  // CHECK: arith.sitofp %[[DOT]]
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !dual
  tbq.packed_linear %h, %w low(%l) sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<16x64xi8>, !dual, memref<16x64xi8>, memref<16x16xi32>, memref<16x16xf32>, memref<16x16xf32>, index, index, index) -> ()
  return
}

// -----

// More groups than eight, which are spread at once at most: two blocks. Sums are kept between blocks of
// groups, and the last block finishes.
!long = !tbq.packed<16x1536, digits [2], terms [[1, -1]], group 128, tile 16>
// CHECK-LABEL: func.func @blocks(
func.func @blocks(%x: memref<16x1536xi8>, %sums: memref<16x16xi32>, %scale: memref<16x16xf32>, %y: memref<16x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: %[[SUMS:.*]] = memref.view %{{.*}} to memref<16x16xf32>
  // CHECK: scf.for %[[FIRST:.*]] = %c0 to %c12 step %c6 {
  // CHECK: %[[END:.*]] = arith.minui
  // CHECK: %[[OLD:.*]] = vector.load %[[SUMS]][
  // CHECK: arith.select %{{.*}}, %{{.*}}, %[[OLD]]
  // CHECK: scf.for %{{.*}} = %[[FIRST]] to %[[END]] step %c1 iter_args(
  // CHECK-COUNT-16: vector.store %{{.*}}, %[[SUMS]][
  // CHECK: %[[LAST:.*]] = arith.cmpi ugt, %[[END]], %c11
  // CHECK: scf.if %[[LAST]] {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !long
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<16x1536xi8>, !long, memref<16x16xi32>, memref<16x16xf32>, memref<16x16xf32>, index, index, index) -> ()
  return
}

// -----

// Activations that the second cache would have to give each tile of rows again
// go with two tiles at a time (lower-linear-tiles.mlir).
!wide = !tbq.packed<32x2112, digits [2], terms [[1, -1]], group 64, tile 16>
// CHECK-LABEL: func.func @wide(
func.func @wide(%x: memref<64x2112xi8>, %sums: memref<64x48xi32>, %scale: memref<64x16xf32>, %y: memref<64x32xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: scf.for %{{.*}} = %arg6 to %arg7 step %c2 {
  // CHECK: amx.tile_muli {{.*}} zext,
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !wide
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<64x2112xi8>, !wide, memref<64x48xi32>, memref<64x16xf32>, memref<64x32xf32>, index, index, index) -> ()
  return
}

// -----

// Panels: where a group begins, its number says. Two whole panels, 2,304 bytes
// each with both tiles, and a last one of one group.
!panels = !tbq.packed<32x640, digits [2], terms [[1, -1], [0, 1]], group 128, tile 16, panel 256>
// CHECK-LABEL: func.func @panels(
func.func @panels(%x: memref<16x640xi8>, %sums: memref<16x16xi32>, %scale: memref<16x16xf32>, %y: memref<16x32xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: scf.for %[[TILE:.*]] = %arg6 to %arg7 step %c1 {
  // CHECK: %[[IN:.*]] = arith.muli %[[TILE]], %c576
  // CHECK: %[[LAST:.*]] = arith.addi %[[IN]], %c4608
  // CHECK: scf.for %[[GROUP:.*]] = %{{.*}} to %{{.*}} step %c1 {
  // CHECK: %[[PANEL:.*]] = arith.divui %[[GROUP]], %c2
  // CHECK-DAG: %[[IS:.*]] = arith.cmpi eq, %[[PANEL]], %c2
  // CHECK-DAG: %[[PART:.*]] = arith.muli %[[TILE]], %c1152
  // CHECK-DAG: %[[OF:.*]] = arith.muli %[[PANEL]], %c2304
  // CHECK: %[[BEFORE:.*]] = arith.addi %[[OF]], %[[PART]]
  // CHECK: %[[AT:.*]] = arith.select %[[IS]], %[[LAST]], %[[BEFORE]]
  // CHECK: %[[NUMBER:.*]] = arith.remui %[[GROUP]], %c2
  // CHECK: %[[INSIDE:.*]] = arith.muli %[[NUMBER]], %c576
  // CHECK: arith.addi %[[AT]], %[[INSIDE]]
  // CHECK: amx.tile_muli
  // CHECK: return
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !panels
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<16x640xi8>, !panels, memref<16x16xi32>, memref<16x16xf32>, memref<16x32xf32>, index, index, index) -> ()
  return
}
