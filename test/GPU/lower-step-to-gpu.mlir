// RUN: tbq-opt %s --tbq-lower-step-to-gpu --canonicalize --cse --split-input-file --verify-diagnostics | FileCheck %s
// What a thread does of the ops that are no linears.

// Element by element: unit and four elements of the thread, 512 fours apart.
// CHECK-LABEL: func.func @add(
func.func @add(%a: memref<4x64xf32>, %b: memref<4x64xf32>, %c: memref<4x64xf32>, %count: index, %begin: index, %end: index) {
  // CHECK: %[[FROM:.*]] = arith.muli %arg4, %c4
  // CHECK: nvvm.read.ptx.sreg.tid.x
  // CHECK: %[[FIRST:.*]] = arith.addi %[[FROM]], %{{.*}}
  // CHECK: scf.for %[[I:.*]] = %[[FIRST]] to %{{.*}} step %c512 {
  // CHECK: %[[TOKEN:.*]] = arith.divui %[[I]], %c16
  // CHECK: %[[FOUR:.*]] = arith.remui %[[I]], %c16
  // CHECK: %[[COLUMN:.*]] = arith.muli %[[FOUR]], %c4
  // CHECK: vector.load %arg0[%[[TOKEN]], %[[COLUMN]]] {alignment = 16 : i64} : memref<4x64xf32>, vector<4xf32>
  // CHECK-COUNT-4: arith.addf
  // CHECK: vector.store %{{.*}}, %arg2[%[[TOKEN]], %[[COLUMN]]] {alignment = 16 : i64}
  // CHECK: nvvm.barrier0
  // CHECK-NEXT: return
  tbq.add %a, %b into(%c) count(%count) range(%begin, %end)
    : (memref<4x64xf32>, memref<4x64xf32>, memref<4x64xf32>, index, index, index) -> ()
  return
}

// -----

// A warp copies 64 logits and finds the largest, NaN if one is. What is past the
// end is not copied.
// CHECK-LABEL: func.func @summarize(
func.func @summarize(%a: memref<1x112xf32>, %b: memref<1x144xf32>, %count: index, %begin: index, %end: index) {
  // CHECK: scf.for %{{.*}} = %{{.*}} to %arg4 step %c16 {
  // CHECK: %[[LAST:.*]] = arith.minsi %[[COLUMN:.*]], %c99
  // CHECK: %[[LOGIT:.*]] = memref.load %arg0[%{{.*}}, %[[LAST]]]
  // CHECK: %[[EXISTS:.*]] = arith.cmpi slt, %[[COLUMN]], %c100
  // CHECK: scf.if %[[EXISTS]] {
  // CHECK-NEXT: memref.store %[[LOGIT]], %arg1[%{{.*}}, %[[COLUMN]]]
  // CHECK: memref.load %arg0
  // CHECK: arith.maximumf
  // CHECK-COUNT-5: nvvm.shfl.sync
  // CHECK: %[[AT:.*]] = arith.addi %{{.*}}, %c128
  // CHECK: scf.if
  // CHECK-NEXT: memref.store %{{.*}}, %arg1[%{{.*}}, %[[AT]]]
  tbq.summarize_logits %a columns 100 into(%b) count(%count) range(%begin, %end)
    : (memref<1x112xf32>, memref<1x144xf32>, index, index, index) -> ()
  return
}

// -----

