// RUN: tbq-opt %s --tbq-lower-step-to-gpu --canonicalize --cse | FileCheck %s
// RUN: tbq-opt %s --tbq-lower-step-to-gpu --tbq-lower-team-to-gpu --canonicalize --cse | FileCheck %s --check-prefix=TEAM
// A row that goes from block to block without a barrier (lib/GPU/RowExchange.h):
// its places lie at 0 and 1280 of the arena, of a layer by turns.

// CHECK-LABEL: func.func private @layer(
// CHECK-SAME: %[[ARENA:[^:]*]]: memref<8192xi8>
// CHECK-SAME: %[[LAYER:[^:]*]]: index)
// The place of the layer before, of which a thread with columns loads four.
// CHECK-DAG: %[[BEFORE:.*]] = arith.addi %[[LAYER]], %c1
// CHECK: %[[TURN:.*]] = arith.remui %[[BEFORE]], %c2
// CHECK: arith.muli %[[TURN]], %c320
// CHECK: %[[FIRST:.*]] = llvm.load volatile %{{.*}} {alignment = 16 : i64} : !llvm.ptr -> vector<4xf32>
// Again, until all of the warp's are there, with their largest magnitude.
// CHECK: scf.while
// CHECK-COUNT-3: arith.maximumf
// CHECK-COUNT-4: arith.cmpi eq, %{{.*}}, %c-1_i32
// CHECK: %[[AGAIN:.*]] = nvvm.vote.sync any
// CHECK-NEXT: scf.condition(%[[AGAIN]])
// CHECK: llvm.load volatile
// CHECK: nvvm.redux.sync umax

// TEAM-LABEL: func.func private @layer(
// TEAM-SAME: %[[TEAM:[^:]*]]: !llvm.ptr, %[[LAYER:[^:]*]]: index)
// All blocks meet in the first layer, and in later ones the block's threads.
// TEAM: %[[FIRST:.*]] = arith.cmpi eq, %[[LAYER]], %c0
// TEAM: scf.if %[[FIRST]] {
// TEAM-NEXT: %[[SEEN:.*]] = llvm.call @tbq_barrier_arrive(%[[TEAM]])
// TEAM-NEXT: llvm.call @tbq_barrier_wait(%[[TEAM]], %[[SEEN]])
// TEAM-NEXT: } else {
// TEAM-NEXT: nvvm.barrier0
// TEAM-NEXT: }
// Before a barrier of all blocks this layer's places are empty.
// TEAM: %[[TURN:.*]] = arith.remui %[[LAYER]], %c2
// TEAM: arith.muli %[[TURN]], %c320
// TEAM: scf.for
// TEAM: llvm.store volatile %{{.*}}, %{{.*}} {alignment = 16 : i64} : vector<4xi32>, !llvm.ptr
// TEAM: llvm.call @tbq_barrier_arrive(
// TEAM: llvm.call @tbq_barrier_wait(
// At the last, the block's threads alone.
// TEAM-NOT: llvm.call
// TEAM: nvvm.barrier0
// TEAM-NOT: nvvm.barrier0
// TEAM: return
func.func private @layer(%arena: memref<8192xi8>, %weights: memref<64xi8>, %cache: memref<64xi8>, %tokens: memref<1xi32>, %logits: memref<1x64xf32>, %position: index, %count: index, %first: index, %team: !tbq.team, %layer: index) {
  %c0 = arith.constant 0 : index
  %c4096 = arith.constant 4096 : index
  %row = memref.view %arena[%c4096][] : memref<8192xi8> to memref<1x64xf32>
  %digits = memref.alloca() : memref<1x64xi8>
  %scale = memref.alloca() : memref<1x16xf32>
  %sums = memref.alloca() : memref<1x16xi32>
  tbq.barrier %team {tbq.block_only_later}
  tbq.quantize_activations %row columns 64 group 64 into(%digits, %scale, %sums) count(%count) range(%c0, %count) {tbq.exchange = array<i64: 0, 1280, 1>} : (memref<1x64xf32>, memref<1x64xi8>, memref<1x16xf32>, memref<1x16xi32>, index, index, index) -> ()
  tbq.barrier %team {tbq.empties = array<i64: 0, 1280, 1280>}
  tbq.barrier %team {tbq.block_only}
  return
}

// Which nobody reads elsewhere is stored in its place alone, and never as what
// is empty.
// CHECK-LABEL: func.func @decode(
// CHECK-NOT: memref.store
// CHECK: %[[BITS:.*]] = arith.bitcast %{{.*}} : f32 to i32
// CHECK: %[[IS:.*]] = arith.cmpi eq, %[[BITS]], %c-1_i32
// CHECK: %[[STORED:.*]] = arith.select %[[IS]], %c2147483647_i32, %[[BITS]]
// CHECK: llvm.store volatile %[[STORED]], %{{.*}} {alignment = 4 : i64} : i32, !llvm.ptr
func.func @decode(%arena: memref<8192xi8>, %weights: memref<4096xi8>, %cache: memref<64xi8>, %tokens: memref<1xi32>, %logits: memref<1x64xf32>, %position: index, %count: index, %first: index, %team: !tbq.team) {
  %c0 = arith.constant 0 : index
  %c4096 = arith.constant 4096 : index
  %row = memref.view %arena[%c4096][] : memref<8192xi8> to memref<1x64xf32>
  %table = tbq.placed_weight [0] in %weights : memref<4096xi8> : !tbq.packed<16x64, f32, tile 1>
  tbq.embedding %tokens, %table into(%row) count(%count) range(%c0, %count) {tbq.exchange = array<i64: 1280, 0, 0>} : (memref<1xi32>, !tbq.packed<16x64, f32, tile 1>, memref<1x64xf32>, index, index, index) -> ()
  return
}
