// RUN: tbq-opt %s --tbq-lower-step-to-gpu --canonicalize --cse --split-input-file --verify-diagnostics | FileCheck %s
// What a thread does of the ops that are no linears.

// Element by element: unit and element of the thread, 512 apart.
// CHECK-LABEL: func.func @add(
func.func @add(%a: memref<4x64xf32>, %b: memref<4x64xf32>, %c: memref<4x64xf32>, %count: index, %begin: index, %end: index) {
  // CHECK: %[[FROM:.*]] = arith.muli %arg4, %c16
  // CHECK: nvvm.read.ptx.sreg.tid.x
  // CHECK: %[[FIRST:.*]] = arith.addi %[[FROM]], %{{.*}}
  // CHECK: scf.for %[[I:.*]] = %[[FIRST]] to %{{.*}} step %c512 {
  // CHECK: %[[TOKEN:.*]] = arith.divui %[[I]], %c64
  // CHECK: %[[COLUMN:.*]] = arith.remui %[[I]], %c64
  // CHECK: memref.load %arg0[%[[TOKEN]], %[[COLUMN]]]
  // CHECK: memref.store %{{.*}}, %arg2[%[[TOKEN]], %[[COLUMN]]]
  // CHECK: nvvm.barrier0
  // CHECK-NEXT: return
  tbq.add %a, %b into(%c) count(%count) range(%begin, %end)
    : (memref<4x64xf32>, memref<4x64xf32>, memref<4x64xf32>, index, index, index) -> ()
  return
}

// -----

// A unit has as many columns as the op says.
// CHECK-LABEL: func.func @gate(
func.func @gate(%a: memref<1x64xf32>, %b: memref<1x64xf32>, %c: memref<1x64xf32>, %count: index, %begin: index, %end: index) {
  // CHECK: %[[FROM:.*]] = arith.muli %arg4, %c4
  // CHECK: %[[TO:.*]] = arith.muli %arg5, %c4
  // CHECK: scf.for %[[I:.*]] = %{{.*}} to %[[TO]] step %c512 {
  // CHECK: arith.remui %[[I]], %c64
  // CHECK: nvvm.barrier0
  tbq.gated_activation %a, %b unit 4 into(%c) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<1x64xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// -----

// A row is the block's: threads, lanes, warps, in this order; true columns only.
!row = !tbq.packed<1x40, f32, tile 1>
// CHECK: memref.global "private" @tbq_shared_reduction : memref<16xf32, 3>
// CHECK-LABEL: func.func @norm(
func.func @norm(%x: memref<1x48xf32>, %y: memref<1x48xf32>, %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: scf.for %[[TOKEN:.*]] = %arg4 to %arg5 step %c1 {
  // CHECK: scf.for %{{.*}} = %{{.*}} to %c40 step %c512 iter_args
  // CHECK: math.fma
  // CHECK-COUNT-5: nvvm.shfl.sync bfly
  // CHECK-NOT: nvvm.shfl
  // CHECK: nvvm.barrier0
  // CHECK: scf.if
  // CHECK: nvvm.barrier0
  // CHECK-COUNT-16: memref.load %{{.*}} : memref<16xf32, 3>
  // CHECK: math.sqrt
  // CHECK: scf.for %{{.*}} = %{{.*}} to %c40 step %c512 {
  // What pads the row is 0.
  // CHECK: scf.if
  // CHECK-COUNT-8: memref.store %cst{{.*}}, %arg1
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !row
  tbq.rms_norm %x, %w epsilon 9.99999974E-6 features 40 into(%y) count(%count) range(%begin, %end)
    : (memref<1x48xf32>, !row, memref<1x48xf32>, index, index, index) -> ()
  return
}

// -----

// The largest activation by the block, then a warp a group.
// CHECK-LABEL: func.func @quantize(
func.func @quantize(%x: memref<1x64xf32>, %high: memref<1x64xi8>, %low: memref<1x64xi8>, %scale: memref<1x16xf32>,
    %sums: memref<1x16xi32>, %count: index, %begin: index, %end: index) {
  // CHECK: math.absf
  // CHECK: arith.maxnumf
  // CHECK: memref.store %{{.*}}, %arg3
  // CHECK: scf.for %[[GROUP:.*]] = %{{.*}} to %c2 step %c16 {
  // CHECK: scf.for %{{.*}} step %c32
  // By a conversion: ptxas mistakes a byte of a float sum's bits for one.
  // CHECK: %[[ROUNDED:.*]] = math.roundeven %{{.*}} : f32
  // CHECK: %[[Q:.*]] = arith.fptosi %[[ROUNDED]] : f32 to i32
  // CHECK: %[[LOW:.*]] = arith.trunci %[[Q]] : i32 to i8
  // CHECK: memref.store %[[LOW]], %arg2
  // CHECK: arith.shrsi
  // CHECK: memref.store %{{.*}}, %arg1
  // CHECK-COUNT-5: nvvm.shfl.sync bfly {{.*}} : i32
  // CHECK: memref.store %{{.*}}, %arg4[%{{.*}}, %[[GROUP]]]
  tbq.quantize_activations %x columns 64 group 32 into(%high, %low, %scale, %sums) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<1x64xi8>, memref<1x64xi8>, memref<1x16xf32>, memref<1x16xi32>, index, index, index) -> ()
  return
}

// -----

// A query head is the block's, sixteen keys a warp's at a time. Of f16, a lane
// loads eight keys of a feature, twice 16 of these, and eight features of a
// value, twice eight of these.
!cache = !tbq.cache<2 layers, 1 by 32, 64 tokens, f16>
// CHECK: memref.global "private" @tbq_shared_attention : memref<544xf32, 3>
// CHECK-LABEL: func.func @attention(
func.func @attention(%q: memref<1x64xf32>, %cache: memref<32768xi8>, %layer: index, %position: index, %y: memref<1x64xf32>,
    %count: index, %begin: index, %end: index) {
  // CHECK: scf.for %{{.*}} = %arg6 to %arg7 step %c1 {
  // CHECK-COUNT-2: memref.load %arg0
  // CHECK: scf.for %[[BLOCK:.*]] = %{{.*}} to %{{.*}} step %c16 iter_args
  // All of a block's bytes, before any is used.
  // CHECK-COUNT-4: vector.load %arg1[%{{.*}}] {alignment = 16 : i64} : memref<32768xi8>, vector<16xi8>
  // CHECK-NOT: vector.load
  // CHECK: arith.extf %{{.*}} : f16 to f32
  // CHECK-NOT: arith.select
  // CHECK-COUNT-16: math.fma
  // Lanes 2, 4 and 8 apart divide eight keys' sums; lanes 16 apart have the same.
  // CHECK-COUNT-8: nvvm.shfl.sync bfly
  // CHECK: arith.cmpi slt
  // CHECK: arith.select
  // CHECK: math.exp
  // CHECK-COUNT-2: nvvm.shfl.sync idx
  // CHECK: scf.yield
  // The eight lanes that have the same features.
  // CHECK-COUNT-7: nvvm.shfl.sync bfly
  // CHECK: memref.store %{{.*}} : memref<544xf32, 3>
  // CHECK: nvvm.barrier0
  // CHECK: arith.divf
  // CHECK: memref.store %{{.*}}, %arg4
  // CHECK: nvvm.barrier0
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  tbq.attention %q, %cache[%layer] at %position heads 2 scale 0.176776692 !cache into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<32768xi8>, index, index, memref<1x64xf32>, index, index, index) -> ()
  return
}

