// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=vnni permute fma" --canonicalize --cse --split-input-file | FileCheck %s --check-prefixes=CHECK,VNNI
// RUN: tbq-opt %s --tbq-lower-linear-to-cpu --canonicalize --cse --split-input-file | FileCheck %s --check-prefixes=CHECK,PLAIN
// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=vnni fma" --canonicalize --cse --split-input-file | FileCheck %s --check-prefix=AHEAD
// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=vnni fma" --canonicalize --cse --split-input-file | FileCheck %s --check-prefix=NEAR
// RUN: not tbq-opt %s --tbq-lower-linear-to-cpu="dot=avx" --split-input-file 2>&1 | FileCheck %s --check-prefix=BAD
// One generator for every layout: tiles, groups, steps, terms.

// BAD: error: unknown dot product 'avx'

// Decode, int8, ternary: 576 columns are four groups of 128 and one of 64. A
// step of 16 columns takes four dot products, one for each two bits of a byte;
// the digits stay where they are, and each sum is shifted once, after the loop.
!ternary = !tbq.packed<48x576, digits [2], terms [[1, -1], [0, 1]], group 128, tile 16>
// CHECK-LABEL: func.func @decode_i8(
func.func @decode_i8(%x: memref<1x576xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x48xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // VNNI-DAG: %[[M0:.*]] = arith.constant dense<50529027> : vector<16xi32>
  // VNNI-DAG: %[[M1:.*]] = arith.constant dense<202116108> : vector<16xi32>
  // VNNI-DAG: %[[M2:.*]] = arith.constant dense<808464432> : vector<16xi32>
  // VNNI-DAG: %[[M3:.*]] = arith.constant dense<-1061109568> : vector<16xi32>
  // VNNI-DAG: %[[TWO:.*]] = arith.constant dense<2> : vector<16xi32>
  // VNNI-DAG: %[[FOUR:.*]] = arith.constant dense<4> : vector<16xi32>
  // VNNI-DAG: %[[SIX:.*]] = arith.constant dense<6> : vector<16xi32>
  // CHECK: %[[BYTES:.*]] = tbq.packed_bytes %{{.*}} -> memref<7872xi8>
  // The worker's tiles, then tokens, then groups.
  // CHECK: scf.for %[[TILE:.*]] = %arg6 to %arg7 step %c1 {
  // CHECK: arith.muli %[[TILE]], %c2624
  // CHECK: scf.for %[[TOKEN:.*]] = %c0 to %arg5 step %c1 {
  // CHECK: scf.for %[[GROUP:.*]] = %c0 to %c4 step %c1 iter_args(%[[Y:.*]] = %{{.*}}) -> (vector<16xf32>) {
  // VNNI: %[[CODES:.*]] = vector.load %[[BYTES]][%{{.*}}] : memref<7872xi8>, vector<64xi8>
  // VNNI-NEXT: %[[LANES:.*]] = vector.bitcast %[[CODES]] : vector<64xi8> to vector<16xi32>
  // VNNI-NEXT: %[[MASKED:.*]] = arith.andi %[[LANES]], %[[M0]]
  // VNNI-NEXT: %[[DIGITS:.*]] = vector.bitcast %[[MASKED]] : vector<16xi32> to vector<64xi8>
  // VNNI-NEXT: %[[FOURX:.*]] = vector.load %arg0[%[[TOKEN]], %{{.*}}] : memref<1x576xi8>, vector<4xi8>
  // VNNI: %[[X:.*]] = vector.bitcast %{{.*}} : vector<16xi32> to vector<64xi8>
  // VNNI-NEXT: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"(%{{.*}}, %[[DIGITS]], %[[X]]) : (vector<16xi32>, vector<64xi8>, vector<64xi8>) -> vector<16xi32>
  // VNNI: arith.andi %[[LANES]], %[[M1]]
  // VNNI-NOT: arith.sh
  // VNNI: vpdpbusd
  // VNNI: arith.andi %[[LANES]], %[[M2]]
  // VNNI-NOT: arith.sh
  // VNNI: vpdpbusd
  // VNNI: arith.andi %[[LANES]], %[[M3]]
  // VNNI-NOT: arith.sh
  // VNNI-COUNT-28: vpdpbusd
  // VNNI-NOT: vpdpbusd
  // VNNI: vpdpbusd
  // VNNI-NOT: vpdpbusd
  // VNNI: arith.shrsi %{{.*}}, %[[TWO]]
  // VNNI: arith.shrsi %{{.*}}, %[[FOUR]]
  // VNNI: arith.shrsi %{{.*}}, %[[SIX]]
  // VNNI: %[[D:.*]] = arith.addi
  // The brackets D - S and S, exact in int32, each converted once.
  // VNNI: %[[S0:.*]] = memref.load %arg1[%[[TOKEN]], %[[GROUP]]]
  // VNNI-NEXT: %[[S:.*]] = vector.broadcast %[[S0]]
  // VNNI-NEXT: %[[DS:.*]] = arith.subi %[[D]], %[[S]]
  // VNNI-NEXT: %[[FDS:.*]] = arith.sitofp %[[DS]]
  // VNNI-NEXT: %[[Y1:.*]] = math.fma %[[FDS]], %{{.*}}, %[[Y]]
  // VNNI-NEXT: %[[FS:.*]] = arith.sitofp %[[S]]
  // VNNI-NEXT: %[[Y2:.*]] = math.fma %[[FS]], %{{.*}}, %[[Y1]]
  // VNNI-NEXT: scf.yield %[[Y2]]

  // A group is nine cache lines, eight of digits and one of coefficients: each
  // is asked for once into the second cache, and once, later, into the first.
  // AHEAD-LABEL: func.func @decode_i8(
  // AHEAD: iter_args
  // AHEAD-COUNT-9: memref.prefetch %{{.*}}, read, locality<2>, data
  // AHEAD-NOT: memref.prefetch {{.*}} locality<2>
  // AHEAD: scf.yield
  // NEAR-LABEL: func.func @decode_i8(
  // NEAR: iter_args
  // NEAR-COUNT-9: memref.prefetch %{{.*}}, read, locality<3>, data
  // NEAR-NOT: memref.prefetch {{.*}} locality<3>
  // NEAR: scf.yield

  // Without the instruction each column is a multiplication, in a loop over the
  // eight steps of a group.
  // PLAIN-NOT: call_intrinsic
  // PLAIN: scf.for %{{.*}} = %c0 to %c8 step %c1 iter_args
  // PLAIN-COUNT-16: arith.muli %{{.*}} : vector<16xi32>
  // PLAIN-NOT: arith.muli %{{.*}} : vector<16xi32>
  // PLAIN-NOT: math.fma
  // PLAIN: scf.yield

  // The short group follows the loop: four steps.
  // VNNI-COUNT-16: vpdpbusd
  // VNNI-NOT: vpdpbusd
  // PLAIN: scf.for %{{.*}} = %c0 to %c4 step %c1 iter_args
  // PLAIN-COUNT-16: arith.muli %{{.*}} : vector<16xi32>
  // PLAIN-NOT: arith.muli %{{.*}} : vector<16xi32>
  // CHECK: memref.load %arg2[%[[TOKEN]], %c0]
  // CHECK: arith.mulf
  // CHECK: %[[RESIDUAL:.*]] = vector.load %arg3[%[[TOKEN]], %{{.*}}] : memref<1x48xf32>, vector<16xf32>
  // CHECK-NEXT: %[[OUT:.*]] = arith.addf %{{.*}}, %[[RESIDUAL]]
  // CHECK-NEXT: vector.store %[[OUT]], %arg3[%[[TOKEN]], %{{.*}}]
  // CHECK-NOT: tbq.packed_linear
  %w = tbq.placed_weight [64] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) residual(%y) into(%y) count(%count) range(%begin, %end)
    : (memref<1x576xi8>, !ternary, memref<1x16xi32>, memref<1x16xf32>, memref<1x48xf32>, memref<1x48xf32>, index, index, index) -> ()
  return
}

