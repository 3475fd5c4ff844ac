// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=amx fma" --canonicalize --cse --split-input-file | FileCheck %s
// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=amx fma" --split-input-file --remarks-filter=cpu -o /dev/null 2>&1 | FileCheck %s --check-prefix=REMARK
// Whole AMX tiles of layouts whose terms have one plane at most: a bracket is
// the product of signed digits. Two tiles of digits and two of activations make
// four products.

// Ternary: digits less one. The second term has a sum alone.
!ternary = !tbq.packed<32x256, digits [2], terms [[1, -1], [0, 1]], group 128, tile 16>
// REMARK: 64 tokens: digits of 2 bits in groups of 128, tiles of 16 rows, 2 at a time, their digits spread once a block of 64 tokens, tdpbssd"
// CHECK-LABEL: func.func @prefill_i8(
// Scratch memory, of two groups of two tiles of rows: 4 x 32 rows of digits, 4 x 2
// of coefficients; 64 x 2 of sums; 64 of sums of activations; products of two
// groups, of two tiles of rows and two of tokens: 8 x 16.
// CHECK: %[[SCRATCH:.*]] = memref.alloca() {alignment = 64 : i64} : memref<29184xi8>
func.func @prefill_i8(%x: memref<64x256xi8>, %sums: memref<64x16xi32>, %scale: memref<64x16xf32>, %y: memref<64x32xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: %[[DIGITS:.*]] = memref.view %[[SCRATCH]][%c0][] : {{.*}} to memref<128x64xi8>
  // CHECK: %[[FACTORS:.*]] = memref.view %[[SCRATCH]][%c8192][] : {{.*}} to memref<8x16xf32>
  // CHECK: %[[SUMS:.*]] = memref.view %[[SCRATCH]][%c8704][] : {{.*}} to memref<128x16xf32>
  // CHECK: %[[FLOATS:.*]] = memref.view %[[SCRATCH]][%c16896][] : {{.*}} to memref<64x16xf32>
  // CHECK: %[[PRODUCTS:.*]] = memref.view %[[SCRATCH]][%c20992][] : {{.*}} to memref<128x16xi32>
  // CHECK: %[[ENDTOKEN:.*]] = arith.minui %{{.*}}, %arg5
  // The sums become floats once for all tiles of rows.
  // CHECK: %[[S:.*]] = vector.load %arg1[
  // CHECK: %[[FS:.*]] = arith.sitofp %[[S]]
  // CHECK: vector.store %[[FS]], %[[FLOATS]]
  // Two tiles of rows: where one is left, it is there again.
  // CHECK: scf.for %[[TILE:.*]] = %arg6 to %arg7 step %c2 {
  // CHECK: %[[NEXT:.*]] = arith.addi %[[TILE]], %c1
  // CHECK: %[[LAST:.*]] = arith.subi %arg7, %c1
  // CHECK: %[[OTHER:.*]] = arith.minui %[[NEXT]], %[[LAST]]
  // Both groups of each are spread, then multiplied with 32 tokens at a time.
  // CHECK: scf.for %{{.*}} = %c0 to %c2 step %c1 {
  // CHECK: memref.prefetch
  // CHECK: %[[FOUR:.*]] = arith.addi %{{.*}}, %{{.*}} : vector<64xi8>
  // CHECK: vector.store %[[FOUR]], %[[DIGITS]]
  // CHECK: vector.store %{{.*}}, %[[FACTORS]][%[[PLACE:.*]], %c0]
  // CHECK: %[[SECOND:.*]] = arith.addi %[[PLACE]], %c1
  // CHECK: vector.store %{{.*}}, %[[FACTORS]][%[[SECOND]], %c0]
  // CHECK: scf.for %{{.*}} = %c0 to %c2 step %c1 {
  // CHECK: memref.prefetch
  // CHECK: scf.for %[[TOKEN:.*]] = %{{.*}} to %{{.*}} step %c32 {
  // CHECK: scf.for %{{.*}} = %c0 to %c2 step %c1 {
  // CHECK: %[[SIXTEEN:.*]] = arith.addi %[[TOKEN]], %c16
  // CHECK: %[[D0:.*]] = arith.muli %[[GROUP:.*]], %c64
  // CHECK: %[[G2:.*]] = arith.muli %[[GROUP]], %c2
  // CHECK: %[[G21:.*]] = arith.addi %[[G2]], %c1
  // CHECK: %[[D1:.*]] = arith.muli %[[G21]], %c32
  // CHECK: %[[G4:.*]] = arith.muli %[[GROUP]], %c4
  // CHECK: %[[G41:.*]] = arith.addi %[[G4]], %c1
  // CHECK: %[[P1:.*]] = arith.muli %[[G41]], %c16
  // CHECK: %[[G42:.*]] = arith.addi %[[G4]], %c2
  // CHECK: %[[P2:.*]] = arith.muli %[[G42]], %c16
  // CHECK: %[[G43:.*]] = arith.addi %[[G4]], %c3
  // CHECK: %[[P3:.*]] = arith.muli %[[G43]], %c16
  // CHECK: %[[COLUMN:.*]] = arith.muli %[[GROUP]], %c128
  // CHECK-COUNT-4: amx.tile_zero : !amx.tile<16x16xi32>
  // CHECK: %[[X:.*]] = amx.tile_load %arg0[%[[TOKEN]], %[[COLUMN]]] : memref<64x256xi8> into !amx.tile<16x64xi8>
  // CHECK: %[[D:.*]] = amx.tile_load %[[DIGITS]][%[[D0]], %c0]
  // CHECK: %[[XD:.*]] = amx.tile_muli %[[X]], %[[D]], %{{.*}} :
  // CHECK: %[[Y:.*]] = amx.tile_load %arg0[%[[SIXTEEN]], %[[COLUMN]]]
  // CHECK: %[[YD:.*]] = amx.tile_muli %[[Y]], %[[D]],
  // CHECK: %[[E:.*]] = amx.tile_load %[[DIGITS]][%[[D1]], %c0]
  // CHECK: %[[XE:.*]] = amx.tile_muli %[[X]], %[[E]],
  // CHECK: %[[YE:.*]] = amx.tile_muli %[[Y]], %[[E]],
  // CHECK: %[[NEXT:.*]] = arith.addi %[[COLUMN]], %c64
  // CHECK: amx.tile_load %arg0[%[[TOKEN]], %[[NEXT]]]
  // CHECK: %[[F:.*]] = arith.addi %[[D0]], %c16
  // CHECK: amx.tile_load %[[DIGITS]][%[[F]], %c0]
  // CHECK: %[[XD2:.*]] = amx.tile_muli %{{.*}}, %{{.*}}, %[[XD]] :
  // CHECK: amx.tile_load %arg0[%[[SIXTEEN]], %[[NEXT]]]
  // CHECK: %[[YD2:.*]] = amx.tile_muli %{{.*}}, %{{.*}}, %[[YD]] :
  // CHECK: %[[F:.*]] = arith.addi %[[D1]], %c16
  // CHECK: amx.tile_load %[[DIGITS]][%[[F]], %c0]
  // CHECK: %[[XE2:.*]] = amx.tile_muli %{{.*}}, %{{.*}}, %[[XE]] :
  // CHECK: %[[YE2:.*]] = amx.tile_muli %{{.*}}, %{{.*}}, %[[YE]] :
  // CHECK-NOT: amx.tile_{{muli|load}}
  // CHECK: amx.tile_store %[[PRODUCTS]][%[[D0]], %c0], %[[XD2]]
  // CHECK: amx.tile_store %[[PRODUCTS]][%[[P1]], %c0], %[[XE2]]
  // CHECK: amx.tile_store %[[PRODUCTS]][%[[P2]], %c0], %[[YD2]]
  // CHECK: amx.tile_store %[[PRODUCTS]][%[[P3]], %c0], %[[YE2]]
  // CHECK-NOT: amx.tile_
  // Then 16 tokens' sums of a tile of rows at a time.
  // CHECK: %[[TOTALS:.*]]:16 = scf.for %[[G:.*]] = %c0 to %c2 step %c1 iter_args(
  // CHECK: %[[C0:.*]] = arith.muli %[[G]], %c4
  // CHECK: %[[SCALE:.*]] = vector.load %[[FACTORS]][%[[C0]], %c0]
  // CHECK: %[[C1:.*]] = arith.addi %[[C0]], %c1
  // CHECK: %[[SHIFT:.*]] = vector.load %[[FACTORS]][%[[C1]], %c0]
  // CHECK: %[[P0:.*]] = arith.muli %[[G]], %c64
  // CHECK: %[[DOT:.*]] = vector.load %[[PRODUCTS]][%[[P0]], %c0]
  // CHECK: %[[BRACKET:.*]] = arith.sitofp %[[DOT]]
  // CHECK: %[[Y:.*]] = math.fma %[[BRACKET]], %[[SCALE]],
  // CHECK: %[[FAR:.*]] = arith.subi %[[TOKEN]],
  // CHECK: %[[SIXTEENTHS:.*]] = arith.divui %[[G]], %c16
  // CHECK: %[[ROW:.*]] = arith.addi %[[FAR]], %[[SIXTEENTHS]]
  // CHECK: %[[SUM:.*]] = memref.load %[[FLOATS]][%[[ROW]],
  // CHECK: %[[ALL:.*]] = vector.broadcast %[[SUM]]
  // CHECK: math.fma %[[ALL]], %[[SHIFT]], %[[Y]]
  // The next token's.
  // CHECK: %[[P1:.*]] = arith.addi %[[P0]], %c1 :
  // CHECK: vector.load %[[PRODUCTS]][%[[P1]], %c0]
  // CHECK: math.fma
  // CHECK: %[[NEAR:.*]] = arith.addi %[[FAR]], %c1 :
  // CHECK: %[[ROW:.*]] = arith.addi %[[NEAR]], %[[SIXTEENTHS]]
  // CHECK: memref.load %[[FLOATS]][%[[ROW]],
  // CHECK-COUNT-29: math.fma
  // CHECK-NOT: {{math.fma|vpdpbusd}}
  // Of the first tokens those of both tiles of rows, then of the next sixteen.
  // CHECK: %[[FAR:.*]] = arith.subi %[[TOKEN]],
  // CHECK: %[[ROW:.*]] = arith.muli %[[FAR]], %c2
  // CHECK: vector.store %[[TOTALS]]#0, %[[SUMS]][%[[ROW]], %c0]
  // CHECK: %[[NEXTROW:.*]] = arith.addi %[[ROW]], %c2 :
  // CHECK: vector.store %[[TOTALS]]#1, %[[SUMS]][%[[NEXTROW]], %c0]
  // CHECK: %[[TOTALS:.*]]:16 = scf.for %[[G:.*]] = %c0 to %c2 step %c1 iter_args(
  // CHECK: %[[C0:.*]] = arith.muli %[[G]], %c2
  // CHECK: %[[C1:.*]] = arith.addi %[[C0]], %c1
  // CHECK: %[[C2:.*]] = arith.muli %[[C1]], %c2
  // CHECK: vector.load %[[FACTORS]][%[[C2]], %c0]
  // CHECK: %[[G4:.*]] = arith.muli %[[G]], %c4 :
  // CHECK: %[[P1:.*]] = arith.addi %[[G4]], %c1 :
  // CHECK: %[[P1X:.*]] = arith.muli %[[P1]], %c16
  // CHECK: vector.load %[[PRODUCTS]][%[[P1X]], %c0]
  // CHECK: %[[OTHERS:.*]] = arith.addi %[[ROW]], %c1
  // CHECK: vector.store %[[TOTALS]]#0, %[[SUMS]][%[[OTHERS]], %c0]
  // CHECK: %[[SIXTEEN:.*]] = arith.addi %[[TOKEN]], %c16
  // CHECK: %[[TOTALS:.*]]:16 = scf.for %[[G:.*]] = %c0 to %c2 step %c1 iter_args(
  // CHECK: %[[G4:.*]] = arith.muli %[[G]], %c4 :
  // CHECK: %[[P2:.*]] = arith.addi %[[G4]], %c2 :
  // CHECK: %[[P2X:.*]] = arith.muli %[[P2]], %c16
  // CHECK: vector.load %[[PRODUCTS]][%[[P2X]], %c0]
  // CHECK: scf.yield
  // CHECK: %[[FAR:.*]] = arith.subi %[[SIXTEEN]],
  // CHECK: %[[ROW:.*]] = arith.muli %[[FAR]], %c2
  // CHECK: vector.store %[[TOTALS]]#0, %[[SUMS]][%[[ROW]], %c0]
  // CHECK: %[[TOTALS:.*]]:16 = scf.for %[[G:.*]] = %c0 to %c2 step %c1 iter_args(
  // CHECK: %[[G4:.*]] = arith.muli %[[G]], %c4 :
  // CHECK: %[[P3:.*]] = arith.addi %[[G4]], %c3 :
  // CHECK: %[[P3X:.*]] = arith.muli %[[P3]], %c16
  // CHECK: vector.load %[[PRODUCTS]][%[[P3X]], %c0]
  // CHECK: %[[OTHERS:.*]] = arith.addi %[[ROW]], %c1
  // CHECK: vector.store %[[TOTALS]]#0, %[[SUMS]][%[[OTHERS]], %c0]
  // CHECK-NOT: :16 = scf.for
  // Results of tokens that exist; those of the other tile, if it is another one.
  // CHECK: scf.for %[[T:.*]] = %[[FIRST:.*]] to %[[ENDTOKEN]] step %c1 {
  // CHECK: %[[FAR:.*]] = arith.subi %[[T]], %[[FIRST]]
  // CHECK: %[[ROW:.*]] = arith.muli %[[FAR]], %c2
  // CHECK: vector.load %[[SUMS]][%[[ROW]], %c0]
  // CHECK: %[[AT:.*]] = arith.muli %[[TILE]], %c16
  // CHECK: vector.store %{{.*}}, %arg3[%[[T]], %[[AT]]]
  // CHECK: %[[DISTINCT:.*]] = arith.cmpi ult, %[[TILE]], %[[OTHER]]
  // CHECK: scf.if %[[DISTINCT]] {
  // CHECK: scf.for %[[T:.*]] = %[[FIRST]] to %[[ENDTOKEN]] step %c1 {
  // CHECK: %[[ROW:.*]] = arith.muli %{{.*}}, %c2
  // CHECK: %[[OTHERS:.*]] = arith.addi %[[ROW]], %c1
  // CHECK: vector.load %[[SUMS]][%[[OTHERS]], %c0]
  // CHECK: %[[AT:.*]] = arith.muli %[[OTHER]], %c16
  // CHECK: vector.store %{{.*}}, %arg3[%[[T]], %[[AT]]]
  // CHECK: return
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<64x256xi8>, !ternary, memref<64x16xi32>, memref<64x16xf32>, memref<64x32xf32>, index, index, index) -> ()
  return
}

