// RUN: tbq-opt %s --pass-pipeline="builtin.module(func.func(tbq-divide-keys))" | FileCheck %s
// In a step of one token, attention gets memory for sums of each span of 256
// keys: here of 3 spans, 2 heads, 16 lanes of a largest score, of weights and
// of 3 vectors of values.

!kv = !tbq.cache<2 layers, 1 by 40, 528 tokens, f16>
!one = !tbq.cache<2 layers, 1 by 40, 256 tokens, f16>

// CHECK-LABEL: func.func @decode(
// CHECK-NEXT: %[[O:.*]]:2 = tbq.attention %arg0, %arg1[%arg2] at %arg3 heads 2 scale 5.000000e-01 !{{.*}} -> (tensor<1x80xf32>, tensor<1x480xf32>)
// CHECK-NEXT: return %[[O]]#0
func.func @decode(%q: tensor<1x80xf32>, %cache: !kv, %layer: index, %position: index) -> tensor<1x80xf32> {
  %o = tbq.attention %q, %cache[%layer] at %position heads 2 scale 0.5 !kv : (tensor<1x80xf32>, !kv, index, index) -> tensor<1x80xf32>
  return %o : tensor<1x80xf32>
}

// Not of a cache that is one span, of many tokens, of sequences, or where the
// token's key is not in the cache.
// CHECK-LABEL: func.func @others(
// CHECK-COUNT-4: = tbq.attention {{.*}} -> tensor<{{[0-9]+}}x80xf32>
func.func @others(%q: tensor<1x80xf32>, %k: tensor<1x40xf32>, %chunk: tensor<8x80xf32>, %cache: !kv, %small: !one, %layer: index,
                  %position: index, %places: tensor<1x2xi64>) -> (tensor<1x80xf32>, tensor<8x80xf32>, tensor<1x80xf32>, tensor<1x80xf32>) {
  %0 = tbq.attention %q, %small[%layer] at %position heads 2 scale 0.5 !one : (tensor<1x80xf32>, !one, index, index) -> tensor<1x80xf32>
  %1 = tbq.attention %chunk, %cache[%layer] at %position heads 2 scale 0.5 !kv : (tensor<8x80xf32>, !kv, index, index) -> tensor<8x80xf32>
  %2 = tbq.attention %q, %cache[%layer] at %places heads 2 scale 0.5 !kv : (tensor<1x80xf32>, !kv, index, tensor<1x2xi64>) -> tensor<1x80xf32>
  %3 = tbq.attention %q, %cache[%layer] at %position key(%k) value(%k) heads 2 scale 0.5 !kv : (tensor<1x80xf32>, !kv, index, index, tensor<1x40xf32>, tensor<1x40xf32>) -> tensor<1x80xf32>
  return %0, %1, %2, %3 : tensor<1x80xf32>, tensor<8x80xf32>, tensor<1x80xf32>, tensor<1x80xf32>
}
