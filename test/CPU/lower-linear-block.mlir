// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=vnni fma few-tokens=1" --canonicalize --cse --split-input-file | FileCheck %s
// Steps of many tokens where bytes have a dot product: digits are spread once
// for all tokens of a block.

// Two tiles of rows, whose groups are spread to one digit a byte, four columns a
// row of scratch memory; then eight tokens at a time, each four of whose
// activations meet both tiles.
!ternary = !tbq.packed<48x80, digits [2], terms [[1, -1], [0, 1]], group 32, tile 16>
// CHECK-LABEL: func.func @prefill_i8(
// Scratch memory: 2 x 8 rows of digits and 2 x 128 of sums.
// CHECK: %[[SCRATCH:.*]] = memref.alloca() {alignment = 64 : i64} : memref<17408xi8>
func.func @prefill_i8(%x: memref<256x80xi8>, %sums: memref<256x16xi32>, %scale: memref<256x16xf32>, %y: memref<256x48xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: %[[DIGITS:.*]] = memref.view %[[SCRATCH]][%c0][] : memref<17408xi8> to memref<16x64xi8>
  // CHECK: %[[SUMS:.*]] = memref.view %[[SCRATCH]][%c1024][] : memref<17408xi8> to memref<256x16xf32>
  // CHECK: scf.for %[[FIRST:.*]] = %c0 to %arg5 step %c128 {
  // CHECK: %[[END:.*]] = arith.minui %{{.*}}, %arg5
  // Of an odd number of tiles the last is there twice.
  // CHECK: %[[LAST:.*]] = arith.subi %arg7, %c1
  // CHECK: scf.for %[[TILE:.*]] = %arg6 to %arg7 step %c2 {
  // CHECK: %[[OTHER:.*]] = arith.minui %{{.*}}, %[[LAST]]
  // CHECK: scf.for %{{.*}} = %[[FIRST]] to %[[END]] step %c1 {
  // CHECK-COUNT-2: vector.store %{{.*}}, %[[SUMS]][%{{.*}}, %c0]
  // CHECK: scf.for %[[GROUP:.*]] = %c0 to %c2 step %c1 iter_args(%[[AT:.*]] = %{{.*}}, %[[OTHER_AT:.*]] = %{{.*}}) -> (index, index) {
  // CHECK: vector.load %{{.*}}[%[[AT]]] : memref<{{.*}}xi8>, vector<64xi8>
  // What comes later is asked for.
  // CHECK: memref.prefetch
  // CHECK: vector.store %{{.*}}, %[[DIGITS]][%c0, %c0]
  // CHECK: arith.shrui
  // CHECK: vector.store %{{.*}}, %[[DIGITS]][%c1, %c0]
  // CHECK-COUNT-6: vector.store %{{.*}}, %[[DIGITS]]
  // CHECK: vector.load %{{.*}}[%[[OTHER_AT]]] : memref<{{.*}}xi8>, vector<64xi8>
  // CHECK-COUNT-8: vector.store %{{.*}}, %[[DIGITS]]
  // CHECK-NOT: vector.store
  // CHECK: scf.for %[[TOKEN:.*]] = %[[FIRST]] to %[[END]] step %c8 {
  // CHECK: scf.for %[[QUAD:.*]] = %c0 to %c8 step %c2 iter_args(
  // CHECK-NOT: {{arith.and|arith.shr}}
  // CHECK: %[[FOUR:.*]] = vector.load %[[DIGITS]][%[[QUAD]], %c0] : memref<16x64xi8>, vector<64xi8>
  // CHECK: %[[OTHERS:.*]] = vector.load %[[DIGITS]][%{{.*}}, %c0] : memref<16x64xi8>, vector<64xi8>
  // CHECK: vector.load %arg0[%[[TOKEN]], %{{.*}}] : memref<256x80xi8>, vector<4xi8>
  // CHECK: %[[X:.*]] = vector.bitcast %{{.*}} : vector<16xi32> to vector<64xi8>
  // CHECK-NEXT: vpdpbusd{{.*}}(%{{.*}}, %[[FOUR]], %[[X]])
  // CHECK-NEXT: vpdpbusd{{.*}}(%{{.*}}, %[[OTHERS]], %[[X]])
  // CHECK-COUNT-30: vpdpbusd
  // CHECK-NOT: vpdpbusd
  // CHECK: scf.yield
  // A sum of the activations serves both tiles.
  // CHECK: %[[S:.*]] = vector.broadcast %{{.*}} : i32 to vector<16xi32>
  // CHECK: vector.load %[[SUMS]]
  // CHECK: arith.subi %{{.*}}, %[[S]]
  // CHECK: %[[FS:.*]] = arith.sitofp %[[S]]
  // CHECK: math.fma %[[FS]]
  // CHECK: vector.store %{{.*}}, %[[SUMS]]
  // CHECK: arith.subi %{{.*}}, %[[S]]
  // CHECK: math.fma %[[FS]]
  // CHECK-COUNT-15: vector.store %{{.*}}, %[[SUMS]]
  // CHECK-NOT: vector.store
  // CHECK: scf.yield
  // The last group, of 16 columns.
  // CHECK-COUNT-8: vector.store %{{.*}}, %[[DIGITS]]
  // CHECK: scf.for %[[TOKEN:.*]] = %[[FIRST]] to %[[END]] step %c8 {
  // CHECK: scf.for %{{.*}} = %c0 to %c4 step %c2 iter_args(
  // What it makes is the result. Only the tokens that exist are stored, and a tile that is there twice once.
  // CHECK: %[[THERE:.*]] = arith.cmpi ult, %[[TOKEN]], %[[END]]
  // CHECK: scf.if %[[THERE]] {
  // CHECK-NOT: vector.store
  // CHECK: vector.load %[[SUMS]]
  // CHECK: vector.store %{{.*}}, %arg3[%[[TOKEN]], %{{.*}}]
  // CHECK: %[[TWO:.*]] = arith.cmpi ult, %[[TILE]], %[[OTHER]]
  // CHECK-NEXT: scf.if %[[TWO]] {
  // CHECK: vector.store %{{.*}}, %arg3[%[[TOKEN]], %{{.*}}]
  // CHECK-COUNT-14: vector.store %{{.*}}, %arg3[
  // CHECK-NOT: vector.store
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<256x80xi8>, !ternary, memref<256x16xi32>, memref<256x16xf32>, memref<256x48xf32>, index, index, index) -> ()
  return
}