// -----

// Two terms, of a plane each, and two digits of i16: four products of one tile of
// rows and one of tokens. Binary digits count twice, less one.
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

// More groups than the two that are spread at once: blocks of them, which add to
// sums in memory. What is there before the first block is left out.
!long = !tbq.packed<16x1536, digits [2], terms [[1, -1]], group 128, tile 16>
// CHECK-LABEL: func.func @blocks(
func.func @blocks(%x: memref<16x1536xi8>, %sums: memref<16x16xi32>, %scale: memref<16x16xf32>, %y: memref<16x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: %[[SUMS:.*]] = memref.view %{{.*}} to memref<32x16xf32>
  // CHECK: scf.for %[[FIRST:.*]] = %c0 to %c12 step %c2 {
  // CHECK: %[[END:.*]] = arith.minui
  // CHECK: scf.for %{{.*}} = %{{.*}} to %{{.*}} step %c16 {
  // CHECK: %[[SOME:.*]] = arith.cmpi ugt, %[[FIRST]], %c0
  // CHECK: %[[MASK:.*]] = vector.broadcast %[[SOME]] : i1 to vector<16xi1>
  // CHECK-COUNT-16: vector.maskedload %[[SUMS]][{{.*}}, %[[MASK]],
  // CHECK: scf.for %{{.*}} = %[[FIRST]] to %[[END]] step %c1 iter_args(
  // CHECK-COUNT-16: vector.store %{{.*}}, %[[SUMS]][
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !long
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<16x1536xi8>, !long, memref<16x16xi32>, memref<16x16xf32>, memref<16x16xf32>, index, index, index) -> ()
  return
}

