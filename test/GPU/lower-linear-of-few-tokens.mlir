// RUN: tbq-opt %s --tbq-lower-linear-to-gpu="shared-bytes=232448" --canonicalize --cse --split-input-file | FileCheck %s
// Of up to eight tokens a product has a column each, and a ring brings the weights
// as it brings those of one.

// Eight warps divide two tiles, each with a share of four pieces: a round.
!ternary = !tbq.packed<4096x4096, digits [2], terms [[1, -1], [0, 1]], group 128, tile 8>
// CHECK-LABEL: func.func @batch_i8(
func.func @batch_i8(%x: memref<8x4096xi8>, %sums: memref<8x32xi32>, %scale: memref<8x16xf32>, %y: memref<8x4096xf32>,
    %section: memref<8388608xi8>, %count: index, %begin: index, %end: index, %team: !tbq.team) {
  // CHECK: tbq.barrier %{{.*}} {tbq.arrives}
  // CHECK: nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 16, cache =  cg
  // CHECK: tbq.barrier %{{.*}} {tbq.waits}
  // CHECK: nvvm.cp.async.wait.group 0
  // CHECK: nvvm.bar.warp.sync
  // Of four pieces of each of two tiles, a lane's words (one row's) and a
  // coefficient; of each tile a word of an eight's.
  // CHECK-COUNT-26: vector.load %{{.*}} : memref<118784xi8, 3>
  // CHECK-NOT: vector.load %{{.*}} : memref<118784xi8, 3>
  // CHECK: nvvm.bar.warp.sync
  // CHECK: nvvm.cp.async.commit.group
  // Each has four products of a piece.
  // CHECK-COUNT-16: nvvm.mma.sync {{.*}}shape = #nvvm.shape<m = 16, n = 8, k = 32>
  // CHECK: nvvm.mma.sync {{.*}}shape = #nvvm.shape<m = 16, n = 8, k = 16>
  // CHECK-NOT: nvvm.mma.sync
  // What each warp has of two rows and tokens, to the first of them: in the order of shares.
  // CHECK: memref.get_global @tbq_shared_linear : memref<1024xf32, 3>
  // CHECK: nvvm.barrier0
  // CHECK-COUNT-2: memref.store %{{.*}}, %{{.*}} : memref<1024xf32, 3>
  // CHECK: nvvm.barrier0
  // CHECK: scf.if
  // CHECK: memref.load %{{.*}} : memref<1024xf32, 3>
  // CHECK-COUNT-14: arith.addf
  // CHECK-NOT: arith.addf
  // CHECK: scf.yield
  tbq.barrier %team
  %w = tbq.placed_weight [0] in %section : memref<8388608xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<8x4096xi8>, !ternary, memref<8x32xi32>, memref<8x16xf32>, memref<8x4096xf32>, index, index, index) -> ()
  return
}

// -----

// Two of one input are one here too: a lane has a row of each, and two tokens.
!ternary = !tbq.packed<32x128, digits [2], terms [[1, -1], [0, 1]], group 128, tile 8>
// CHECK-LABEL: func.func @batch_pair(
func.func @batch_pair(%x: memref<2x128xi8>, %sums: memref<2x16xi32>, %scale: memref<2x16xf32>, %gate: memref<2x32xf32>,
    %up: memref<2x32xf32>, %section: memref<65536xi8>, %count: index, %begin: index, %end: index, %team: !tbq.team) {
  // CHECK: nvvm.cp.async.shared.global
  // CHECK: tbq.barrier %{{.*}} {tbq.waits}
  // CHECK-COUNT-4: nvvm.mma.sync {{.*}}k = 32>
  // CHECK: nvvm.mma.sync {{.*}}k = 16>
  // CHECK-NOT: nvvm.mma.sync
  // CHECK-COUNT-2: memref.store %{{.*}}, %arg3
  // CHECK-COUNT-2: memref.store %{{.*}}, %arg4
  tbq.barrier %team
  %one = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %one sums(%sums) activation_scale(%scale) into(%gate) count(%count) range(%begin, %end)
    : (memref<2x128xi8>, !ternary, memref<2x16xi32>, memref<2x16xf32>, memref<2x32xf32>, index, index, index) -> ()
  %other = tbq.placed_weight [4096] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %other sums(%sums) activation_scale(%scale) into(%up) count(%count) range(%begin, %end)
    : (memref<2x128xi8>, !ternary, memref<2x16xi32>, memref<2x16xf32>, memref<2x32xf32>, index, index, index) -> ()
  tbq.barrier %team
  return
}

// -----

// Nine have no ring: linears run by themselves, and a lane loads what it multiplies.
!ternary = !tbq.packed<32x128, digits [2], terms [[1, -1], [0, 1]], group 128, tile 8>
// CHECK-LABEL: func.func @batch_of_nine(
func.func @batch_of_nine(%x: memref<9x128xi8>, %sums: memref<9x16xi32>, %scale: memref<9x16xf32>, %y: memref<9x32xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index, %team: !tbq.team) {
  // CHECK-NOT: nvvm.cp.async
  // CHECK: return
  tbq.barrier %team
  %one = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %one sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<9x128xi8>, !ternary, memref<9x16xi32>, memref<9x16xf32>, memref<9x32xf32>, index, index, index) -> ()
  tbq.barrier %team
  return
}
