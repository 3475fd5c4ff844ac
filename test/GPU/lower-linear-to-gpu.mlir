// RUN: tbq-opt %s --tbq-lower-linear-to-gpu="shared-bytes=232448" --canonicalize --cse --split-input-file --verify-diagnostics | FileCheck %s
// One generator for every layout: tiles of eight rows, pieces, terms.

// Decode, int8, ternary with a shift. 512 tiles are enough for two at once; eight
// warps divide them, each with a share of four groups, a round of 1,088 bytes a
// tile, and 128 more behind each eight groups. Its ring has three slots; all are
// asked for before the barrier that its input waits for, behind the block's
// arrival.
!ternary = !tbq.packed<4096x4096, digits [2], terms [[1, -1], [0, 1]], group 128, tile 8>
// CHECK-LABEL: func.func @decode_i8(
func.func @decode_i8(%x: memref<1x4096xi8>, %sums: memref<1x32xi32>, %scale: memref<1x16xf32>, %y: memref<1x4096xf32>,
    %section: memref<8388608xi8>, %count: index, %begin: index, %end: index, %team: !tbq.team) {
  // CHECK-DAG: %[[MASK:.*]] = arith.constant 202116108 : i32
  // CHECK-DAG: %[[UPPER:.*]] = arith.constant -1061109568 : i32
  // CHECK-DAG: %[[TWO:.*]] = arith.constant 2 : i32
  // CHECK: tbq.barrier %{{.*}} {tbq.arrives}
  // CHECK: tbq.placed_weight
  // CHECK: tbq.packed_bytes
  // CHECK: memref.view %{{.*}} : memref<232448xi8, 3> to memref<123008xi8, 3>
  // Of the first tiles, before anything that the input waits for: 68 chunks of
  // each, and eight more of a round that ends an eight.
  // CHECK: %[[FIRST:.*]] = arith.addi %arg6, %{{.*}}
  // CHECK: %[[ANY:.*]] = arith.cmpi slt, %[[FIRST]], %arg7
  // CHECK: scf.if %[[ANY]] {
  // CHECK: %[[END:.*]] = arith.remui %{{.*}}, %c8
  // CHECK: %[[ENDS:.*]] = arith.cmpi eq, %[[END]], %c0
  // CHECK-COUNT-4: nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 16, cache =  cg
  // CHECK-DAG: %[[BEHIND:.*]] = arith.cmpi sgt, %[[CHUNK:.*]], %c67
  // CHECK-DAG: %[[INALL:.*]] = arith.cmpi slt, %[[CHUNK]], %c76
  // CHECK-DAG: %[[INEIGHT:.*]] = arith.andi %[[ENDS]], %[[INALL]]
  // CHECK-DAG: %[[INPIECES:.*]] = arith.cmpi slt, %[[CHUNK]], %c68
  // CHECK: %[[COPIES:.*]] = arith.select %[[BEHIND]], %[[INEIGHT]], %[[INPIECES]]
  // CHECK: scf.if %[[COPIES]]
  // CHECK-COUNT-2: nvvm.cp.async.shared.global
  // CHECK: nvvm.cp.async.commit.group
  // CHECK-NOT: nvvm.cp.async
  // CHECK: tbq.barrier %{{.*}} {tbq.waits}
  // Then the row, which others have stored.
  // CHECK: nvvm.cp.async.commit.group
  // CHECK: nvvm.cp.async.wait.group 0
  // CHECK-NEXT: nvvm.barrier0
  // CHECK-NOT: nvvm.cp.async
  // CHECK: scf.for %[[FROM:.*]] = %arg6 to %{{.*}} step %c4 iter_args(%[[BEGIN:[a-z0-9]+]] = %c0_i32, %[[IS:[a-z0-9]+]] =
  // CHECK: %[[TILE:.*]] = arith.addi %[[FROM]], %{{.*}}
  // CHECK: %[[ACTIVE:.*]] = arith.cmpi slt, %[[TILE]], %arg7
  // What comes one and then two tiles of the warp further.
  // CHECK: %[[LATER:.*]] = arith.addi %[[TILE]], %c8
  // CHECK: %[[ALSO:.*]] = arith.cmpi slt, %[[LATER]], %arg7
  // CHECK: %[[ROUNDS:.*]] = arith.extui %[[ACTIVE]] : i1 to i32
  // CHECK: scf.for %[[ROUND:.*]] = %c0_i32 to %[[ROUNDS]] step %c1_i32 iter_args(%[[SLOT:[a-z0-9]+]] = %[[BEGIN]], %[[EXISTS:[a-z0-9]+]] = %[[IS]], %[[ONE:[a-z0-9]+]] = %{{[a-z0-9]+}}, %[[OTHER:[a-z0-9]+]] = %{{[a-z0-9]+}}, %{{[a-z0-9]+}} =
  // A round has come when none is left; the warp meets before it is read, and
  // before its slot is another's.
  // CHECK: nvvm.cp.async.wait.group 0
  // CHECK: nvvm.bar.warp.sync
  // Of two rows at once, of each piece two words each and their coefficients; of
  // the sum term a word of each, or 0.
  // CHECK: %[[WORD:.*]] = vector.extract %{{.*}}[0] : i32 from vector<2xi32>
  // CHECK: %[[NEXT:.*]] = vector.extract %{{.*}}[1] : i32 from vector<2xi32>
  // CHECK: vector<8xi8> to vector<2xi32>
  // CHECK-NOT: vector<8xi8> to vector<2xi32>
  // CHECK: vector<4xi8> to vector<2xf16>
  // CHECK-COUNT-2: vector<8xi8> to vector<2xi32>
  // CHECK: vector<4xi8> to vector<2xf16>
  // CHECK-COUNT-2: vector<8xi8> to vector<2xi32>
  // CHECK: vector<4xi8> to vector<2xf16>
  // CHECK-COUNT-2: vector<8xi8> to vector<2xi32>
  // CHECK: vector<4xi8> to vector<2xf16>
  // CHECK-NOT: vector<4xi8> to vector<2xf16>
  // CHECK: %[[C0:.*]] = arith.select %{{.*}}, %{{.*}}, %c0_i32 : i32
  // CHECK: %[[C1:.*]] = arith.select %{{.*}}, %{{.*}}, %c0_i32 : i32
  // CHECK: nvvm.bar.warp.sync
  // CHECK: scf.if %[[EXISTS]]
  // CHECK: arith.index_cast %[[ONE]]
  // CHECK: arith.index_cast %[[OTHER]]
  // CHECK: arith.addi %[[ONE]], %c512
  // CHECK: arith.addi %[[OTHER]], %c512
  // CHECK-COUNT-2: nvvm.cp.async.shared.global
  // CHECK: nvvm.cp.async.commit.group
  // The lane's columns: 16 and, 64 further, another 16.
  // CHECK: vector.load %{{.*}} {alignment = 16 : i64} : memref<1x4096xi8, 3>, vector<16xi8>
  // CHECK: %[[X:.*]] = vector.extract %{{.*}}[0] : i32 from vector<4xi32>
  // CHECK: %[[XNEXT:.*]] = vector.extract %{{.*}}[1] : i32 from vector<4xi32>
  // CHECK: vector.load %{{.*}} {alignment = 16 : i64} : memref<1x4096xi8, 3>, vector<16xi8>
  // Two digits of four, both two bits up, then both six.
  // CHECK: %[[SHIFTED:.*]] = arith.shli %[[WORD]], %[[TWO]]
  // CHECK: %[[A:.*]] = arith.andi %[[SHIFTED]], %[[MASK]]
  // CHECK: %[[NEXTSHIFTED:.*]] = arith.shli %[[NEXT]], %[[TWO]]
  // CHECK: %[[B:.*]] = arith.andi %[[NEXTSHIFTED]], %[[MASK]]
  // CHECK: %[[C:.*]] = arith.andi %[[WORD]], %[[MASK]]
  // CHECK: %[[D:.*]] = arith.andi %[[NEXT]], %[[MASK]]
  // CHECK: %[[SUM:.*]] = nvvm.mma.sync A[%[[A]], %[[B]], %[[C]], %[[D]]] B[%[[X]], %[[XNEXT]]] C[%c0_i32, %c0_i32, %c0_i32, %c0_i32] {{.*}} multiplicandAPtxType = #nvvm.mma_type<u8>, multiplicandBPtxType = #nvvm.mma_type<s8>, shape = #nvvm.shape<m = 16, n = 8, k = 32>
  // CHECK: llvm.extractvalue %[[SUM]][0]
  // CHECK: nvvm.mma.sync
  // CHECK: arith.andi %[[SHIFTED]], %[[UPPER]]
  // CHECK: nvvm.mma.sync {{.*}} C[%c0_i32, %c0_i32, %c0_i32, %c0_i32]
  // CHECK: nvvm.mma.sync
  // CHECK-NOT: nvvm.mma.sync
  // CHECK: arith.shrsi %{{.*}}, %c6_i32
  // CHECK: memref.load %{{.*}} : memref<1x32xi32, 3>
  // CHECK-COUNT-2: math.fma
  // CHECK-NOT: math.fma
  // The same of the other pieces.
  // CHECK-COUNT-4: nvvm.mma.sync {{.*}}k = 32>
  // CHECK-COUNT-2: math.fma
  // CHECK-COUNT-4: nvvm.mma.sync {{.*}}k = 32>
  // CHECK-COUNT-2: math.fma
  // CHECK-COUNT-4: nvvm.mma.sync {{.*}}k = 32>
  // CHECK-COUNT-2: math.fma
  // CHECK-NOT: math.fma
  // The sums of two groups that are four apart, 16 bits each: ten bits as 1024 and
  // these, less 1024; those above with 32 more, as so many times 1024.
  // CHECK-COUNT-2: memref.load %{{.*}} : memref<1x32xi32, 3>
  // CHECK: %[[BOTH:.*]] = arith.ori %{{.*}}, %{{.*}} : i32
  // CHECK: %[[LOW:.*]] = arith.andi %[[BOTH]], %c67044351_i32
  // CHECK: %[[RAISED:.*]] = arith.xori %[[LOW]], %c1677747200_i32
  // CHECK: %[[HALVES:.*]] = llvm.bitcast %[[RAISED]] : i32 to vector<2xf16>
  // CHECK: %[[LOWER:.*]] = arith.addf %[[HALVES]], %{{.*}} : vector<2xf16>
  // CHECK: %[[UP:.*]] = arith.shrui %[[BOTH]], %c10_i32
  // CHECK: arith.andi %[[UP]], %c4128831_i32
  // CHECK: arith.xori %{{.*}}, %c1679844384_i32
  // CHECK: %[[HIGHER:.*]] = arith.mulf %{{.*}}, %{{.*}} : vector<2xf16>
  // CHECK-DAG: %[[A0:.*]] = llvm.bitcast %[[C0]] : i32 to vector<2xf16>
  // CHECK-DAG: %[[A1:.*]] = llvm.bitcast %[[C1]] : i32 to vector<2xf16>
  // CHECK: nvvm.mma.sync A[%[[A0]], %[[A1]], %[[A0]], %[[A1]]] B[%[[HIGHER]], %[[LOWER]]] {{.*}}k = 16>
  // CHECK-NOT: nvvm.mma.sync
  // CHECK: scf.yield
  // It is added, then all shares in their order, by the first of the warps.
  // CHECK-COUNT-2: arith.addf %{{.*}} : f32
  // CHECK: memref.get_global @tbq_shared_linear : memref<1024xf32, 3>
  // CHECK: nvvm.barrier0
  // CHECK: memref.store
  // CHECK: nvvm.barrier0
  // CHECK: scf.if
  // CHECK-COUNT-14: arith.addf
  // The second tile only if it is the block's.
  // CHECK: %[[AFTER:.*]] = arith.addi %[[TILE]], %c1
  // CHECK: %[[OTHERS:.*]] = arith.cmpi slt, %[[AFTER]], %arg7
  // CHECK: nvvm.shfl.sync bfly {{.*}}, %c16_i32
  // CHECK: %[[STORES:.*]] = arith.andi %[[OTHERS]], %{{.*}} : i1
  // CHECK: arith.mulf %{{.*}} : f32
  // CHECK: memref.store %{{.*}}, %arg3
  // CHECK: arith.andi %{{.*}}, %[[STORES]] : i1
  // CHECK: memref.store %{{.*}}, %arg3
  // CHECK: nvvm.barrier0
  // CHECK-NEXT: return
  tbq.barrier %team
  %w = tbq.placed_weight [0] in %section : memref<8388608xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x4096xi8>, !ternary, memref<1x32xi32>, memref<1x16xf32>, memref<1x4096xf32>, index, index, index) -> ()
  return
}

