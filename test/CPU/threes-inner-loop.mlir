// Digits by threes, to assembly: 128 columns of 64 rows are 28 loads of 64 bytes
// of numbers, shifted twice each; 44 tables, each looked up by two vpermw and
// added; and four sums are extended once. Nothing is spilt.
//
// RUN: tbq-opt %s --tbq-cpu="dot=vnni permute fma f16 floor" | mlir-translate --mlir-to-llvmir | opt -O3 -mtriple=x86_64-linux-gnu -mcpu=znver4 | llc -O3 -mtriple=x86_64-linux-gnu -mcpu=znver4 -o %t.s
// RUN: FileCheck %s --check-prefix=FINDS < %t.s
// RUN: FileCheck %s --check-prefix=SHIFTS < %t.s
// RUN: FileCheck %s --check-prefix=NOTHING-ELSE < %t.s

// FINDS-LABEL: {{^}}threes:
// FINDS: Inner Loop Header: Depth=5
// FINDS-COUNT-88: vpermw {{.*}}%zmm
// FINDS-NOT: vpermw
// FINDS-COUNT-4: vpmovsxwd {{.*}}%zmm
// FINDS: vfmadd{{.*}}%zmm
// FINDS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// SHIFTS-LABEL: {{^}}threes:
// SHIFTS: Inner Loop Header: Depth=5
// SHIFTS-COUNT-60: vpsrlw
// SHIFTS-NOT: vpsrlw
// SHIFTS: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
// NOTHING-ELSE-LABEL: {{^}}threes:
// NOTHING-ELSE: Inner Loop Header: Depth=5
// NOTHING-ELSE-NOT: {{zmm[0-9]+, .*\(%rsp|zmm[0-9]+, .*\(%rbp|vpdpbusd|vpmul|call}}
// NOTHING-ELSE: {{^[[:space:]]+j[a-z]+[[:space:]]+\.LBB}}
!threes = !tbq.packed<1024x2048, digits [2], terms [[1, -1], [0, 1]], group 128, tile 128, panel 512>
func.func @threes(%x: memref<1x2048xi8>, %sums: memref<1x16xi32>, %scale: memref<1x16xf32>, %y: memref<1x1024xf32>,
                  %section: memref<1048576xi8>, %count: index, %begin: index, %end: index) {
  %w = tbq.placed_weight [0] in %section : memref<1048576xi8> : !threes
  tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale) into(%y) count(%count) range(%begin, %end)
    : (memref<1x2048xi8>, !threes, memref<1x16xi32>, memref<1x16xf32>, memref<1x1024xf32>, index, index, index) -> ()
  return
}