// A unit has as many columns as the op says.
// CHECK-LABEL: func.func @gate(
func.func @gate(%a: memref<1x64xf32>, %b: memref<1x64xf32>, %c: memref<1x64xf32>, %count: index, %begin: index, %end: index) {
  // CHECK: %[[FROM:.*]] = arith.muli %arg4, %c2
  // CHECK: %[[TO:.*]] = arith.muli %arg5, %c2
  // CHECK: scf.for %[[I:.*]] = %{{.*}} to %[[TO]] step %c512 {
  // CHECK: arith.remui %[[I]], %c16
  // CHECK: nvvm.barrier0
  tbq.gated_activation %a, %b unit 8 into(%c) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<1x64xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// -----

// A row is the block's, in its registers, four columns a vector; what is past
// its columns counts as 0. Its threads meet once to add up and once at the end.
// Warps without a column add 0, in either turn, and only meet.
!row = !tbq.packed<1x40, f32, tile 1>
// CHECK: memref.global "private" @tbq_shared_reduction : memref<32xf32, 3>
// CHECK-LABEL: func.func @norm(
func.func @norm(%x: memref<1x48xf32>, %y: memref<1x48xf32>, %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: %[[MINE:.*]] = arith.muli %{{.*}}, %c4
  // CHECK: %[[COLUMN:.*]] = arith.minsi %[[MINE]], %c44
  // CHECK: vector.load %{{.*}} : memref<192xi8>, vector<16xi8>
  // CHECK: scf.for %[[TOKEN:.*]] = %arg4 to %arg5 step %c1 {
  // CHECK: %[[HAS:.*]] = arith.cmpi slt, %{{.*}}, %c1 : index
  // CHECK: scf.if %[[HAS]] {
  // CHECK: vector.load %arg0[%[[TOKEN]], %[[COLUMN]]] {alignment = 16 : i64} : memref<1x48xf32>, vector<4xf32>
  // CHECK: %[[EXISTS:.*]] = arith.cmpi slt, %[[MINE]], %c40
  // CHECK-COUNT-4: arith.select %[[EXISTS]], %{{.*}}, %cst{{.*}} : f32
  // CHECK: arith.mulf
  // CHECK-COUNT-3: math.fma
  // CHECK-COUNT-5: nvvm.shfl.sync bfly
  // CHECK-NOT: nvvm.shfl
  // CHECK: scf.if
  // CHECK: nvvm.barrier0
  // CHECK-COUNT-4: vector.load %{{.*}} : memref<32xf32, 3>, vector<4xf32>
  // CHECK: llvm.nvvm.rsqrt.approx
  // What pads the row is 0, so it is stored with it.
  // CHECK: arith.cmpi slt, %[[MINE]], %c48
  // CHECK: scf.if
  // CHECK: vector.store %{{.*}}, %arg1[%[[TOKEN]], %[[COLUMN]]] {alignment = 16 : i64} : memref<1x48xf32>, vector<4xf32>
  // CHECK: } else {
  // CHECK: scf.if
  // CHECK: memref.store %[[NONE:cst[_0-9]*]], %{{.*}}[%[[WARP:[a-z0-9]+]]] : memref<32xf32, 3>
  // CHECK: %[[ODD:.*]] = arith.addi %[[WARP]], %c16 : index
  // CHECK: memref.store %[[NONE]], %{{.*}}[%[[ODD]]] : memref<32xf32, 3>
  // CHECK: nvvm.barrier0
  // CHECK-NEXT: }
  // CHECK-NEXT: nvvm.barrier0
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !row
  tbq.rms_norm %x, %w epsilon 9.99999974E-6 features 40 into(%y) count(%count) range(%begin, %end)
    : (memref<1x48xf32>, !row, memref<1x48xf32>, index, index, index) -> ()
  return
}

// -----

// The largest activation by the block, in a warp as an integer, which the bits of
// a float without a sign are ordered like; four digits a word; the sum of a group
// of 32 columns by the eight lanes that have them.
// CHECK-LABEL: func.func @quantize(
func.func @quantize(%x: memref<1x64xf32>, %high: memref<1x64xi8>, %low: memref<1x64xi8>, %scale: memref<1x16xf32>,
    %sums: memref<1x16xi32>, %count: index, %begin: index, %end: index) {
  // CHECK: math.absf
  // CHECK: arith.maximumf
  // CHECK: nvvm.redux.sync umax %{{.*}}, %c-1_i32 : i32 -> i32
  // CHECK-NOT: nvvm.shfl
  // CHECK: nvvm.barrier0
  // CHECK: memref.store %{{.*}}, %arg3
  // Rounded by a sum that has no bits for more, of whose bytes words are made.
  // CHECK: %[[SUM:.*]] = arith.addf %{{.*}}, %{{.*}} : f32
  // CHECK: %[[Q:.*]] = arith.bitcast %[[SUM]] : f32 to i32
  // CHECK: nvvm.prmt{{.*}} %[[Q]]
  // CHECK-COUNT-2: nvvm.prmt
  // CHECK: vector.store %{{.*}}, %arg2[%{{.*}}] {alignment = 4 : i64} : memref<1x64xi8>, vector<4xi8>
  // CHECK: nvvm.dot.accumulate.4way
  // CHECK: arith.addi %[[Q]], %c128_i32
  // CHECK-COUNT-3: nvvm.prmt
  // CHECK: vector.store %{{.*}}, %arg1
  // CHECK: nvvm.dot.accumulate.4way
  // CHECK-COUNT-3: nvvm.shfl.sync bfly {{.*}} : i32
  // CHECK-NOT: nvvm.shfl
  // CHECK: scf.if
  // CHECK: memref.store %{{.*}}, %arg4
  // CHECK: } else {
  // CHECK: nvvm.barrier0
  // CHECK-NEXT: }
  // CHECK-NEXT: nvvm.barrier0
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  tbq.quantize_activations %x columns 64 group 32 into(%high, %low, %scale, %sums) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<1x64xi8>, memref<1x64xi8>, memref<1x16xf32>, memref<1x16xi32>, index, index, index) -> ()
  return
}