// -----

// A token's own key and value are rounded as the cache holds them, and take the
// place of what is loaded at its position.
!cache = !tbq.cache<2 layers, 1 by 32, 64 tokens, f16>
// CHECK-LABEL: func.func @own_key(
func.func @own_key(%q: memref<1x64xf32>, %cache: memref<32768xi8>, %layer: index, %position: index, %y: memref<1x64xf32>,
    %key: memref<1x32xf32>, %value: memref<1x32xf32>, %count: index, %begin: index, %end: index) {
  // CHECK: %[[KEY:.*]] = memref.load %arg5
  // CHECK: %[[HALF:.*]] = arith.truncf %[[KEY]] : f32 to f16
  // CHECK: %[[ROUNDED:.*]] = arith.extf %[[HALF]] : f16 to f32
  // CHECK: memref.load %arg5
  // CHECK-COUNT-8: memref.load %arg6
  // CHECK: scf.for
  // CHECK: %[[IS:.*]] = arith.cmpi eq, %{{.*}}, %[[POSITION:.*]] : index
  // CHECK: arith.select %[[IS]], %[[ROUNDED]], %{{.*}} : f32
  // CHECK-COUNT-15: arith.select
  // CHECK: nvvm.shfl.sync idx
  // CHECK: %[[IS:.*]] = arith.cmpi eq, %{{.*}}, %[[POSITION]] : index
  // CHECK-COUNT-8: arith.select %[[IS]], %{{.*}}, %{{.*}} : f32
  tbq.attention %q, %cache[%layer] at %position key(%key) value(%value) heads 2 scale 0.176776692 !cache into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<32768xi8>, index, index, memref<1x32xf32>, memref<1x32xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// -----

// CHECK-LABEL: func.func @relu(
func.func @relu(%x: memref<1x16xf32>, %y: memref<1x16xf32>, %count: index, %begin: index, %end: index) {
  // CHECK: %[[X:.*]] = memref.load %arg0
  // CHECK: arith.cmpf olt, %[[X]], %{{.*}}
  // CHECK: memref.store %{{.*}}, %arg1
  tbq.activation %x relu into(%y) count(%count) range(%begin, %end)
    : (memref<1x16xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}

// -----

// The tail's polynomial, and two factors of exp(-u^2 / 2).
// CHECK-LABEL: func.func @gelu(
func.func @gelu(%x: memref<1x16xf32>, %y: memref<1x16xf32>, %count: index, %begin: index, %end: index) {
  // CHECK: math.absf
  // CHECK: arith.minnumf
  // CHECK-COUNT-10: math.fma
  // CHECK-COUNT-2: math.exp
  tbq.activation %x gelu into(%y) count(%count) range(%begin, %end)
    : (memref<1x16xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}
