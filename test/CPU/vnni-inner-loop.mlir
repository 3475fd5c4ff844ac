// The whole road of a packed linear to assembly, as the artifact's code takes it,
// on the CPUs it was designed for: what was asked for is what runs.
//
// DEFINE: %{cpu} = znver4
// DEFINE: %{assembly} = tbq-opt %s --tbq-cpu="dot=vnni permute fma f16 floor" | mlir-translate --mlir-to-llvmir | opt -O3 -mtriple=x86_64-linux-gnu -mcpu=%{cpu} | llc -O3 -mtriple=x86_64-linux-gnu -mcpu=%{cpu} -o %t.%{cpu}.s
// RUN: %{assembly}
// RUN: FileCheck %s --check-prefix=DOTS < %t.%{cpu}.s
// RUN: FileCheck %s --check-prefix=EXPANDS < %t.%{cpu}.s
// RUN: FileCheck %s --check-prefix=LOADS < %t.%{cpu}.s
// RUN: FileCheck %s --check-prefix=SHIFTS < %t.%{cpu}.s
// RUN: FileCheck %s --check-prefix=NOTHING-ELSE < %t.%{cpu}.s
// RUN: FileCheck %s --check-prefix=BLOCK < %t.%{cpu}.s
// REDEFINE: %{cpu} = sapphirerapids
// RUN: %{assembly}
// RUN: FileCheck %s --check-prefix=DOTS < %t.%{cpu}.s
// RUN: FileCheck %s --check-prefix=EXPANDS < %t.%{cpu}.s
// RUN: FileCheck %s --check-prefix=LOADS < %t.%{cpu}.s
// RUN: FileCheck %s --check-prefix=SHIFTS < %t.%{cpu}.s
// RUN: FileCheck %s --check-prefix=NOTHING-ELSE < %t.%{cpu}.s
// RUN: FileCheck %s --check-prefix=BLOCK < %t.%{cpu}.s

