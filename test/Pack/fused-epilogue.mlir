// RUN: tbq-opt %s --tbq-graph="quantize=ternary:g32 activations=i8" --tbq-pack | FileCheck %s
// A layer as OPT has it: what a linear adds to its dot products, the shift of a
// group, the bias and the residual, it adds itself. The shift is the layout's
// second term, the bias lies in its tiles; no op is left that adds.

// CHECK-DAG: ![[FC1:packed[0-9]*]] = !tbq.packed<96x64, digits [2], terms {{\[}}[1, -1], [0, 1]], group 32, tile 16, bias>
// CHECK-DAG: ![[FC2:packed[0-9]*]] = !tbq.packed<64x96, digits [2], terms {{\[}}[1, -1], [0, 1]], group 32, tile 16, bias>
!rows = tensor<?x64xf32>
!kv = !tbq.cache<1 layers, 1 by 64, 40 tokens, f32>
// CHECK-LABEL: func.func private @decode_layers_0(
// CHECK-SAME: %[[H:arg0]]: tensor<1x64xf32>
// CHECK-NOT: tbq.add
// CHECK: %[[NORMED:.*]] = tbq.layer_norm %[[H]]
// CHECK-NOT: tbq.add
// CHECK: %[[Q:.*]]:3 = tbq.quantize_activations %[[NORMED]]
// CHECK-NOT: tbq.add
// CHECK: %[[WIDE:.*]] = tbq.packed_linear %[[Q]]#0, %{{.*}} sums(%[[Q]]#2) activation_scale(%[[Q]]#1) : (tensor<1x64xi8>, ![[FC1]],
// CHECK-NOT: tbq.add
// CHECK: %[[R:.*]] = tbq.activation %[[WIDE]] relu
// CHECK-NOT: tbq.add
// CHECK: %[[Q:.*]]:3 = tbq.quantize_activations %[[R]]
// CHECK-NOT: tbq.add
// CHECK: %[[Y:.*]] = tbq.packed_linear %[[Q]]#0, %{{.*}} sums(%[[Q]]#2) activation_scale(%[[Q]]#1) residual(%[[H]]) : (tensor<1x96xi8>, ![[FC2]],
// CHECK-NOT: tbq.add
// CHECK: return %[[Y]]
func.func @forward(%tokens: tensor<?xi32>, %cache: !kv, %position: index, %count: index, %first: index) -> tensor<?x40xf32> {
  %table = tbq.weight "model.decoder.embed_tokens.weight" : tensor<40x64xf16>
  %0 = tbq.embedding %tokens, %table : (tensor<?xi32>, tensor<40x64xf16>) -> !rows
  %1 = tbq.layer "model.decoder.layers.0" number 0(%0) : !rows {
  ^bb0(%h: !rows, %layer: index):
    %norm = tbq.weight "model.decoder.layers.0.final_layer_norm.weight" : tensor<64xf16>
    %shift = tbq.weight "model.decoder.layers.0.final_layer_norm.bias" : tensor<64xf16>
    %2 = tbq.layer_norm %h, %norm, %shift epsilon 1.0e-5 features 64 : (!rows, tensor<64xf16>, tensor<64xf16>) -> !rows
    %fc1 = tbq.weight "model.decoder.layers.0.fc1.weight" : tensor<96x64xf16>
    %b1 = tbq.weight "model.decoder.layers.0.fc1.bias" : tensor<96xf16>
    %3 = tbq.linear %2, %fc1 bias(%b1) : (!rows, tensor<96x64xf16>, tensor<96xf16>) -> tensor<?x96xf32>
    %4 = tbq.activation %3 relu : (tensor<?x96xf32>) -> tensor<?x96xf32>
    %fc2 = tbq.weight "model.decoder.layers.0.fc2.weight" : tensor<64x96xf16>
    %b2 = tbq.weight "model.decoder.layers.0.fc2.bias" : tensor<64xf16>
    %5 = tbq.linear %4, %fc2 bias(%b2) : (tensor<?x96xf32>, tensor<64x96xf16>, tensor<64xf16>) -> !rows
    %6 = tbq.add %h, %5 : (!rows, !rows) -> !rows
    tbq.yield %6 : !rows
  }
  %7 = tbq.select_rows %1 from %first : (!rows, index) -> !rows
  %8 = tbq.linear %7, %table : (!rows, tensor<40x64xf16>) -> tensor<?x40xf32>
  return %8 : tensor<?x40xf32>
}
