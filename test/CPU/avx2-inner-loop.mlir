// The same road on a CPU with AVX2 and nothing newer: two halves of 32 bytes
// where AVX-512 has one of 64, and sums of 16 bits on the way to those of 32.
//
// RUN: tbq-opt %s --tbq-cpu="dot=avx2 fma f16 floor" | mlir-translate --mlir-to-llvmir | opt -O3 -mtriple=x86_64-linux-gnu -mcpu=x86-64-v3 | llc -O3 -mtriple=x86_64-linux-gnu -mcpu=x86-64-v3 -o %t.s
// RUN: FileCheck %s --check-prefix=PAIRS < %t.s
// RUN: FileCheck %s --check-prefix=SUMS < %t.s
// RUN: FileCheck %s --check-prefix=NOTHING-ELSE < %t.s
// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=avx2 fma" --canonicalize --cse | FileCheck %s --check-prefix=BYTES

// Ternary by groups of 128: 8 loads of 64 bytes of codes, four digits in each
// byte. The four of a step are added in 16
// bits, so that a step has one vpmaddwd a half.
// PAIRS-LABEL: {{^}}two_bits:
// PAIRS: Inner Loop Header: Depth=3
// PAIRS-COUNT-64: vpmaddubsw
// PAIRS-NOT: vpmaddubsw
// PAIRS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// SUMS-LABEL: {{^}}two_bits:
// SUMS: Inner Loop Header: Depth=3
// SUMS-COUNT-16: vpmaddwd
// SUMS-NOT: vpmaddwd
// SUMS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// NOTHING-ELSE-LABEL: {{^}}two_bits:
// NOTHING-ELSE: Inner Loop Header: Depth=3
// NOTHING-ELSE-NOT: {{Spill|hadd|vperm|vpmul|vpmovz|call}}
// NOTHING-ELSE: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
!codes = !tbq.packed<64x2048, digits [2], terms [[1, -1], [0, 1]], group 128, tile 16>
func.func @two_bits(%x: memref<1x2048xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x64xf32>,
                    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !codes
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x2048xi8>, !codes, memref<1x16xi32>, memref<1x16xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// Two products of 8-bit digits need not fit 16 bits: the even bytes and the odd
// ones are multiplied apart, and each sum is widened.
// PAIRS-LABEL: {{^}}eight_bits:
// PAIRS: Inner Loop Header: Depth=3
// PAIRS-COUNT-64: vpmaddubsw
// PAIRS-NOT: vpmaddubsw
// PAIRS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// SUMS-LABEL: {{^}}eight_bits:
// SUMS: Inner Loop Header: Depth=3
// SUMS-COUNT-64: vpmaddwd
// SUMS-NOT: vpmaddwd
// SUMS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// BYTES-LABEL: func.func @eight_bits
// BYTES-DAG: %[[EVEN:.*]] = arith.constant dense<16711935> : vector<16xi32>
// BYTES-DAG: %[[ODD:.*]] = arith.constant dense<-16711936> : vector<16xi32>
// BYTES-DAG: %[[ONES:.*]] = arith.constant dense<1> : vector<16xi16>
// BYTES: arith.andi %[[FOUR:.*]], %[[EVEN]]
// BYTES: arith.andi %[[FOUR]], %[[ODD]]
// BYTES: %[[TWO:.*]] = llvm.call_intrinsic "llvm.x86.avx2.pmadd.ub.sw"(%{{.*}}, %[[X:.*]]) : (vector<32xi8>, vector<32xi8>) -> vector<16xi16>
// BYTES-NEXT: llvm.call_intrinsic "llvm.x86.avx2.pmadd.wd"(%[[TWO]], %[[ONES]])
!bytes = !tbq.packed<64x2048, digits [8], terms [[1, -128]], group 64, tile 16>
func.func @eight_bits(%x: memref<1x2048xi8>, %sums: memref<1x32xi32>, %scale: memref<1x32xf32>, %y: memref<1x64xf32>,
                      %section: memref<262144xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<262144xi8> : !bytes
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x2048xi8>, !bytes, memref<1x32xi32>, memref<1x32xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// Eight tokens: a step's digits are spread once for all of them.
// SUMS-LABEL: {{^}}prefill:
// SUMS: Inner Loop Header: Depth=4
// SUMS-COUNT-16: vpmaddwd
// SUMS-NOT: {{vpmaddwd|vpmul|call}}
// SUMS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
func.func @prefill(%x: memref<64x2048xi8>, %sums: memref<64x16xi32>, %scale: memref<64x16xf32>, %y: memref<64x64xf32>,
                   %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !codes
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<64x2048xi8>, !codes, memref<64x16xi32>, memref<64x16xf32>, memref<64x64xf32>, index, index, index) -> ()
  return
}