// -----

// Prefill: eight tokens' sums in registers; rows past the count are not stored.
// With VNNI there are blocks, which lower-linear-block.mlir is about.
!ternary = !tbq.packed<16x16, digits [2], terms [[1, -1]], group 16, tile 16>
// CHECK-LABEL: func.func @prefill_i8(
func.func @prefill_i8(%x: memref<16x16xi8>, %sums: memref<16x16xi32>, %scale: memref<16x16xf32>, %y: memref<16x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // PLAIN: scf.for
  // PLAIN: scf.for %[[TOKEN:.*]] = %c0 to %arg5 step %c8
  // PLAIN-NOT: memref.prefetch
  // PLAIN-COUNT-128: arith.muli %{{.*}} : vector<16xi32>
  // PLAIN-NOT: arith.muli %{{.*}} : vector<16xi32>
  // PLAIN: %[[EXISTS:.*]] = arith.cmpi ult, %[[TOKEN]], %arg5
  // PLAIN-NEXT: scf.if %[[EXISTS]] {
  // PLAIN-COUNT-8: vector.store %{{.*}} : memref<16x16xf32>
  // PLAIN-NOT: vector.store
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<16x16xi8>, !ternary, memref<16x16xi32>, memref<16x16xf32>, memref<16x16xf32>, index, index, index) -> ()
  return
}

