// RUN: tbq-opt %s --tbq-place-weights | FileCheck %s
// Weights lie in the order of their first use, not of their definition, each
// aligned to 64 bytes; one that is used twice lies there once.

!table = !tbq.packed<20x8, bf16, tile 16>
!norm = !tbq.packed<1x8, f32, tile 1>
!angles = !tbq.packed<3x8, f32, tile 1>
!codes = !tbq.packed<8x20, digits [2], terms [[1, -1], [0, 1]], group 16, tile 16>

// CHECK-LABEL: func.func @forward
func.func @forward(%tokens: tensor<?xi32>, %i: index) -> tensor<?x20xf32> {
  // CHECK-NOT: tbq.weight
  // CHECK-NOT: tbq.pack{{ }}
  // CHECK-DAG: %[[TABLE:.*]] = tbq.placed_weight [0] :
  // CHECK-DAG: %[[NORM:.*]] = tbq.placed_weight [512] :
  // CHECK-DAG: %[[ROPE:.*]] = tbq.placed_weight [576] :
  %unused = tbq.weight "unused" : tensor<8xf32>
  %rope = tbq.rope_table [1.0, 0.5, 0.25, 0.125] : tensor<3x8xf32>
  %angles = tbq.pack %rope : (tensor<3x8xf32>) -> !angles
  %n = tbq.weight "model.norm.weight" : tensor<8xf16>
  %norm = tbq.pack %n : (tensor<8xf16>) -> !norm
  %t = tbq.weight "model.embed_tokens.weight" : tensor<20x8xbf16>
  %table = tbq.pack %t : (tensor<20x8xbf16>) -> !table
  // CHECK: tbq.embedding %arg0, %[[TABLE]] :
  %0 = tbq.embedding %tokens, %table : (tensor<?xi32>, !table) -> tensor<?x8xf32>
  // CHECK: tbq.layer
  %1 = tbq.layer "model.layers.0" number 0 (%0) : tensor<?x8xf32> {
  ^bb0(%h: tensor<?x8xf32>, %layer: index):
    // CHECK: tbq.rms_norm %{{.*}}, %[[NORM]]
    %x = tbq.rms_norm %h, %norm epsilon 1.0 features 8 : (tensor<?x8xf32>, !norm) -> tensor<?x8xf32>
    // CHECK: tbq.rope %{{.*}}, %[[ROPE]]
    %r = tbq.rope %x, %angles at %i heads 1 x 8 : (tensor<?x8xf32>, !angles, index) -> tensor<?x8xf32>
    tbq.yield %r : tensor<?x8xf32>
  }
  // CHECK: %[[HEAD:.*]] = tbq.packed_linear %{{.*}}, %[[TABLE]]
  %2 = tbq.packed_linear %1, %table : (tensor<?x8xf32>, !table) -> tensor<?x20xf32>
  // Digits made from a float weight are called what the weight is called.
  // CHECK: %[[DOWN:.*]] = tbq.placed_weight [768] :
  // CHECK: tbq.packed_linear %{{.*}}, %[[DOWN]]
  %w = tbq.weight "model.layers.0.down_proj.weight" : tensor<8x20xf32>
  %d, %a, %c = tbq.quantize %w ternary group 16 : tensor<8x20xf32> -> !tbq.digits<8x20, ternary>, tensor<8x2xf16>, tensor<8x2xf16>
  %codes = tbq.pack %d scale(%a) shift(%c) : (!tbq.digits<8x20, ternary>, tensor<8x2xf16>, tensor<8x2xf16>) -> !codes
  %s = tbq.group_sums %2 columns 20 group 16 : (tensor<?x20xf32>) -> tensor<?x2xf32>
  %3 = tbq.packed_linear %2, %codes sums(%s) : (tensor<?x20xf32>, !codes, tensor<?x2xf32>) -> tensor<?x8xf32>
  return %2 : tensor<?x20xf32>
}

// Two tiles of 8 columns x 16 rows of bf16: 512 bytes. One row of 8 floats is
// padded to 16: 64 bytes; three of them: 192. Two groups of one 64-byte step and
// two terms of 32 bytes: 256.
// CHECK: tbq.weights @weights bytes 1024 {
// CHECK-NEXT: %[[T:.*]] = tbq.weight "model.embed_tokens.weight"
// CHECK-NEXT: %[[PT:.*]] = tbq.pack %[[T]]
// CHECK-NEXT: tbq.place %[[PT]] at 0 "model.embed_tokens"
// CHECK-NEXT: tbq.weight "model.norm.weight"
// CHECK-NEXT: tbq.pack
// CHECK-NEXT: tbq.place %{{.*}} at 512 "model.norm"
// CHECK-NEXT: tbq.rope_table
// CHECK-NEXT: tbq.pack
// CHECK-NEXT: tbq.place %{{.*}} at 576 "rope_table"
// CHECK-NEXT: tbq.weight "model.layers.0.down_proj.weight"
// CHECK-NEXT: tbq.quantize
// CHECK-NEXT: tbq.pack
// CHECK-NEXT: tbq.place %{{.*}} at 768 "model.layers.0.down_proj"
// CHECK-NEXT: }