// -----

// Groups of 384 columns: parts of 128 by warps, which a thread adds up.
// CHECK: memref.global "private" @tbq_shared_parts_16 : memref<16xf32, 3>
// CHECK-LABEL: func.func @parts(
func.func @parts(%x: memref<1x768xf32>, %q: memref<1x768xi8>, %scale: memref<1x16xf32>, %sums: memref<1x16xi32>,
    %count: index, %begin: index, %end: index) {
  // CHECK: vector.store %{{.*}}, %arg1
  // CHECK: nvvm.redux.sync add %{{.*}}, %c-1_i32 : i32 -> i32
  // CHECK: memref.store %{{.*}}, %{{.*}} : memref<16xf32, 3>
  // CHECK: nvvm.barrier0
  // CHECK: scf.for %[[GROUP:.*]] = %{{.*}} to %c2 step %c512 {
  // Six parts have columns.
  // CHECK: arith.minsi %{{.*}}, %c6 : index
  // CHECK: scf.for
  // CHECK: memref.store %{{.*}}, %arg3[%{{.*}}, %[[GROUP]]]
  tbq.quantize_activations %x columns 768 group 384 into(%q, %scale, %sums) count(%count) range(%begin, %end)
    : (memref<1x768xf32>, memref<1x768xi8>, memref<1x16xf32>, memref<1x16xi32>, index, index, index) -> ()
  return
}

// -----

// Groups of 12 columns: by the warps that have the row, of what was stored.
// CHECK-LABEL: func.func @stored(
func.func @stored(%x: memref<1x64xf32>, %high: memref<1x64xi8>, %low: memref<1x64xi8>, %scale: memref<1x16xf32>,
    %sums: memref<1x16xi32>, %count: index, %begin: index, %end: index) {
  // CHECK: vector.store %{{.*}}, %arg2
  // CHECK: nvvm.barrier0
  // CHECK: scf.for %[[GROUP:.*]] = %{{.*}} to %c5 step %c1 {
  // CHECK: scf.for %{{.*}} step %c32
  // CHECK: memref.load %arg2
  // CHECK: memref.load %arg1
  // CHECK: arith.muli %{{.*}}, %c256_i32
  // CHECK: memref.store %{{.*}}, %arg4[%{{.*}}, %[[GROUP]]]
  tbq.quantize_activations %x columns 60 group 12 into(%high, %low, %scale, %sums) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<1x64xi8>, memref<1x64xi8>, memref<1x16xf32>, memref<1x16xi32>, index, index, index) -> ()
  return
}

// -----

// A norm goes into the digits that alone are made of it: it is not stored, and
// its sum and its largest are found at once, of what has no factor yet: the
// block's threads meet twice.
!row = !tbq.packed<1x64, f32, tile 1>
// CHECK-LABEL: func.func @norm_digits(
func.func @norm_digits(%x: memref<1x64xf32>, %q: memref<1x64xi8>, %scale: memref<1x16xf32>,
    %sums: memref<1x16xi32>, %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK: scf.for %{{.*}} = %arg6 to %arg7 step %c1 {
  // CHECK: vector.load %arg0
  // CHECK: math.absf
  // CHECK: memref.store
  // CHECK: nvvm.redux.sync
  // CHECK: memref.store
  // CHECK: nvvm.barrier0
  // CHECK: vector.load %{{.*}}[%c0] {{.*}} : memref<32xf32, 3>
  // CHECK: %[[LARGEST:.*]] = arith.maxnumf
  // CHECK: %[[FACTOR:.*]] = llvm.call_intrinsic "llvm.nvvm.rsqrt.approx.ftz.f"
  // CHECK: arith.mulf %{{.*}}, %[[FACTOR]]
  // The scale, divided as a reference divides.
  // CHECK: scf.if
  // CHECK: nvvm.rcp.approx.ftz.f
  // CHECK-COUNT-2: math.fma
  // CHECK: arith.mulf
  // CHECK-COUNT-4: math.fma
  // CHECK: %[[INVERSE:.*]] = nvvm.rcp.approx.ftz.f
  // CHECK: %[[STEPS:.*]] = arith.mulf %[[INVERSE]],
  // CHECK: arith.mulf %[[STEPS]], %[[FACTOR]]
  // CHECK: vector.store %{{.*}}, %arg1
  // CHECK: } else {
  // CHECK-COUNT-1: nvvm.barrier0
  // CHECK: }
  // CHECK-NEXT: nvvm.barrier0
  // CHECK-NEXT: }
  // Written anew, so what was there is not read: again.
  // CHECK: scf.for %{{.*}} = %arg6 to %arg7 step %c1 {
  // CHECK: math.absf
  // CHECK: llvm.nvvm.rsqrt.approx
  // CHECK: return
  %y = memref.alloca() : memref<1x64xf32>
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !row
  tbq.rms_norm %x, %w epsilon 9.99999974E-6 features 64 into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, !row, memref<1x64xf32>, index, index, index) -> ()
  tbq.quantize_activations %y columns 64 group 64 into(%q, %scale, %sums) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<1x64xi8>, memref<1x16xf32>, memref<1x16xi32>, index, index, index) -> ()
  tbq.rms_norm %x, %w epsilon 9.99999974E-6 features 64 into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, !row, memref<1x64xf32>, index, index, index) -> ()
  tbq.quantize_activations %y columns 64 group 64 into(%q, %scale, %sums) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<1x64xi8>, memref<1x16xf32>, memref<1x16xi32>, index, index, index) -> ()
  return
}

