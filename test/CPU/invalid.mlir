// RUN: tbq-opt %s --tbq-lower-linear-to-cpu --tbq-lower-step-to-cpu --split-input-file --verify-diagnostics
// Tiles of eight rows are a GPU's, and what goes with them.

!narrow = !tbq.packed<16x16, digits [2], terms [[1, 0]], group 16, tile 8>
func.func @tile(%x: memref<1x16xi8>, %scale: memref<1x16xf32>, %y: memref<1x16xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !narrow
  // expected-error @below {{on a CPU needs tiles of 16 rows, not #tbq.layout<16x16, digits [2], terms [[1, 0]], group 16, tile 8>}}
  tbq.packed_linear %x, %w activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x16xi8>, !narrow, memref<1x16xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}

// -----

!threes = !tbq.packed<64x64, digits [2], terms [[1, 0]], group 64, tile 64>
func.func @threes(%x: memref<1x64xi8>, %scale: memref<1x16xf32>, %y: memref<1x64xf32>,
    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !threes
  // expected-error @below {{looks sums of int8 up by AVX-512, where digits stand by threes: #tbq.layout<64x64, digits [2], terms [[1, 0]], group 64, tile 64>}}
  tbq.packed_linear %x, %w activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x64xi8>, !threes, memref<1x16xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// -----

func.func @unit(%x: memref<1x16xf32>, %count: index, %begin: index, %end: index) {
  // expected-error @below {{on a CPU needs units of whole 16 columns, not 4}}
  tbq.add %x, %x unit 4 into(%x) count(%count) range(%begin, %end)
    : (memref<1x16xf32>, memref<1x16xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}

// -----

!kv = !tbq.cache<2 layers, 1 by 16, 64 tokens, f16>
func.func @own_key(%x: memref<1x16xf32>, %cache: memref<32768xi8>, %count: index, %begin: index, %end: index) {
  // expected-error @below {{on a CPU finds its token's key in the cache}}
  tbq.attention %x, %cache[%count] at %count key(%x) value(%x) heads 1 scale 1.0 !kv into(%x) count(%count) range(%begin, %end)
    : (memref<1x16xf32>, memref<32768xi8>, index, index, memref<1x16xf32>, memref<1x16xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}

// -----

!kv = !tbq.cache<2 layers, 1 by 16, 272 tokens, f16>
func.func @no_workers(%x: memref<1x16xf32>, %sums: memref<1x96xf32>, %cache: memref<32768xi8>, %count: index, %begin: index, %end: index) {
  // expected-error @below {{on a CPU needs workers for sums of spans}}
  tbq.attention %x, %cache[%count] at %count heads 1 scale 1.0 !kv into(%x, %sums) count(%count) range(%begin, %end)
    : (memref<1x16xf32>, memref<32768xi8>, index, index, memref<1x16xf32>, memref<1x96xf32>, index, index, index) -> ()
  return
}