// -----

// Two planes of bits, 32 columns a word: of groups of 32, a lane has a quarter
// of a word. i16: two digits of an activation, high and low, a product each.
!dual = !tbq.packed<64x64, digits [1, 1], terms [[1, 0, 0], [0, 1, 0]], group 32, tile 8>
// CHECK-LABEL: func.func @decode_i16(
func.func @decode_i16(%x: memref<1x64xi8>, %low: memref<1x64xi8>, %scale: memref<1x16xf32>, %y: memref<1x64xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK-DAG: %[[MASK:.*]] = arith.constant 33686018 : i32
  // CHECK-DAG: %[[HIGH:.*]] = arith.constant 256 : i32
  // CHECK: vector<4xi8> to vector<1xi32>
  // CHECK: arith.shrui %{{.*}}, %[[OWN:.*]] : i32
  // CHECK: vector<4xi8> to vector<1xi32>
  // CHECK: vector.load %{{.*}} : memref<{{.*}}xi8, 3>, vector<8xi8>
  // CHECK: vector.load %{{.*}} : memref<{{.*}}xi8, 3>, vector<8xi8>
  // CHECK-COUNT-2: nvvm.mma.sync
  // CHECK: arith.muli %{{.*}}, %[[HIGH]]
  // CHECK-COUNT-2: nvvm.mma.sync
  // CHECK-NOT: nvvm.mma.sync
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !dual
  tbq.packed_linear %x, %w low(%low) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xi8>, !dual, memref<1x64xi8>, memref<1x16xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// -----

// Float activations: a lane multiplies its own 16 columns of a row, and four
// lanes add up.
!ternary = !tbq.packed<16x64, digits [2], terms [[1, -1]], group 64, tile 8>
// CHECK-LABEL: func.func @decode_f32(
func.func @decode_f32(%x: memref<1x64xf32>, %sums: memref<1x16xf32>, %y: memref<1x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK-NOT: nvvm.mma.sync
  // CHECK-COUNT-19: math.fma
  // CHECK-NOT: math.fma
  // CHECK-COUNT-2: nvvm.shfl.sync bfly
  // CHECK-NOT: nvvm.shfl.sync
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, !ternary, memref<1x16xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}

// -----

// A residual is asked for before the pieces are added.
!ternary = !tbq.packed<16x64, digits [2], terms [[1, -1]], group 64, tile 8>
// CHECK-LABEL: func.func @decode_residual(
func.func @decode_residual(%x: memref<1x64xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: scf.for
  // CHECK: %[[COLUMN:.*]] = arith.minsi %{{.*}}, %c15
  // CHECK: %[[RESIDUAL:.*]] = memref.load %arg3[%c0, %[[COLUMN]]]
  // CHECK: scf.for
  // CHECK: nvvm.mma.sync
  // CHECK: arith.addf %{{.*}}, %[[RESIDUAL]]
  // CHECK-NOT: memref.load %arg3
  // CHECK: memref.store %{{.*}}, %arg3
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) residual(%y) into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xi8>, !ternary, memref<1x16xi32>, memref<1x16xf32>, memref<1x16xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}