// -----

// i16 activations are two digits: codes are masked once and multiplied with
// both; the high digits' dot product counts 256 times.
!ternary = !tbq.packed<16x16, digits [2], terms [[1, -1]], group 16, tile 16>
// CHECK-LABEL: func.func @decode_i16(
func.func @decode_i16(%h: memref<1x16xi8>, %l: memref<1x16xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // VNNI-DAG: %[[EIGHT:.*]] = arith.constant dense<8> : vector<16xi32>
  // VNNI: %[[CODES:.*]] = vector.bitcast %{{.*}} : vector<64xi8> to vector<16xi32>
  // VNNI: arith.andi %[[CODES]]
  // VNNI: vector.load %arg0[%[[TOKEN:.*]], %c0] : memref<1x16xi8>, vector<4xi8>
  // VNNI: %[[H0:.*]] = llvm.call_intrinsic {{.*}}vpdpbusd{{.*}}(%[[ZERO:.*]], %[[DIGITS:.*]], %
  // VNNI: vector.load %arg1[%[[TOKEN]], %c0] : memref<1x16xi8>, vector<4xi8>
  // VNNI: %[[L0:.*]] = llvm.call_intrinsic {{.*}}vpdpbusd{{.*}}(%[[ZERO]], %[[DIGITS]], %
  // VNNI: arith.andi %[[CODES]]
  // VNNI-COUNT-2: vpdpbusd
  // VNNI: arith.andi %[[CODES]]
  // VNNI-COUNT-2: vpdpbusd
  // VNNI: arith.andi %[[CODES]]
  // VNNI-COUNT-2: vpdpbusd
  // VNNI-NOT: vpdpbusd
  // VNNI: arith.shrsi
  // VNNI-NEXT: arith.addi %[[H0]]
  // VNNI-COUNT-2: arith.shrsi
  // VNNI: %[[D_H:.*]] = arith.addi
  // VNNI-NEXT: %[[HIGH:.*]] = arith.shli %[[D_H]], %[[EIGHT]]
  // VNNI-NEXT: arith.shrsi
  // VNNI-NEXT: arith.addi %[[L0]]
  // VNNI-COUNT-2: arith.shrsi
  // VNNI: %[[D_L:.*]] = arith.addi
  // VNNI-NEXT: %[[D:.*]] = arith.addi %[[HIGH]], %[[D_L]]
  // VNNI: %[[S:.*]] = vector.broadcast %{{.*}} : i32 to vector<16xi32>
  // VNNI: arith.subi %[[D]], %[[S]]

  // A product of each column with the whole number, 256 h + l.
  // PLAIN: %[[H:.*]] = memref.load %arg0[%{{.*}}, %c0] : memref<1x16xi8>
  // PLAIN-NEXT: %[[HW:.*]] = arith.extsi %[[H]] : i8 to i32
  // PLAIN-NEXT: %[[H256:.*]] = arith.muli %[[HW]], %c256_i32
  // PLAIN-NEXT: %[[L:.*]] = memref.load %arg1[%{{.*}}, %c0] : memref<1x16xi8>
  // PLAIN-NEXT: %[[LW:.*]] = arith.extsi %[[L]] : i8 to i32
  // PLAIN-NEXT: %[[Q:.*]] = arith.addi %[[H256]], %[[LW]]
  // PLAIN-NEXT: vector.broadcast %[[Q]] : i32 to vector<16xi32>
  // PLAIN-COUNT-16: arith.muli %{{.*}} : vector<16xi32>
  // PLAIN-NOT: arith.muli %{{.*}} : vector<16xi32>
  // CHECK: vector.store
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %h, %w low(%l) sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x16xi8>, !ternary, memref<1x16xi8>, memref<1x16xi32>, memref<1x16xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}

