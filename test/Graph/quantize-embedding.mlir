// RUN: tbq-opt %s --tbq-quantize="embedding=int8:g32 activations=i8" | FileCheck %s --check-prefixes=CHECK,INT8
// RUN: tbq-opt %s --tbq-quantize="embedding=int4:row rules=.*=ternary:row" | FileCheck %s --check-prefixes=CHECK,INT4
// RUN: tbq-opt %s --tbq-quantize="embedding=float" | FileCheck %s --check-prefix=FLOAT
// RUN: not tbq-opt %s --tbq-quantize="embedding=int8:g6" 2>&1 | FileCheck %s --check-prefix=GROUP
// RUN: not tbq-opt %s --tbq-quantize="embedding=int4:g12" 2>&1 | FileCheck %s --check-prefix=GROUP4
// RUN: not tbq-opt %s --tbq-quantize="embedding=ternary:row" 2>&1 | FileCheck %s --check-prefix=SCHEME
// RUN: echo 'module {}' | not tbq-opt --tbq-quantize="embedding=int8:row" 2>&1 | FileCheck %s --check-prefix=NONE

// GROUP: error: tbq-quantize: embedding: 'int8:g6': expected int8:row or int8:gN with N a multiple of 4
// GROUP4: error: tbq-quantize: embedding: 'int4:g12': expected int4:row or int4:gN with N a multiple of 8
// SCHEME: error: tbq-quantize: embedding: unknown scheme 'ternary' (supported: int8, int4)
// NONE: error: no float embedding to quantise

!rows = tensor<?x72xf32>
// A tied table is quantised once, for both its users.
// CHECK-LABEL: @tied
// FLOAT-NOT: tbq.quantize
func.func @tied(%tokens: tensor<?xi32>) -> tensor<?x40xf32> {
  // INT8: %[[Q:.*]], %[[A:.*]] = tbq.quantize %{{.*}} int8 group 32 : tensor<40x72xbf16> -> <40x72, int8>, tensor<40x3xf16>
  // INT8-NOT: tbq.quantize
  // INT8: tbq.embedding %arg0, %[[Q]] scale(%[[A]]) group 32 : (tensor<?xi32>, !tbq.digits<40x72, int8>, tensor<40x3xf16>) -> tensor<?x72xf32>
  // INT4: %[[Q:.*]], %[[A:.*]] = tbq.quantize %{{.*}} int4 group 72 : tensor<40x72xbf16> -> <40x72, int4>, tensor<40x1xf16>
  // INT4: tbq.embedding %arg0, %[[Q]] scale(%[[A]]) group 72 : (tensor<?xi32>, !tbq.digits<40x72, int4>, tensor<40x1xf16>) -> tensor<?x72xf32>
  %table = tbq.weight "model.embed_tokens.weight" : tensor<40x72xbf16>
  %0 = tbq.embedding %tokens, %table : (tensor<?xi32>, tensor<40x72xbf16>) -> !rows
  %1 = tbq.layer "model.layers.0" number 0 (%0) : !rows {
  ^bb0(%h: !rows, %layer: index):
    // Without a rule, the decoder's linears stay float.
    // INT8: tbq.linear %{{.*}}, %{{.*}} : (tensor<?x72xf32>, tensor<72x72xbf16>)
    // INT4: tbq.quantize %{{.*}} ternary group 72
    // INT4-NEXT: tbq.linear {{.*}} shift({{.*}}) group 72 activations i16
    %w = tbq.weight "model.layers.0.q.weight" : tensor<72x72xbf16>
    %y = tbq.linear %h, %w : (!rows, tensor<72x72xbf16>) -> !rows
    tbq.yield %y : !rows
  }
  // INT8-NOT: tbq.quantize
  // INT8: tbq.linear %{{.*}}, %[[Q]] scale(%[[A]]) group 32 activations i8 : (tensor<?x72xf32>, !tbq.digits<40x72, int8>, tensor<40x3xf16>) -> tensor<?x40xf32>
  // INT4: tbq.linear %{{.*}}, %[[Q]] scale(%[[A]]) group 72 activations i16 : (tensor<?x72xf32>, !tbq.digits<40x72, int4>, tensor<40x1xf16>) -> tensor<?x40xf32>
  %2 = tbq.linear %1, %table : (!rows, tensor<40x72xbf16>) -> tensor<?x40xf32>
  return %2 : tensor<?x40xf32>
}

// What leads from the embedding's width to the hidden one, and back, stays
// float: the head is the linear that makes the logits.
// CHECK-LABEL: @projected
// FLOAT-NOT: tbq.quantize
func.func @projected(%tokens: tensor<?xi32>) -> tensor<?x40xf32> {
  // CHECK: tbq.quantize %{{.*}} int
  // CHECK-NOT: tbq.quantize
  // CHECK: tbq.linear %{{.*}}, %{{.*}} : (tensor<?x72xf32>, tensor<88x72xbf16>) -> tensor<?x88xf32>
  // CHECK-NEXT: %[[OUT:.*]] = tbq.weight "model.decoder.project_out.weight"
  // CHECK-NEXT: tbq.linear %{{.*}}, %[[OUT]] : (
  // CHECK-NEXT: tbq.linear %{{.*}}, %{{.*}} scale(
  %table = tbq.weight "model.decoder.embed_tokens.weight" : tensor<40x72xbf16>
  %0 = tbq.embedding %tokens, %table : (tensor<?xi32>, tensor<40x72xbf16>) -> !rows
  %in = tbq.weight "model.decoder.project_in.weight" : tensor<88x72xbf16>
  %1 = tbq.linear %0, %in : (!rows, tensor<88x72xbf16>) -> tensor<?x88xf32>
  %out = tbq.weight "model.decoder.project_out.weight" : tensor<72x88xbf16>
  %2 = tbq.linear %1, %out : (tensor<?x88xf32>, tensor<72x88xbf16>) -> !rows
  %3 = tbq.linear %2, %table : (!rows, tensor<40x72xbf16>) -> tensor<?x40xf32>
  return %3 : tensor<?x40xf32>
}

// An untied head is quantised on its own.
// CHECK-LABEL: @untied
// FLOAT-NOT: tbq.quantize
func.func @untied(%tokens: tensor<?xi32>) -> tensor<?x40xf32> {
  // CHECK: %[[TABLE:.*]] = tbq.weight "model.embed_tokens.weight"
  // CHECK-NEXT: %[[Q:.*]], %[[A:.*]] = tbq.quantize %[[TABLE]] int
  // CHECK: tbq.embedding %arg0, %[[Q]] scale(%[[A]])
  %table = tbq.weight "model.embed_tokens.weight" : tensor<40x72xbf16>
  %0 = tbq.embedding %tokens, %table : (tensor<?xi32>, tensor<40x72xbf16>) -> !rows
  // CHECK: %[[HEAD:.*]] = tbq.weight "lm_head.weight"
  // CHECK-NEXT: %[[Q:.*]], %[[A:.*]] = tbq.quantize %[[HEAD]] int
  // CHECK: tbq.linear %{{.*}}, %[[Q]] scale(%[[A]])
  %head = tbq.weight "lm_head.weight" : tensor<40x72xbf16>
  %1 = tbq.linear %0, %head : (!rows, tensor<40x72xbf16>) -> tensor<?x40xf32>
  return %1 : tensor<?x40xf32>
}
