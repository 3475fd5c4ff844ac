// RUN: tbq-opt %s --tbq-lower-step-to-gpu --canonicalize --cse --split-input-file | FileCheck %s
// RUN: tbq-opt %s "--tbq-lower-step-to-gpu=blocks=1" --canonicalize --cse --split-input-file | FileCheck %s --check-prefix=SETS
// RUN: tbq-opt %s "--tbq-lower-step-to-gpu=blocks=2" --canonicalize --cse --split-input-file | FileCheck %s --check-prefix=FEW
// Attention on a cache in tiles, by products of f16.

// A query head of a token is the block's, 16 keys a warp's at a time.
!cache = !tbq.cache<2 layers, 1 by 32, 64 tokens, f16, tiled>
// CHECK: memref.global "private" @tbq_shared_attention_token : memref<608xf32, 3>
// CHECK-LABEL: func.func @token(
func.func @token(%q: memref<1x64xf32>, %cache: memref<32768xi8>, %layer: index, %position: index, %y: memref<1x64xf32>,
    %count: index, %begin: index, %end: index) {
  // CHECK: scf.for %{{.*}} = %arg6 to %arg7 step %c1 {
  // The query as two f16, each pair of features by a thread, and what they leave.
  // CHECK: memref.load %arg0
  // CHECK: %[[HIGH:.*]] = arith.truncf %[[X:.*]] : f32 to f16
  // CHECK: %[[BACK:.*]] = arith.extf %[[HIGH]] : f16 to f32
  // CHECK: %[[REST:.*]] = arith.subf %[[X]], %[[BACK]] : f32
  // CHECK: arith.truncf %[[REST]] : f32 to f16
  // CHECK: nvvm.barrier0
  // CHECK: scf.for %{{.*}} = %{{.*}} to %{{.*}} step %c16 iter_args
  // A block's keys, 16 bytes a lane of each tile of 16 features.
  // CHECK-COUNT-2: vector.load %arg1[%{{.*}}] {alignment = 16 : i64} : memref<32768xi8>, vector<16xi8>
  // CHECK-NOT: vector.load %arg1
  // Two products a tile, of eight keys each.
  // CHECK-COUNT-4: nvvm.mma.sync {{.*}} shape = #nvvm.shape<m = 16, n = 8, k = 16>
  // CHECK-NOT: nvvm.mma.sync
  // CHECK: arith.cmpi slt
  // The largest score of a row's four lanes becomes the base, where it is far above that.
  // CHECK-COUNT-2: nvvm.shfl.sync bfly
  // CHECK: arith.cmpf olt
  // CHECK: nvvm.vote.sync any
  // CHECK: scf.if
  // CHECK: llvm.call_intrinsic "llvm.nvvm.ex2.approx.ftz.f32"
  // CHECK-COUNT-9: arith.mulf
  // CHECK-NOT: arith.mulf
  // CHECK: } else {
  // CHECK-COUNT-2: vector.load %arg1[%{{.*}}] {alignment = 16 : i64} : memref<32768xi8>, vector<16xi8>
  // CHECK-NOT: vector.load
  // CHECK-COUNT-4: llvm.call_intrinsic "llvm.nvvm.ex2.approx.ftz.f32"
  // CHECK-NOT: nvvm.shfl
  // Two products a tile of values: weights, and what they leave.
  // CHECK-COUNT-4: nvvm.mma.sync {{.*}} shape = #nvvm.shape<m = 16, n = 8, k = 16>
  // CHECK-NOT: nvvm.mma.sync
  // CHECK: scf.yield
  // CHECK: nvvm.barrier0
  // Each lane has a warp's part to tell: by what those before it and its own are multiplied, and its weights.
  // CHECK-COUNT-2: llvm.call_intrinsic "llvm.nvvm.ex2.approx.ftz.f32"
  // CHECK-COUNT-48: nvvm.shfl.sync idx
  // CHECK-NOT: nvvm.shfl
  // CHECK: arith.divf
  // CHECK-COUNT-16: math.fma
  // CHECK-NOT: math.fma
  // CHECK: memref.store %{{.*}}, %arg4
  // CHECK: nvvm.barrier0
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  tbq.attention %q, %cache[%layer] at %position heads 2 scale 0.176776692 !cache into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<32768xi8>, index, index, memref<1x64xf32>, index, index, index) -> ()
  return
}

// -----

