// RUN: tbq-opt %s --tbq-quantize="rules=.*q=float,.*mlp.*=dual-binary:g32,.*=binary:row" | FileCheck %s
// RUN: tbq-opt %s --tbq-quantize="rules=.*q=float,.*mlp.*=dual-binary:g32,.*=binary:row,salient=0" | FileCheck %s
// RUN: not tbq-opt %s --tbq-quantize="rules=lm_head=binary:row" 2>&1 | FileCheck %s --check-prefix=UNMATCHED
// RUN: not tbq-opt %s --tbq-quantize="rules=.*=binary:g48" 2>&1 | FileCheck %s --check-prefix=GROUP
// RUN: not tbq-opt %s --tbq-quantize="rules=.*=octal:row" 2>&1 | FileCheck %s --check-prefix=SCHEME
// RUN: not tbq-opt %s --tbq-quantize="rules=([=float" 2>&1 | FileCheck %s --check-prefix=REGEX
// RUN: not tbq-opt %s --tbq-quantize="rules=([a-z.]*[a-z]*)+[!?]=float" 2>&1 | FileCheck %s --check-prefix=SLOW
// RUN: not tbq-opt %s --tbq-quantize="rules=.*q=binary:row,salient=0.1,.*=ternary:row,salient=0.2" 2>&1 | FileCheck %s --check-prefix=SALIENT
// RUN: tbq-opt %s --tbq-quantize="rules=.*q=float,.*mlp.*=dual-binary:g32" --remarks-filter=graph -o /dev/null 2>&1 | FileCheck %s --check-prefix=REMARK
// The first rule that matches a linear's whole name says what becomes of it.
// `salient=0` is binary without salient weights.

// REMARK: remark: [Missed] {{.*}}stays float: {{.*}}rule '.*q=float'
// REMARK: remark: [Passed] {{.*}}quantised: {{.*}}.*mlp.*=dual-binary:g32
// REMARK: remark: [Missed] {{.*}}stays float: {{.*}}no rule matches its name
// REMARK: remark: [Missed] {{.*}}stays float: {{.*}}it is no part of a decoder layer

// UNMATCHED: error: 'lm_head': matches no float linear of the decoder layers
// GROUP: error: tbq-quantize: 'binary:g48': expected binary:row or binary:gN with N a multiple of 32
// SCHEME: error: tbq-quantize: unknown scheme 'octal' (supported: ternary, binary, dual-binary)
// SALIENT: error: tbq-quantize: 'ternary:row,salient=0.2': only binary has a second part: salient=R, 0 <= R <= 0.5
// SLOW: error: '([a-z.]*[a-z]*)+[!?]': pattern takes too long on 'model.layers.0.q'
// REGEX: error: tbq-quantize: '([': invalid pattern

!rows = tensor<?x64xf32>
// CHECK-LABEL: @forward
func.func @forward(%x: !rows) -> !rows {
  %1 = tbq.layer "model.layers.0" number 0 (%x) : !rows {
  ^bb0(%h: !rows, %layer: index):
    // CHECK: %[[Q:.*]] = tbq.weight "model.layers.0.q.weight"
    // CHECK-NEXT: tbq.linear %{{.*}}, %[[Q]] : (
    %q = tbq.weight "model.layers.0.q.weight" : tensor<64x64xbf16>
    %0 = tbq.linear %h, %q : (!rows, tensor<64x64xbf16>) -> !rows
    // CHECK: %[[B:.*]], %[[C:.*]]:2 = tbq.quantize %{{.*}} dual_binary group 32 : tensor<64x64xbf16> -> <64x64, dual_binary>, tensor<64x2xf16>, tensor<64x2xf16>
    // CHECK-NEXT: tbq.linear %{{.*}}, %[[B]] scale(%[[C]]#0, %[[C]]#1) group 32 activations i16 :
    %up = tbq.weight "model.layers.0.mlp.up.weight" : tensor<64x64xbf16>
    %1 = tbq.linear %0, %up : (!rows, tensor<64x64xbf16>) -> !rows
    // CHECK: %[[B:.*]], %[[C:.*]]:2 = tbq.quantize %{{.*}} binary group 64 :
    // CHECK-NEXT: tbq.linear %{{.*}}, %[[B]] scale(%[[C]]#0) shift(%[[C]]#1) group 64 activations i16 :
    %o = tbq.weight "model.layers.0.o.weight" : tensor<64x64xbf16>
    %2 = tbq.linear %1, %o : (!rows, tensor<64x64xbf16>) -> !rows
    tbq.yield %2 : !rows
  }
  // The head is no part of a decoder layer.
  // CHECK: %[[HEAD:.*]] = tbq.weight "lm_head.weight"
  // CHECK-NEXT: tbq.linear %{{.*}}, %[[HEAD]] : (
  %head = tbq.weight "lm_head.weight" : tensor<64x64xbf16>
  %3 = tbq.linear %1, %head : (!rows, tensor<64x64xbf16>) -> !rows
  return %3 : !rows
}
