// The road of a packed linear of many tokens to assembly, where the CPU has AMX
// tiles of bytes; one token's stays with VNNI.
//
// RUN: tbq-opt %s --tbq-cpu="dot=amx fma f16 floor" | mlir-translate --mlir-to-llvmir | opt -O3 -mtriple=x86_64-linux-gnu -mcpu=sapphirerapids | llc -O3 -mtriple=x86_64-linux-gnu -mcpu=sapphirerapids -o %t.s
// RUN: FileCheck %s < %t.s
// RUN: FileCheck %s --check-prefix=SUMS < %t.s

// Ternary by groups of 128: of each 64 columns four products of two tiles of rows
// and two of tokens, which are loaded once; for 16 tokens' sums of a tile of rows
// a conversion and two multiply-adds each, in registers. No tile is spilled. The
// tiles are set up outside of all loops, and not kept beyond the function.
// CHECK-LABEL: {{^}}prefill:
// CHECK: ldtilecfg
// CHECK-NOT: ldtilecfg
// CHECK: Inner Loop Header: Depth=4
// CHECK-COUNT-4: tilezero
// CHECK: tileloadd
// CHECK: tileloadd
// CHECK: tdpbssd
// CHECK: tileloadd
// CHECK: tdpbssd
// CHECK: tileloadd
// CHECK-COUNT-2: tdpbssd
// CHECK: tileloadd
// CHECK: tileloadd
// CHECK: tdpbssd
// CHECK: tileloadd
// CHECK: tdpbssd
// CHECK: tileloadd
// CHECK-COUNT-2: tdpbssd
// CHECK-NOT: {{tdpb|tileloadd}}
// CHECK-COUNT-4: tilestored
// CHECK-NOT: {{tilestored|tileloadd}}
// CHECK-COUNT-4: tilezero
// CHECK-COUNT-8: tileloadd
// CHECK-NOT: tileloadd
// CHECK-COUNT-4: tilestored
// CHECK-NOT: {{tile[a-z]*d}}
// CHECK-COUNT-128: vcvtdq2ps
// CHECK-NOT: {{ldtilecfg|tile[a-z]*d}}
// CHECK: tilerelease
// SUMS-LABEL: {{^}}prefill:
// SUMS: tilestored
// SUMS-NOT: vpsub
// SUMS-COUNT-256: vfmadd
// SUMS-NOT: {{vpsub|vfmadd}}
// SUMS: tilerelease
!groups = !tbq.packed<64x2048, digits [2], terms [[1, -1], [0, 1]], group 128, tile 16>
func.func @prefill(%x: memref<64x2048xi8>, %sums: memref<64x16xi32>, %scale: memref<64x16xf32>, %y: memref<64x64xf32>,
                   %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !groups
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<64x2048xi8>, !groups, memref<64x16xi32>, memref<64x16xf32>, memref<64x64xf32>, index, index, index) -> ()
  return
}

// CHECK-LABEL: {{^}}decode:
// CHECK-NOT: tile
// CHECK-COUNT-32: vpdpbusd
// CHECK-NOT: tile
func.func @decode(%x: memref<1x2048xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x64xf32>,
                  %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !groups
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x2048xi8>, !groups, memref<1x16xi32>, memref<1x16xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}
