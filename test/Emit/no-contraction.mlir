// A multiplication and an addition stay two instructions, also at -O3 on a CPU
// that could fuse them; what the IR calls fma is one.

// RUN: tbqc %s --start-after=cpu --emit=asm --mtriple=x86_64-linux-gnu --mcpu=x86-64-v4 | FileCheck %s --implicit-check-not=vfmadd
// CHECK: decode:
// CHECK: vmulps {{.*}}%zmm
// CHECK: vaddps {{.*}}%zmm
// CHECK: prefill:
// CHECK: vfmadd{{[0-9]+}}ps {{.*}}%zmm

!p = !llvm.ptr
module attributes {tbq.arena_bytes = 0 : i64, tbq.cache_bytes = 0 : i64, tbq.decode_tokens = 1 : i64, tbq.prefill_tokens = 1 : i64, tbq.logits_stride = 16 : i64} {
  llvm.func @decode(%arena: !p, %1: !p, %2: !p, %3: !p, %4: !p, %5: i64, %6: i64, %7: i64, %8: !p) {
    %x = llvm.load %arena : !p -> vector<16xf32>
    %y = llvm.fmul %x, %x : vector<16xf32>
    %z = llvm.fadd %y, %x : vector<16xf32>
    llvm.store %z, %arena : vector<16xf32>, !p
    llvm.return
  }
  llvm.func @prefill(%arena: !p, %1: !p, %2: !p, %3: !p, %4: !p, %5: i64, %6: i64, %7: i64, %8: !p) {
    %x = llvm.load %arena : !p -> vector<16xf32>
    %z = llvm.intr.fma(%x, %x, %x) : (vector<16xf32>, vector<16xf32>, vector<16xf32>) -> vector<16xf32>
    llvm.store %z, %arena : vector<16xf32>, !p
    llvm.return
  }
}
