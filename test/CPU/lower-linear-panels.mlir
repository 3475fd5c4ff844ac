// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=vnni permute fma few-tokens=1" --canonicalize --cse --split-input-file | FileCheck %s
// Panels of columns: one token's kernel takes all rows of one before the next,
// as they lie in memory; others take a row whole.

// 1,100 columns in groups of 128: two panels of four groups and one of 76
// columns. A part has 4 groups of 576 bytes, a panel three tiles: 6,912.
!panels = !tbq.packed<48x1100, digits [2], terms [[1, -1], [0, 1]], group 128, tile 16, panel 512, bias>
// CHECK-LABEL: func.func @decode(
func.func @decode(%x: memref<1x1104xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x48xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : vector<16xf32>
  // CHECK-DAG: %[[SCRATCH:.*]] = memref.alloca() {{.*}} : memref<32768xi8>
  // CHECK: %[[BYTES:.*]] = tbq.packed_bytes
  // Sums of 512 tiles are in scratch memory.
  // CHECK: scf.for %[[FIRST:.*]] = %arg6 to %arg7 step %c512 {
  // CHECK: %[[BEHIND:.*]] = arith.addi %[[FIRST]], %c512
  // CHECK: %[[LAST:.*]] = arith.minui %[[BEHIND]], %arg7
  // CHECK: scf.for %[[TOKEN:.*]] = %c0 to %arg5 step %c1 {
  // CHECK: %[[SUMS:.*]] = memref.view %[[SCRATCH]]{{.*}} : memref<32768xi8> to memref<512x16xf32>
  // CHECK: scf.for %[[TILE:.*]] = %[[FIRST]] to %[[LAST]] step %c1 {
  // CHECK: vector.store %[[ZERO]], %[[SUMS]]
  // Two whole panels of three tiles: 3 x 2,304 bytes from one to the next.
  // CHECK: scf.for %[[PANEL:.*]] = %c0 to %c2 step %c1 {
  // CHECK: scf.for %[[TILE:.*]] = %[[FIRST]] to %[[LAST]] step %c1 {
  // CHECK: %[[Y:.*]] = vector.load %[[SUMS]]
  // CHECK: %[[IN:.*]] = arith.muli %[[TILE]], %c2304
  // CHECK: %[[OF:.*]] = arith.muli %[[PANEL]], %c6912
  // CHECK: %[[PART:.*]] = arith.addi %[[OF]], %[[IN]]
  // CHECK: %[[GROUPS:.*]] = arith.muli %[[PANEL]], %c4
  // CHECK: %[[MADE:.*]] = scf.for %[[GROUP:.*]] = %c0 to %c4 step %c1 iter_args(%{{.*}} = %[[Y]]) -> (vector<16xf32>) {
  // CHECK: %[[AT:.*]] = arith.addi %[[GROUPS]], %[[GROUP]]
  // CHECK: %[[COLUMN:.*]] = arith.muli %[[AT]], %c128
  // CHECK: vpdpbusd
  // CHECK: vector.store %[[MADE]], %[[SUMS]]
  // The last one has 76 columns, and the biases.
  // CHECK: scf.for %[[TILE:.*]] = %[[FIRST]] to %[[LAST]] step %c1 {
  // CHECK: vector.load %[[SUMS]]
  // CHECK: %[[IN:.*]] = arith.muli %[[TILE]]
  // CHECK: arith.addi %[[IN]], %c13824
  // CHECK: vpdpbusd
  // CHECK: vector.store %{{.*}}, %arg3[%[[TOKEN]], %{{.*}}]
  // CHECK: return
  %w = tbq.placed_weight [64] in %section : memref<65536xi8> : !panels
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x1104xi8>, !panels, memref<1x16xi32>, memref<1x16xf32>, memref<1x48xf32>, index, index, index) -> ()
  return
}

// -----

// Several tokens: a tile's sums are in registers over all its panels.
!panels = !tbq.packed<48x1100, digits [2], terms [[1, -1], [0, 1]], group 128, tile 16, panel 512, bias>
// CHECK-LABEL: func.func @few(
func.func @few(%x: memref<2x1104xi8>, %sums: memref<2x16xi32>, %scale: memref<2x16xf32>, %y: memref<2x48xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: scf.for %[[TILE:.*]] = %arg6 to %arg7 step %c1 {
  // CHECK: scf.for %[[TOKEN:.*]] = %c0 to %arg5 step %c2 {
  // CHECK: scf.for %[[PANEL:.*]] = %c0 to %c2 step %c1 iter_args(%{{.*}}, %{{.*}}) -> (vector<16xf32>, vector<16xf32>) {
  // CHECK: arith.muli %[[TILE]], %c2304
  // CHECK: arith.muli %[[PANEL]], %c6912
  // CHECK: vpdpbusd
  // CHECK: vector.store %{{.*}}, %arg3
  // CHECK: return
  %w = tbq.placed_weight [64] in %section : memref<65536xi8> : !panels
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<2x1104xi8>, !panels, memref<2x16xi32>, memref<2x16xf32>, memref<2x48xf32>, index, index, index) -> ()
  return
}

// -----

// Floats have two sums a tile, of even and of odd columns.
!floats = !tbq.packed<48x80, bf16, tile 16, panel 48>
// CHECK-LABEL: func.func @floats(
func.func @floats(%x: memref<1x80xf32>, %y: memref<1x48xf32>, %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: memref.view {{.*}} : memref<65536xi8> to memref<1024x16xf32>
  // CHECK: scf.for %[[TILE:.*]] = %{{.*}} to %{{.*}} step %c1 {
  // CHECK: arith.muli %[[TILE]], %c1536
  // CHECK: iter_args(%{{.*}} = %{{.*}}, %{{.*}} = %{{.*}}) -> (vector<16xf32>, vector<16xf32>) {
  // CHECK: %[[LATER:.*]] = arith.muli %{{.*}}, %c1024
  // CHECK: return
  %w = tbq.placed_weight [64] in %section : memref<65536xi8> : !floats
  tbq.packed_linear %x, %w into(%y) count(%count) range(%begin, %end)
    : (memref<1x80xf32>, !floats, memref<1x48xf32>, index, index, index) -> ()
  return
}
