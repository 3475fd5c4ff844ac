// RUN: tbq-opt %s --tbq-lower-linear-to-gpu="shared-bytes=232448 bits" --split-input-file | FileCheck %s
// RUN: tbq-opt %s --tbq-lower-linear-to-gpu="shared-bytes=232448 bits" --tbq-lower-step-to-gpu --canonicalize --cse --split-input-file | FileCheck %s --check-prefix=ROW
// How a ring's weights and the row of one token come past each other.

// Of more than a block should ask for before a barrier, a part is asked for
// there, a part behind the row, before anything is made of it, and the rest when
// its digits are stored.
!down = !tbq.packed<4096x14336, digits [2], terms [[1, -1], [0, 1]], group 128, tile 8>
// CHECK-LABEL: func.func @behind(
// CHECK: tbq.barrier %{{.*}} {tbq.arrives}
// CHECK: nvvm.cp.async.shared.global
// CHECK: nvvm.cp.async.commit.group
// CHECK-NOT: nvvm.cp.async.commit.group
// CHECK: tbq.barrier %{{.*}} {tbq.waits}
// CHECK: scf.execute_region {
// CHECK: nvvm.cp.async.shared.global
// CHECK-COUNT-2: nvvm.cp.async.commit.group
// CHECK-NOT: nvvm.cp.async.commit.group
// CHECK: {tbq.behind_row}
// CHECK-NOT: nvvm.cp.async
// CHECK: tbq.quantize_activations
// CHECK: nvvm.cp.async.shared.global
// CHECK-COUNT-2: nvvm.cp.async.commit.group
// CHECK-NOT: nvvm.cp.async.commit.group
// The block's own memory has the digits: nothing is waited for but a round, of
// five, two of them behind the row.
// CHECK-NOT: nvvm.barrier0
// CHECK: nvvm.cp.async.wait.group 4

// ROW-LABEL: func.func @behind(
// ROW: tbq.barrier %{{.*}} {tbq.waits}
// ROW-NOT: nvvm.cp.async
// ROW: llvm.load volatile
// Of a thread's seven fours the largest magnitude says whether one is missing,
// which only then is looked for.
// ROW: scf.while
// ROW-COUNT-26: arith.maximumf
// ROW: %[[LARGEST:.*]] = arith.maximumf
// ROW-NEXT: %[[NAN:.*]] = arith.cmpf uno, %[[LARGEST]], %[[LARGEST]]
// ROW-NEXT: %[[ANY:.*]] = nvvm.vote.sync any %{{.*}}, %[[NAN]]
// ROW-NEXT: scf.if %[[ANY]]
// ROW: arith.cmpi eq
// ROW: %[[MISSING:.*]] = nvvm.vote.sync any
// ROW-NEXT: scf.yield %[[MISSING]]
// ROW: scf.condition
// ROW: llvm.load volatile
// ROW: nvvm.cp.async.shared.global
// ROW: nvvm.redux.sync umax
// ROW: nvvm.barrier0
// ROW-NOT: nvvm.cp.async
// ROW: nvvm.prmt
// ROW: nvvm.barrier0
// ROW: nvvm.cp.async.shared.global
func.func @behind(%arena: memref<65536xi8>, %y: memref<1x4096xf32>, %section: memref<16777216xi8>, %count: index, %begin: index, %end: index, %team: !tbq.team) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %h = memref.view %arena[%c0][] : memref<65536xi8> to memref<1x14336xf32>
  %x = memref.alloca() : memref<1x14336xi8>
  %scale = memref.alloca() : memref<1x16xf32>
  %sums = memref.alloca() : memref<1x112xi32>
  tbq.barrier %team
  tbq.quantize_activations %h columns 14336 group 128 into(%x, %scale, %sums) count(%count) range(%c0, %c1) {tbq.exchange = array<i64: 0, 0, 0>} : (memref<1x14336xf32>, memref<1x14336xi8>, memref<1x16xf32>, memref<1x112xi32>, index, index, index) -> ()
  %w = tbq.placed_weight [0] in %section : memref<16777216xi8> : !down
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end) : (memref<1x14336xi8>, !down, memref<1x112xi32>, memref<1x16xf32>, memref<1x4096xf32>, index, index, index) -> ()
  tbq.barrier %team
  return
}

