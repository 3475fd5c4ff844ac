// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=vnni permute fma token-tile=8 row-tiles=2 block-tokens=64" --canonicalize --cse --split-input-file | FileCheck %s
// Digits by threes: one token's sums of three columns are looked up; a step of
// many tokens spreads the digits.

// Two tiles of two bands; a panel of two groups and one of a group and a half.
// A band's group has 1,792 bytes of digits and 256 of coefficients, the half
// group 896 + 256: a panel has two bands' 4,096, then two bands' 3,200, and
// 128 biases behind them.
!threes = !tbq.packed<256x448, digits [2], terms [[1, -1], [0, 1]], group 128, tile 128, panel 256, bias>
// CHECK-LABEL: func.func @decode(
func.func @decode(%x: memref<1x448xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x256xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // 88 tables of a panel, and eight sums of a tile.
  // CHECK-DAG: %[[SCRATCH:.*]] = memref.alloca() {{.*}} : memref<6144xi8>
  // CHECK-DAG: %[[TABLES:.*]] = memref.view %[[SCRATCH]][%c0][] : memref<6144xi8> to memref<88x32xi16>
  // CHECK-DAG: %[[SUMS:.*]] = memref.view %[[SCRATCH]][%c5632][] : memref<6144xi8> to memref<8x16xf32>
  // CHECK: scf.for %[[TILE:.*]] = %arg6 to %arg7 step %c1 {
  // CHECK: scf.for %[[TOKEN:.*]] = %c0 to %arg5 step %c1 {
  // Tables of four steps: the first and second digit's column, then the third's.
  // CHECK: scf.for %[[STEP:.*]] = %c0 to %c4 step %c1 {
  // CHECK: %[[TWO:.*]] = llvm.call_intrinsic "llvm.x86.avx512.pmaddubs.w.512"
  // CHECK: %[[ONE:.*]] = llvm.call_intrinsic "llvm.x86.avx512.pmaddubs.w.512"
  // CHECK: %[[TABLE:.*]] = arith.addi %[[TWO]], %[[ONE]] : vector<32xi16>
  // CHECK: vector.store %[[TABLE]], %[[TABLES]]
  // Both bands with the same tables.
  // CHECK: scf.for %[[BAND:.*]] = %c0 to %c2 step %c1 {
  // CHECK: vector.load %[[SUMS]]
  // CHECK: scf.for %[[GROUP:.*]] = %c0 to %c2 step %c1 iter_args({{.*}}) -> (vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>) {
  // Two halves of 32 rows: each table is loaded once.
  // CHECK: %[[FIRST:.*]] = vector.load %[[TABLES]]{{.*}} : memref<88x32xi16>, vector<32xi16>
  // CHECK-NEXT: llvm.call_intrinsic "llvm.x86.avx512.permvar.hi.512"(%[[FIRST]], %{{.*}})
  // CHECK-NEXT: llvm.call_intrinsic "llvm.x86.avx512.permvar.hi.512"(%[[FIRST]], %{{.*}})
  // CHECK: arith.extsi %{{.*}} : vector<16xi16> to vector<16xi32>
  // CHECK: vector.store %{{.*}}, %[[SUMS]]
  // The last panel has three steps; its rows are done.
  // CHECK: scf.for %{{.*}} = %c0 to %c3 step %c1 {
  // CHECK: pmaddubs
  // CHECK: scf.for %{{.*}} = %c0 to %c2 step %c1 {
  // CHECK: permvar
  // CHECK: vector.store %{{.*}}, %arg3[%[[TOKEN]], %{{.*}}]
  // CHECK: return
  %w = tbq.placed_weight [64] in %section : memref<65536xi8> : !threes
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x448xi8>, !threes, memref<1x16xi32>, memref<1x16xf32>, memref<1x256xf32>, index, index, index) -> ()
  return
}

// -----

!threes = !tbq.packed<256x448, digits [2], terms [[1, -1], [0, 1]], group 128, tile 128, panel 256, bias>
// CHECK-LABEL: func.func @prefill(
func.func @prefill(%x: memref<64x448xi8>, %sums: memref<64x16xi32>, %scale: memref<64x16xf32>, %y: memref<64x256xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // Digits of 64 rows and 128 columns, 64 bytes for four of them and 16 rows.
  // CHECK: %[[DIGITS:.*]] = memref.view {{.*}} to memref<128x64xi8>
  // Bands, one after the other.
  // CHECK: %[[FROM:.*]] = arith.muli %arg6, %c2
  // CHECK: %[[TO:.*]] = arith.muli %arg7, %c2
  // CHECK: scf.for %{{.*}} = %[[FROM]] to %[[TO]] step %c1 {
  // CHECK: permvar
  // CHECK: vector.shuffle %{{.*}} [0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39, 8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47]
  // CHECK: vector.store %{{.*}}, %[[DIGITS]]
  // CHECK: vector.shuffle %{{.*}} [16, 48, 17
  // Four tokens by four vectors of rows.
  // CHECK-COUNT-16: vpdpbusd
  // CHECK: return
  %w = tbq.placed_weight [64] in %section : memref<65536xi8> : !threes
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<64x448xi8>, !threes, memref<64x16xi32>, memref<64x16xf32>, memref<64x256xf32>, index, index, index) -> ()
  return
}
