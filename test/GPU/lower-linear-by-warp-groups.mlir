// RUN: tbq-opt %s --tbq-lower-linear-to-gpu="shared-bytes=232448 warpgroups" --tbq-lower-step-to-gpu --canonicalize --cse | FileCheck %s
// Prefill by warp groups, which sm_90a has: tiles of 128 rows and 128 tokens, whose digits are multiplied where
// they have been unpacked. What is quantised for it lies in tiles, as it is copied and multiplied.
!ternary = !tbq.packed<4096x4096, digits [2], terms [[1, -1], [0, 1]], group 128, tile 8>
// CHECK-LABEL: func.func @prefill_by_warp_groups(
func.func @prefill_by_warp_groups(%x: memref<512x4096xf32>, %q: memref<512x4096xi8>, %sums: memref<512x32xi32>, %scale: memref<512x16xf32>, %arena: memref<8388608xi8>,
    %section: memref<8388608xi8>, %count: index, %begin: index, %end: index, %team: !tbq.team) {
  %c0 = arith.constant 0 : index
  // CHECK: %[[Y:.*]] = memref.view %arg4
  %y = memref.view %arena[%c0][] : memref<8388608xi8> to memref<512x4096xf32>
  // A token's chunks of 16 bytes are exchanged by its number; the sum of a group
  // is two halves, with ten bits in the lower; both are seen by copies, behind all rows.
  // CHECK: arith.xori
  // CHECK: vector.store %{{.*}}, %arg1[%c0, %{{.*}}]
  // CHECK: %[[SUM:.*]] = nvvm.redux.sync add
  // CHECK: %[[HIGH:.*]] = arith.andi %[[SUM]], %c-1024_i32
  // CHECK: %[[LOW:.*]] = arith.andi %[[SUM]], %c1023_i32
  // CHECK: %[[ONE:.*]] = arith.sitofp %[[HIGH]] : i32 to f16
  // CHECK: %[[OTHER:.*]] = arith.sitofp %[[LOW]] : i32 to f16
  // CHECK: vector.from_elements %[[ONE]], %[[OTHER]] : vector<2xf16>
  // CHECK: memref.store %{{.*}}, %arg2[%c0, %{{.*}}]
  // CHECK: scf.yield
  // CHECK: }
  // CHECK: llvm.inline_asm has_side_effects "// tbq_fence_copies\0Afence.proxy.async;"
  // CHECK: tbq.barrier
  tbq.quantize_activations %x columns 4096 group 128 into(%q, %scale, %sums) count(%count) range(%begin, %end)
    : (memref<512x4096xf32>, memref<512x4096xi8>, memref<512x16xf32>, memref<512x32xi32>, index, index, index) -> ()
  tbq.barrier %team
  // CHECK: "// tbq_init_barrier
  // CHECK: "// tbq_fence_copies
  // CHECK: nvvm.barrier0
  // Two groups multiply, with registers that the others leave.
  // CHECK: scf.if
  // CHECK: nvvm.setmaxregister increase 216
  // CHECK: scf.for
  // Eight shares of four pieces, of two stages.
  // CHECK: scf.for %{{.*}} = %c0_i32 to %c8_i32
  // CHECK: scf.for
  // CHECK: "// tbq_wait_for_turn
  // A piece's products with half of the tokens each; while some are added,
  // others are under way.
  // CHECK: "// tbq_start_products i32 64, i32 4, i32 0{{.*}}wgmma.fence.sync.aligned{{.*}}wgmma.mma_async.sync.aligned.m64n64k32.s32.s8.s8
  // CHECK-SAME: wgmma.commit_group.sync.aligned;
  // CHECK: "// tbq_start_products
  // CHECK: "// tbq_finish_products i32 32, i32 1\0Awgmma.wait_group.sync.aligned 1;
  // CHECK-COUNT-32: math.fma
  // CHECK: "// tbq_start_products
  // CHECK: "// tbq_finish_products i32 32, i32 1
  // CHECK: "// tbq_start_products
  // CHECK: "// tbq_finish_products i32 32, i32 1
  // CHECK-NOT: "// tbq_start_products
  // CHECK: "// tbq_finish_products i32 32, i32 0
  // Each lane, when it has read what is there.
  // CHECK-NOT: nvvm.bar.warp.sync
  // CHECK: "// tbq_arrive\0A
  // The sum term of the eight that a share has the last group of, all tokens at
  // once: a coefficient stands twice, words of halves 256 tokens' sixteens apart.
  // CHECK: scf.for
  // CHECK: "// tbq_wait_for_turn
  // CHECK-COUNT-4: vector.broadcast %{{.*}} : f16 to vector<2xf16>
  // CHECK: "// tbq_start_half_products i32 64, i32 1, i32 1, i32 256{{.*}}wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16
  // CHECK: "// tbq_start_half_products
  // CHECK: "// tbq_finish_products i32 32, i32 1
  // CHECK: "// tbq_finish_products i32 32, i32 0
  // CHECK-NOT: nvvm.bar.warp.sync
  // CHECK: "// tbq_arrive\0A
  // It is added, and to what the shares before have left, which is kept for the next one.
  // CHECK-COUNT-64: arith.addf
  // CHECK: scf.if
  // CHECK-COUNT-64: arith.addf
  // CHECK: } else {
  // CHECK-COUNT-64: arith.addf
  // CHECK: scf.if
  // CHECK-COUNT-16: vector.store
  // CHECK-NOT: vector.store
  // There is a place for all that a tile has, so nothing branches.
  // CHECK: scf.yield
  // CHECK-NOT: scf.if
  // CHECK-COUNT-64: memref.store %{{.*}}, %[[Y]]
  // CHECK-NOT: memref.store
  // They leave the registers before others take them again.
  // CHECK: nvvm.barrier0
  // CHECK-NEXT: nvvm.setmaxregister decrease 128
  // CHECK-NEXT: nvvm.barrier0
  // One lane of each of four warps copies, of the first tokens, of each the
  // weights of two warps, of two tiles; then sums and their coefficients.
  // CHECK: nvvm.setmaxregister decrease 40
  // CHECK: "// tbq_elect
  // CHECK: "// tbq_wait_for_turn
  // CHECK: scf.if
  // CHECK: cp.async.bulk
  // CHECK: }
  // CHECK-COUNT-4: cp.async.bulk
  // CHECK: "// tbq_wait_for_turn
  // CHECK: scf.if
  // CHECK: cp.async.bulk
  // CHECK: }
  // CHECK-COUNT-4: cp.async.bulk
  // CHECK-NOT: cp.async.bulk
  // CHECK: nvvm.barrier0
  // CHECK-NEXT: nvvm.barrier0
  // CHECK-NEXT: nvvm.setmaxregister increase 128
  // CHECK: mbarrier.inval
  %w = tbq.placed_weight [0] in %section : memref<8388608xi8> : !ternary
  tbq.packed_linear %q, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<512x4096xi8>, !ternary, memref<512x32xi32>, memref<512x16xf32>, memref<512x4096xf32>, index, index, index) -> ()
  return
}

