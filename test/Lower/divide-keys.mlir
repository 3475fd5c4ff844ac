// RUN: tbq-opt %s --pass-pipeline="builtin.module(func.func(tbq-divide-keys))" | FileCheck %s
// Attention of a token with its own key gets a row for each range of 512 keys
// that each of its heads may have: outputs, largest score, sum of weights.

!long = !tbq.cache<2 layers, 1 by 32, 1100 tokens, f16, tiled>
!short = !tbq.cache<2 layers, 1 by 32, 512 tokens, f16, tiled>
!rows = !tbq.cache<2 layers, 1 by 32, 1100 tokens, f16>

// CHECK-LABEL: func.func @decode(
// CHECK: %[[O:.*]]:2 = tbq.attention {{.*}} key({{.*}}) value({{.*}}) heads 2 {{.*}} -> (tensor<1x64xf32>, tensor<6x34xf32>)
// CHECK: return %[[O]]#0 : tensor<1x64xf32>
func.func @decode(%q: tensor<1x64xf32>, %k: tensor<1x32xf32>, %v: tensor<1x32xf32>, %cache: !long, %i: index) -> tensor<1x64xf32> {
  %o = tbq.attention %q, %cache[%i] at %i key(%k) value(%v) heads 2 scale 1.0 !long : (tensor<1x64xf32>, !long, index, index, tensor<1x32xf32>, tensor<1x32xf32>) -> tensor<1x64xf32>
  return %o : tensor<1x64xf32>
}

// One range, a cache that is not in tiles, and a chunk's queries stay.
// CHECK-LABEL: func.func @others(
// CHECK-COUNT-3: = tbq.attention {{.*}}) -> tensor<{{[18]}}x64xf32>
func.func @others(%q: tensor<1x64xf32>, %k: tensor<1x32xf32>, %v: tensor<1x32xf32>, %s: !short, %r: !rows, %c: tensor<8x64xf32>, %l: !long, %i: index) {
  %0 = tbq.attention %q, %s[%i] at %i key(%k) value(%v) heads 2 scale 1.0 !short : (tensor<1x64xf32>, !short, index, index, tensor<1x32xf32>, tensor<1x32xf32>) -> tensor<1x64xf32>
  %1 = tbq.attention %q, %r[%i] at %i key(%k) value(%v) heads 2 scale 1.0 !rows : (tensor<1x64xf32>, !rows, index, index, tensor<1x32xf32>, tensor<1x32xf32>) -> tensor<1x64xf32>
  %2 = tbq.attention %c, %l[%i] at %i heads 2 scale 1.0 !long : (tensor<8x64xf32>, !long, index, index) -> tensor<8x64xf32>
  return
}
