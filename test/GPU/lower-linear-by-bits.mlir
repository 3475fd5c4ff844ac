// RUN: tbq-opt %s --tbq-lower-linear-to-gpu="shared-bytes=232448 bits" --canonicalize --cse --split-input-file | FileCheck %s
// RUN: tbq-opt %s --tbq-lower-linear-to-gpu="shared-bytes=232448 bits" --tbq-lower-step-to-gpu --canonicalize --cse --split-input-file | FileCheck %s --check-prefix=ROW
// RUN: tbq-opt %s --tbq-lower-linear-to-gpu="shared-bytes=232448" --canonicalize --cse --split-input-file | FileCheck %s --check-prefix=BYTES
// One token's row as bits, where linears whose weights come through a ring are all
// that reads it: weights are multiplied as they are stored.

// A piece of 128 columns is two words a row, each of two bits a digit: a product
// for each of these, and one of halves, which makes of both rows' counts, two and
// two of the eight columns', integers.
!ternary = !tbq.packed<4096x4096, digits [2], terms [[1, -1], [0, 1]], group 128, tile 8>
// CHECK-LABEL: func.func @ternary(
// BYTES-LABEL: func.func @ternary(
// BYTES-NOT: tbq.bit_columns
// BYTES-NOT: #nvvm.mma_type<b1>
// ROW-LABEL: func.func @ternary(
func.func @ternary(%h: memref<1x4096xf32>, %x: memref<1x4096xi8>, %scale: memref<1x16xf32>, %sums: memref<1x32xi32>,
    %y: memref<1x4096xf32>, %section: memref<8388608xi8>, %count: index, %begin: index, %end: index, %team: !tbq.team) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  // CHECK-DAG: %[[LOW:.*]] = arith.constant 1431655765 : i32
  // CHECK-DAG: %[[ONE:.*]] = arith.constant 1 : i32
  // CHECK-DAG: %[[UP:.*]] = arith.constant 65536 : i32
  // CHECK-DAG: %[[COUNT:.*]] = arith.constant 0x4B800000 : f32
  // CHECK: tbq.quantize_activations {{.*}}{tbq.bit_columns = array<i64: 128, 2>}
  // Four to a word, and three times half of it for half of another lane's, 16, 1
  // and 2 lanes away.
  // ROW-DAG: %[[C16:.*]] = arith.constant 16 : i32
  // ROW-DAG: %[[C1:.*]] = arith.constant 1 : i32
  // ROW-DAG: %[[C2:.*]] = arith.constant 2 : i32
  // ROW: nvvm.prmt
  // ROW: nvvm.prmt
  // ROW: %[[FOUR:.*]] = nvvm.prmt
  // ROW: %[[OTHER:.*]] = nvvm.shfl.sync  bfly %{{.*}}, %{{.*}}, %[[C16]],
  // ROW: llvm.intr.fshl(%[[OTHER]], %[[OTHER]], %{{.*}})
  // ROW: nvvm.shfl.sync  bfly %{{.*}}, %{{.*}}, %[[C1]],
  // ROW: llvm.intr.fshl
  // ROW: nvvm.shfl.sync  bfly %{{.*}}, %{{.*}}, %[[C2]],
  // ROW: llvm.intr.fshl
  // ROW: vector.store %{{.*}}, %arg1[%c0, %{{.*}}] {alignment = 4 : i64} : memref<1x4096xi8>, vector<4xi8>
  tbq.quantize_activations %h columns 4096 group 128 into(%x, %scale, %sums) count(%count) range(%c0, %c1) : (memref<1x4096xf32>, memref<1x4096xi8>, memref<1x16xf32>, memref<1x32xi32>, index, index, index) -> ()
  tbq.barrier %team
  %w = tbq.placed_weight [0] in %section : memref<8388608xi8> : !ternary
  // CHECK: %[[LOADED:.*]] = vector.load %{{.*}}[%{{.*}}] {alignment = 4 : i64} : memref<1x4096xi8, 3>, vector<4xi8>
  // CHECK: vector.bitcast %[[LOADED]]
  // CHECK: %[[WORD:.*]] = vector.extract %{{.*}}[0] : i32 from vector<1xi32>
  // CHECK: %[[FIRST:.*]] = arith.andi %[[WORD]], %[[LOW]]
  // CHECK: %[[MOVED:.*]] = arith.shrui %[[WORD]], %[[ONE]]
  // CHECK: %[[SECOND:.*]] = arith.andi %[[MOVED]], %[[LOW]]
  // CHECK: %[[COUNTS:.*]] = nvvm.mma.sync A[%[[A:.*]], %[[B:.*]], %[[C:.*]], %[[D:.*]]]  B[%[[FIRST]], %[[SECOND]]]  C[%[[ZERO:.*]], %[[ZERO]], %[[ZERO]], %[[ZERO]]] {b1Op = #nvvm.mma_b1op<and_popc>, {{.*}}multiplicandAPtxType = #nvvm.mma_type<b1>, {{.*}}shape = #nvvm.shape<m = 16, n = 8, k = 256>}
  // CHECK: %[[HIGH:.*]] = arith.muli %{{.*}}, %[[UP]]
  // CHECK: arith.addi %[[HIGH]], %{{.*}}
  // CHECK: %[[FIRST1:.*]] = arith.shli %[[FIRST]], %[[ONE]]
  // CHECK: %[[SECOND1:.*]] = arith.shli %[[SECOND]], %[[ONE]]
  // CHECK: nvvm.mma.sync A[%[[A]], %[[B]], %[[C]], %[[D]]]  B[%[[FIRST1]], %[[SECOND1]]]
  // CHECK: %[[SUMS:.*]] = nvvm.mma.sync A[{{.*}}] {{.*}} shape = #nvvm.shape<m = 16, n = 8, k = 16>}
  // CHECK: %[[DOT:.*]] = llvm.extractvalue %[[SUMS]][0]
  // CHECK: %[[OTHERDOT:.*]] = llvm.extractvalue %[[SUMS]][2]
  // CHECK: math.fma %[[DOT]], %[[COUNT]], %{{.*}}
  // CHECK: math.fma %[[OTHERDOT]], %[[COUNT]], %{{.*}}
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end) : (memref<1x4096xi8>, !ternary, memref<1x32xi32>, memref<1x16xf32>, memref<1x4096xf32>, index, index, index) -> ()
  tbq.barrier %team
  return
}

