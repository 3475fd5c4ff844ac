// RUN: tbq-opt %s --tbq-fuse-residual | FileCheck %s

!rows = tensor<?x16xf32>
!matrix = tensor<16x16xf32>

// CHECK-LABEL: @either_side
func.func @either_side(%h: !rows, %x: !rows, %w: !matrix) -> (!rows, !rows) {
  // CHECK: %[[R:.*]] = tbq.linear %arg1, %arg2 residual(%arg0) : (tensor<?x16xf32>, tensor<16x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  // CHECK: %[[L:.*]] = tbq.linear %arg1, %arg2 residual(%arg0) :
  // CHECK-NOT: tbq.add
  // CHECK: return %[[R]], %[[L]]
  %y = tbq.linear %x, %w : (!rows, !matrix) -> !rows
  %right = tbq.add %h, %y : (!rows, !rows) -> !rows
  %z = tbq.linear %x, %w : (!rows, !matrix) -> !rows
  %left = tbq.add %z, %h : (!rows, !rows) -> !rows
  return %right, %left : !rows, !rows
}

// Scheme, coefficients and bias stay with the linear.
// CHECK-LABEL: @quantised
func.func @quantised(%h: !rows, %x: !rows, %t: !tbq.digits<16x16, ternary>, %a: tensor<16x1xf16>, %b: tensor<16xf32>) -> !rows {
  // CHECK: tbq.linear %arg1, %arg2 scale(%arg3) shift(%arg3) bias(%arg4) residual(%arg0) group 16 activations i8 :
  // CHECK-NOT: tbq.add
  %y = tbq.linear %x, %t scale(%a) shift(%a) bias(%b) group 16 activations i8
    : (!rows, !tbq.digits<16x16, ternary>, tensor<16x1xf16>, tensor<16x1xf16>, tensor<16xf32>) -> !rows
  %r = tbq.add %h, %y : (!rows, !rows) -> !rows
  return %r : !rows
}

// The residual is made after the linear: the linear moves down to it.
// CHECK-LABEL: @residual_made_later
func.func @residual_made_later(%x: !rows, %w: !matrix) -> !rows {
  // CHECK: %[[G:.*]] = tbq.gated_activation
  // CHECK: tbq.linear %arg0, %arg1 residual(%[[G]])
  %y = tbq.linear %x, %w : (!rows, !matrix) -> !rows
  %g = tbq.gated_activation %x, %x : (!rows, !rows) -> !rows
  %r = tbq.add %g, %y : (!rows, !rows) -> !rows
  return %r : !rows
}

// A linear that is used twice, or has a residual already, stays.
// CHECK-LABEL: @used_twice
func.func @used_twice(%h: !rows, %x: !rows, %w: !matrix) -> (!rows, !rows) {
  // CHECK: %[[Y:.*]] = tbq.linear %arg1, %arg2 :
  // CHECK: tbq.add %arg0, %[[Y]]
  %y = tbq.linear %x, %w : (!rows, !matrix) -> !rows
  %r = tbq.add %h, %y : (!rows, !rows) -> !rows
  return %r, %y : !rows, !rows
}

// CHECK-LABEL: @has_residual
func.func @has_residual(%h: !rows, %x: !rows, %w: !matrix) -> !rows {
  // CHECK: %[[Y:.*]] = tbq.linear %arg1, %arg2 residual(%arg1)
  // CHECK: tbq.add %arg0, %[[Y]]
  %y = tbq.linear %x, %w residual(%x) : (!rows, !matrix, !rows) -> !rows
  %r = tbq.add %h, %y : (!rows, !rows) -> !rows
  return %r : !rows
}

// Two linears: one takes the other's result as its residual.
// CHECK-LABEL: @two_linears
func.func @two_linears(%x: !rows, %w: !matrix) -> !rows {
  // CHECK: %[[Y:.*]] = tbq.linear %arg0, %arg1 :
  // CHECK: tbq.linear %arg0, %arg1 residual(%[[Y]])
  // CHECK-NOT: tbq.add
  %y = tbq.linear %x, %w : (!rows, !matrix) -> !rows
  %z = tbq.linear %x, %w : (!rows, !matrix) -> !rows
  %r = tbq.add %y, %z : (!rows, !rows) -> !rows
  return %r : !rows
}