// -----

// So does a layer norm. Not where there are more rows, if a token's digits may
// lie where another's row is still to be read, nor where the row is not the
// worker's own; nor where another op reads it, a barrier stands between, or
// another part is quantised. Where one is not, the others of a module are found
// one after the other too: all steps have the same bits.
!row = !tbq.packed<1x64, f32, tile 1>
// CHECK-LABEL: func.func @norms(
func.func @norms(%x: memref<1x64xf32>, %y: memref<1x64xf32>, %q: memref<1x64xi8>, %scale: memref<1x16xf32>,
    %sums: memref<1x16xi32>, %xs: memref<8x64xf32>, %qs: memref<8x64xi8>, %scales: memref<8x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index, %team: !tbq.team) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !row
  %a = memref.alloca() : memref<1x64xf32>
  %as = memref.alloca() : memref<8x64xf32>
  // CHECK: %[[MANY:.*]] = memref.alloca() : memref<8x64xf32>
  // CHECK: llvm.nvvm.rsqrt.approx
  // CHECK-NOT: store
  // CHECK: math.absf
  // CHECK: vector.store %{{.*}}, %arg2[
  tbq.layer_norm %x, %w, %w epsilon 9.99999974E-6 features 64 into(%a) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, !row, !row, memref<1x64xf32>, index, index, index) -> ()
  tbq.quantize_activations %a columns 64 group 64 into(%q, %scale, %sums) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<1x64xi8>, memref<1x16xf32>, memref<1x16xi32>, index, index, index) -> ()
  // CHECK: vector.store %{{.*}}, %[[MANY]][
  // CHECK: vector.load %[[MANY]][
  // CHECK: vector.store %{{.*}}, %arg6[
  tbq.rms_norm %xs, %w epsilon 9.99999974E-6 features 64 into(%as) count(%count) range(%begin, %end)
    : (memref<8x64xf32>, !row, memref<8x64xf32>, index, index, index) -> ()
  tbq.quantize_activations %as columns 64 group 64 into(%qs, %scales, %sums) count(%count) range(%begin, %end)
    : (memref<8x64xf32>, memref<8x64xi8>, memref<8x16xf32>, memref<1x16xi32>, index, index, index) -> ()
  // CHECK: vector.store %{{.*}}, %arg1[
  // CHECK: vector.load %arg1[
  tbq.rms_norm %x, %w epsilon 9.99999974E-6 features 64 into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, !row, memref<1x64xf32>, index, index, index) -> ()
  tbq.quantize_activations %y columns 64 group 64 into(%q, %scale, %sums) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<1x64xi8>, memref<1x16xf32>, memref<1x16xi32>, index, index, index) -> ()
  return
}
// Of several tokens it does where digits have bytes of their own, and the next
// row is loaded before one is used.
// CHECK-LABEL: func.func @rows(
func.func @rows(%arena: memref<8192xi8>, %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %c0 = arith.constant 0 : index
  %c2048 = arith.constant 2048 : index
  %c4096 = arith.constant 4096 : index
  %c6144 = arith.constant 6144 : index
  %c7168 = arith.constant 7168 : index
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !row
  // CHECK: %[[X:.*]] = memref.view %arg0[%c0]
  // CHECK: %[[FIRST:.*]] = arith.minsi %arg3, %c7
  // CHECK: %[[ROW:.*]] = vector.load %[[X]][%[[FIRST]],
  // CHECK: scf.for %[[TOKEN:.*]] = %arg3 to %arg4 step %c1 iter_args
  // CHECK: %[[NEXT:.*]] = arith.addi %[[TOKEN]], %c1
  // CHECK: vector.load %[[X]]
  // CHECK: llvm.nvvm.rsqrt.approx
  // CHECK-NOT: store
  // CHECK: math.absf
  // CHECK: scf.yield
  %x = memref.view %arena[%c0][] : memref<8192xi8> to memref<8x64xf32>
  %y = memref.view %arena[%c2048][] : memref<8192xi8> to memref<8x64xf32>
  %q = memref.view %arena[%c4096][] : memref<8192xi8> to memref<8x64xi8>
  %scale = memref.view %arena[%c6144][] : memref<8192xi8> to memref<8x16xf32>
  %sums = memref.view %arena[%c7168][] : memref<8192xi8> to memref<8x16xi32>
  tbq.rms_norm %x, %w epsilon 9.99999974E-6 features 64 into(%y) count(%count) range(%begin, %end)
    : (memref<8x64xf32>, !row, memref<8x64xf32>, index, index, index) -> ()
  tbq.quantize_activations %y columns 64 group 64 into(%q, %scale, %sums) count(%count) range(%begin, %end)
    : (memref<8x64xf32>, memref<8x64xi8>, memref<8x16xf32>, memref<8x16xi32>, index, index, index) -> ()
  // Digits are where other tokens' rows are.
  // CHECK: llvm.nvvm.rsqrt.approx
  // CHECK: vector.store {{.*}} memref<8x64xf32>
  // CHECK: math.absf
  %digits = memref.view %arena[%c0][] : memref<8192xi8> to memref<8x64xi8>
  tbq.rms_norm %x, %w epsilon 9.99999974E-6 features 64 into(%y) count(%count) range(%begin, %end)
    : (memref<8x64xf32>, !row, memref<8x64xf32>, index, index, index) -> ()
  tbq.quantize_activations %y columns 64 group 64 into(%digits, %scale, %sums) count(%count) range(%begin, %end)
    : (memref<8x64xf32>, memref<8x64xi8>, memref<8x16xf32>, memref<8x16xi32>, index, index, index) -> ()
  return
}
// What is lowered already, as linears are, writes a row anew or reads it.
// CHECK-LABEL: func.func @written(
func.func @written(%x: memref<1x64xf32>, %q: memref<1x64xi8>, %scale: memref<1x16xf32>, %sums: memref<1x16xi32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %c0 = arith.constant 0 : index
  %f = arith.constant 7.0 : f32
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !row
  // CHECK: %[[Y:.*]] = memref.alloca()
  %y = memref.alloca() : memref<1x64xf32>
  // CHECK-NOT: vector.store %{{.*}}, %[[Y]][
  // CHECK: memref.store %{{.*}}, %[[Y]][%c0, %c0]
  tbq.rms_norm %x, %w epsilon 9.99999974E-6 features 64 into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, !row, memref<1x64xf32>, index, index, index) -> ()
  tbq.quantize_activations %y columns 64 group 64 into(%q, %scale, %sums) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<1x64xi8>, memref<1x16xf32>, memref<1x16xi32>, index, index, index) -> ()
  memref.store %f, %y[%c0, %c0] : memref<1x64xf32>
  // CHECK: vector.store %{{.*}}, %[[Y]][
  // CHECK: memref.load %[[Y]][%c0, %c0]
  // CHECK: memref.store %{{.*}}, %[[Y]][%c0, %c0]
  tbq.rms_norm %x, %w epsilon 9.99999974E-6 features 64 into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, !row, memref<1x64xf32>, index, index, index) -> ()
  tbq.quantize_activations %y columns 64 group 64 into(%q, %scale, %sums) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<1x64xi8>, memref<1x16xf32>, memref<1x16xi32>, index, index, index) -> ()
  %old = memref.load %y[%c0, %c0] : memref<1x64xf32>
  memref.store %old, %y[%c0, %c0] : memref<1x64xf32>
  return
}
// CHECK-LABEL: func.func @apart(
func.func @apart(%x: memref<1x64xf32>, %q: memref<1x64xi8>, %scale: memref<1x16xf32>, %sums: memref<1x16xi32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index, %team: !tbq.team) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !row
  // CHECK: %[[A:.*]] = memref.alloca()
  // CHECK: %[[B:.*]] = memref.alloca()
  // CHECK: %[[C:.*]] = memref.alloca()
  %a = memref.alloca() : memref<1x64xf32>
  %b = memref.alloca() : memref<1x64xf32>
  %c = memref.alloca() : memref<1x64xf32>
  // CHECK: vector.store %{{.*}}, %[[A]][
  tbq.rms_norm %x, %w epsilon 9.99999974E-6 features 64 into(%a) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, !row, memref<1x64xf32>, index, index, index) -> ()
  // CHECK: vector.load %[[A]][
  tbq.quantize_activations %a columns 64 group 64 into(%q, %scale, %sums) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<1x64xi8>, memref<1x16xf32>, memref<1x16xi32>, index, index, index) -> ()
  tbq.add %a, %a into(%a) count(%count) range(%begin, %end) : (memref<1x64xf32>, memref<1x64xf32>, memref<1x64xf32>, index, index, index) -> ()
  // CHECK: vector.store %{{.*}}, %[[B]][
  tbq.rms_norm %x, %w epsilon 9.99999974E-6 features 64 into(%b) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, !row, memref<1x64xf32>, index, index, index) -> ()
  // CHECK: tbq.barrier
  // CHECK: vector.load %[[B]][
  tbq.barrier %team
  tbq.quantize_activations %b columns 64 group 64 into(%q, %scale, %sums) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<1x64xi8>, memref<1x16xf32>, memref<1x16xi32>, index, index, index) -> ()
  // CHECK: vector.store %{{.*}}, %[[C]][
  tbq.rms_norm %x, %w epsilon 9.99999974E-6 features 64 into(%c) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, !row, memref<1x64xf32>, index, index, index) -> ()
  // CHECK: vector.load %[[C]][
  tbq.quantize_activations %c columns 64 group 64 into(%q, %scale, %sums) count(%count) range(%begin, %count)
    : (memref<1x64xf32>, memref<1x64xi8>, memref<1x16xf32>, memref<1x16xi32>, index, index, index) -> ()
  return
}

