// RUN: tbq-opt %s --tbq-bound-arguments --split-input-file --verify-diagnostics | FileCheck %s
// A step of one token takes at most one, at a position that the cache has.
// Prefill is as it was.

!cache = !tbq.cache<2 layers, 1 by 16, 64 tokens, f16>
// CHECK-LABEL: func.func private @layer(
// CHECK-NOT: minui
func.func private @layer(%q: memref<1x32xf32>, %c: memref<8192xi8>, %into: memref<1x32xf32>, %layer: index, %position: index, %count: index, %begin: index, %end: index) {
  tbq.attention %q, %c[%layer] at %position heads 2 scale 0.25 !cache into(%into) count(%count) range(%begin, %end)
    : (memref<1x32xf32>, memref<8192xi8>, index, index, memref<1x32xf32>, index, index, index) -> ()
  return
}
// CHECK-LABEL: func.func @decode(
// CHECK-SAME: %[[POSITION:[a-z0-9]+]]: index, %[[COUNT:[a-z0-9]+]]: index, %[[FIRST:[a-z0-9]+]]: index
// CHECK: %[[LAST:.*]] = arith.constant 63 : index
// CHECK: %[[PLACE:.*]] = arith.minui %[[POSITION]], %[[LAST]] : index
// CHECK: %[[FROM:.*]] = arith.minui %[[FIRST]], %{{.*}} : index
// CHECK: %[[TOKENS:.*]] = arith.minui %[[COUNT]], %{{.*}} : index
// CHECK: call @layer({{.*}}, %[[PLACE]], %[[TOKENS]], %[[FROM]], %{{.*}})
func.func @decode(%q: memref<1x32xf32>, %w: memref<64xi8>, %c: memref<8192xi8>, %tokens: memref<1xi32>, %into: memref<1x32xf32>, %position: index, %count: index, %first: index, %team: !tbq.team) {
  %zero = arith.constant 0 : index
  call @layer(%q, %c, %into, %zero, %position, %count, %first, %count) : (memref<1x32xf32>, memref<8192xi8>, memref<1x32xf32>, index, index, index, index, index) -> ()
  return
}
// CHECK-LABEL: func.func @prefill(
// CHECK-NOT: minui
func.func @prefill(%q: memref<1x32xf32>, %w: memref<64xi8>, %c: memref<8192xi8>, %tokens: memref<16xi32>, %into: memref<1x32xf32>, %position: index, %count: index, %first: index, %team: !tbq.team) {
  %zero = arith.constant 0 : index
  call @layer(%q, %c, %into, %zero, %position, %count, %first, %count) : (memref<1x32xf32>, memref<8192xi8>, memref<1x32xf32>, index, index, index, index, index) -> ()
  return
}

// -----

// expected-error@below {{has no entry point 'decode'}}
module {
  func.func @prefill() {
    return
  }
}
