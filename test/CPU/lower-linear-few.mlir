// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=vnni fma few-tokens=3" --canonicalize --cse --split-input-file | FileCheck %s
// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=vnni fma few-tokens=7" --canonicalize --cse --split-input-file | FileCheck %s --check-prefix=FLOATS
// Few tokens are multiplied one by one, by one token's kernel: nothing is spread, and each takes a tile that the
// first cache has.
!ternary = !tbq.packed<48x128, digits [2], terms [[1, -1]], group 128, tile 16>
// CHECK-LABEL: func.func @many(
// CHECK: %[[FEW:.*]] = arith.cmpi ult, %arg5, %c4
// CHECK: scf.if %[[FEW]] {
// CHECK: scf.for %{{.*}} = %arg6 to %arg7 step %c1 {
// CHECK: scf.for %{{.*}} = %c0 to %arg5 step %c1 {
// CHECK-NOT: xi8>, vector<64xi8>
// CHECK: memref.prefetch
// CHECK: vpdpbusd
// CHECK: } else {
// CHECK: vector.store %{{.*}} : memref<{{.*}}x64xi8>, vector<64xi8>
func.func @many(%x: memref<16x128xi8>, %sums: memref<16x16xi32>, %scale: memref<16x16xf32>, %y: memref<16x48xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<16x128xi8>, !ternary, memref<16x16xi32>, memref<16x16xf32>, memref<16x48xf32>, index, index, index) -> ()
  return
}

// -----

// A step that has never more has no other kernel.
!ternary = !tbq.packed<48x128, digits [2], terms [[1, -1]], group 128, tile 16>
// CHECK-LABEL: func.func @few(
// CHECK-NOT: scf.if
// CHECK: scf.for %{{.*}} = %c0 to %arg5 step %c1 {
// CHECK-NOT: scf.if
// CHECK: return
func.func @few(%x: memref<3x128xi8>, %sums: memref<3x16xi32>, %scale: memref<3x16xf32>, %y: memref<3x48xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<3x128xi8>, !ternary, memref<3x16xi32>, memref<3x16xf32>, memref<3x48xf32>, index, index, index) -> ()
  return
}

// -----

// Of panels, too, each token has the rows that are at work before the next ones.
!panels = !tbq.packed<48x1100, digits [2], terms [[1, -1], [0, 1]], group 128, tile 16, panel 512, bias>
// CHECK-LABEL: func.func @panels(
// CHECK: scf.for %[[FIRST:.*]] = %arg6 to %arg7 step %c512 {
// CHECK: scf.for %{{.*}} = %c0 to %arg5 step %c1 {
// CHECK: vpdpbusd
func.func @panels(%x: memref<2x1104xi8>, %sums: memref<2x16xi32>, %scale: memref<2x16xf32>, %y: memref<2x48xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [64] in %section : memref<65536xi8> : !panels
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<2x1104xi8>, !panels, memref<2x16xi32>, memref<2x16xf32>, memref<2x48xf32>, index, index, index) -> ()
  return
}

// -----

// Floats, for which nothing is spread, are few up to three, whatever the table says.
!floats = !tbq.packed<48x80, bf16, tile 16>
// FLOATS-LABEL: func.func @floats(
// FLOATS: %[[FEW:.*]] = arith.cmpi ult, %arg3, %c4
// FLOATS: scf.if %[[FEW]] {
// FLOATS: scf.for %{{.*}} = %c0 to %arg3 step %c1 {
// FLOATS: } else {
// FLOATS: scf.for %{{.*}} = %c0 to %arg3 step %c8 {
func.func @floats(%x: memref<16x80xf32>, %y: memref<16x48xf32>, %section: memref<65536xi8>, %count: index,
    %begin: index, %end: index) {
  %w = tbq.placed_weight [64] in %section : memref<65536xi8> : !floats
  tbq.packed_linear %x, %w into(%y) count(%count) range(%begin, %end)
    : (memref<16x80xf32>, !floats, memref<16x48xf32>, index, index, index) -> ()
  return
}