// -----

// A query head is the block's, eight keys a warp's at a time. Of f16, a lane
// loads all of a feature of these, and eight features of a value.
!cache = !tbq.cache<2 layers, 1 by 32, 64 tokens, f16>
// CHECK: memref.global "private" @tbq_shared_attention : memref<544xf32, 3>
// CHECK-LABEL: func.func @attention(
func.func @attention(%q: memref<1x64xf32>, %cache: memref<32768xi8>, %layer: index, %position: index, %y: memref<1x64xf32>,
    %count: index, %begin: index, %end: index) {
  // CHECK: scf.for %{{.*}} = %arg6 to %arg7 step %c1 {
  // CHECK: memref.load %arg0
  // CHECK: scf.for %[[BLOCK:.*]] = %{{.*}} to %{{.*}} step %c16 iter_args
  // Eight of sixteen keys that lie side by side.
  // CHECK: arith.divui %[[BLOCK]], %c2
  // CHECK: arith.remui %[[BLOCK]], %c2
  // All of a block's bytes, before any is used.
  // CHECK-COUNT-2: vector.load %arg1[%{{.*}}] {alignment = 16 : i64} : memref<32768xi8>, vector<16xi8>
  // CHECK-NOT: vector.load
  // CHECK: arith.extf %{{.*}} : f16 to f32
  // CHECK-NOT: arith.select
  // CHECK-COUNT-8: math.fma
  // Lanes 1, 2 and 4 apart divide eight keys' sums; those 8 and 16 apart have the
  // same.
  // CHECK-COUNT-9: nvvm.shfl.sync bfly
  // CHECK: arith.cmpi slt
  // CHECK: arith.select
  // CHECK: math.exp
  // CHECK: nvvm.shfl.sync idx
  // CHECK-NOT: nvvm.shfl.sync idx
  // CHECK: scf.yield
  // The eight lanes that have the same features.
  // CHECK-COUNT-7: nvvm.shfl.sync bfly
  // CHECK: memref.store %{{.*}} : memref<544xf32, 3>
  // CHECK: nvvm.barrier0
  // Each lane has a warp's share to tell.
  // CHECK: math.exp
  // CHECK-NOT: math.exp
  // CHECK-COUNT-16: nvvm.shfl.sync idx
  // CHECK-COUNT-16: math.fma
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
  // CHECK-COUNT-2: vector.load %arg6[%{{.*}}] {alignment = 16 : i64} : memref<1x32xf32>, vector<4xf32>
  // CHECK: scf.for
  // One product for all the lane's keys.
  // CHECK-COUNT-8: math.fma
  // CHECK: %[[OWN:.*]] = math.fma %{{.*}}, %[[ROUNDED]], %{{.*}} : f32
  // CHECK: %[[IS:.*]] = arith.cmpi eq, %{{.*}}, %[[POSITION:.*]] : index
  // CHECK: arith.select %[[IS]], %[[OWN]], %{{.*}} : f32
  // CHECK-COUNT-7: arith.select %{{.*}}, %[[OWN]],
  // CHECK: nvvm.shfl.sync idx
  // CHECK: %[[IS:.*]] = arith.cmpi eq, %{{.*}}, %[[POSITION]] : index
  // CHECK-COUNT-8: arith.select %[[IS]], %{{.*}}, %{{.*}} : f32
  tbq.attention %q, %cache[%layer] at %position key(%key) value(%value) heads 2 scale 0.176776692 !cache into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<32768xi8>, index, index, memref<1x32xf32>, memref<1x32xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// -----

// The warp's first keys and values of the block's first head are loaded before
// the barrier that the query waits for, the next ones behind those before them;
// those of other heads when it is their turn.
!cache = !tbq.cache<2 layers, 1 by 32, 64 tokens, f16>
// CHECK-LABEL: func.func @loaded_before_a_barrier(
func.func @loaded_before_a_barrier(%q: memref<1x64xf32>, %cache: memref<32768xi8>, %layer: index, %position: index, %y: memref<1x64xf32>,
    %key: memref<1x32xf32>, %value: memref<1x32xf32>, %count: index, %begin: index, %end: index, %team: !tbq.team) {
  // CHECK: tbq.barrier %arg10 {tbq.arrives}
  // CHECK: %[[ANY:.*]] = arith.cmpi slt, %arg8, %arg9
  // CHECK: arith.andi %[[ANY]],
  // CHECK: %[[LOADED:.*]]:2 = scf.if %{{.*}} -> (vector<8xf16>, vector<8xf16>)
  // CHECK-COUNT-2: vector.load %arg1
  // CHECK-NOT: vector.load
  // CHECK: tbq.barrier %arg10 {tbq.waits}
  // CHECK-NOT: vector.load %arg1
  // CHECK: scf.if %[[ANY]] {
  // CHECK: scf.for {{.*}}iter_args({{.*}} = %[[LOADED]]#0, %{{.*}} = %[[LOADED]]#1)
  // CHECK: vector.extract
  // CHECK-COUNT-2: vector.load %arg1
  // CHECK-NOT: vector.load
  // CHECK: nvvm.barrier0
  // The other heads.
  // CHECK: %[[NEXT:.*]] = arith.addi %arg8, %c1
  // CHECK: scf.for %{{.*}} = %[[NEXT]] to %arg9 step %c1 {
  // CHECK-COUNT-2: vector.load %arg1
  tbq.barrier %team
  tbq.attention %q, %cache[%layer] at %position key(%key) value(%value) heads 2 scale 0.176776692 !cache into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<32768xi8>, index, index, memref<1x32xf32>, memref<1x32xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// -----

// Rope that makes rows for attention alone goes into it, pair by pair, and so
// does what stores the token's key and value: the last warp of the first head
// that reads them.
!cache = !tbq.cache<2 layers, 1 by 32, 64 tokens, f16>
!table = !tbq.packed<64x32, f32, tile 1>
// CHECK-LABEL: func.func @rotated(
func.func @rotated(%q: memref<1x64xf32>, %cache: memref<32768xi8>, %layer: index, %position: index, %y: memref<1x64xf32>,
    %key: memref<1x32xf32>, %value: memref<1x32xf32>, %count: index, %begin: index, %end: index, %section: memref<65536xi8>) {
  %angles = tbq.placed_weight [0] in %section : memref<65536xi8> : !table
  %qs = memref.alloca() : memref<1x64xf32>
  %ks = memref.alloca() : memref<1x32xf32>
  // CHECK: scf.for %[[UNIT:.*]] = %arg8 to %arg9 step %c1 {
  // CHECK: memref.load %arg0
  // The other of the pair is another lane's.
  // CHECK: memref.load %arg0
  // CHECK: %[[PRODUCT:.*]] = arith.mulf
  // CHECK: %[[NEGATIVE:.*]] = arith.negf %[[PRODUCT]] : f32
  // CHECK: arith.select %{{.*}}, %[[NEGATIVE]], %[[PRODUCT]] : f32
  // CHECK: memref.load %arg5
  // CHECK: vector.load %arg6
  // CHECK: arith.cmpi eq, %{{.*}}, %c15 : index
  // CHECK: scf.if
  // CHECK-COUNT-9: vector.store %{{.*}}, %arg1[%{{.*}}] {alignment = 2 : i64} : memref<32768xi8>, vector<2xi8>
  // CHECK-NOT: vector.store
  // CHECK: scf.for
  // CHECK: arith.divf
  // CHECK: memref.store %{{.*}}, %arg4
  // CHECK: nvvm.barrier0
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  tbq.rope %q, %angles at %position heads 2 x 32 into(%qs) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, !table, index, memref<1x64xf32>, index, index, index) -> ()
  tbq.rope %key, %angles at %position heads 1 x 32 into(%ks) count(%count) range(%begin, %end)
    : (memref<1x32xf32>, !table, index, memref<1x32xf32>, index, index, index) -> ()
  tbq.attention %qs, %cache[%layer] at %position key(%ks) value(%value) heads 2 scale 0.176776692 !cache into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<32768xi8>, index, index, memref<1x32xf32>, memref<1x32xf32>, memref<1x64xf32>, index, index, index) -> ()
  tbq.append_cache %ks, %value, %cache[%layer] at %position tokens %count !cache count(%count) range(%begin, %end)
    : (memref<1x32xf32>, memref<1x32xf32>, memref<32768xi8>, index, index, index, index, index, index) -> ()
  return
}

