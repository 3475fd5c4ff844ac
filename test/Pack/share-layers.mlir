// RUN: tbq-opt %s --tbq-share-layers | FileCheck %s
// Layers 0 and 1 differ in nothing but their weights' places and share one
// function; layer 2 has a wider group and layers 3 to 5 follow in one of theirs.

!rows = tensor<1x64xf32>
!norm = !tbq.packed<1x64, f32, tile 1>
!g32 = !tbq.packed<64x64, digits [2], terms [[1, -1]], group 32, tile 16>
!g64 = !tbq.packed<64x64, digits [2], terms [[1, -1]], group 64, tile 16>
!angles = !tbq.packed<40x16, f32, tile 1>

// The first layer's number is the residual's; offsets are one a layer.
// CHECK-LABEL: func.func private @decode_layers_0(
// CHECK-SAME: %[[H:arg0]]: tensor<1x64xf32>, %[[I:arg1]]: index, %[[POSITION:arg2]]: index) -> tensor<1x64xf32>
// CHECK: %[[ROPE:.*]] = tbq.placed_weight [0, 0] layer(%[[I]])
// CHECK: %[[NORM:.*]] = tbq.placed_weight [2560, 8192] layer(%[[I]])
// CHECK: %[[X:.*]] = tbq.rms_norm %[[H]], %[[NORM]]
// CHECK: tbq.rope %[[X]], %[[ROPE]] at %[[POSITION]]
// CHECK: %[[W:.*]] = tbq.placed_weight [3072, 8704] layer(%[[I]])
// CHECK: %[[Y:.*]] = tbq.packed_linear %{{.*}}, %[[W]] {{.*}} residual(%[[H]])
// CHECK: return %[[Y]]

// A run of one needs no choice, but still a number.
// CHECK-LABEL: func.func private @decode_layers_2(
// CHECK: %[[TWO:.*]] = arith.constant 2 : index
// CHECK: %[[I:.*]] = arith.subi %arg1, %[[TWO]]
// CHECK: tbq.placed_weight [0] layer(%[[I]])
// CHECK: tbq.placed_weight [16384] layer(%[[I]]) : ![[NORMTYPE:packed[0-9]*]]

// CHECK-LABEL: func.func private @decode_layers_3(
// CHECK: %[[THREE:.*]] = arith.constant 3 : index
// CHECK: %[[I:.*]] = arith.subi %arg1, %[[THREE]]
// CHECK: tbq.placed_weight [0, 0, 0] layer(%[[I]])
// CHECK: tbq.placed_weight [20480, 24576, 28672] layer(%[[I]])
// CHECK: tbq.placed_weight [20992, 25088, 29184] layer(%[[I]])