// -----

// Linears of one input, of which others read behind a barrier, are one: blocks
// divide the tiles of all, and a tile is found in one of them.
!wide = !tbq.packed<32x128, digits [2], terms [[1, -1], [0, 1]], group 128, tile 8>
!narrow = !tbq.packed<16x128, digits [2], terms [[1, -1], [0, 1]], group 128, tile 8>
// CHECK-LABEL: func.func @decode_as_one(
func.func @decode_as_one(%x: memref<1x128xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %q: memref<1x32xf32>,
    %k: memref<1x16xf32>, %section: memref<65536xi8>, %count: index, %begin: index, %end: index, %team: !tbq.team) {
  // CHECK: tbq.barrier %arg9 {tbq.arrives}
  // CHECK: %[[WORKER:.*]] = tbq.worker %arg9
  // CHECK: %[[WORKERS:.*]] = tbq.workers %arg9
  // CHECK: %[[UNITS:.*]] = arith.muli %[[WORKER]], %c6
  // CHECK: arith.divui %[[UNITS]], %[[WORKERS]]
  // CHECK: %[[ISFIRST:.*]] = arith.cmpi slt, %{{.*}}, %c4
  // CHECK: arith.select %[[ISFIRST]], %{{.*}}, %{{.*}} : memref<?xi8>
  // CHECK: arith.select %[[ISFIRST]], %c0, %c4
  // CHECK: tbq.barrier %arg9 {tbq.waits}
  // CHECK: nvvm.mma.sync
  // CHECK: memref.store %{{.*}}, %arg3
  // CHECK: %[[OF:.*]] = arith.subi %{{.*}}, %c4
  // CHECK: arith.cmpi ult, %[[OF]], %c2
  // CHECK: memref.store %{{.*}}, %arg4
  // What a barrier sees to, the block need not.
  // CHECK-NOT: nvvm.barrier0
  // CHECK: tbq.barrier
  tbq.barrier %team
  %one = tbq.placed_weight [0] in %section : memref<65536xi8> : !wide
  tbq.packed_linear %x, %one sums(%sums) activation_scale(%scale) into(%q) count(%count) range(%begin, %end)
    : (memref<1x128xi8>, !wide, memref<1x16xi32>, memref<1x16xf32>, memref<1x32xf32>, index, index, index) -> ()
  %other = tbq.placed_weight [4096] in %section : memref<65536xi8> : !narrow
  tbq.packed_linear %x, %other sums(%sums) activation_scale(%scale) into(%k) count(%count) range(%begin, %count)
    : (memref<1x128xi8>, !narrow, memref<1x16xi32>, memref<1x16xf32>, memref<1x16xf32>, index, index, index) -> ()
  tbq.barrier %team
  return
}

