// The same road on aarch64 with its dot product: four of 16 bytes where x86 has
// one of 64.
//
// RUN: tbq-opt %s --tbq-cpu="dot=dotprod fma f16 floor" | mlir-translate --mlir-to-llvmir | opt -O3 -mtriple=aarch64-linux-gnu -mattr=+dotprod | llc -O3 -mtriple=aarch64-linux-gnu -mattr=+dotprod -o %t.s
// RUN: FileCheck %s --check-prefix=TWO-BITS < %t.s
// RUN: FileCheck %s --check-prefix=EIGHT-BITS < %t.s
// RUN: tbq-opt %s --tbq-lower-linear-to-cpu="dot=dotprod fma" --canonicalize --cse | FileCheck %s --check-prefix=DIGITS

// Ternary by groups of 128: 8 times 64 bytes of codes, four digits in each byte.
// Digits are shifted to their place; no sum crosses lanes, and none is widened.
// TWO-BITS-LABEL: {{^}}two_bits:
// TWO-BITS: Inner Loop Header: Depth=3
// TWO-BITS-COUNT-128: sdot v{{[0-9]+}}.4s
// TWO-BITS-NOT: {{sdot|addv|addp|[su]mull|saddl}}
// TWO-BITS: {{^[[:space:]]+b\.[a-z]+[[:space:]]+\.LBB}}
!codes = !tbq.packed<64x2048, digits [2], terms [[1, -1], [0, 1]], group 128, tile 16>
func.func @two_bits(%x: memref<1x2048xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x64xf32>,
                    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !codes
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x2048xi8>, !codes, memref<1x16xi32>, memref<1x16xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// Digits of 8 bits are unsigned and sdot's are not: each is itself less 128, and
// 64 twice, so 64 columns of 16 rows take 3 x 64 dot products.
// EIGHT-BITS-LABEL: {{^}}eight_bits:
// EIGHT-BITS: Inner Loop Header: Depth=3
// EIGHT-BITS-COUNT-192: sdot v{{[0-9]+}}.4s
// EIGHT-BITS-NOT: {{sdot|addv|addp|[su]mull|saddl}}
// EIGHT-BITS: {{^[[:space:]]+b\.[a-z]+[[:space:]]+\.LBB}}
// Four sums and their 16 bytes at a time, and no quarter twice.
// DIGITS-LABEL: func.func @eight_bits
// DIGITS-DAG: %[[HALF:.*]] = arith.constant dense<64> : vector<16xi8>
// DIGITS-DAG: %[[BIT:.*]] = arith.constant dense<-128> : vector<64xi8>
// DIGITS: %[[SIGNED:.*]] = arith.xori %{{.*}}, %[[BIT]] : vector<64xi8>
// DIGITS: vector.extract_strided_slice %[[SIGNED]] {offsets = [0]
// DIGITS: vector.extract_strided_slice %{{.*}} {offsets = [4]{{.*}} : vector<16xi32> to vector<4xi32>
// DIGITS: %[[BYTES:.*]] = vector.extract_strided_slice %[[SIGNED]] {offsets = [16]
// DIGITS: %[[A:.*]] = llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"(%{{.*}}, %[[BYTES]], %[[X:.*]]) :
// DIGITS: %[[B:.*]] = llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"(%[[A]], %[[HALF]], %[[X]]) :
// DIGITS: %[[C:.*]] = llvm.call_intrinsic "llvm.aarch64.neon.sdot.v4i32.v16i8"(%[[B]], %[[HALF]], %[[X]]) :
// DIGITS: vector.insert_strided_slice %[[C]], %{{.*}} {offsets = [4]
// DIGITS: vector.extract_strided_slice %[[SIGNED]] {offsets = [32]
// DIGITS: vector.extract_strided_slice %[[SIGNED]] {offsets = [48]
!bytes = !tbq.packed<64x2048, digits [8], terms [[1, -128]], group 64, tile 16>
func.func @eight_bits(%x: memref<1x2048xi8>, %sums: memref<1x32xi32>, %scale: memref<1x32xf32>, %y: memref<1x64xf32>,
                      %section: memref<262144xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<262144xi8> : !bytes
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x2048xi8>, !bytes, memref<1x32xi32>, memref<1x32xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}