// -----

// Bits: half of the eight slots are shifted to share the places, and the sums,
// of the others, four for each digit.
!binary = !tbq.packed<16x32, digits [1], terms [[2, -1]], group 32, tile 16>
// CHECK-LABEL: func.func @bits_i16(
func.func @bits_i16(%h: memref<1x32xi8>, %l: memref<1x32xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // VNNI-DAG: %[[FOUR:.*]] = arith.constant dense<4> : vector<16xi32>
  // VNNI: %[[CODES:.*]] = vector.bitcast %{{.*}} : vector<64xi8> to vector<16xi32>
  // VNNI-NOT: arith.shrui
  // VNNI: %[[H0:.*]] = llvm.call_intrinsic {{.*}}vpdpbusd
  // VNNI-NOT: arith.shrui
  // VNNI-COUNT-7: vpdpbusd
  // VNNI: arith.shrui %[[CODES]], %[[FOUR]]
  // VNNI-NOT: arith.shrui
  // VNNI: llvm.call_intrinsic {{.*}}vpdpbusd{{.*}}(%[[H0]],
  // VNNI-NOT: arith.shrui
  // VNNI-COUNT-7: vpdpbusd
  // VNNI-NOT: {{arith.shrui|vpdpbusd}}
  // VNNI-COUNT-3: arith.shrsi
  // VNNI: arith.shli
  // VNNI-COUNT-3: arith.shrsi
  // VNNI-NOT: arith.shrsi
  // CHECK: vector.store
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !binary
  tbq.packed_linear %h, %w low(%l) sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x32xi8>, !binary, memref<1x32xi8>, memref<1x16xi32>, memref<1x16xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}

// -----

// Prefill.
!ternary = !tbq.packed<16x16, digits [2], terms [[1, -1]], group 16, tile 16>
// CHECK-LABEL: func.func @prefill_i16(
func.func @prefill_i16(%h: memref<16x16xi8>, %l: memref<16x16xi8>, %sums: memref<16x16xi32>, %scale: memref<16x16xf32>, %y: memref<16x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // PLAIN: scf.for %{{.*}} = %c0 to %arg6 step %c8
  // PLAIN-COUNT-128: arith.muli %{{.*}} : vector<16xi32>
  // PLAIN-NOT: arith.muli %{{.*}} : vector<16xi32>
  // PLAIN-COUNT-8: vector.store %{{.*}} : memref<16x16xf32>
  // PLAIN-NOT: vector.store
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %h, %w low(%l) sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<16x16xi8>, !ternary, memref<16x16xi8>, memref<16x16xi32>, memref<16x16xf32>, memref<16x16xf32>, index, index, index) -> ()
  return
}

// -----