// -----

// Not if the block goes on with what it has written.
!wide = !tbq.packed<32x128, digits [2], terms [[1, -1], [0, 1]], group 128, tile 8>
!narrow = !tbq.packed<16x128, digits [2], terms [[1, -1], [0, 1]], group 128, tile 8>
// CHECK-LABEL: func.func @decode_apart(
func.func @decode_apart(%x: memref<1x128xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %q: memref<1x32xf32>,
    %k: memref<1x16xf32>, %section: memref<65536xi8>, %count: index, %begin: index, %end: index, %team: !tbq.team) {
  // CHECK-NOT: tbq.worker
  // CHECK: memref.store %{{.*}}, %arg3
  // CHECK: nvvm.barrier0
  // CHECK: memref.store %{{.*}}, %arg4
  // CHECK: nvvm.barrier0
  tbq.barrier %team
  %one = tbq.placed_weight [0] in %section : memref<65536xi8> : !wide
  tbq.packed_linear %x, %one sums(%sums) activation_scale(%scale) into(%q) count(%count) range(%begin, %end)
    : (memref<1x128xi8>, !wide, memref<1x16xi32>, memref<1x16xf32>, memref<1x32xf32>, index, index, index) -> ()
  %other = tbq.placed_weight [4096] in %section : memref<65536xi8> : !narrow
  tbq.packed_linear %x, %other sums(%sums) activation_scale(%scale) into(%k) count(%count) range(%begin, %count)
    : (memref<1x128xi8>, !narrow, memref<1x16xi32>, memref<1x16xf32>, memref<1x16xf32>, index, index, index) -> ()
  tbq.add %k, %k into(%k) count(%count) range(%begin, %end)
    : (memref<1x16xf32>, memref<1x16xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}

// -----

// Of two with as many tiles a warp has one of each at once, and makes of both
// what alone reads them.
!packed = !tbq.packed<32x128, digits [2], terms [[1, -1], [0, 1]], group 128, tile 8>
// CHECK-LABEL: func.func @decode_gated(
func.func @decode_gated(%x: memref<1x128xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %gate: memref<1x32xf32>,
    %up: memref<1x32xf32>, %y: memref<1x32xf32>, %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: %[[GATE:.*]] = tbq.packed_bytes
  // CHECK: %[[UP:.*]] = tbq.packed_bytes
  // CHECK: memref.extract_aligned_pointer_as_index %[[GATE]]
  // CHECK: memref.extract_aligned_pointer_as_index %[[UP]]
  // CHECK: nvvm.cp.async.shared.global
  // CHECK: scf.for %{{.*}} = %arg8 to
  // CHECK: nvvm.mma.sync
  // CHECK-NOT: memref.store %{{.*}}, %arg3
  // CHECK-NOT: memref.store %{{.*}}, %arg4
  // CHECK: llvm.nvvm.ex2.approx.ftz.f32
  // CHECK: nvvm.rcp.approx.ftz.f
  // CHECK: memref.store %{{.*}}, %arg5
  // CHECK-NOT: memref.store
  // CHECK: nvvm.barrier0
  // CHECK-NEXT: return
  %one = tbq.placed_weight [0] in %section : memref<65536xi8> : !packed
  tbq.packed_linear %x, %one sums(%sums) activation_scale(%scale) into(%gate) count(%count) range(%begin, %end)
    : (memref<1x128xi8>, !packed, memref<1x16xi32>, memref<1x16xf32>, memref<1x32xf32>, index, index, index) -> ()
  %other = tbq.placed_weight [4096] in %section : memref<65536xi8> : !packed
  tbq.packed_linear %x, %other sums(%sums) activation_scale(%scale) into(%up) count(%count) range(%begin, %end)
    : (memref<1x128xi8>, !packed, memref<1x16xi32>, memref<1x16xf32>, memref<1x32xf32>, index, index, index) -> ()
  tbq.gated_activation %gate, %up unit 8 into(%y) count(%count) range(%begin, %end)
    : (memref<1x32xf32>, memref<1x32xf32>, memref<1x32xf32>, index, index, index) -> ()
  return
}

// -----

// A ring is free from its last user on: what stands between barriers and uses none
// is no reason to wait, as attention; of two linears behind one barrier the
// second may not write over what the first has asked for.
!packed = !tbq.packed<32x128, digits [2], terms [[1, -1], [0, 1]], group 128, tile 8>
// CHECK-LABEL: func.func @decode_rings(
func.func @decode_rings(%scale: memref<1x16xf32>, %y: memref<1x32xf32>,
    %z: memref<1x32xf32>, %section: memref<65536xi8>, %count: index, %begin: index, %end: index, %team: !tbq.team) {
  // CHECK: tbq.barrier {{.*}} {tbq.arrives}
  // CHECK: nvvm.cp.async.shared.global
  // CHECK: tbq.barrier {{.*}} {tbq.waits}
  // CHECK: nvvm.mma.sync
  // CHECK: nvvm.barrier0
  // CHECK: nvvm.cp.async.shared.global
  // CHECK: nvvm.mma.sync
  // CHECK: tbq.barrier {{.*}} {tbq.arrives}
  // CHECK: nvvm.cp.async.shared.global
  // CHECK: tbq.barrier {{.*}} {tbq.waits}
  // CHECK-NEXT: tbq.add
  // CHECK: tbq.barrier %arg7
  // CHECK-NOT: nvvm.cp.async.shared.global
  // CHECK: nvvm.cp.async.wait.group
  %x = memref.alloca() : memref<1x128xi8>
  %sums = memref.alloca() : memref<1x16xi32>
  tbq.barrier %team
  %one = tbq.placed_weight [0] in %section : memref<65536xi8> : !packed
  tbq.packed_linear %x, %one sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x128xi8>, !packed, memref<1x16xi32>, memref<1x16xf32>, memref<1x32xf32>, index, index, index) -> ()
  tbq.packed_linear %x, %one sums(%sums) activation_scale(%scale) residual(%y) into(%z) count(%count) range(%begin, %end)
    : (memref<1x128xi8>, !packed, memref<1x16xi32>, memref<1x16xf32>, memref<1x32xf32>, memref<1x32xf32>, index, index, index) -> ()
  tbq.barrier %team
  tbq.add %z, %z into(%y) count(%count) range(%begin, %end)
    : (memref<1x32xf32>, memref<1x32xf32>, memref<1x32xf32>, index, index, index) -> ()
  tbq.barrier %team
  tbq.packed_linear %x, %one sums(%sums) activation_scale(%scale) into(%z) count(%count) range(%begin, %end)
    : (memref<1x128xi8>, !packed, memref<1x16xi32>, memref<1x16xf32>, memref<1x32xf32>, index, index, index) -> ()
  return
}

