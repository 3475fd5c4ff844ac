// RUN: tbq-opt %s --tbq-expand-math | FileCheck %s --check-prefixes=CHECK,BARE
// RUN: tbq-opt %s --tbq-expand-math="fma f16 floor" | FileCheck %s --check-prefixes=CHECK,FULL
// RUN: tbq-opt %s --tbq-expand-math="fma floor" | FileCheck %s --check-prefix=NOF16
// RUN: tbq-opt %s --tbq-expand-math --sccp | FileCheck %s --check-prefix=VALUES

// exp is a polynomial on every target; what it is made of is expanded too.
// CHECK-LABEL: func.func @exp(
// CHECK-NOT: math.exp
// BARE-NOT: math.
// FULL: math.floor
// FULL: math.fma
// CHECK: return
func.func @exp(%x: vector<16xf32>) -> vector<16xf32> {
  %y = math.exp %x : vector<16xf32>
  return %y : vector<16xf32>
}

// CHECK-LABEL: func.func @fma(
// BARE: %[[P:.*]] = arith.mulf %arg0, %arg1
// BARE-NEXT: arith.addf %[[P]], %arg2
// FULL: math.fma %arg0, %arg1, %arg2
func.func @fma(%x: vector<16xf32>, %y: vector<16xf32>, %z: vector<16xf32>) -> vector<16xf32> {
  %r = math.fma %x, %y, %z : vector<16xf32>
  return %r : vector<16xf32>
}

// Through i32, less one where that rounded up.
// CHECK-LABEL: func.func @floor(
// BARE: %[[I:.*]] = arith.fptosi %arg0
// BARE: %[[T:.*]] = arith.sitofp %[[I]]
// BARE: %[[UP:.*]] = arith.cmpf ogt, %[[T]], %arg0
// BARE: %[[LESS:.*]] = arith.subf %[[T]], %{{.*}}
// BARE: arith.select %[[UP]], %[[LESS]], %[[T]]
// FULL: math.floor
func.func @floor(%x: vector<16xf32>) -> vector<16xf32> {
  %r = math.floor %x : vector<16xf32>
  return %r : vector<16xf32>
}

// A target that fuses and rounds keeps both, and expands f16 alone.
// NOF16-LABEL: func.func @fma(
// NOF16: math.fma
// NOF16-LABEL: func.func @widen(
// NOF16-NOT: arith.extf
// NOF16: return

// Rebiased by a multiplication with 2^112; from 0x7c00 on, infinities and NaNs.
// CHECK-LABEL: func.func @widen(
// BARE-NOT: arith.extf
// BARE-DAG: %[[BIAS:.*]] = arith.constant dense<5.19229686E+33> : vector<16xf32>
// BARE-DAG: %[[SPECIAL:.*]] = arith.constant dense<31744> : vector<16xi32>
// BARE: %[[H:.*]] = arith.extui %{{.*}} : vector<16xi16> to vector<16xi32>
// BARE: arith.mulf %{{.*}}, %[[BIAS]]
// BARE: %[[FINITE:.*]] = arith.cmpi ult, %{{.*}}, %[[SPECIAL]]
// BARE: arith.select %[[FINITE]]
// BARE-NOT: arith.extf
// FULL: arith.extf %arg0 : vector<16xf16> to vector<16xf32>
// CHECK: return
func.func @widen(%x: vector<16xf16>) -> vector<16xf32> {
  %y = arith.extf %x : vector<16xf16> to vector<16xf32>
  return %y : vector<16xf32>
}

// CHECK-LABEL: func.func @narrow(
// BARE-NOT: arith.truncf
// BARE-COUNT-3: arith.select
// BARE: arith.trunci %{{.*}} : vector<1xi32> to vector<1xi16>
// BARE-NOT: arith.truncf
// FULL: arith.truncf %arg0 : vector<1xf32> to vector<1xf16>
// CHECK: return
func.func @narrow(%x: vector<1xf32>) -> vector<1xf16> {
  %y = arith.truncf %x : vector<1xf32> to vector<1xf16>
  return %y : vector<1xf16>
}

// Conversions between other types stay, and so does what every target has.
// CHECK-LABEL: func.func @kept(
// CHECK: arith.truncf %arg0 : vector<16xf64> to vector<16xf32>
// CHECK: math.sqrt
// CHECK: math.absf
func.func @kept(%x: vector<16xf64>) -> vector<16xf32> {
  %0 = arith.truncf %x : vector<16xf64> to vector<16xf32>
  %1 = math.sqrt %0 : vector<16xf32>
  %2 = math.absf %1 : vector<16xf32>
  return %2 : vector<16xf32>
}

// What the expansions compute: constants, followed through the functions.
// Zeros, subnormals, the smallest normal, the largest, infinity, NaN.
// VALUES-LABEL: func.func @values(
// VALUES-DAG: dense<[0, -2147483648, 864026624, -1199587328, 947912704, 1199562752, -8388608, 2143297536]> : vector<8xi32>
// VALUES-DAG: dense<[0, -32768, 0, 1, 1024, 1024, 15360, 15362, 31743, 31744, -1024, 32256]> : vector<12xi16>
func.func @values() -> (vector<8xi32>, vector<12xi16>) {
  %h = arith.constant dense<[0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x7bff, 0xfc00, 0x7e01]> : vector<8xi16>
  %wide = func.call @wide(%h) : (vector<8xi16>) -> vector<8xi32>
  // Ties to even at both ends of the subnormals and among the normal; the last
  // that is finite and the first that is not.
  %f = arith.constant dense<[0x00000000, 0x80000000, 0x33000000, 0x33000001, 0x387fffff, 0x38800000,
                             0x3f801000, 0x3f803000, 0x477fefff, 0x477ff000, 0xff800000, 0x7fc00000]> : vector<12xi32>
  %half = func.call @half(%f) : (vector<12xi32>) -> vector<12xi16>
  return %wide, %half : vector<8xi32>, vector<12xi16>
}
func.func private @wide(%h: vector<8xi16>) -> vector<8xi32> {
  %x = arith.bitcast %h : vector<8xi16> to vector<8xf16>
  %y = arith.extf %x : vector<8xf16> to vector<8xf32>
  %b = arith.bitcast %y : vector<8xf32> to vector<8xi32>
  return %b : vector<8xi32>
}
func.func private @half(%f: vector<12xi32>) -> vector<12xi16> {
  %x = arith.bitcast %f : vector<12xi32> to vector<12xf32>
  %y = arith.truncf %x : vector<12xf32> to vector<12xf16>
  %b = arith.bitcast %y : vector<12xf16> to vector<12xi16>
  return %b : vector<12xi16>
}
