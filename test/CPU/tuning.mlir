// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=vnni few-tokens=1 fma" --tbq-lower-step-to-cpu --canonicalize --cse --split-input-file | FileCheck %s --check-prefix=USUAL
// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=vnni few-tokens=1 fma far-bytes=4096 near-bytes=512 unrolled-steps=2 token-tile=4 row-tiles=3 block-tokens=32 unrolled-quads=4" --tbq-lower-step-to-cpu="cache-bytes=2048" --canonicalize --cse --split-input-file | FileCheck %s --check-prefix=OTHER
// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=vnni few-tokens=1 fma far-bytes=0 near-bytes=0 row-tiles=1" --tbq-lower-step-to-cpu="cache-bytes=0" --canonicalize --cse --split-input-file | FileCheck %s --check-prefix=NONE
// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=amx few-tokens=1 fma" --tbq-lower-step-to-cpu --canonicalize --cse --split-input-file | FileCheck %s --check-prefix=TILES
// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=amx few-tokens=1 fma unrolled-tokens=8 row-tiles=3" --tbq-lower-step-to-cpu --canonicalize --cse --split-input-file | FileCheck %s --check-prefix=MORE
// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=avx2 few-tokens=1 fma token-tile=2" --tbq-lower-step-to-cpu --canonicalize --cse --split-input-file | FileCheck %s --check-prefix=PAIRS
// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=amx few-tokens=1 fma read-rate=100 peak-rate=1000 decode-rate=50 prefill-rate=500" --tbq-lower-step-to-cpu --split-input-file --remarks-filter=cpu -o /dev/null 2>&1 | FileCheck %s --check-prefix=SHARE
// What each number of a table of a CPU family decides (tbq/Tuning.h); few_tokens in lower-linear-few.mlir.

// And what its figures predict: of 100 GB/s and 1000 Gop/s, 50 and 500. One token
// reads all bytes, in half as fast; for many, three tiles of rows are made four.
// SHARE: 1 token: digits of 2 bits in groups of 128, tiles of 16 rows, vpdpbusd; predicted 50 % of the limit by memory
// SHARE: 64 tokens: digits of 2 bits in groups of 128, tiles of 16 rows, 2 at a time, their digits spread once a block of 64 tokens, tdpbsud where it fills tiles, else vpdpbusd; predicted 38 % of the limit by arithmetic
// SHARE: 3 tokens: digits of 2 bits in groups of 128, tiles of 16 rows, vpdpbusd; predicted 50 % of the limit by arithmetic

// One token: how far ahead, and how many steps of a group are written out.
!ternary = !tbq.packed<48x128, digits [2], terms [[1, -1]], group 128, tile 16>
// USUAL-LABEL: func.func @decode(
// USUAL-DAG: arith.constant 3072 : index
// USUAL-DAG: arith.constant 1024 : index
// USUAL-COUNT-32: vpdpbusd
// OTHER-LABEL: func.func @decode(
// OTHER-DAG: arith.constant 4096 : index
// OTHER-DAG: arith.constant 512 : index
// OTHER: scf.for %{{.*}} = %c0 to %c8 step %c2 iter_args
// OTHER-COUNT-8: vpdpbusd
// OTHER-NOT: vpdpbusd
// OTHER: scf.yield
// NONE-LABEL: func.func @decode(
// NONE-NOT: memref.prefetch
func.func @decode(%x: memref<1x128xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x48xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x128xi8>, !ternary, memref<1x16xi32>, memref<1x16xf32>, memref<1x48xf32>, index, index, index) -> ()
  return
}

// -----