// CHECK-LABEL: func.func @decode(
// CHECK: %[[A:.*]] = tbq.layers @decode_layers_0(%arg0, %arg1) numbers 0 to 2 :
// CHECK: %[[B:.*]] = tbq.layers @decode_layers_2(%[[A]], %arg1) numbers 2 to 3 :
// CHECK: %[[C:.*]] = tbq.layers @decode_layers_3(%[[B]], %arg1) numbers 3 to 6 :
// CHECK-NOT: tbq.layer "
// CHECK: return %[[C]]
func.func @decode(%0: !rows, %position: index) -> !rows {
  %angles = tbq.placed_weight [0] : !angles
  %1 = tbq.layer "model.layers.0" number 0 (%0) : !rows {
  ^bb0(%h: !rows, %layer: index):
    %n = tbq.placed_weight [2560] : !norm
    %x = tbq.rms_norm %h, %n epsilon 1.0 features 64 : (!rows, !norm) -> !rows
    %r = tbq.rope %x, %angles at %position heads 4 x 16 : (!rows, !angles, index) -> !rows
    %w = tbq.placed_weight [3072] : !g32
    %s = tbq.group_sums %r columns 64 group 32 : (!rows) -> tensor<1x2xf32>
    %y = tbq.packed_linear %r, %w sums(%s) residual(%h) : (!rows, !g32, tensor<1x2xf32>, !rows) -> !rows
    tbq.yield %y : !rows
  }
  %2 = tbq.layer "model.layers.1" number 1 (%1) : !rows {
  ^bb0(%h: !rows, %layer: index):
    %n = tbq.placed_weight [8192] : !norm
    %x = tbq.rms_norm %h, %n epsilon 1.0 features 64 : (!rows, !norm) -> !rows
    %r = tbq.rope %x, %angles at %position heads 4 x 16 : (!rows, !angles, index) -> !rows
    %w = tbq.placed_weight [8704] : !g32
    %s = tbq.group_sums %r columns 64 group 32 : (!rows) -> tensor<1x2xf32>
    %y = tbq.packed_linear %r, %w sums(%s) residual(%h) : (!rows, !g32, tensor<1x2xf32>, !rows) -> !rows
    tbq.yield %y : !rows
  }
  %3 = tbq.layer "model.layers.2" number 2 (%2) : !rows {
  ^bb0(%h: !rows, %layer: index):
    %n = tbq.placed_weight [16384] : !norm
    %x = tbq.rms_norm %h, %n epsilon 1.0 features 64 : (!rows, !norm) -> !rows
    %r = tbq.rope %x, %angles at %position heads 4 x 16 : (!rows, !angles, index) -> !rows
    %w = tbq.placed_weight [16896] : !g64
    %s = tbq.group_sums %r columns 64 group 64 : (!rows) -> tensor<1x1xf32>
    %y = tbq.packed_linear %r, %w sums(%s) residual(%h) : (!rows, !g64, tensor<1x1xf32>, !rows) -> !rows
    tbq.yield %y : !rows
  }
  %4 = tbq.layer "model.layers.3" number 3 (%3) : !rows {
  ^bb0(%h: !rows, %layer: index):
    %n = tbq.placed_weight [20480] : !norm
    %x = tbq.rms_norm %h, %n epsilon 1.0 features 64 : (!rows, !norm) -> !rows
    %r = tbq.rope %x, %angles at %position heads 4 x 16 : (!rows, !angles, index) -> !rows
    %w = tbq.placed_weight [20992] : !g32
    %s = tbq.group_sums %r columns 64 group 32 : (!rows) -> tensor<1x2xf32>
    %y = tbq.packed_linear %r, %w sums(%s) residual(%h) : (!rows, !g32, tensor<1x2xf32>, !rows) -> !rows
    tbq.yield %y : !rows
  }
  %5 = tbq.layer "model.layers.4" number 4 (%4) : !rows {
  ^bb0(%h: !rows, %layer: index):
    %n = tbq.placed_weight [24576] : !norm
    %x = tbq.rms_norm %h, %n epsilon 1.0 features 64 : (!rows, !norm) -> !rows
    %r = tbq.rope %x, %angles at %position heads 4 x 16 : (!rows, !angles, index) -> !rows
    %w = tbq.placed_weight [25088] : !g32
    %s = tbq.group_sums %r columns 64 group 32 : (!rows) -> tensor<1x2xf32>
    %y = tbq.packed_linear %r, %w sums(%s) residual(%h) : (!rows, !g32, tensor<1x2xf32>, !rows) -> !rows
    tbq.yield %y : !rows
  }
  %6 = tbq.layer "model.layers.5" number 5 (%5) : !rows {
  ^bb0(%h: !rows, %layer: index):
    %n = tbq.placed_weight [28672] : !norm
    %x = tbq.rms_norm %h, %n epsilon 1.0 features 64 : (!rows, !norm) -> !rows
    %r = tbq.rope %x, %angles at %position heads 4 x 16 : (!rows, !angles, index) -> !rows
    %w = tbq.placed_weight [29184] : !g32
    %s = tbq.group_sums %r columns 64 group 32 : (!rows) -> tensor<1x2xf32>
    %y = tbq.packed_linear %r, %w sums(%s) residual(%h) : (!rows, !g32, tensor<1x2xf32>, !rows) -> !rows
    tbq.yield %y : !rows
  }
  return %6 : !rows
}

// What another op reads between two layers is where a run ends, and so is a gap
// in their numbers.
// CHECK-LABEL: func.func @apart(
// CHECK: %[[A:.*]] = tbq.layers @apart_layers_0(%arg0) numbers 0 to 1 :
// CHECK: %[[B:.*]] = tbq.layers @apart_layers_1(%[[A]]) numbers 1 to 2 :
// CHECK: %[[C:.*]] = tbq.layers @apart_layers_3(%[[B]]) numbers 3 to 4 :
// CHECK: tbq.add %[[A]], %[[C]]
func.func @apart(%0: !rows) -> !rows {
  %1 = tbq.layer "model.layers.0" number 0 (%0) : !rows {
  ^bb0(%h: !rows, %layer: index):
    %y = tbq.add %h, %h : (!rows, !rows) -> !rows
    tbq.yield %y : !rows
  }
  %2 = tbq.layer "model.layers.1" number 1 (%1) : !rows {
  ^bb0(%h: !rows, %layer: index):
    %y = tbq.add %h, %h : (!rows, !rows) -> !rows
    tbq.yield %y : !rows
  }
  %3 = tbq.layer "model.layers.3" number 3 (%2) : !rows {
  ^bb0(%h: !rows, %layer: index):
    %y = tbq.add %h, %h : (!rows, !rows) -> !rows
    tbq.yield %y : !rows
  }
  %r = tbq.add %1, %3 : (!rows, !rows) -> !rows
  return %r : !rows
}
