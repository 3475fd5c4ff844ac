// RUN: tbq-opt %s --pass-pipeline="builtin.module(func.func(tbq-match-units))" | FileCheck %s
// Units of what goes element by element are the tiles of the linears that wrote
// its operands, where a step has one token.

!eight = !tbq.packed<64x64, f32, tile 8>
!sixteen = !tbq.packed<64x64, f32, tile 16>

// CHECK-LABEL: func.func @decode(
func.func @decode(%x: tensor<1x64xf32>, %r: tensor<1x64xf32>, %w: !eight, %v: !sixteen) {
  %a = tbq.packed_linear %x, %w : (tensor<1x64xf32>, !eight) -> tensor<1x64xf32>
  %b = tbq.packed_linear %x, %w : (tensor<1x64xf32>, !eight) -> tensor<1x64xf32>
  %c = tbq.packed_linear %x, %v : (tensor<1x64xf32>, !sixteen) -> tensor<1x64xf32>
  // CHECK: tbq.gated_activation %{{.*}}, %{{.*}} unit 8 :
  %0 = tbq.gated_activation %a, %b : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32>
  // Through another such op.
  // CHECK: tbq.activation %{{.*}} relu unit 8 :
  %1 = tbq.activation %0 relu : (tensor<1x64xf32>) -> tensor<1x64xf32>
  // What no linear of the function wrote has no say.
  // CHECK: tbq.add %{{.*}}, %{{.*}} unit 8 :
  %2 = tbq.add %a, %r : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32>
  // CHECK: tbq.add %{{.*}}, %{{.*}} : (
  %3 = tbq.add %r, %r : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32>
  // 16 columns are the rule.
  // CHECK: tbq.activation %{{.*}} relu : (
  %4 = tbq.activation %c relu : (tensor<1x64xf32>) -> tensor<1x64xf32>
  // Two tiles: neither.
  // CHECK: tbq.add %{{.*}}, %{{.*}} : (
  %5 = tbq.add %a, %c : (tensor<1x64xf32>, tensor<1x64xf32>) -> tensor<1x64xf32>
  return
}

// Tiles of several vectors.
!threes = !tbq.packed<128x64, digits [2], terms [[1, -1]], group 64, tile 128>
// CHECK-LABEL: func.func @bands(
func.func @bands(%x: tensor<1x64xi8>, %sums: tensor<1x1xi32>, %scale: tensor<1x1xf32>, %w: !threes) {
  %a = tbq.packed_linear %x, %w sums(%sums) activation_scale(%scale)
    : (tensor<1x64xi8>, !threes, tensor<1x1xi32>, tensor<1x1xf32>) -> tensor<1x128xf32>
  // CHECK: tbq.gated_activation %{{.*}}, %{{.*}} unit 128 :
  %0 = tbq.gated_activation %a, %a : (tensor<1x128xf32>, tensor<1x128xf32>) -> tensor<1x128xf32>
  return
}

// Of more rows, a worker has other parts anyway.
// CHECK-LABEL: func.func @prefill(
func.func @prefill(%x: tensor<8x64xf32>, %w: !eight) {
  %a = tbq.packed_linear %x, %w : (tensor<8x64xf32>, !eight) -> tensor<8x64xf32>
  // CHECK: tbq.activation %{{.*}} relu : (
  %0 = tbq.activation %a relu : (tensor<8x64xf32>) -> tensor<8x64xf32>
  return
}
