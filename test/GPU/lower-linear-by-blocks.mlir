// RUN: tbq-opt %s --tbq-lower-linear-to-gpu="shared-bytes=232448" --canonicalize --cse | FileCheck %s
// Prefill by blocks: of 512 tokens and 4096 rows, 128 of each a tile. Its pieces go
// into memory that the block shares two ahead of what is multiplied, behind what
// the function has there.
!ternary = !tbq.packed<4096x4096, digits [2], terms [[1, -1], [0, 1]], group 128, tile 8>
// CHECK: memref.global "private" @tbq_shared_worker : memref<232448xi8, 3>
// CHECK-LABEL: func.func @prefill_by_blocks(
func.func @prefill_by_blocks(%x: memref<512x4096xi8>, %sums: memref<512x32xi32>, %scale: memref<512x16xf32>, %y: memref<512x4096xf32>,
    %section: memref<8388608xi8>, %count: index, %begin: index, %end: index, %team: !tbq.team) attributes {tbq.worker_end = 1000 : i64} {
  // CHECK: %[[WORKER:.*]] = tbq.worker %arg8
  // CHECK: %[[WORKERS:.*]] = tbq.workers %arg8
  // As many token tiles as there are tokens, 32 times.
  // CHECK: %[[TOKENS:.*]] = arith.divui %{{.*}}, %c128 : index
  // CHECK: %[[COUNT:.*]] = arith.muli %[[TOKENS]], %c32 : index
  // CHECK: memref.view %{{.*}}[%c1152][] : memref<232448xi8, 3> to memref<{{[0-9]+}}xi8, 3>
  // CHECK: nvvm.cp.async.shared.global {{.*}}, 16, cache = cg
  // CHECK: nvvm.cp.async.shared.global {{.*}}, 4, cache = ca
  // CHECK: nvvm.cp.async.commit.group
  // CHECK-NOT: nvvm.cp.async.commit.group
  // CHECK: scf.for %[[TILE:.*]] = %{{.*}} to %[[COUNT]] step %[[WORKERS]] {
  // Eight shares of four pieces, as of a step of one token.
  // CHECK: scf.for %{{.*}} = %c0 to %c8 step %c1 iter_args
  // CHECK: scf.if
  // CHECK: scf.for
  // CHECK: nvvm.cp.async.wait.group 0
  // CHECK-NEXT: nvvm.barrier0
  // CHECK: nvvm.cp.async.shared.global
  // CHECK: nvvm.cp.async.commit.group
  // Lanes read what lies in their own banks.
  // CHECK: arith.xori
  // Products begin with the sums.
  // CHECK: %[[LESS:.*]] = arith.muli %{{.*}}, %c-1_i32
  // CHECK: nvvm.mma.sync {{.*}} C[%[[LESS]],
  // CHECK-COUNT-63: nvvm.mma.sync {{.*}}k = 32>
  // CHECK-NOT: nvvm.mma.sync
  // Then the sum term, of the eights whose last group a share has.
  // CHECK: scf.for
  // CHECK-COUNT-8: nvvm.mma.sync {{.*}}k = 16>
  // CHECK-NOT: nvvm.mma.sync
  // Warps without tokens copy and meet too.
  // CHECK: nvvm.cp.async.wait.group 0
  // CHECK: nvvm.barrier0
  // What the ranges before have left.
  // CHECK: arith.addf
  // CHECK: nvvm.barrier0
  // CHECK: arith.addi %[[TILE]], %[[WORKERS]]
  // CHECK: nvvm.cp.async.commit.group
  // Logits have a place for as many rows as are asked for.
  // CHECK: arith.cmpi slt, %{{.*}}, %arg5
  // CHECK: scf.if
  // CHECK-COUNT-32: memref.store %{{.*}}, %arg3
  // CHECK-NOT: memref.store
  %w = tbq.placed_weight [0] in %section : memref<8388608xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<512x4096xi8>, !ternary, memref<512x32xi32>, memref<512x16xf32>, memref<512x4096xf32>, index, index, index) -> ()
  return
}
