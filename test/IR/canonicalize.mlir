// RUN: tbq-opt %s --canonicalize --cse | FileCheck %s

// A float linear has no activation mode: the attribute goes.
// CHECK-LABEL: @float_linear
// CHECK: tbq.linear %arg0, %arg1 : (tensor<?x32xf32>, tensor<16x32xbf16>) -> tensor<?x16xf32>
func.func @float_linear(%x: tensor<?x32xf32>, %w: tensor<16x32xbf16>) -> tensor<?x16xf32> {
  %y = tbq.linear %x, %w activations i8 : (tensor<?x32xf32>, tensor<16x32xbf16>) -> tensor<?x16xf32>
  return %y : tensor<?x16xf32>
}

// A quantised one keeps it: it says what is computed.
// CHECK-LABEL: @quantised_linear
// CHECK: tbq.linear {{.*}} group 32 activations i8 :
func.func @quantised_linear(%x: tensor<?x32xf32>, %t: !tbq.digits<16x32, ternary>,
                            %a: tensor<16x1xf16>) -> tensor<?x16xf32> {
  %y = tbq.linear %x, %t scale(%a) group 32 activations i8
    : (tensor<?x32xf32>, !tbq.digits<16x32, ternary>, tensor<16x1xf16>) -> tensor<?x16xf32>
  return %y : tensor<?x16xf32>
}

// What nothing uses is dropped, weights too; what writes the cache stays, and a
// read of the cache is not moved or merged across a write.
// CHECK-LABEL: @effects
// CHECK-NOT: tbq.weight
// CHECK-NOT: tbq.add
// CHECK: tbq.attention
// CHECK: tbq.append_cache
// CHECK: tbq.attention
// CHECK: return
func.func @effects(%x: tensor<?x16xf32>, %cache: !tbq.cache<1 layers, 1 by 16, 32 tokens, f32>,
                   %i: index) -> (tensor<?x16xf32>, tensor<?x16xf32>) {
  %w = tbq.weight "unused" : tensor<4xf32>
  %unused = tbq.add %x, %x : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %before = tbq.attention %x, %cache[%i] at %i heads 1 scale 1.0 !tbq.cache<1 layers, 1 by 16, 32 tokens, f32>
    : (tensor<?x16xf32>, !tbq.cache<1 layers, 1 by 16, 32 tokens, f32>, index, index) -> tensor<?x16xf32>
  tbq.append_cache %x, %x, %cache[%i] at %i tokens %i !tbq.cache<1 layers, 1 by 16, 32 tokens, f32>
    : (tensor<?x16xf32>, tensor<?x16xf32>, !tbq.cache<1 layers, 1 by 16, 32 tokens, f32>, index, index, index) -> ()
  %after = tbq.attention %x, %cache[%i] at %i heads 1 scale 1.0 !tbq.cache<1 layers, 1 by 16, 32 tokens, f32>
    : (tensor<?x16xf32>, !tbq.cache<1 layers, 1 by 16, 32 tokens, f32>, index, index) -> tensor<?x16xf32>
  return %before, %after : tensor<?x16xf32>, tensor<?x16xf32>
}