// -----

// Of two planes of one bit, 64 columns are half a word of each: of the piece's
// number, which half.
!dual = !tbq.packed<4096x4096, digits [1, 1], terms [[2, 0, -1], [0, 2, -1]], group 64, tile 8>
// CHECK-LABEL: func.func @dual(
func.func @dual(%h: memref<1x4096xf32>, %x: memref<1x4096xi8>, %scale: memref<1x16xf32>, %sums: memref<1x64xi32>,
    %y: memref<1x4096xf32>, %section: memref<8388608xi8>, %count: index, %begin: index, %end: index, %team: !tbq.team) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  // CHECK-DAG: %[[HALF:.*]] = arith.constant 252645135 : i32
  // CHECK: tbq.quantize_activations {{.*}}tbq.bit_columns = array<i64: 64, 1>
  tbq.quantize_activations %h columns 4096 group 64 into(%x, %scale, %sums) count(%count) range(%c0, %c1) : (memref<1x4096xf32>, memref<1x4096xi8>, memref<1x16xf32>, memref<1x64xi32>, index, index, index) -> ()
  tbq.barrier %team
  %w = tbq.placed_weight [0] in %section : memref<8388608xi8> : !dual
  // CHECK: arith.andi %{{.*}}, %[[HALF]]
  // CHECK: shape = #nvvm.shape<m = 16, n = 8, k = 128>
  // CHECK: shape = #nvvm.shape<m = 16, n = 8, k = 8>
  // CHECK: shape = #nvvm.shape<m = 16, n = 8, k = 128>
  // CHECK: shape = #nvvm.shape<m = 16, n = 8, k = 8>
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end) : (memref<1x4096xi8>, !dual, memref<1x64xi32>, memref<1x16xf32>, memref<1x4096xf32>, index, index, index) -> ()
  tbq.barrier %team
  return
}

// -----

// Digits of eight bits are multiplied as bytes, and so is what else reads such a
// row.
!ternary = !tbq.packed<4096x4096, digits [2], terms [[1, -1]], group 128, tile 8>
!bytes = !tbq.packed<4096x4096, digits [8], terms [[1, -128]], group 128, tile 8>
// CHECK-LABEL: func.func @mixed(
// CHECK-NOT: tbq.bit_columns
// CHECK-NOT: #nvvm.mma_type<b1>
func.func @mixed(%h: memref<1x4096xf32>, %x: memref<1x4096xi8>, %scale: memref<1x16xf32>, %sums: memref<1x32xi32>,
    %y: memref<1x4096xf32>, %z: memref<1x4096xf32>, %section: memref<33554432xi8>, %count: index, %begin: index, %end: index, %team: !tbq.team) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  tbq.quantize_activations %h columns 4096 group 128 into(%x, %scale, %sums) count(%count) range(%c0, %c1) : (memref<1x4096xf32>, memref<1x4096xi8>, memref<1x16xf32>, memref<1x32xi32>, index, index, index) -> ()
  tbq.barrier %team
  %v = tbq.placed_weight [0] in %section : memref<33554432xi8> : !ternary
  %w = tbq.placed_weight [8388608] in %section : memref<33554432xi8> : !bytes
  tbq.packed_linear %x, %v sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end) : (memref<1x4096xi8>, !ternary, memref<1x32xi32>, memref<1x16xf32>, memref<1x4096xf32>, index, index, index) -> ()
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%z) count(%count) range(%begin, %end) : (memref<1x4096xi8>, !bytes, memref<1x32xi32>, memref<1x16xf32>, memref<1x4096xf32>, index, index, index) -> ()
  tbq.barrier %team
  return
}
