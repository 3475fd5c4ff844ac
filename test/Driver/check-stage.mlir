// RUN: tbq-opt %s --tbq-check-stage=stage=pack --split-input-file --verify-diagnostics -o /dev/null
// RUN: not tbq-opt %s --tbq-check-stage=stage=graph --split-input-file 2>&1 | FileCheck %s --check-prefix=GRAPH
// RUN: not tbq-opt %s --tbq-check-stage=stage=lower --split-input-file 2>&1 | FileCheck %s --check-prefix=LOWER
// RUN: not tbq-opt %s --tbq-check-stage=stage=cpu --split-input-file 2>&1 | FileCheck %s --check-prefix=CPU
// RUN: not tbq-opt %s --tbq-check-stage=stage=launch --split-input-file 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// The same module is right after one stage and wrong after every other.

// UNKNOWN: error: unknown stage 'launch'

!codes = !tbq.packed<16x16, digits [2], terms [[1, -1]], group 16, tile 16>
// CPU: error: 'func.func' op does not belong into a module after stage 'cpu'
func.func @decode(%x: tensor<1x16xf32>, %s: tensor<1x1xf32>) -> tensor<1x16xf32> {
  %w = tbq.placed_weight [0] : !codes
  // GRAPH: error: 'tbq.placed_weight' op does not belong into a module after stage 'graph'
  // LOWER: error: 'tbq.packed_linear' op does not belong into a module after stage 'lower'
  %y = tbq.packed_linear %x, %w sums(%s) : (tensor<1x16xf32>, !codes, tensor<1x1xf32>) -> tensor<1x16xf32>
  return %y : tensor<1x16xf32>
}
tbq.weights @weights bytes 128 {
  %t = tbq.weight "codes" : !tbq.digits<16x16, ternary>
  %a = tbq.weight "scale" : tensor<16x1xf16>
  %p = tbq.pack %t coefficients(%a) : (!tbq.digits<16x16, ternary>, tensor<16x1xf16>) -> !codes
  tbq.place %p at 0 "codes" : !codes
}

// -----

// A linear that was not packed.
func.func @decode(%x: tensor<1x16xf32>, %w: tensor<16x16xf32>) -> tensor<1x16xf32> {
  // expected-error @below {{'tbq.linear' op does not belong into a module after stage 'pack'}}
  %y = tbq.linear %x, %w : (tensor<1x16xf32>, tensor<16x16xf32>) -> tensor<1x16xf32>
  return %y : tensor<1x16xf32>
}

// -----

// A layer that was not shared.
func.func @decode(%x: tensor<1x16xf32>) -> tensor<1x16xf32> {
  // expected-error @below {{'tbq.layer' op does not belong into a module after stage 'pack'}}
  %y = tbq.layer "model.layers.0" number 0 (%x) : tensor<1x16xf32> {
  ^bb0(%h: tensor<1x16xf32>, %i: index):
    tbq.yield %h : tensor<1x16xf32>
  }
  return %y : tensor<1x16xf32>
}

// -----

// Ops of other dialects that no stage made.
func.func @decode(%x: tensor<1x16xf32>) -> tensor<1x16xf32> {
  // expected-error @below {{'math.exp' op does not belong into a module after stage 'pack'}}
  %y = math.exp %x : tensor<1x16xf32>
  return %y : tensor<1x16xf32>
}

// -----

// The section's recipe holds weights and nothing of the step.
tbq.weights @weights bytes 64 {
  %t = tbq.weight "x" : tensor<1x16xf32>
  // expected-error @below {{'tbq.add' op does not belong into tbq.weights}}
  %y = tbq.add %t, %t : (tensor<1x16xf32>, tensor<1x16xf32>) -> tensor<1x16xf32>
}