// A block: tokens of it, tiles of rows and tokens at a time, columns written out.
// Its term is none that AMX takes as signed bytes, one tile of rows at a time.
!ternary = !tbq.packed<48x128, digits [2], terms [[3, -1]], group 128, tile 16>
// USUAL-LABEL: func.func @prefill(
// USUAL: scf.for %{{.*}} = %c0 to %arg5 step %c64 {
// USUAL: scf.for %{{.*}} = %arg6 to %arg7 step %c2 {
// USUAL: scf.for %{{.*}} step %c8 {
// USUAL: scf.for %{{.*}} = %c0 to %c32 step %c2 iter_args
// USUAL-COUNT-32: vpdpbusd
// USUAL-NOT: vpdpbusd
// USUAL: scf.yield
// OTHER-LABEL: func.func @prefill(
// OTHER: scf.for %[[FIRST:.*]] = %c0 to %arg5 step %c32 {
// OTHER: scf.for %[[TILE:.*]] = %arg6 to %arg7 step %c3 {
// Of what is no third tile the last one is there again.
// OTHER-COUNT-2: arith.minui
// OTHER: scf.for %{{.*}} step %c4 {
// OTHER: scf.for %{{.*}} = %c0 to %c32 step %c4 iter_args
// OTHER-COUNT-48: vpdpbusd
// OTHER-NOT: vpdpbusd
// In the last group results are written of the four tokens that are there, of
// the second and the third tile only where they are.
// OTHER-COUNT-12: scf.if
// OTHER-NOT: scf.if
// OTHER: return
// NONE-LABEL: func.func @prefill(
// NONE: scf.for %{{.*}} = %arg6 to %arg7 step %c1 {
// NONE-COUNT-8: scf.if
// NONE-NOT: scf.if
// NONE: return
// TILES-LABEL: func.func @prefill(
// TILES: scf.for %{{.*}} step %c16 {
// TILES-COUNT-4: amx.tile_muli
// TILES-NOT: amx.tile_muli
// TILES: scf.for %{{.*}} = %c0 to %c16 step %c4 {
// MORE-LABEL: func.func @prefill(
// MORE-COUNT-6: amx.tile_muli
// MORE-NOT: amx.tile_muli
// MORE: scf.for %{{.*}} = %c0 to %c16 step %c8 {
// PAIRS-LABEL: func.func @prefill(
// PAIRS: scf.for %{{.*}} = %c0 to %arg5 step %c2 {
func.func @prefill(%x: memref<64x128xi8>, %sums: memref<64x16xi32>, %scale: memref<64x16xf32>, %y: memref<64x48xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<64x128xi8>, !ternary, memref<64x16xi32>, memref<64x16xf32>, memref<64x48xf32>, index, index, index) -> ()
  return
}

// -----

// Fewer tokens than a tile are taken together, whatever the table says.
!ternary = !tbq.packed<48x128, digits [2], terms [[1, -1]], group 128, tile 16>
// PAIRS-LABEL: func.func @few(
// PAIRS: scf.for %{{.*}} = %c0 to %arg5 step %c3 {
func.func @few(%x: memref<3x128xi8>, %sums: memref<3x16xi32>, %scale: memref<3x16xf32>, %y: memref<3x48xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<3x128xi8>, !ternary, memref<3x16xi32>, memref<3x16xf32>, memref<3x48xf32>, index, index, index) -> ()
  return
}

// -----

// Three tiles of groups as long are more than 256 KiB of scratch memory, two are not.
!row = !tbq.packed<48x5632, digits [2], terms [[1, -1]], group 5632, tile 16>
// OTHER-LABEL: func.func @long(
// OTHER: scf.for %{{.*}} = %arg6 to %arg7 step %c2 {
func.func @long(%x: memref<64x5632xi8>, %sums: memref<64x16xi32>, %scale: memref<64x16xf32>, %y: memref<64x48xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !row
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<64x5632xi8>, !row, memref<64x16xi32>, memref<64x16xf32>, memref<64x48xf32>, index, index, index) -> ()
  return
}

// -----

// Keys and values of attention, whose blocks have 768 and 1024 bytes.
!kv = !tbq.cache<2 layers, 1 by 24, 40 tokens, f16>
// USUAL-LABEL: func.func @attend(
// USUAL: arith.minui %[[BLOCKS:.*]], %c8
// USUAL: arith.minui %[[BLOCKS]], %c6
// OTHER-LABEL: func.func @attend(
// OTHER: arith.minui %[[BLOCKS:.*]], %c3
// OTHER-NEXT: arith.subi %[[BLOCKS]]
// NONE-LABEL: func.func @attend(
// NONE-NOT: memref.prefetch
func.func @attend(%q: memref<16x80xf32>, %cache: memref<8192xi8>, %y: memref<16x80xf32>, %l: index, %p: index, %n: index, %b: index, %e: index) {
  tbq.attention %q, %cache[%l] at %p heads 3 scale 0.5 !kv into(%y) count(%n) range(%b, %e) : (memref<16x80xf32>, memref<8192xi8>, index, index, memref<16x80xf32>, index, index, index) -> ()
  return
}
