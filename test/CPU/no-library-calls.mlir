// Every op of a step as object code, on targets that lack what the design asks
// for elsewhere: no symbol is left for a library to define. The baseline would
// call fmaf, expf, floorf and __extendhfsf2; aarch64 has instructions for them.
//
// RUN: tbq-opt %s --tbq-cpu | mlir-translate --mlir-to-llvmir | opt -O3 -mtriple=x86_64-linux-gnu -mcpu=x86-64 | llc -O3 -mtriple=x86_64-linux-gnu -mcpu=x86-64 -filetype=obj | llvm-nm - | FileCheck %s
// RUN: tbq-opt %s --tbq-cpu="fma f16 floor" | mlir-translate --mlir-to-llvmir | opt -O3 -mtriple=aarch64-linux-gnu | llc -O3 -mtriple=aarch64-linux-gnu -filetype=obj | llvm-nm - | FileCheck %s

// CHECK-NOT: {{ U }}
// CHECK: T embedding
// CHECK-NOT: {{ U }}
// CHECK: T linear_i8
// CHECK-NOT: {{ U }}

!table = !tbq.packed<40x24, f16, tile 16>
!norm = !tbq.packed<1x24, f32, tile 1>
!angles = !tbq.packed<40x24, f32, tile 1>
!kv = !tbq.cache<2 layers, 1 by 24, 40 tokens, f16>
!ternary = !tbq.packed<40x40, digits [2], terms [[1, -1], [0, 1]], group 32, tile 16>
!half = !tbq.packed<40x72, f16, tile 16>
func.func @embedding(%t: memref<1xi32>, %y: memref<1x32xf32>, %section: memref<65536xi8>, %n: index, %b: index, %e: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !table
  tbq.embedding %t, %w into(%y) count(%n) range(%b, %e) : (memref<1xi32>, !table, memref<1x32xf32>, index, index, index) -> ()
  return
}
func.func @rms_norm(%x: memref<1x32xf32>, %y: memref<1x32xf32>, %section: memref<65536xi8>, %n: index, %b: index, %e: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !norm
  tbq.rms_norm %x, %w epsilon 1.0e-5 features 24 into(%y) count(%n) range(%b, %e) : (memref<1x32xf32>, !norm, memref<1x32xf32>, index, index, index) -> ()
  return
}
func.func @rope(%x: memref<1x48xf32>, %y: memref<1x48xf32>, %section: memref<65536xi8>, %p: index, %n: index, %b: index, %e: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !angles
  tbq.rope %x, %w at %p heads 2 x 24 into(%y) count(%n) range(%b, %e) : (memref<1x48xf32>, !angles, index, memref<1x48xf32>, index, index, index) -> ()
  return
}
func.func @append(%k: memref<1x32xf32>, %v: memref<1x32xf32>, %cache: memref<8192xi8>, %l: index, %p: index, %n: index, %b: index, %e: index) {
  tbq.append_cache %k, %v, %cache[%l] at %p tokens %n !kv count(%n) range(%b, %e) : (memref<1x32xf32>, memref<1x32xf32>, memref<8192xi8>, index, index, index, index, index, index) -> ()
  return
}
func.func @attention(%q: memref<1x48xf32>, %cache: memref<8192xi8>, %y: memref<1x48xf32>, %l: index, %p: index, %n: index, %b: index, %e: index) {
  tbq.attention %q, %cache[%l] at %p heads 2 scale 0.5 !kv into(%y) count(%n) range(%b, %e) : (memref<1x48xf32>, memref<8192xi8>, index, index, memref<1x48xf32>, index, index, index) -> ()
  return
}
func.func @gated(%g: memref<1x32xf32>, %u: memref<1x32xf32>, %y: memref<1x32xf32>, %n: index, %b: index, %e: index) {
  tbq.gated_activation %g, %u into(%y) count(%n) range(%b, %e) : (memref<1x32xf32>, memref<1x32xf32>, memref<1x32xf32>, index, index, index) -> ()
  return
}
func.func @gelu(%x: memref<1x32xf32>, %y: memref<1x32xf32>, %n: index, %b: index, %e: index) {
  tbq.activation %x gelu into(%y) count(%n) range(%b, %e) : (memref<1x32xf32>, memref<1x32xf32>, index, index, index) -> ()
  return
}
func.func @layer_norm(%x: memref<1x32xf32>, %y: memref<1x32xf32>, %section: memref<65536xi8>, %n: index, %b: index, %e: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !norm
  tbq.layer_norm %x, %w, %w epsilon 1.0e-5 features 24 into(%y) count(%n) range(%b, %e) : (memref<1x32xf32>, !norm, !norm, memref<1x32xf32>, index, index, index) -> ()
  return
}
func.func @positions(%x: memref<1x32xf32>, %y: memref<1x32xf32>, %section: memref<65536xi8>, %p: index, %n: index, %b: index, %e: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !angles
  tbq.add_positions %x, %w at %p offset 2 into(%y) count(%n) range(%b, %e) : (memref<1x32xf32>, !angles, index, memref<1x32xf32>, index, index, index) -> ()
  return
}
func.func @add(%g: memref<1x32xf32>, %u: memref<1x32xf32>, %y: memref<1x32xf32>, %n: index, %b: index, %e: index) {
  tbq.add %g, %u into(%y) count(%n) range(%b, %e) : (memref<1x32xf32>, memref<1x32xf32>, memref<1x32xf32>, index, index, index) -> ()
  return
}
func.func @select(%x: memref<16x32xf32>, %f: index, %y: memref<16x32xf32>, %n: index, %b: index, %e: index) {
  tbq.select_rows %x from %f into(%y) count(%n) range(%b, %e) : (memref<16x32xf32>, index, memref<16x32xf32>, index, index, index) -> ()
  return
}
func.func @sums(%x: memref<1x80xf32>, %s: memref<1x16xf32>, %n: index, %b: index, %e: index) {
  tbq.group_sums %x columns 72 group 32 into(%s) count(%n) range(%b, %e) : (memref<1x80xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}
func.func @quantize(%x: memref<1x80xf32>, %q: memref<1x80xi8>, %a: memref<1x16xf32>, %s: memref<1x16xi32>, %n: index, %b: index, %e: index) {
  tbq.quantize_activations %x columns 72 group 32 into(%q, %a, %s) count(%n) range(%b, %e) : (memref<1x80xf32>, memref<1x80xi8>, memref<1x16xf32>, memref<1x16xi32>, index, index, index) -> ()
  return
}
func.func @linear_i8(%x: memref<1x48xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x48xf32>,
    %section: memref<65536xi8>, %n: index, %b: index, %e: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%n) range(%b, %e)
    : (memref<1x48xi8>, !ternary, memref<1x16xi32>, memref<1x16xf32>, memref<1x48xf32>, index, index, index) -> ()
  return
}
func.func @linear_f32(%x: memref<1x48xf32>, %sums: memref<1x16xf32>, %y: memref<1x48xf32>,
    %section: memref<65536xi8>, %n: index, %b: index, %e: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) into(%y) count(%n) range(%b, %e)
    : (memref<1x48xf32>, !ternary, memref<1x16xf32>, memref<1x48xf32>, index, index, index) -> ()
  return
}
func.func @linear_f16(%x: memref<1x80xf32>, %y: memref<1x48xf32>,
    %section: memref<65536xi8>, %layer: index, %n: index, %b: index, %e: index, %team: !tbq.team) {
  %w = tbq.placed_weight [0, 8192] layer(%layer) in %section : memref<65536xi8> : !half
  tbq.barrier %team
  tbq.packed_linear %x, %w into(%y) count(%n) range(%b, %e) : (memref<1x80xf32>, !half, memref<1x48xf32>, index, index, index) -> ()
  return
}