// -----

// A float matrix: 16 bytes are a column of eight rows of bf16.
!float = !tbq.packed<8x64, bf16, tile 8>
// CHECK-LABEL: func.func @decode_float(
func.func @decode_float(%x: memref<1x64xf32>, %y: memref<1x16xf32>, %section: memref<65536xi8>,
    %count: index, %begin: index, %end: index) {
  // CHECK: %[[W:.*]] = vector.load %{{.*}} {alignment = 16 : i64} : memref<1024xi8>, vector<16xi8>
  // CHECK: vector.bitcast %[[W]] : vector<16xi8> to vector<8xbf16>
  // CHECK: arith.extf %{{.*}} : bf16 to f32
  // CHECK-COUNT-8: math.fma
  // CHECK-NOT: math.fma
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !float
  tbq.packed_linear %x, %w into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, !float, memref<1x16xf32>, index, index, index) -> ()
  return
}

// -----

// Prefill: 32 tokens at once, eight a product, and the digits of a piece loaded
// once for all of them. A row of 16 columns ends within its slice: past it digits
// are 0, and nothing is read.
!ternary = !tbq.packed<16x16, digits [2], terms [[1, -1]], group 16, tile 8>
// CHECK-LABEL: func.func @prefill_i8(
func.func @prefill_i8(%x: memref<64x16xi8>, %sums: memref<64x16xi32>, %scale: memref<64x16xf32>, %y: memref<64x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // Of 64 tokens a second warp takes the other half, and has none where there are
  // fewer.
  // CHECK: scf.for %[[FROM:.*]] = %c0 to %arg5 step %c64 {
  // CHECK: %[[TOKEN:.*]] = arith.addi %[[FROM]],
  // CHECK: arith.cmpi slt, %[[TOKEN]], %arg5
  // CHECK: %[[STORED:.*]] = arith.cmpi slt, %{{.*}}, %c1
  // CHECK: arith.select %[[STORED]], %{{.*}} : index
  // CHECK: arith.select %[[STORED]], %{{.*}} : i32
  // CHECK-COUNT-4: nvvm.mma.sync
  // CHECK-NOT: nvvm.mma.sync
  // A lane has a row and two tokens of each product.
  // CHECK-COUNT-8: memref.store %{{.*}}, %arg3
  // CHECK-NOT: memref.store %{{.*}}, %arg3
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<64x16xi8>, !ternary, memref<64x16xi32>, memref<64x16xf32>, memref<64x16xf32>, index, index, index) -> ()
  return
}

