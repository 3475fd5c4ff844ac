// RUN: tbq-opt %s --tbq-lower-linear-to-gpu="shared-bytes=24576" --canonicalize --cse | FileCheck %s
// Where a block has no room for a ring, linears that are alike are lowered one
// by one, from their own tiles: lanes load what they multiply.
!ternary = !tbq.packed<4096x2048, digits [2], terms [[1, -1], [0, 1]], group 128, tile 8>
// CHECK-LABEL: func.func @decode_pair(
// CHECK-NOT: nvvm.cp.async
// CHECK: scf.for %{{.*}} = %arg6 to %arg7
// CHECK: nvvm.mma.sync
// CHECK: memref.store %{{.*}}, %arg3
// CHECK: nvvm.barrier0
// CHECK: scf.for %{{.*}} = %arg6 to %arg7
// CHECK: nvvm.mma.sync
// CHECK: memref.store %{{.*}}, %arg4
// CHECK-NOT: nvvm.cp.async
// CHECK: return
func.func @decode_pair(%x: memref<1x2048xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x4096xf32>, %z: memref<1x4096xf32>,
    %count: index, %begin: index, %end: index, %section: memref<8388608xi8>, %team: !tbq.team) {
  tbq.barrier %team
  %v = tbq.placed_weight [0] in %section : memref<8388608xi8> : !ternary
  tbq.packed_linear %x, %v sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x2048xi8>, !ternary, memref<1x16xi32>, memref<1x16xf32>, memref<1x4096xf32>, index, index, index) -> ()
  %w = tbq.placed_weight [4194304] in %section : memref<8388608xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%z) count(%count) range(%begin, %end)
    : (memref<1x2048xi8>, !ternary, memref<1x16xi32>, memref<1x16xf32>, memref<1x4096xf32>, index, index, index) -> ()
  return
}