// -----

// i16: the high digits first; what they made counts 256 times, and the low ones
// go on with the same sums.
!ternary = !tbq.packed<16x16, digits [2], terms [[1, -1]], group 16, tile 16>
// CHECK-LABEL: func.func @prefill_i16(
func.func @prefill_i16(%h: memref<16x16xi8>, %l: memref<16x16xi8>, %sums: memref<16x16xi32>, %scale: memref<16x16xf32>, %y: memref<16x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK-DAG: %[[EIGHT:.*]] = arith.constant dense<8> : vector<16xi32>
  // CHECK: %[[HIGH:.*]]:16 = scf.for
  // CHECK: vector.load %arg0[
  // CHECK: vpdpbusd
  // CHECK: %[[START:.*]] = arith.shli %[[HIGH]]#0, %[[EIGHT]]
  // CHECK: scf.for {{.*}} iter_args(%{{.*}} = %[[START]],
  // CHECK: vector.load %arg1[
  // CHECK: vpdpbusd
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %h, %w low(%l) sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<16x16xi8>, !ternary, memref<16x16xi8>, memref<16x16xi32>, memref<16x16xf32>, memref<16x16xf32>, index, index, index) -> ()
  return
}

// -----

// Salient digits go to the rows of their columns, once for all tokens, and with
// the ones of their mask they are planes like others. Forty columns: a block.
!salient = !tbq.packed<32x40, digits [1, 1, 8], terms [[2, 1, 0, -1], [0, -1, 0, 1], [0, 0, 1, 0]], salient, group 40, tile 16>
// CHECK-LABEL: func.func @salient(
func.func @salient(%x: memref<16x48xi8>, %sums: memref<16x16xi32>, %scale: memref<16x16xf32>, %y: memref<16x32xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK-DAG: %[[ONES:.*]] = arith.constant dense<255> : vector<16xi32>
  // CHECK-DAG: %[[LANES:.*]] = arith.constant dense<[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]> : vector<16xi32>
  // CHECK-DAG: %[[QUAD:.*]] = arith.constant dense<-4> : vector<16xi32>
  // CHECK-DAG: %[[TWO:.*]] = arith.constant dense<2> : vector<16xi32>
  // CHECK-DAG: %[[THREE:.*]] = arith.constant dense<3> : vector<16xi32>
  // CHECK-DAG: %[[NONE:.*]] = arith.constant dense<0> : vector<64xi8>
  // CHECK: %[[DIGITS:.*]] = memref.view %[[SCRATCH:.*]][%c0][] : {{.*}} to memref<60x64xi8>
  // CHECK: %[[WORDS:.*]] = memref.view %[[SCRATCH]][%c0][] : {{.*}} to memref<960xi32>
  // CHECK: scf.for {{.*}} step %c2
  // Places without a digit are 0.
  // CHECK: scf.for %[[ROW:.*]] = %c0 to %c10 step %c1 {
  // CHECK: %[[OF_MASK:.*]] = arith.addi %[[ROW]], %c20
  // CHECK: vector.store %[[NONE]], %[[DIGITS]][%[[OF_MASK]], %c0]
  // CHECK: %[[OF_VALUES:.*]] = arith.addi %[[ROW]], %c40
  // CHECK: vector.store %[[NONE]], %[[DIGITS]][%[[OF_VALUES]], %c0]
  // CHECK: %[[ROUNDS:.*]]:2 = scf.for {{.*}} step %c2 iter_args(
  // CHECK: %[[PRESENT:.*]] = arith.cmpi ugt,
  // CHECK: %[[COLUMNS:.*]] = vector.expandload
  // CHECK: %[[CODES:.*]] = vector.expandload
  // CHECK: %[[MASK:.*]] = arith.extui %[[PRESENT]] : vector<64xi1> to vector<64xi8>
  // A word of a row is a lane; a column is one of its bytes.
  // CHECK: %[[COLUMN:.*]] = arith.andi %{{.*}}, %[[ONES]]
  // CHECK: %[[CODE:.*]] = arith.andi %{{.*}}, %[[ONES]]
  // CHECK: %[[ONE:.*]] = arith.andi %{{.*}}, %[[ONES]]
  // CHECK: %[[FIRST:.*]] = arith.andi %[[COLUMN]], %[[QUAD]]
  // CHECK: %[[TIMES:.*]] = arith.shli %[[FIRST]], %[[TWO]]
  // CHECK: %[[AT:.*]] = arith.addi %[[TIMES]], %[[LANES]]
  // CHECK: %[[WORD:.*]] = vector.gather %[[WORDS]][%c320] [%[[AT]]]
  // CHECK: %[[BYTE:.*]] = arith.andi %[[COLUMN]], %[[THREE]]
  // CHECK: %[[BITS:.*]] = arith.shli %[[BYTE]], %[[THREE]]
  // CHECK: %[[PUT:.*]] = arith.shli %[[ONE]], %[[BITS]]
  // CHECK: %[[WITH:.*]] = arith.ori %[[WORD]], %[[PUT]]
  // CHECK: vector.scatter %[[WORDS]][%c320] [%[[AT]]], %{{.*}}, %[[WITH]]
  // CHECK: %[[WORD:.*]] = vector.gather %[[WORDS]][%c640] [%[[AT]]]
  // CHECK: %[[PUT:.*]] = arith.shli %[[CODE]], %[[BITS]]
  // CHECK: %[[WITH:.*]] = arith.ori %[[WORD]], %[[PUT]]
  // CHECK: vector.scatter %[[WORDS]][%c640] [%[[AT]]], %{{.*}}, %[[WITH]]
  // The other three places; the other round of the pair; the other tile.
  // CHECK-COUNT-6: vector.scatter
  // CHECK-NOT: vector.scatter
  // CHECK: vector.expandload
  // CHECK-COUNT-8: vector.scatter
  // CHECK-NOT: vector.scatter
  // CHECK: scf.yield
  // CHECK-COUNT-16: vector.scatter
  // CHECK-NOT: vector.scatter
  // CHECK: scf.for {{.*}} step %c8
  // Three planes, each with its sums.
  // CHECK: scf.for {{.*}} = %c0 to %c10 step %c2
  // CHECK: scf.for {{.*}} = %c0 to %c10 step %c2
  // CHECK: scf.for {{.*}} = %c0 to %c10 step %c2
  // CHECK-NOT: scf.for
  // CHECK: vector.store
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !salient
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<16x48xi8>, !salient, memref<16x16xi32>, memref<16x16xf32>, memref<16x32xf32>, index, index, index) -> ()
  return
}