// The warp's first block is loaded before the barrier that the query waits for.
// The token's own key and value take the place of what was loaded, and the first
// of a kv head's query heads stores them.
!cache = !tbq.cache<2 layers, 1 by 32, 64 tokens, f16, tiled>
// CHECK-LABEL: func.func @own_key(
func.func @own_key(%q: memref<1x64xf32>, %cache: memref<32768xi8>, %layer: index, %position: index, %y: memref<1x64xf32>,
    %key: memref<1x32xf32>, %value: memref<1x32xf32>, %count: index, %begin: index, %end: index, %team: !tbq.team) {
  // CHECK: tbq.barrier %arg10 {tbq.arrives}
  // CHECK: %[[LOADED:.*]]:16 = scf.if
  // CHECK-COUNT-4: vector.load %arg1[%{{.*}}] {alignment = 16 : i64}
  // CHECK-NOT: vector.load
  // CHECK: tbq.barrier %arg10 {tbq.waits}
  // CHECK: memref.load %arg0
  // CHECK: memref.load %arg5
  // CHECK-COUNT-2: vector.store %{{.*}}, %arg1[%{{.*}}] {alignment = 2 : i64} : memref<32768xi8>, vector<2xi8>
  // CHECK: memref.load %arg6
  // CHECK-COUNT-2: vector.store %{{.*}}, %arg1[%{{.*}}] {alignment = 2 : i64} : memref<32768xi8>, vector<2xi8>
  // CHECK: nvvm.barrier0
  // A lane that has the key takes it instead of its words of one, of two.
  // CHECK: %[[FIRST:.*]]:4 = scf.if
  // CHECK: } else {
  // CHECK-NEXT: scf.yield %[[LOADED]]#0, %[[LOADED]]#1, %[[LOADED]]#4, %[[LOADED]]#5
  // CHECK: %[[SECOND:.*]]:4 = scf.if
  // CHECK: scf.yield %[[LOADED]]#2, %[[LOADED]]#3, %[[LOADED]]#6, %[[LOADED]]#7
  // CHECK-COUNT-4: nvvm.mma.sync
  // CHECK: scf.if
  // CHECK: arith.xori %{{.*}}, %[[LOADED]]#8
  // CHECK-COUNT-4: nvvm.mma.sync
  tbq.barrier %team
  tbq.attention %q, %cache[%layer] at %position key(%key) value(%value) heads 2 scale 0.176776692 !cache into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<32768xi8>, index, index, memref<1x32xf32>, memref<1x32xf32>, memref<1x64xf32>, index, index, index) -> ()
  tbq.append_cache %key, %value, %cache[%layer] at %position tokens %count !cache count(%count) range(%begin, %end)
    : (memref<1x32xf32>, memref<1x32xf32>, memref<32768xi8>, index, index, index, index, index, index) -> ()
  return
}

// -----

// Between barriers blocks deal heads of sixteen tokens among them, the last
// tokens first. Each key is loaded once for all of them.
!cache = !tbq.cache<2 layers, 1 by 32, 64 tokens, f16, tiled>
// CHECK: tbq.shared_bytes = 36928
// Of two units or more for each block, those of two heads that read the same
// keys are one: a warp is of one of them, and takes a second part behind the
// first, which waits behind queries and statistics.
// SETS: tbq.shared_bytes = 73856
// SETS-LABEL: func.func @tile(
// SETS: scf.for %{{.*}} = %{{.*}} to %{{.*}} step %{{.*}} {
// SETS: scf.for %[[TURN:.*]] = %c0 to %c2 step %c1 iter_args
// SETS: %[[LATER:.*]] = arith.muli %[[TURN]], %c8
// SETS: scf.for %{{.*}} = %{{.*}} to %{{.*}} step %c16 iter_args
// SETS-COUNT-16: nvvm.mma.sync
// SETS-NOT: nvvm.mma.sync
// SETS: arith.cmpi slt, %[[TURN]], %c1
// SETS: tbq.barrier
// FEW: tbq.shared_bytes = 36928
// CHECK-LABEL: func.func @tile(
func.func @tile(%q: memref<32x64xf32>, %cache: memref<32768xi8>, %layer: index, %position: index, %y: memref<32x64xf32>,
    %count: index, %begin: index, %end: index, %team: !tbq.team) {
  // CHECK: tbq.barrier
  // CHECK: %[[BLOCK:.*]] = tbq.worker %arg8
  // CHECK: %[[BLOCKS:.*]] = tbq.workers %arg8
  // CHECK: arith.addi %arg5, %c15
  // CHECK: scf.for %[[NUMBER:.*]] = %[[BLOCK]] to %[[UNITS:.*]] step %[[BLOCKS]]
  // CHECK: arith.subi %[[UNITS]], %[[NUMBER]]
  // CHECK: nvvm.barrier0
  // CHECK: scf.for %{{.*}} = %{{.*}} to %{{.*}} step %c16 iter_args
  // CHECK-COUNT-2: vector.load %arg1[%{{.*}}] {alignment = 16 : i64}
  // CHECK-COUNT-8: nvvm.mma.sync
  // CHECK-COUNT-2: vector.load %arg1[%{{.*}}] {alignment = 16 : i64}
  // CHECK-COUNT-8: nvvm.mma.sync
  // CHECK-NOT: nvvm.mma.sync
  // CHECK: tbq.barrier
  tbq.barrier %team
  tbq.attention %q, %cache[%layer] at %position heads 2 scale 0.176776692 !cache into(%y) count(%count) range(%begin, %end)
    : (memref<32x64xf32>, memref<32768xi8>, index, index, memref<32x64xf32>, index, index, index) -> ()
  tbq.barrier %team
  return
}

