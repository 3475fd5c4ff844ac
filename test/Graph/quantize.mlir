// RUN: tbq-opt %s --tbq-quantize="rules=.*=ternary:g32 activations=i8" | FileCheck %s --check-prefixes=CHECK,G32
// RUN: tbq-opt %s --tbq-quantize="rules=.*=ternary:row" | FileCheck %s --check-prefixes=CHECK,ROW
// RUN: tbq-opt %s --tbq-quantize="rules=.*=binary:g32,salient=0.1 activations=i8" | FileCheck %s --check-prefixes=CHECK,SALIENT
// RUN: not tbq-opt %s --tbq-quantize="activations=i4" 2>&1 | FileCheck %s --check-prefix=BAD

// BAD: error: unknown activations 'i4'

!rows = tensor<?x72xf32>
// CHECK-LABEL: @forward
func.func @forward(%x: !rows, %b: tensor<72xf32>, %codes: !tbq.digits<72x72, ternary>, %a: tensor<72x1xf16>) -> tensor<?x40xf32> {
  %1 = tbq.layer "model.layers.0" number 0 (%x) : !rows {
  ^bb0(%h: !rows, %layer: index):
    // CHECK: %[[W:.*]] = tbq.weight "model.layers.0.q.weight"
    %w = tbq.weight "model.layers.0.q.weight" : tensor<72x72xbf16>
    // 72 columns are three groups of 32, the last one short; or one group of 72.
    // G32: %[[T:.*]], %[[C:.*]]:2 = tbq.quantize %[[W]] ternary group 32 : tensor<72x72xbf16> -> <72x72, ternary>, tensor<72x3xf16>, tensor<72x3xf16>
    // G32: %[[Y:.*]] = tbq.linear %{{.*}}, %[[T]] scale(%[[C]]#0) shift(%[[C]]#1) bias(%arg1) residual(%{{.*}}) group 32 activations i8 :
    // ROW: %[[T:.*]], %[[C:.*]]:2 = tbq.quantize %[[W]] ternary group 72 : tensor<72x72xbf16> -> <72x72, ternary>, tensor<72x1xf16>, tensor<72x1xf16>
    // ROW: %[[Y:.*]] = tbq.linear %{{.*}}, %[[T]] scale(%[[C]]#0) shift(%[[C]]#1) bias(%arg1) residual(%{{.*}}) group 72 activations i16 :
    // Of 72 x 32 weights, int(72 * 32 * 0.9) + 1 stay binary, twice; of 72 x 8 the same share.
    // SALIENT: %[[T:.*]], %[[C:.*]]:2, %[[P:.*]]:5 = tbq.quantize %[[W]] binary group 32 salient 1.000000e-01 : tensor<72x72xbf16> -> <72x72, binary>, tensor<72x3xf16>, tensor<72x3xf16> salient !tbq.digits<72x72, salient_mask>, tensor<517xi8>, tensor<73xi32>, tensor<72xf16>, tensor<72xi16>
    // SALIENT: %[[Y:.*]] = tbq.linear %{{.*}}, %[[T]] scale(%[[C]]#0) shift(%[[C]]#1) salient(%[[P]]#0, %[[P]]#1, %[[P]]#2, %[[P]]#3, %[[P]]#4) bias(%arg1) residual(%{{.*}}) group 32 activations i8 :
    %y = tbq.linear %h, %w bias(%b) residual(%h) : (!rows, tensor<72x72xbf16>, tensor<72xf32>, !rows) -> !rows
    // What is quantised already stays as it is.
    // CHECK: tbq.linear %[[Y]], %arg2 scale(%arg3) group 72 : (tensor<?x72xf32>, !tbq.digits<72x72, ternary>, tensor<72x1xf16>) -> tensor<?x72xf32>
    %z = tbq.linear %y, %codes scale(%a) group 72 : (!rows, !tbq.digits<72x72, ternary>, tensor<72x1xf16>) -> !rows
    tbq.yield %z : !rows
  }
  // The head is no part of a decoder layer.
  // CHECK: tbq.linear %{{.*}}, %{{.*}} : (tensor<?x72xf32>, tensor<40x72xbf16>) -> tensor<?x40xf32>
  %head = tbq.weight "lm_head.weight" : tensor<40x72xbf16>
  %logits = tbq.linear %1, %head : (!rows, tensor<40x72xbf16>) -> tensor<?x40xf32>
  return %logits : tensor<?x40xf32>
}
