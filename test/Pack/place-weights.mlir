// RUN: tbq-opt %s --tbq-place-weights | FileCheck %s
// Weights lie in the order of their first use, not of their definition, each
// aligned to 64 bytes; one that is used twice lies there once.

!table = !tbq.packed<12x7, bf16, tile 16>
!norm = !tbq.packed<1x7, f32, tile 1>
!angles = !tbq.packed<3x8, f32, tile 1>
!codes = !tbq.packed<8x12, digits [2], terms [[1, -1], [0, 1]], group 12, tile 16>

// CHECK-LABEL: func.func @forward
func.func @forward(%tokens: tensor<?xi32>, %k: tensor<?x8xf32>, %i: index) -> tensor<?x12xf32> {
  // CHECK-NOT: tbq.weight
  // CHECK-NOT: tbq.pack{{ }}
  // CHECK-DAG: %[[TABLE:.*]] = tbq.placed_weight [0] :
  // CHECK-DAG: %[[NORM:.*]] = tbq.placed_weight [256] :
  // CHECK-DAG: %[[ROPE:.*]] = tbq.placed_weight [320] :
  %unused = tbq.weight "unused" : tensor<8xf32>
  %rope = tbq.rope_table [1.0, 0.5, 0.25, 0.125] : tensor<3x8xf32>
  %angles = tbq.pack %rope : (tensor<3x8xf32>) -> !angles
  %n = tbq.weight "model.norm.weight" : tensor<7xf16>
  %norm = tbq.pack %n : (tensor<7xf16>) -> !norm
  %t = tbq.weight "model.embed_tokens.weight" : tensor<12x7xbf16>
  %table = tbq.pack %t : (tensor<12x7xbf16>) -> !table
  // CHECK: tbq.embedding %arg0, %[[TABLE]] :
  %0 = tbq.embedding %tokens, %table : (tensor<?xi32>, !table) -> tensor<?x7xf32>
  // CHECK: tbq.layer
  %1 = tbq.layer "model.layers.0" number 0 (%0) : tensor<?x7xf32> {
  ^bb0(%h: tensor<?x7xf32>, %layer: index):
    // CHECK: tbq.rms_norm %{{.*}}, %[[NORM]]
    %x = tbq.rms_norm %h, %norm epsilon 1.0 features 7 : (tensor<?x7xf32>, !norm) -> tensor<?x7xf32>
    // CHECK: tbq.rope %{{.*}}, %[[ROPE]]
    %r = tbq.rope %k, %angles at %i heads 1 x 8 : (tensor<?x8xf32>, !angles, index) -> tensor<?x8xf32>
    tbq.yield %x : tensor<?x7xf32>
  }
  // CHECK: %[[HEAD:.*]] = tbq.packed_linear %{{.*}}, %[[TABLE]]
  %2 = tbq.packed_linear %1, %table : (tensor<?x7xf32>, !table) -> tensor<?x12xf32>
  // Digits made from a float weight are called what the weight is called.
  // CHECK: %[[DOWN:.*]] = tbq.placed_weight [512] :
  // CHECK: tbq.packed_linear %{{.*}}, %[[DOWN]]
  %w = tbq.weight "model.layers.0.down_proj.weight" : tensor<8x12xf32>
  %d, %a, %c = tbq.quantize %w ternary group 12 : tensor<8x12xf32> -> !tbq.digits<8x12, ternary>, tensor<8x1xf16>, tensor<8x1xf16>
  %codes = tbq.pack %d coefficients(%a, %c) : (!tbq.digits<8x12, ternary>, tensor<8x1xf16>, tensor<8x1xf16>) -> !codes
  %s = tbq.group_sums %2 columns 12 group 12 : (tensor<?x12xf32>) -> tensor<?x1xf32>
  %3 = tbq.packed_linear %2, %codes sums(%s) : (tensor<?x12xf32>, !codes, tensor<?x1xf32>) -> tensor<?x8xf32>
  return %2 : tensor<?x12xf32>
}

// One tile of 7 columns x 16 rows of bf16: 224 bytes, and 32 to the next
// multiple of 64. One row of 7 floats is padded to 16: 64 bytes; three of 8: 192.
// One group of one 64-byte step and two terms of 32 bytes: 128.
// CHECK: tbq.weights @weights bytes 640 {
// CHECK-NEXT: %[[T:.*]] = tbq.weight "model.embed_tokens.weight"
// CHECK-NEXT: %[[PT:.*]] = tbq.pack %[[T]]
// CHECK-NEXT: tbq.place %[[PT]] at 0 "model.embed_tokens"
// CHECK-NEXT: tbq.weight "model.norm.weight"
// CHECK-NEXT: tbq.pack
// CHECK-NEXT: tbq.place %{{.*}} at 256 "model.norm"
// CHECK-NEXT: tbq.rope_table
// CHECK-NEXT: tbq.pack
// CHECK-NEXT: tbq.place %{{.*}} at 320 "rope_table"
// CHECK-NEXT: tbq.weight "model.layers.0.down_proj.weight"
// CHECK-NEXT: tbq.quantize
// CHECK-NEXT: tbq.pack
// CHECK-NEXT: tbq.place %{{.*}} at 512 "model.layers.0.down_proj"
// CHECK-NEXT: }