// What others read too lies as it is, and is multiplied by blocks of warps.
// CHECK-LABEL: func.func @read_by_others(
func.func @read_by_others(%x: memref<512x4096xf32>, %q: memref<512x4096xi8>, %sums: memref<512x32xi32>, %scale: memref<512x16xf32>, %y: memref<512x4096xf32>,
    %section: memref<8388608xi8>, %count: index, %begin: index, %end: index, %team: !tbq.team, %other: memref<512x4096xi8>) {
  tbq.quantize_activations %x columns 4096 group 128 into(%q, %scale, %sums) count(%count) range(%begin, %end)
    : (memref<512x4096xf32>, memref<512x4096xi8>, memref<512x16xf32>, memref<512x32xi32>, index, index, index) -> ()
  tbq.barrier %team
  %w = tbq.placed_weight [0] in %section : memref<8388608xi8> : !ternary
  // CHECK-NOT: inline_asm
  // CHECK: nvvm.mma.sync
  // CHECK-NOT: inline_asm
  tbq.packed_linear %q, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<512x4096xi8>, !ternary, memref<512x32xi32>, memref<512x16xf32>, memref<512x4096xf32>, index, index, index) -> ()
  memref.copy %q, %other : memref<512x4096xi8> to memref<512x4096xi8>
  return
}