// -----

// A row that others have stored is brought to the block's memory, behind the
// ring: asked for before the weights where nothing is waited for.
!small = !tbq.packed<256x1024, digits [2], terms [[1, -1], [0, 1]], group 128, tile 8>
// CHECK-LABEL: func.func @brought(
// CHECK: memref.extract_aligned_pointer_as_index %arg0
// CHECK: nvvm.cp.async.shared.global
// CHECK: memref.extract_aligned_pointer_as_index %arg2
// CHECK: nvvm.cp.async.shared.global
// CHECK: nvvm.cp.async.commit.group
// CHECK: nvvm.cp.async.shared.global
// CHECK: nvvm.cp.async.commit.group
// CHECK: nvvm.cp.async.wait.group 1
// CHECK-NEXT: nvvm.barrier0
// CHECK: %[[OWN:.*]] = memref.view %{{.*}} to memref<1x1024xi8, 3>
// CHECK: memref.view %{{.*}} to memref<1x16xi32, 3>
// CHECK-NOT: load %arg0
// CHECK: vector.load %[[OWN]]
// CHECK-NOT: load %arg2
// CHECK: return
func.func @brought(%x: memref<1x1024xi8>, %scale: memref<1x16xf32>, %sums: memref<1x16xi32>, %y: memref<1x256xf32>, %section: memref<262144xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<262144xi8> : !small
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end) {tbq.bit_columns = array<i64: 128, 2>} : (memref<1x1024xi8>, !small, memref<1x16xi32>, memref<1x16xf32>, memref<1x256xf32>, index, index, index) -> ()
  return
}

// -----

// Of 100 pieces in sixteen shares a share would have seven, in rounds of which
// one lacks a piece; so it has eight, two whole rounds of four. The last shares
// have none, or one round of the two.
// A round that has no pieces is asked for by nobody and not added.
!parted = !tbq.packed<64x12800, digits [2], terms [[1, -1], [0, 1]], group 128, tile 8>
// CHECK-LABEL: func.func @rounds_without_pieces(
// CHECK: nvvm.cp.async.commit.group
// CHECK: arith.constant 100 : index
// CHECK-NEXT: %[[BEGINS:.*]] = arith.cmpi slt
// CHECK-NEXT: %[[ASKS:.*]] = arith.andi %{{.*}}, %[[BEGINS]]
// CHECK-NEXT: scf.if %[[ASKS]]
// CHECK: nvvm.cp.async.shared.global
// CHECK: nvvm.cp.async.commit.group
// CHECK: nvvm.barrier0
// What the sums are multiplied with is asked for before they are waited for.
// CHECK: memref.load %arg1
// CHECK: nvvm.cp.async.wait.group 1
// CHECK: scf.if %{{.*}} -> (i1, index)
// CHECK: arith.constant 100 : index
// CHECK-NEXT: %[[LATER:.*]] = arith.cmpi slt
// CHECK-NEXT: scf.if %[[LATER]]
// CHECK: nvvm.cp.async.shared.global
// CHECK: nvvm.cp.async.commit.group
// CHECK: arith.constant 100 : index
// CHECK-NEXT: %[[HAS:.*]] = arith.cmpi slt
// CHECK: scf.if %[[HAS]] -> (f32, f32)
// CHECK: nvvm.mma.sync
// CHECK: } else {
// CHECK-NEXT: scf.yield %{{.*}}, %{{.*}} : f32, f32
// CHECK-NOT: memref.load %arg1
// CHECK: return
func.func @rounds_without_pieces(%x: memref<1x12800xi8>, %scale: memref<1x16xf32>, %sums: memref<1x112xi32>, %y: memref<1x64xf32>, %section: memref<262144xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<262144xi8> : !parted
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end) {tbq.bit_columns = array<i64: 128, 2>} : (memref<1x12800xi8>, !parted, memref<1x112xi32>, memref<1x16xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}
