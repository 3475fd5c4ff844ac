// RUN: tbq-opt %s --tbq-specialize-entries="prefill-tokens=40" --split-input-file --verify-diagnostics | FileCheck %s
// RUN: not tbq-opt %s --tbq-specialize-entries="prefill-tokens=0" --split-input-file 2>&1 | FileCheck %s --check-prefix=NONE
// RUN: not tbq-opt %s --tbq-specialize-entries="max-batch=0" --split-input-file 2>&1 | FileCheck %s --check-prefix=ALONE
// RUN: not tbq-opt %s --tbq-specialize-entries="max-batch=8" --split-input-file 2>/dev/null | FileCheck %s --check-prefix=BATCH
// RUN: not tbq-opt %s --tbq-specialize-entries="max-batch=8" --split-input-file 2>&1 | FileCheck %s --check-prefix=PLACES

// NONE: error: prefill needs at least one token, not 0
// ALONE: error: a step carries at least one sequence, not 0
// PLACES: error: has no position, of which sequences have each their own, as its third argument

// Only the number of tokens becomes known: the weights' shapes stay.
// CHECK-LABEL: func.func @decode(
// CHECK-SAME: %arg0: tensor<1xi32>, %arg1: tensor<9x16xf32>, %arg2: index) -> tensor<1x16xf32>
// CHECK: tbq.embedding %arg0, %arg1 : (tensor<1xi32>, tensor<9x16xf32>) -> tensor<1x16xf32>
// CHECK: tbq.layer "a" number 0({{.*}}) : tensor<1x16xf32>
// CHECK: ^bb0(%{{.*}}: tensor<1x16xf32>, %{{.*}}: index):
// CHECK: tbq.quantize_activations {{.*}} : (tensor<1x16xf32>) -> (tensor<1x16xi8>, tensor<1x1xf32>, tensor<1x1xi32>)
// CHECK: return %{{.*}} : tensor<1x16xf32>
// CHECK-LABEL: func.func @prefill(
// CHECK-SAME: %arg0: tensor<40xi32>, %arg1: tensor<9x16xf32>, %arg2: index) -> tensor<40x16xf32>
// CHECK: ^bb0(%{{.*}}: tensor<40x16xf32>, %{{.*}}: index):
// CHECK: tbq.quantize_activations {{.*}} : (tensor<40x16xf32>) -> (tensor<40x16xi8>, tensor<40x1xf32>, tensor<40x1xi32>)
// CHECK: return %{{.*}} : tensor<40x16xf32>
// CHECK-NOT: @forward
// CHECK-NOT: @batch

// Each token of a batch has a place of its own, in every layer.
// BATCH-LABEL: func.func @decode(
// BATCH-LABEL: func.func @prefill(
// BATCH-LABEL: func.func @batch(
// BATCH-SAME: %arg0: tensor<8xi32>, %arg1: tensor<9x16xf32>, %[[WHERE:[a-z0-9]+]]: tensor<8x2xi64>) -> tensor<8x16xf32>
// BATCH: ^bb0(%[[ROWS:.*]]: tensor<8x16xf32>, %{{.*}}: index):
// BATCH: tbq.add_positions %[[ROWS]], %arg1 at %[[WHERE]] offset 2 : (tensor<8x16xf32>, tensor<9x16xf32>, tensor<8x2xi64>) -> tensor<8x16xf32>
func.func @forward(%tokens: tensor<?xi32>, %table: tensor<9x16xf32>, %i: index) -> tensor<?x16xf32> {
  %0 = tbq.embedding %tokens, %table : (tensor<?xi32>, tensor<9x16xf32>) -> tensor<?x16xf32>
  %1 = tbq.layer "a" number 0 (%0) : tensor<?x16xf32> {
  ^bb0(%h: tensor<?x16xf32>, %layer: index):
    %p = tbq.add_positions %h, %table at %i offset 2 : (tensor<?x16xf32>, tensor<9x16xf32>, index) -> tensor<?x16xf32>
    %q, %s, %d = tbq.quantize_activations %h columns 16 group 16 : (tensor<?x16xf32>) -> (tensor<?x16xi8>, tensor<?x1xf32>, tensor<?x1xi32>)
    tbq.yield %p : tensor<?x16xf32>
  }
  return %1 : tensor<?x16xf32>
}

// -----

// expected-error @below {{has no function 'forward' to make entry points of}}
module {}

// -----

func.func @forward(%tokens: tensor<?xi32>) -> tensor<?xi32> {
  return %tokens : tensor<?xi32>
}