// -----

// Groups whose digits are too many for a worker's stack are not spread: codes
// are masked and shifted for each eight tokens.
!long = !tbq.packed<16x8448, digits [2], terms [[1, -1]], group 8448, tile 16>
// CHECK-LABEL: func.func @long_group(
func.func @long_group(%x: memref<16x8448xi8>, %sums: memref<16x16xi32>, %scale: memref<16x16xf32>, %y: memref<16x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK-NOT: memref.alloca
  // CHECK: scf.for %[[TOKEN:.*]] = %c0 to %arg5 step %c8
  // CHECK: vector.load %{{.*}} : memref<{{.*}}xi8>, vector<64xi8>
  // CHECK-COUNT-8: vpdpbusd
  // CHECK: arith.shrui
  // CHECK-COUNT-8: vpdpbusd
  // CHECK: %[[EXISTS:.*]] = arith.cmpi ult, %[[TOKEN]], %arg5
  // CHECK-NEXT: scf.if %[[EXISTS]] {
  // CHECK: vector.store
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !long
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<16x8448xi8>, !long, memref<16x16xi32>, memref<16x16xf32>, memref<16x16xf32>, index, index, index) -> ()
  return
}

// -----

// Of selected rows there is mostly one, for which nothing is spread.
!head = !tbq.packed<16x64, digits [8], terms [[1, -128]], group 64, tile 16>
// CHECK-LABEL: func.func @selected(
func.func @selected(%x: memref<16x64xi8>, %sums: memref<16x16xi32>, %scale: memref<16x16xf32>, %y: memref<16x16xf32>,
    %section: memref<65536xi8>, %count: index, %first: index, %begin: index, %end: index) {
  // CHECK: %[[ROWS:.*]] = arith.subi %arg5, %arg6
  // CHECK: %[[ONE:.*]] = arith.cmpi ult, %[[ROWS]], %c2
  // CHECK: scf.if %[[ONE]] {
  // CHECK-NOT: vector.store %{{.*}}, %{{.*}} : memref<{{.*}}xi8>
  // CHECK-COUNT-16: vpdpbusd
  // CHECK-NOT: vpdpbusd
  // CHECK: } else {
  // CHECK: vector.store %{{.*}} : memref<32x64xi8>, vector<64xi8>
  // CHECK: vpdpbusd
  %rows = arith.subi %count, %first : index
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !head
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%rows) range(%begin, %end)
    : (memref<16x64xi8>, !head, memref<16x16xi32>, memref<16x16xf32>, memref<16x16xf32>, index, index, index) -> ()
  return
}