// -----

// Several tokens' queries that lie where they were before rope, for attention
// alone, are rotated as it loads them; not if anything else reads them.
!cache = !tbq.cache<2 layers, 1 by 32, 64 tokens, f16, tiled>
!angles = !tbq.packed<64x32, f32, tile 1>
// CHECK-LABEL: func.func @rotated(
func.func @rotated(%q: memref<32x64xf32>, %section: memref<8192xi8>, %cache: memref<32768xi8>, %layer: index,
    %position: index, %y: memref<32x64xf32>, %count: index, %begin: index, %end: index, %team: !tbq.team) {
  // CHECK-NOT: memref.store
  // CHECK-NOT: vector.store
  // CHECK: tbq.barrier
  // CHECK: scf.for
  // Four features of either half, and the angles between.
  // CHECK-COUNT-2: vector.load %{{.*}} : memref<8192xi8>, vector<16xi8>
  // CHECK-COUNT-2: vector.load %arg0[%{{.*}}] {alignment = 16 : i64} : memref<32x64xf32>, vector<4xf32>
  // CHECK: arith.subf
  // CHECK-NOT: %arg0
  // CHECK: tbq.barrier
  %angles = tbq.placed_weight [0] in %section : memref<8192xi8> : !angles
  tbq.rope %q, %angles at %position heads 2 x 32 into(%q) count(%count) range(%begin, %end)
    : (memref<32x64xf32>, !angles, index, memref<32x64xf32>, index, index, index) -> ()
  tbq.barrier %team
  tbq.attention %q, %cache[%layer] at %position heads 2 scale 0.176776692 !cache into(%y) count(%count) range(%begin, %end)
    : (memref<32x64xf32>, memref<32768xi8>, index, index, memref<32x64xf32>, index, index, index) -> ()
  tbq.barrier %team
  return
}

// CHECK-LABEL: func.func @read_again(
func.func @read_again(%q: memref<32x64xf32>, %section: memref<8192xi8>, %cache: memref<32768xi8>, %layer: index,
    %position: index, %y: memref<32x64xf32>, %count: index, %begin: index, %end: index, %team: !tbq.team) {
  // CHECK-COUNT-2: vector.store %{{.*}}, %arg0
  // CHECK: tbq.barrier
  %angles = tbq.placed_weight [0] in %section : memref<8192xi8> : !angles
  tbq.rope %q, %angles at %position heads 2 x 32 into(%q) count(%count) range(%begin, %end)
    : (memref<32x64xf32>, !angles, index, memref<32x64xf32>, index, index, index) -> ()
  tbq.barrier %team
  tbq.attention %q, %cache[%layer] at %position heads 2 scale 0.176776692 !cache into(%y) count(%count) range(%begin, %end)
    : (memref<32x64xf32>, memref<32768xi8>, index, index, memref<32x64xf32>, index, index, index) -> ()
  tbq.barrier %team
  tbq.add %q, %y into(%y) count(%count) range(%begin, %end)
    : (memref<32x64xf32>, memref<32x64xf32>, memref<32x64xf32>, index, index, index) -> ()
  return
}
