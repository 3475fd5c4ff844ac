// RUN: tbq-opt %s --pass-pipeline="builtin.module(func.func(tbq-attend-own-key))" | FileCheck %s
// In a step of one token, attention takes the token's key and value as they are,
// and they are stored behind it: it reads what earlier steps left.

!kv = !tbq.cache<2 layers, 1 by 32, 64 tokens, f16>

// CHECK-LABEL: func.func @decode(
// CHECK-SAME: %[[Q:.*]]: tensor<1x64xf32>, %[[K:.*]]: tensor<1x32xf32>, %[[V:.*]]: tensor<1x32xf32>,
func.func @decode(%q: tensor<1x64xf32>, %k: tensor<1x32xf32>, %v: tensor<1x32xf32>, %cache: !kv, %layer: index,
    %position: index, %count: index) -> tensor<1x64xf32> {
  // CHECK-NEXT: tbq.attention %[[Q]], %{{.*}} at %{{.*}} key(%[[K]]) value(%[[V]]) heads 2
  // CHECK-NEXT: tbq.append_cache %[[K]], %[[V]]
  // CHECK-NEXT: return
  tbq.append_cache %k, %v, %cache[%layer] at %position tokens %count !kv : (tensor<1x32xf32>, tensor<1x32xf32>, !kv, index, index, index) -> ()
  %o = tbq.attention %q, %cache[%layer] at %position heads 2 scale 1.0 !kv : (tensor<1x64xf32>, !kv, index, index) -> tensor<1x64xf32>
  return %o : tensor<1x64xf32>
}

// Attention of another layer or place, and a chunk of tokens, read the cache.
// CHECK-LABEL: func.func @other(
func.func @other(%q: tensor<1x64xf32>, %k: tensor<1x32xf32>, %v: tensor<1x32xf32>, %cache: !kv, %layer: index,
    %position: index, %count: index) -> tensor<1x64xf32> {
  // CHECK-NEXT: tbq.append_cache
  // CHECK-NEXT: tbq.attention %{{.*}} at %{{.*}} heads 2
  tbq.append_cache %k, %v, %cache[%layer] at %position tokens %count !kv : (tensor<1x32xf32>, tensor<1x32xf32>, !kv, index, index, index) -> ()
  %o = tbq.attention %q, %cache[%position] at %position heads 2 scale 1.0 !kv : (tensor<1x64xf32>, !kv, index, index) -> tensor<1x64xf32>
  return %o : tensor<1x64xf32>
}
// CHECK-LABEL: func.func @none(
func.func @none(%k: tensor<1x32xf32>, %v: tensor<1x32xf32>, %cache: !kv, %layer: index, %position: index, %count: index) {
  // CHECK-NEXT: tbq.append_cache
  // CHECK-NEXT: return
  tbq.append_cache %k, %v, %cache[%layer] at %position tokens %count !kv : (tensor<1x32xf32>, tensor<1x32xf32>, !kv, index, index, index) -> ()
  return
}
// CHECK-LABEL: func.func @prefill(
func.func @prefill(%q: tensor<8x64xf32>, %k: tensor<8x32xf32>, %v: tensor<8x32xf32>, %cache: !kv, %layer: index,
    %position: index, %count: index) -> tensor<8x64xf32> {
  // CHECK-NEXT: tbq.append_cache
  // CHECK-NEXT: tbq.attention %{{.*}} at %{{.*}} heads 2
  tbq.append_cache %k, %v, %cache[%layer] at %position tokens %count !kv : (tensor<8x32xf32>, tensor<8x32xf32>, !kv, index, index, index) -> ()
  %o = tbq.attention %q, %cache[%layer] at %position heads 2 scale 1.0 !kv : (tensor<8x64xf32>, !kv, index, index) -> tensor<8x64xf32>
  return %o : tensor<8x64xf32>
}