// f32 activations: digits become floats; two accumulators take turns.
!ternary = !tbq.packed<16x16, digits [2], terms [[1, -1]], group 16, tile 16>
// CHECK-LABEL: func.func @decode_f32(
func.func @decode_f32(%x: memref<1x16xf32>, %sums: memref<1x16xf32>, %y: memref<1x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK-NOT: vpdpbusd
  // VNNI-COUNT-16: math.fma
  // VNNI: %[[D:.*]] = arith.addf
  // VNNI-NOT: arith.muli %{{.*}} : vector<16xi32>
  // PLAIN-NOT: math.fma
  // PLAIN-COUNT-16: arith.sitofp %{{.*}} : vector<16xi32> to vector<16xf32>
  // PLAIN-NOT: arith.sitofp
  // PLAIN: %[[D:.*]] = arith.addf
  // CHECK: %[[S:.*]] = memref.load %arg1[%{{.*}}, %c0]
  // CHECK: vector.store
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !ternary
  tbq.packed_linear %x, %w sums(%sums) into(%y) count(%count) range(%begin, %end)
    : (memref<1x16xf32>, !ternary, memref<1x16xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}

// -----

// bf16 weights with a bias: a column is 16 weights, widened by a shift.
!matrix = !tbq.packed<16x6, bf16, tile 16, bias>
// CHECK-LABEL: func.func @float(
func.func @float(%x: memref<1x16xf32>, %y: memref<1x16xf32>, %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // CHECK-DAG: %[[SIXTEEN:.*]] = arith.constant dense<16> : vector<16xi32>
  // CHECK: tbq.packed_bytes %{{.*}} -> memref<256xi8>
  // CHECK: vector.load %{{.*}} : memref<256xi8>, vector<32xi8>
  // CHECK: arith.extui %{{.*}} : vector<16xi16> to vector<16xi32>
  // CHECK-NEXT: arith.shli %{{.*}}, %[[SIXTEEN]]
  // VNNI-COUNT-6: math.fma
  // VNNI-NOT: math.fma
  // PLAIN-COUNT-6: arith.mulf
  // PLAIN-NOT: math.fma
  // CHECK: %[[BIAS:.*]] = vector.bitcast %{{.*}} : vector<64xi8> to vector<16xf32>
  // CHECK: %[[OUT:.*]] = arith.addf %{{.*}}, %[[BIAS]]
  // CHECK-NEXT: vector.store %[[OUT]]
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !matrix
  tbq.packed_linear %x, %w into(%y) count(%count) range(%begin, %end) : (memref<1x16xf32>, !matrix, memref<1x16xf32>, index, index, index) -> ()
  return
}

// -----

// Planes of other widths, by the same generator: 32 columns are one step of 1
// bit (a dot product for each bit of a byte) and eight of 8 bits, which need no
// mask. y = a (16 D0 - D1). In so short a group a shift of the step costs less
// than four more sums.
!planes = !tbq.packed<16x32, digits [1, 8], terms [[16, -1, 0]], group 32, tile 16>
// CHECK-LABEL: func.func @planes(
func.func @planes(%x: memref<1x32xi8>, %scale: memref<1x16xf32>, %y: memref<1x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // VNNI-DAG: %[[BIT0:.*]] = arith.constant dense<16843009> : vector<16xi32>
  // VNNI-DAG: %[[BIT3:.*]] = arith.constant dense<134744072> : vector<16xi32>
  // VNNI-DAG: %[[FOUR:.*]] = arith.constant dense<4> : vector<16xi32>
  // VNNI-DAG: %[[FACTOR:.*]] = arith.constant dense<16> : vector<16xi32>
  // VNNI: %[[C:.*]] = vector.bitcast %{{.*}} : vector<64xi8> to vector<16xi32>
  // VNNI: arith.andi %[[C]], %[[BIT0]]
  // VNNI-COUNT-3: vpdpbusd
  // VNNI: arith.andi %[[C]], %[[BIT3]]
  // VNNI: vpdpbusd
  // VNNI-NOT: {{vpdpbusd|arith.shrsi}}
  // VNNI: %[[HALF:.*]] = arith.shrui %[[C]], %[[FOUR]]
  // VNNI-NEXT: arith.andi %[[HALF]], %[[BIT0]]
  // VNNI-NOT: arith.shr
  // VNNI-COUNT-4: vpdpbusd
  // VNNI-NOT: {{vpdpbusd|arith.shru}}
  // VNNI-COUNT-3: arith.shrsi
  // VNNI-NOT: {{arith.shrsi|arith.andi}}
  // VNNI-COUNT-8: vpdpbusd
  // VNNI-NOT: {{arith.shrsi|arith.andi|vpdpbusd}}
  // VNNI: %[[SCALED:.*]] = arith.muli %{{.*}}, %[[FACTOR]] : vector<16xi32>
  // VNNI: arith.subi %[[SCALED]], %{{.*}} : vector<16xi32>
  // PLAIN-COUNT-65: arith.muli %{{.*}} : vector<16xi32>
  // PLAIN-NOT: arith.muli %{{.*}} : vector<16xi32>
  // PLAIN: arith.subi %{{.*}} : vector<16xi32>
  // CHECK: vector.store
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !planes
  tbq.packed_linear %x, %w activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x32xi8>, !planes, memref<1x16xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}

// -----

// Bits of a longer group: each of the eight slots has a sum, and no step is
// shifted.
!bits = !tbq.packed<16x256, digits [1], terms [[1, 0]], group 256, tile 16>
// CHECK-LABEL: func.func @bits_of_256(
func.func @bits_of_256(%x: memref<1x256xi8>, %scale: memref<1x16xf32>, %y: memref<1x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // VNNI-NOT: arith.shr
  // VNNI-COUNT-64: vpdpbusd
  // VNNI-NOT: {{vpdpbusd|arith.shrui}}
  // VNNI-COUNT-7: arith.shrsi
  // VNNI-NOT: arith.shr
  // CHECK: vector.store
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !bits
  tbq.packed_linear %x, %w activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x256xi8>, !bits, memref<1x16xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}

// -----

// A long group is a loop of 16 steps a round, with the rest after it.
!row = !tbq.packed<16x800, digits [2], terms [[1, -1]], group 800, tile 16>
// CHECK-LABEL: func.func @long_group(
func.func @long_group(%x: memref<1x800xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // Three rounds, then two steps.
  // VNNI: scf.for %{{.*}} = %c0 to %c48 step %c16 iter_args(
  // VNNI-COUNT-64: vpdpbusd
  // VNNI-NOT: vpdpbusd
  // VNNI: scf.yield
  // VNNI-COUNT-8: vpdpbusd
  // VNNI-NOT: vpdpbusd
  // CHECK: vector.store
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !row
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x800xi8>, !row, memref<1x16xi32>, memref<1x16xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}

// -----

// Forty columns of one bit: a whole step, then two slots of the next; past the
// last column there is nothing to read.
!binary = !tbq.packed<16x40, digits [1], terms [[2, -1]], group 40, tile 16>
// CHECK-LABEL: func.func @columns_past_the_last(
func.func @columns_past_the_last(%x: memref<1x48xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // VNNI-COUNT-10: vpdpbusd
  // VNNI-NOT: vpdpbusd
  // PLAIN-COUNT-41: arith.muli %{{.*}} : vector<16xi32>
  // PLAIN-NOT: arith.muli %{{.*}} : vector<16xi32>
  // CHECK: vector.store
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !binary
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x48xi8>, !binary, memref<1x16xi32>, memref<1x16xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}

// -----

// Salient digits: the table says where a tile begins. A block says how many
// digits each row has; rounds take up to four of a row, spread by what is left
// of its count, and look up the activations of their columns. The row's zero
// point, times the masked sum, is taken off their dot product.
!salient = !tbq.packed<48x64, digits [1, 1, 8], terms [[2, 1, 0, -1], [0, -1, 0, 1], [0, 0, 1, 0]], salient, group 32, tile 16>
// CHECK-LABEL: func.func @salient_i8(
func.func @salient_i8(%x: memref<1x64xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x48xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  // At most: a table of 64 bytes, three tiles of a 64-byte head and two groups of
  // 64 + 2 x 32 + 16, all digits and their columns, and what aligns the tiles.
  // CHECK: %[[BYTES:.*]] = tbq.packed_bytes %{{.*}} -> memref<7488xi8>
  // CHECK: scf.for %[[TILE:.*]] = %arg6 to %arg7 step %c1 {
  // CHECK: %[[ENTRY:.*]] = arith.muli %[[TILE]], %c4
  // CHECK: vector.load %[[BYTES]][%[[ENTRY]]] : memref<7488xi8>, vector<4xi8>
  // CHECK: %[[UNITS:.*]] = arith.index_castui
  // CHECK: %[[START:.*]] = arith.muli %[[UNITS]], %c64
  // CHECK: scf.for %[[TOKEN:.*]] =
  // The head: coefficients of the rows, their zero points; then the groups.
  // CHECK: %[[HALVES:.*]] = vector.load %[[BYTES]][%[[START]]] : memref<7488xi8>, vector<32xi8>
  // CHECK: %[[Z:.*]] = arith.addi %[[START]], %c32
  // CHECK: vector.load %[[BYTES]][%[[Z]]] : memref<7488xi8>, vector<32xi8>
  // CHECK: %[[ZERO:.*]] = arith.extsi %{{.*}} : vector<16xi16> to vector<16xi32>
  // CHECK: %[[FIRST:.*]] = arith.addi %[[START]], %c64
  // CHECK: scf.for %[[GROUP:.*]] = {{.*}} iter_args(%[[Y:.*]] = %{{.*}}, %[[AT:.*]] = %[[FIRST]]) -> (vector<16xf32>, index) {
  // CHECK: %[[BLOCK:.*]] = arith.addi %[[AT]], %c128
  // A block of 32 columns: one vector holds its activations.
  // VNNI: %[[TABLE:.*]] = vector.maskedload %arg0
  // CHECK: %[[COUNTS:.*]] = vector.load %[[BYTES]][%[[BLOCK]]] : memref<7488xi8>, vector<16xi8>
  // CHECK: %[[MOST:.*]] = vector.reduction <maxui>, %[[COUNTS]]
  // CHECK: arith.addi %{{.*}}, %c3
  // CHECK: %[[ROUNDS:.*]] = arith.divui %{{.*}}, %c4
  // CHECK: %[[OF_LANES:.*]] = vector.shuffle %[[COUNTS]], %[[COUNTS]] [0, 0, 0, 0, 1, 1, 1, 1,
  // CHECK: %[[DIGITS:.*]] = arith.addi %[[AT]], %c144
  // VNNI: %[[SUMS:.*]]:4 = scf.for %{{.*}} = %c0 to %[[ROUNDS]] step %c2 iter_args(%[[M0:.*]] = %{{.*}}, %[[Q0:.*]] = %{{.*}}, %[[FROM:.*]] = %[[DIGITS]], %[[PLACE:.*]] =
  // PLAIN: scf.for %{{.*}} = %c0 to %[[ROUNDS]] step %c2 iter_args({{.*}}, {{.*}}, %[[FROM:.*]] = %[[DIGITS]], %[[PLACE:.*]] =
  // CHECK: %[[PRESENT:.*]] = arith.cmpi ugt, %[[OF_LANES]], %[[PLACE]]
  // CHECK: vector.bitcast %[[PRESENT]] : vector<64xi1> to vector<1xi64>
  // CHECK: math.ctpop
  // CHECK: %[[SIZE:.*]] = arith.index_castui
  // CHECK: %[[CODES_AT:.*]] = arith.addi %[[FROM]], %[[SIZE]]
  // CHECK: %[[COLUMNS:.*]] = vector.expandload %[[BYTES]][%[[FROM]]], %[[PRESENT]],
  // CHECK: %[[CODES:.*]] = vector.expandload %[[BYTES]][%[[CODES_AT]]], %[[PRESENT]],
  // VNNI: %[[FOUND:.*]] = llvm.call_intrinsic "llvm.x86.avx512.permvar.qi.512"(%[[TABLE]], %[[COLUMNS]])
  // VNNI: %[[X:.*]] = arith.select %[[PRESENT]], %[[FOUND]],
  // VNNI: vpdpbusd.512"(%[[M0]], %{{.*}}, %[[X]])
  // VNNI: vpdpbusd.512"(%[[Q0]], %[[CODES]], %[[X]])
  // PLAIN-COUNT-4: vector.gather %arg0
  // CHECK: arith.addi %[[CODES_AT]], %[[SIZE]]
  // CHECK: arith.cmpi ugt, %[[OF_LANES]],
  // CHECK-COUNT-2: vector.expandload
  // CHECK-NOT: vector.expandload
  // CHECK: scf.yield
  // The signs are a plane like others, with one load a step.
  // CHECK: vector.load %[[BYTES]][%[[AT]]] : memref<7488xi8>, vector<64xi8>
  // CHECK: %[[SUM:.*]] = memref.load %arg1
  // CHECK: %[[S:.*]] = vector.broadcast %[[SUM]] : i32 to vector<16xi32>
  // CHECK: %[[OFF:.*]] = arith.muli %[[ZERO]], %[[DM:.*]] : vector<16xi32>
  // CHECK: %[[DQ:.*]] = arith.subi %{{.*}}, %[[OFF]]
  // a (2 D - S + D_M), m (S - D_M), s D_q
  // CHECK: %[[TWICE:.*]] = arith.muli %{{.*}}, %{{.*}} : vector<16xi32>
  // CHECK: %[[PLUS:.*]] = arith.addi %[[TWICE]], %[[DM]]
  // CHECK: arith.subi %[[PLUS]], %[[S]]
  // VNNI: math.fma
  // CHECK: arith.subi %{{.*}}, %[[DM]]
  // CHECK: arith.addi %{{.*}}, %[[S]]
  // VNNI: math.fma
  // CHECK: %[[FQ:.*]] = arith.sitofp %[[DQ]]
  // VNNI: %[[Y3:.*]] = math.fma %[[FQ]],
  // VNNI: scf.yield %[[Y3]], %[[SUMS]]#2
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !salient
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xi8>, !salient, memref<1x16xi32>, memref<1x16xf32>, memref<1x48xf32>, index, index, index) -> ()
  return
}