// Ternary by groups of 128: a group is 8 loads of 64 bytes of codes, with one
// dot product for every 16 bytes. The sums of the four slots are shifted once a
// group; nothing crosses lanes, nothing goes to the stack.
// DOTS-LABEL: {{^}}group128:
// DOTS: Inner Loop Header: Depth=3
// DOTS-COUNT-32: vpdpbusd {{.*}}%zmm
// DOTS-NOT: vpdpbusd
// DOTS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// LOADS-LABEL: {{^}}group128:
// LOADS: Inner Loop Header: Depth=3
// LOADS-COUNT-8: vmovdqu{{[0-9]*}} {{.*}}(%r{{.*}}), %zmm
// LOADS-NOT: vmovdq
// LOADS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// SHIFTS-LABEL: {{^}}group128:
// SHIFTS: Inner Loop Header: Depth=3
// SHIFTS-COUNT-3: vpsrad
// SHIFTS-NOT: {{vps[rl]}}
// SHIFTS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// NOTHING-ELSE-LABEL: {{^}}group128:
// NOTHING-ELSE: Inner Loop Header: Depth=3
// NOTHING-ELSE-NOT: {{%[er]sp|vph?add[wd].*xmm|hadd|vperm|vpshuf|vextract|vpmul|call}}
// NOTHING-ELSE: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
!groups = !tbq.packed<64x2048, digits [2], terms [[1, -1], [0, 1]], group 128, tile 16>
func.func @group128(%x: memref<1x2048xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x64xf32>,
                    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !groups
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x2048xi8>, !groups, memref<1x16xi32>, memref<1x16xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// A row as one group: a round of 16 loads, and no shift in it at all.
// DOTS-LABEL: {{^}}row:
// DOTS: Inner Loop Header: Depth=3
// DOTS-COUNT-64: vpdpbusd {{.*}}%zmm
// DOTS-NOT: vpdpbusd
// DOTS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// LOADS-LABEL: {{^}}row:
// LOADS: Inner Loop Header: Depth=3
// LOADS-COUNT-16: vmovdqu{{[0-9]*}} {{.*}}(%r{{.*}}), %zmm
// LOADS-NOT: vmovdq
// LOADS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// SHIFTS-LABEL: {{^}}row:
// SHIFTS: Inner Loop Header: Depth=3
// SHIFTS-NOT: {{vps[rl]}}
// SHIFTS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// NOTHING-ELSE-LABEL: {{^}}row:
// NOTHING-ELSE: Inner Loop Header: Depth=3
// NOTHING-ELSE-NOT: {{%[er]sp|vpadd|hadd|vperm|vpshuf|vextract|vpmul|call}}
// NOTHING-ELSE: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
!row = !tbq.packed<64x2048, digits [2], terms [[1, -1], [0, 1]], group 2048, tile 16>
func.func @row(%x: memref<1x2048xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x64xf32>,
               %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !row
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x2048xi8>, !row, memref<1x16xi32>, memref<1x16xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// The head in 8 bits by groups of 64: a load of 64 bytes of codes is one dot
// product as it is, without a mask or a shift.
// DOTS-LABEL: {{^}}head8:
// DOTS: Inner Loop Header: Depth=3
// DOTS-COUNT-16: vpdpbusd {{.*}}%zmm
// DOTS-NOT: vpdpbusd
// DOTS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// SHIFTS-LABEL: {{^}}head8:
// SHIFTS: Inner Loop Header: Depth=3
// SHIFTS-NOT: {{vps[rl].*zmm|vpand}}
// SHIFTS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// NOTHING-ELSE-LABEL: {{^}}head8:
// NOTHING-ELSE: Inner Loop Header: Depth=3
// NOTHING-ELSE-NOT: {{%[er]sp|vph?add[wd].*xmm|hadd|vperm|vpshuf|vextract|vpmul|call}}
// NOTHING-ELSE: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
!head8 = !tbq.packed<64x2048, digits [8], terms [[1, -128]], group 64, tile 16>
func.func @head8(%x: memref<1x2048xi8>, %sums: memref<1x32xi32>, %scale: memref<1x16xf32>, %y: memref<1x64xf32>,
                 %section: memref<262144xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<262144xi8> : !head8
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x2048xi8>, !head8, memref<1x32xi32>, memref<1x16xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// In 4 bits: two dot products a load.
// DOTS-LABEL: {{^}}head4:
// DOTS: Inner Loop Header: Depth=3
// DOTS-COUNT-16: vpdpbusd {{.*}}%zmm
// DOTS-NOT: vpdpbusd
// DOTS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// LOADS-LABEL: {{^}}head4:
// LOADS: Inner Loop Header: Depth=3
// LOADS-COUNT-8: vmovdqu{{[0-9]*}} {{.*}}(%r{{.*}}), %zmm
// LOADS-NOT: vmovdq
// LOADS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
!head4 = !tbq.packed<64x2048, digits [4], terms [[1, -8]], group 64, tile 16>
func.func @head4(%x: memref<1x2048xi8>, %sums: memref<1x32xi32>, %scale: memref<1x16xf32>, %y: memref<1x64xf32>,
                 %section: memref<262144xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<262144xi8> : !head4
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x2048xi8>, !head4, memref<1x32xi32>, memref<1x16xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// Binary with salient weights: a group of 128 first takes the digits of its
// block, two rounds at a time: each spreads columns and digits by vpexpandb, looks
// 128 activations up by vpermi2b and has two dot products, for 64 places. Then
// come 4 loads of 64 bytes of signs, with 32 dot products and no stack.
// EXPANDS-LABEL: {{^}}salient:
// EXPANDS: Inner Loop Header: Depth=4
// EXPANDS-COUNT-4: vpexpandb {{.*}}(%r{{.*}}), %zmm{{[0-9]+}} {%k{{[0-7]}}} {z}
// EXPANDS-NOT: vpexpandb
// EXPANDS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// DOTS-LABEL: {{^}}salient:
// DOTS: Inner Loop Header: Depth=4
// DOTS-COUNT-4: vpdpbusd {{.*}}%zmm
// DOTS-NOT: vpdpbusd
// DOTS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// SHIFTS-LABEL: {{^}}salient:
// SHIFTS: Inner Loop Header: Depth=4
// SHIFTS-COUNT-2: vpermi2b {{.*}}{%k{{[0-7]}}} {z}
// SHIFTS-NOT: {{vperm|vps[rl]}}
// SHIFTS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// NOTHING-ELSE-LABEL: {{^}}salient:
// NOTHING-ELSE-NOT: zmm{{.*}}(%rsp){{.*}}64-byte Spill
// NOTHING-ELSE: retq
!salient = !tbq.packed<64x2048, digits [1, 1, 8], terms [[2, 1, 0, -1], [0, -1, 0, 1], [0, 0, 1, 0]], salient, group 128, tile 16>
func.func @salient(%x: memref<1x2048xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x64xf32>,
                   %section: memref<262144xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<262144xi8> : !salient
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x2048xi8>, !salient, memref<1x16xi32>, memref<1x16xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// 16-bit activations: each load is masked once and multiplied with both digits,
// of which every slot has its own sum; the shifts are one more than twice as
// many, and nothing goes to the stack.
// DOTS-LABEL: {{^}}group128_i16:
// DOTS: Inner Loop Header: Depth=3
// DOTS-COUNT-64: vpdpbusd {{.*}}%zmm
// DOTS-NOT: vpdpbusd
// DOTS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// LOADS-LABEL: {{^}}group128_i16:
// LOADS: Inner Loop Header: Depth=3
// LOADS-COUNT-8: vmovdqu{{[0-9]*}} {{.*}}(%r{{.*}}), %zmm
// LOADS-NOT: vmovdq
// LOADS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// SHIFTS-LABEL: {{^}}group128_i16:
// SHIFTS: Inner Loop Header: Depth=3
// SHIFTS-COUNT-7: vps{{[rl]}}
// SHIFTS-NOT: {{vps[rl]}}
// SHIFTS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// NOTHING-ELSE-LABEL: {{^}}group128_i16:
// NOTHING-ELSE: Inner Loop Header: Depth=3
// NOTHING-ELSE-NOT: {{%[er]sp|vph?add[wd].*xmm|hadd|vperm|vpshuf|vextract|vpmul|call}}
// NOTHING-ELSE: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
func.func @group128_i16(%h: memref<1x2048xi8>, %l: memref<1x2048xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x64xf32>,
                        %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !groups
  tbq.packed_linear %h, %w low(%l) sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x2048xi8>, !groups, memref<1x2048xi8>, memref<1x16xi32>, memref<1x16xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// Two planes of bits by groups of 64: two loads and 32 dot products a plane.
// DOTS-LABEL: {{^}}dual_i16:
// DOTS: Inner Loop Header: Depth=3
// DOTS-COUNT-64: vpdpbusd {{.*}}%zmm
// DOTS-NOT: vpdpbusd
// DOTS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// NOTHING-ELSE-LABEL: {{^}}dual_i16:
// NOTHING-ELSE: Inner Loop Header: Depth=3
// NOTHING-ELSE-NOT: {{%[er]sp|vph?add[wd].*xmm|hadd|vperm|vpshuf|vextract|vpmul|call}}
// NOTHING-ELSE: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
!dual = !tbq.packed<64x2048, digits [1, 1], terms [[1, 0, 0], [0, 1, 0]], group 64, tile 16>
func.func @dual_i16(%h: memref<1x2048xi8>, %l: memref<1x2048xi8>, %scale: memref<1x16xf32>, %y: memref<1x64xf32>,
                    %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !dual
  tbq.packed_linear %h, %w low(%l) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x2048xi8>, !dual, memref<1x2048xi8>, memref<1x16xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// The same with 8-bit activations: half of a load's bits are shifted to the
// places of the others, so that a plane has four sums to shift instead of eight.
// DOTS-LABEL: {{^}}dual:
// DOTS: Inner Loop Header: Depth=3
// DOTS-COUNT-32: vpdpbusd {{.*}}%zmm
// DOTS-NOT: vpdpbusd
// DOTS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// LOADS-LABEL: {{^}}dual:
// LOADS: Inner Loop Header: Depth=3
// LOADS-COUNT-4: vmovdqu{{[0-9]*}} {{.*}}(%r{{.*}}), %zmm
// LOADS-NOT: vmovdq
// LOADS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// SHIFTS-LABEL: {{^}}dual:
// SHIFTS: Inner Loop Header: Depth=3
// SHIFTS-COUNT-10: vps{{[rl]}}
// SHIFTS-NOT: {{vps[rl]}}
// SHIFTS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// NOTHING-ELSE-LABEL: {{^}}dual:
// NOTHING-ELSE: Inner Loop Header: Depth=3
// NOTHING-ELSE-NOT: {{%[er]sp|vph?add[wd].*xmm|hadd|vperm|vpshuf|vextract|vpmul|call}}
// NOTHING-ELSE: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
func.func @dual(%x: memref<1x2048xi8>, %scale: memref<1x16xf32>, %y: memref<1x64xf32>,
                %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !dual
  tbq.packed_linear %x, %w activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x2048xi8>, !dual, memref<1x16xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// The head in 8 bits: a load of codes as it is, two dot products.
// DOTS-LABEL: {{^}}head8_i16:
// DOTS: Inner Loop Header: Depth=3
// DOTS-COUNT-32: vpdpbusd {{.*}}%zmm
// DOTS-NOT: vpdpbusd
// DOTS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// LOADS-LABEL: {{^}}head8_i16:
// LOADS: Inner Loop Header: Depth=3
// LOADS-COUNT-16: vmovdqu{{[0-9]*}} {{.*}}(%r{{.*}}), %zmm
// LOADS-NOT: vmovdq
// LOADS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// NOTHING-ELSE-LABEL: {{^}}head8_i16:
// NOTHING-ELSE: Inner Loop Header: Depth=3
// NOTHING-ELSE-NOT: {{%[er]sp|vph?add[wd].*xmm|hadd|vperm|vpshuf|vextract|vpmul|call}}
// NOTHING-ELSE: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
func.func @head8_i16(%h: memref<1x2048xi8>, %l: memref<1x2048xi8>, %sums: memref<1x32xi32>, %scale: memref<1x16xf32>, %y: memref<1x64xf32>,
                     %section: memref<262144xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<262144xi8> : !head8
  tbq.packed_linear %h, %w low(%l) sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x2048xi8>, !head8, memref<1x2048xi8>, memref<1x32xi32>, memref<1x16xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// Prefill: for four columns, two loads of digits, which both serve eight tokens,
// and eight broadcasts of activations, which each serve two tiles of rows, all
// at constant distances of one address. Nothing is masked, shifted or spilled.
// BLOCK-LABEL: {{^}}prefill:
// BLOCK: Inner Loop Header: Depth=5
// BLOCK-NOT: {{vpand|vps[rl]|vpmul|call}}
// BLOCK: vpbroadcastd {{-?[0-9]+\(%[a-z0-9]+,%[a-z0-9]+,4\)}}, %zmm
// BLOCK-NOT: {{vpand|vps[rl]|vpmul|call|mov[a-z0-9]* .*%rsp.*, %r}}
// BLOCK-COUNT-32: vpdpbusd %zmm{{.*}}, %zmm{{.*}}, %zmm
// BLOCK-NOT: vpdpbusd
// BLOCK: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
func.func @prefill(%x: memref<64x2048xi8>, %sums: memref<64x16xi32>, %scale: memref<64x16xf32>, %y: memref<64x64xf32>,
                   %section: memref<65536xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !groups
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<64x2048xi8>, !groups, memref<64x16xi32>, memref<64x16xf32>, memref<64x64xf32>, index, index, index) -> ()
  return
}