// -----

// Four warps share a tile, as in a step of one token, whose blocks divide two
// linears' tiles: one's alone would be eight's. A sum of one warp's pieces is one
// of floats, so its bits depend on that.
!up = !tbq.packed<2816x1024, digits [2], terms [[1, -1], [0, 1]], group 128, tile 8>
// CHECK-LABEL: func.func @prefill_as_decode(
func.func @prefill_as_decode(%x: memref<64x1024xi8>, %sums: memref<64x16xi32>, %scale: memref<64x16xf32>, %a: memref<64x2816xf32>,
    %b: memref<64x2816xf32>, %section: memref<2097152xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: %[[WARP:.*]] = arith.divui %{{.*}}, %c32 : index
  // CHECK: arith.remui %[[WARP]], %c4 : index
  %one = tbq.placed_weight [0] in %section : memref<2097152xi8> : !up
  tbq.packed_linear %x, %one sums(%sums) activation_scale(%scale) into(%a) count(%count) range(%begin, %end)
    : (memref<64x1024xi8>, !up, memref<64x16xi32>, memref<64x16xf32>, memref<64x2816xf32>, index, index, index) -> ()
  // CHECK: tbq.packed_bytes
  // CHECK-NOT: arith.remui %[[WARP]], %c8 : index
  // CHECK: return
  %other = tbq.placed_weight [1048576] in %section : memref<2097152xi8> : !up
  tbq.packed_linear %x, %other sums(%sums) activation_scale(%scale) into(%b) count(%count) range(%begin, %end)
    : (memref<64x1024xi8>, !up, memref<64x16xi32>, memref<64x16xf32>, memref<64x2816xf32>, index, index, index) -> ()
  return
}
// CHECK-LABEL: func.func @decode_as_prefill(
func.func @decode_as_prefill(%x: memref<1x1024xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %a: memref<1x2816xf32>,
    %b: memref<1x2816xf32>, %section: memref<2097152xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: %[[WARP:.*]] = arith.divui %{{.*}}, %c32 : index
  // CHECK: arith.remui %[[WARP]], %c4 : index
  %one = tbq.placed_weight [0] in %section : memref<2097152xi8> : !up
  tbq.packed_linear %x, %one sums(%sums) activation_scale(%scale) into(%a) count(%count) range(%begin, %end)
    : (memref<1x1024xi8>, !up, memref<1x16xi32>, memref<1x16xf32>, memref<1x2816xf32>, index, index, index) -> ()
  %other = tbq.placed_weight [1048576] in %section : memref<2097152xi8> : !up
  tbq.packed_linear %x, %other sums(%sums) activation_scale(%scale) into(%b) count(%count) range(%begin, %end)
    : (memref<1x1024xi8>, !up, memref<1x16xi32>, memref<1x16xf32>, memref<1x2816xf32>, index, index, index) -> ()
  return
}