// -----

// Activations that the second cache does not hold, with which each tile of rows
// is multiplied, go as in lower-linear-tiles.mlir.
!wide = !tbq.packed<32x16448, digits [2], terms [[1, -1]], group 64, tile 16>
// CHECK-LABEL: func.func @wide(
func.func @wide(%x: memref<64x16448xi8>, %sums: memref<64x272xi32>, %scale: memref<64x16xf32>, %y: memref<64x32xf32>,
    %section: memref<262144xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: scf.for %{{.*}} = %arg6 to %arg7 step %c2 {
  // CHECK: amx.tile_muli {{.*}} zext,
  %w = tbq.placed_weight [0] in %section : memref<262144xi8> : !wide
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<64x16448xi8>, !wide, memref<64x272xi32>, memref<64x16xf32>, memref<64x32xf32>, index, index, index) -> ()
  return
}

// A group as wide as that has room for one tile's digits alone.
// CHECK-LABEL: func.func @wide_group(
!row = !tbq.packed<32x11008, digits [2], terms [[1, -1]], group 11008, tile 16>
func.func @wide_group(%x: memref<64x11008xi8>, %sums: memref<64x16xi32>, %scale: memref<64x16xf32>, %y: memref<64x32xf32>,
    %section: memref<262144xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: memref.view %{{.*}} to memref<2752x64xi8>
  // CHECK: scf.for %{{.*}} = %arg6 to %arg7 step %c1 {
  // CHECK: scf.for %{{.*}} to %{{.*}} step %c32 {
  // CHECK-COUNT-16: amx.tile_muli
  // CHECK: return
  %w = tbq.placed_weight [0] in %section : memref<262144xi8> : !row
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<64x11008xi8>, !row, memref<64x16xi32>, memref<64x16xf32>, memref<64x32xf32>, index, index, index) -> ()
  return
}