// -----

// Not rows that something else reads, or of memory that all blocks have; each
// phase of a function of layers asks anew for its thread, which may not be known
// before.
!cache = !tbq.cache<2 layers, 1 by 32, 64 tokens, f16>
!table = !tbq.packed<64x32, f32, tile 1>
// CHECK-LABEL: func.func private @rotated_apart(
func.func private @rotated_apart(%q: memref<1x64xf32>, %cache: memref<32768xi8>, %layer: index, %position: index, %y: memref<1x64xf32>,
    %key: memref<1x32xf32>, %value: memref<1x32xf32>, %count: index, %begin: index, %end: index, %section: memref<65536xi8>,
    %ks: memref<1x32xf32>, %team: !tbq.team) {
  %angles = tbq.placed_weight [0] in %section : memref<65536xi8> : !table
  // CHECK: %[[NUMBER:.*]] = nvvm.read.ptx.sreg.tid.x
  // CHECK: nvvm.shfl.sync idx %{{.*}}, %[[NUMBER]],
  // CHECK: %[[QS:.*]] = memref.alloca() : memref<1x64xf32>
  %qs = memref.alloca() : memref<1x64xf32>
  // CHECK: vector.store %{{.*}}, %[[QS]]
  // CHECK: vector.store %{{.*}}, %arg11
  // CHECK: scf.for
  // CHECK: vector.store %{{.*}}, %arg1
  // CHECK: nvvm.shfl.sync idx %{{.*}}, %[[NUMBER]],
  // CHECK-NEXT: tbq.barrier
  // CHECK-NOT: nvvm.read.ptx.sreg.tid.x
  // CHECK: return
  tbq.rope %q, %angles at %position heads 2 x 32 into(%qs) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, !table, index, memref<1x64xf32>, index, index, index) -> ()
  tbq.rope %key, %angles at %position heads 1 x 32 into(%ks) count(%count) range(%begin, %end)
    : (memref<1x32xf32>, !table, index, memref<1x32xf32>, index, index, index) -> ()
  tbq.attention %qs, %cache[%layer] at %position key(%ks) value(%value) heads 2 scale 0.176776692 !cache into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<32768xi8>, index, index, memref<1x32xf32>, memref<1x32xf32>, memref<1x64xf32>, index, index, index) -> ()
  tbq.append_cache %ks, %value, %cache[%layer] at %position tokens %count !cache count(%count) range(%begin, %end)
    : (memref<1x32xf32>, memref<1x32xf32>, memref<32768xi8>, index, index, index, index, index, index) -> ()
  tbq.barrier %team
  tbq.add %qs, %qs into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xf32>, memref<1x64xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// -----

// CHECK-LABEL: func.func @relu(
func.func @relu(%x: memref<1x16xf32>, %y: memref<1x16xf32>, %count: index, %begin: index, %end: index) {
  // CHECK: %[[FOUR:.*]] = vector.load %arg0
  // CHECK: %[[X:.*]] = vector.extract %[[FOUR]][0]
  // CHECK: arith.cmpf olt, %[[X]], %{{.*}}
  // CHECK: vector.store %{{.*}}, %arg1
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
