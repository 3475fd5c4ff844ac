// RUN: tbq-opt %s --tbq-summarize-logits | FileCheck %s
// Steps of one token a sequence say which of its logits are large; a prefill's
// rows stay as they are.

// CHECK: module attributes {tbq.summarizes_logits}
// CHECK-LABEL: func.func @decode(
// CHECK-SAME: %[[H:.*]]: tensor<1x100xf32>) -> tensor<1x130xf32>
// CHECK: %[[S:.*]] = tbq.summarize_logits %[[H]] columns 100 : (tensor<1x100xf32>) -> tensor<1x130xf32>
// CHECK: return %[[S]] : tensor<1x130xf32>
func.func @decode(%h: tensor<1x100xf32>) -> tensor<1x100xf32> {
  return %h : tensor<1x100xf32>
}
// CHECK-LABEL: func.func @prefill(
// CHECK-NOT: summarize
// CHECK: return %{{.*}} : tensor<8x100xf32>
func.func @prefill(%h: tensor<8x100xf32>) -> tensor<8x100xf32> {
  return %h : tensor<8x100xf32>
}
// CHECK-LABEL: func.func @batch(
// CHECK: return %{{.*}} : tensor<4x130xf32>
func.func @batch(%h: tensor<4x100xf32>) -> tensor<4x100xf32> {
  return %h : tensor<4x100xf32>
}