// Two tiles' digits of one group of 8,192 columns, not of two groups.
!half = !tbq.packed<32x16384, digits [2], terms [[1, -1]], group 8192, tile 16>
// CHECK-LABEL: func.func @wide_groups(
func.func @wide_groups(%x: memref<64x16384xi8>, %sums: memref<64x16xi32>, %scale: memref<64x16xf32>, %y: memref<64x32xf32>,
    %section: memref<262144xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: memref.view %{{.*}} to memref<4096x64xi8>
  // CHECK: scf.for %{{.*}} = %arg6 to %arg7 step %c2 {
  // CHECK: scf.for %{{.*}} = %c0 to %c2 step %c1 {
  // CHECK: return
  %w = tbq.placed_weight [0] in %section : memref<262144xi8> : !half
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<64x16384xi8>, !half, memref<64x16xi32>, memref<64x16xf32>, memref<64x32xf32>, index, index, index) -> ()
  return
}

// -----

// Panels: where a group begins, its number says. Two whole panels, 2,304 bytes
// each with both tiles, and a last one of one group.
!panels = !tbq.packed<32x640, digits [2], terms [[1, -1], [0, 1]], group 128, tile 16, panel 256>
// CHECK-LABEL: func.func @panels(
func.func @panels(%x: memref<16x640xi8>, %sums: memref<16x16xi32>, %scale: memref<16x16xf32>, %y: memref<16x32xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: scf.for %[[TILE:.*]] = %arg6 to %arg7 step %c2 {
  // CHECK: %[[IN:.*]] = arith.muli %[[TILE]], %c576
  // CHECK: %[[LAST:.*]] = arith.addi %[[IN]], %c4608
  // CHECK: scf.for %[[GROUP:.*]] = %{{.*}} to %{{.*}} step %c1 {
  // CHECK-NEXT: %[[PANEL:.*]] = arith.divui %[[GROUP]], %c2
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
