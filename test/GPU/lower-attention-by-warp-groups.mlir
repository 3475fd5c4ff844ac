// RUN: tbq-opt %s "--tbq-lower-step-to-gpu=blocks=1 warpgroups shared-bytes=232448" --canonicalize --cse --split-input-file | FileCheck %s
// RUN: tbq-opt %s "--tbq-lower-step-to-gpu=blocks=1 shared-bytes=232448" --split-input-file | FileCheck %s --check-prefix=OTHER
// Attention of many tokens by warp groups, which sm_90a has: units of 128 queries that read the same keys.
// OTHER-NOT: setmaxregister
// OTHER-NOT: tbq_start_row_products

!cache = !tbq.cache<2 layers, 1 by 128, 512 tokens, f16, tiled>
// Five stages of 16 KB, queries of both groups of 32 KB, and barriers.
// CHECK: tbq.shared_bytes = 147552
// CHECK-LABEL: func.func @many(
func.func @many(%q: memref<512x512xf32>, %cache: memref<524288xi8>, %layer: index, %position: index, %y: memref<512x512xf32>,
    %count: index, %begin: index, %end: index, %team: !tbq.team) {
  // CHECK: tbq.barrier
  // CHECK: "// tbq_init_barrier
  // CHECK: "// tbq_fence_copies
  // CHECK: nvvm.barrier0
  // Two groups multiply, with registers that the others leave.
  // CHECK: nvvm.setmaxregister increase 216
  // A group's queries are stored when all its warps have left those before, and seen by products when all have.
  // CHECK: scf.for
  // CHECK: "// tbq_arrive\0A
  // CHECK: "// tbq_wait_for_turn
  // CHECK-COUNT-16: vector.load %arg0[{{.*}}] {alignment = 16 : i64} : memref<512x512xf32>, vector<4xf32>
  // CHECK-NOT: vector.load
  // CHECK: "// tbq_fence_copies
  // CHECK: "// tbq_arrive\0A
  // CHECK: "// tbq_wait_for_turn
  // Scores of a first stage, of queries and of what these leave: 64 by 32 keys, eight tiles of 16 features.
  // CHECK: "// tbq_wait_for_turn
  // CHECK: "// tbq_start_row_products i32 32, i32 8, i32 256, i32 64{{.*}}wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16
  // CHECK: "// tbq_start_row_products i32 32, i32 8, i32 256, i32 64
  // CHECK: "// tbq_finish_products i32 16, i32 1
  // CHECK: "// tbq_finish_products i32 16, i32 0
  // Two blocks of 16 keys a stage. All their scores' shuffles come before its products.
  // CHECK: scf.for %{{.*}} = %c0_i32 to %{{.*}} step %c2_i32
  // CHECK-COUNT-8: nvvm.shfl.sync bfly
  // CHECK-NOT: nvvm.shfl
  // The first block's weighted values, by its weights and what these leave; from zero on at a part's beginning.
  // CHECK: "// tbq_start_half_products_if i32 128, i32 2, i32 1, i32 0{{.*}}wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16
  // Then the next stage's scores, if it is there; the second block's weights are made while they run.
  // CHECK: scf.if
  // CHECK: "// tbq_wait_for_turn
  // CHECK: "// tbq_start_row_products
  // CHECK: "// tbq_start_row_products
  // CHECK: "// tbq_finish_products i32 64, i32 2
  // A part that ends is put to those before.
  // CHECK: scf.if
  // CHECK: math.fma
  // CHECK: "// tbq_start_half_products_if
  // CHECK: "// tbq_finish_products i32 16, i32 2
  // CHECK: "// tbq_finish_products i32 16, i32 1
  // CHECK: "// tbq_finish_products i32 64, i32 0
  // The stage is left by each lane.
  // CHECK-NOT: nvvm.bar.warp.sync
  // CHECK: "// tbq_arrive\0A
  // CHECK: scf.yield
  // CHECK: vector.store %{{.*}}, %arg4[{{.*}}] {alignment = 8 : i64} : memref<512x512xf32>, vector<2xf32>
  // The others copy, one group keys and one values: 16 bytes a lane of four tiles, past the products' proxy.
  // CHECK: nvvm.setmaxregister decrease 40
  // CHECK: scf.for %{{.*}} = %c0_i32 to %{{.*}} step %c2_i32
  // CHECK-COUNT-4: vector.load %arg1[{{.*}}] {alignment = 16 : i64}
  // CHECK-NOT: vector.load
  // CHECK: "// tbq_wait_for_turn
  // CHECK-COUNT-8: vector.store {{.*}} {alignment = 8 : i64}
  // CHECK-NOT: vector.store
  // CHECK: "// tbq_fence_copies
  // CHECK: "// tbq_arrive\0A
  // CHECK: scf.for %{{.*}} = %c0_i32 to %{{.*}} step %c2_i32
  // CHECK-COUNT-4: vector.load %arg1[{{.*}}] {alignment = 16 : i64}
  // CHECK-NOT: vector.load
  // CHECK: "// tbq_fence_copies
  // CHECK: "// tbq_arrive\0A
  // CHECK: "// tbq_end_barrier
  // CHECK: tbq.barrier
  tbq.barrier %team
  tbq.attention %q, %cache[%layer] at %position heads 4 scale 0.0883883461 !cache into(%y) count(%count) range(%begin, %end)
    : (memref<512x512xf32>, memref<524288xi8>, index, index, memref<512x512xf32>, index, index, index) -> ()
  tbq.barrier %team
  return
}

// -----

// Fewer than two units for each block stay with units of 16 or 32 queries.
!cache = !tbq.cache<2 layers, 1 by 128, 512 tokens, f16, tiled>
// CHECK-LABEL: func.func @few(
func.func @few(%q: memref<32x512xf32>, %cache: memref<524288xi8>, %layer: index, %position: index, %y: memref<32x512xf32>,
    %count: index, %begin: index, %end: index, %team: !tbq.team) {
  // CHECK-NOT: tbq_start_row_products
  // CHECK: nvvm.mma.sync
  tbq.barrier %team
  tbq.attention %q, %cache[%layer] at %position heads 4 scale 0.0883883461 !cache into(%y) count(%count) range(%begin, %end)
    : (memref<32x512xf32>, memref<524288xi8>, index, index, memref<32x512xf32>, index, index, index) -> ()
  tbq.barrier %team
  return
}
