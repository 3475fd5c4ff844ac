// RUN: tbq-opt %s --tbq-time-phases | FileCheck %s
// Each barrier says what stands behind it; an entry point begins and ends with
// one, and what it does after its last is nothing.

!weight = !tbq.packed<64x64, f32, tile 16>

// Linears by the last word of their names.
// CHECK: module attributes {tbq.phases = ["add, up_proj", "packed_linear", "add", ""]} {

// CHECK-LABEL: func.func @layers(
func.func @layers(%arena: memref<8192xi8>, %weights: memref<65536xi8>, %cache: memref<8192xi8>, %tokens: memref<8xi32>,
                  %logits: memref<8x64xf32>, %position: index, %count: index, %first: index, %team: !tbq.team, %layer: index) {
  %0 = arith.constant 0 : index
  %1 = arith.constant 1 : index
  %a = memref.view %arena[%0][] : memref<8192xi8> to memref<8x64xf32>
  %m = tbq.placed_weight [0] in %weights : memref<65536xi8> : !weight
  // The caller's last phase.
  // CHECK: tbq.add
  tbq.add %a, %a into(%a) count(%count) range(%0, %1) : (memref<8x64xf32>, memref<8x64xf32>, memref<8x64xf32>, index, index, index) -> ()
  // CHECK: tbq.barrier %arg8 phase 0 layer %arg9
  tbq.barrier %team
  tbq.add %a, %a into(%a) count(%count) range(%0, %1) : (memref<8x64xf32>, memref<8x64xf32>, memref<8x64xf32>, index, index, index) -> ()
  tbq.packed_linear %a, %m into(%a) count(%count) range(%0, %1) : (memref<8x64xf32>, !weight, memref<8x64xf32>, index, index, index) -> () loc("model.layers.0.mlp.up_proj")
  // CHECK: tbq.barrier %arg8 phase 1 layer %arg9
  tbq.barrier %team
  tbq.packed_linear %a, %m into(%a) count(%count) range(%0, %1) : (memref<8x64xf32>, !weight, memref<8x64xf32>, index, index, index) -> ()
  return
}

// CHECK-LABEL: func.func @decode(
func.func @decode(%arena: memref<8192xi8>, %weights: memref<65536xi8>, %cache: memref<8192xi8>, %tokens: memref<8xi32>,
                  %logits: memref<8x64xf32>, %position: index, %count: index, %first: index, %team: !tbq.team) {
  // CHECK: %[[NONE:.*]] = arith.constant 0 : index
  // CHECK-NEXT: tbq.barrier %arg8 phase 2 layer %[[NONE]]
  %0 = arith.constant 0 : index
  %1 = arith.constant 1 : index
  %a = memref.view %arena[%0][] : memref<8192xi8> to memref<8x64xf32>
  // CHECK: tbq.add
  // CHECK-NEXT: tbq.barrier %arg8 phase 3 layer %[[NONE]]
  // CHECK-NEXT: return
  tbq.add %a, %a into(%a) count(%count) range(%0, %1) : (memref<8x64xf32>, memref<8x64xf32>, memref<8x64xf32>, index, index, index) -> ()
  return
}