// -----

// Of four tokens a product has eight: what is read of the others is the last one's.
!ternary = !tbq.packed<16x64, digits [2], terms [[1, -1]], group 64, tile 8>
// CHECK-LABEL: func.func @prefill_of_four(
func.func @prefill_of_four(%x: memref<4x64xi8>, %sums: memref<4x16xi32>, %scale: memref<4x16xf32>, %y: memref<4x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: %[[AT:.*]] = arith.minsi %{{.*}}, %c3
  // CHECK: vector.load %arg0[%[[AT]],
  // CHECK: %[[OWN:.*]] = arith.minsi %{{.*}}, %c3
  // CHECK: memref.load %arg1[%[[OWN]],
  // CHECK: nvvm.mma.sync
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<4x64xi8>, !ternary, memref<4x16xi32>, memref<4x16xf32>, memref<4x16xf32>, index, index, index) -> ()
  return
}

// -----

// The tile begins where the table says. Behind the pieces, each lane takes words
// of the list: a digit, its row, its column.
!salient = !tbq.packed<16x40, digits [1, 1, 8], terms [[2, 1, 0, -1], [0, 0, 1, 0]], salient, group 40, tile 8>
// CHECK-LABEL: func.func @salient(
func.func @salient(%x: memref<1x48xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: %[[ENTRY:.*]] = vector.extract
  // CHECK: %[[PLACE:.*]] = arith.index_castui %[[ENTRY]] : i32 to index
  // CHECK: arith.muli %[[PLACE]], %c64
  // CHECK: nvvm.mma.sync
  // CHECK: scf.for {{.*}} iter_args
  // CHECK: %[[ROW:.*]] = arith.andi %{{.*}}, %c7_i32 : i32
  // CHECK: arith.index_castui %[[ROW]]
  // CHECK: %[[ZERO:.*]] = arith.extsi %{{.*}} : i16 to i32
  // CHECK: arith.subi %{{.*}}, %[[ZERO]] : i32
  // CHECK-COUNT-8: arith.addf
  // CHECK: nvvm.shfl.sync
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !salient
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x48xi8>, !salient, memref<1x16xi32>, memref<1x16xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}

// -----

!wide = !tbq.packed<16x16, digits [2], terms [[1, 0]], group 16, tile 16>
func.func @tile(%x: memref<1x16xi8>, %scale: memref<1x16xf32>, %y: memref<1x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !wide
  // expected-error @below {{on a GPU needs tiles of eight rows, not #tbq.layout<16x16, digits [2], terms [[1, 0]], group 16, tile 16>}}
  tbq.packed_linear %x, %w activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x16xi8>, !wide, memref<1x16xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}
