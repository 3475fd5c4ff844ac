// RUN: tbq-opt %s --tbq-observe-steps | FileCheck %s
// Around each op, between barriers: what it reads before it, what it wrote after
// it. A buffer that is read and written is shown twice; so is the cache where it
// is written, after the op alone.

!weight = !tbq.packed<64x64, f32, tile 16>
!cache = !tbq.cache<2 layers, 1 by 16, 32 tokens, f32>

// CHECK: module attributes {tbq.operations = [
// CHECK-SAME: {kind = "packed_linear", name = "model.layers.0.mlp.down_proj", values = [
// CHECK-SAME: {columns = 64 : i64, type = "f32", written = false}, {columns = 64 : i64, type = "f32", written = false}, {columns = 64 : i64, type = "f32", written = true}]}
// CHECK-SAME: {kind = "append_cache", name = "", values = [
// CHECK-SAME: {columns = 16 : i64, type = "f32", written = false}, {columns = 16 : i64, type = "f32", written = false}, {columns = 8192 : i64, type = "cache", written = true}]}
// CHECK-SAME: {kind = "embedding", name = "", values = [{columns = 1 : i64, type = "i32", written = false}, {columns = 64 : i64, type = "f32", written = true}]}
// CHECK-SAME: {kind = "select_rows"

// CHECK-LABEL: func.func @layers(
func.func @layers(%arena: memref<8192xi8>, %weights: memref<65536xi8>, %cache: memref<8192xi8>, %tokens: memref<8xi32>,
                  %logits: memref<8x64xf32>, %position: index, %count: index, %first: index, %team: !tbq.team, %layer: index) {
  %0 = arith.constant 0 : index
  %1 = arith.constant 1 : index
  %2048 = arith.constant 2048 : index
  %4096 = arith.constant 4096 : index
  // CHECK: %[[A:.*]] = memref.view
  %a = memref.view %arena[%0][] : memref<8192xi8> to memref<8x64xf32>
  // CHECK: %[[B:.*]] = memref.view
  %b = memref.view %arena[%2048][] : memref<8192xi8> to memref<8x64xf32>
  // CHECK: %[[K:.*]] = memref.view
  %k = memref.view %arena[%4096][] : memref<8192xi8> to memref<8x16xf32>
  %m = tbq.placed_weight [0] in %weights : memref<65536xi8> : !weight
  // CHECK: tbq.barrier %arg8
  // CHECK-NEXT: tbq.observe %arg8 operation 0 value 0 layer %arg9 rows %arg6 of %[[A]] : memref<8x64xf32>
  // CHECK-NEXT: tbq.observe %arg8 operation 0 value 1 layer %arg9 rows %arg6 of %[[B]] : memref<8x64xf32>
  // CHECK-NEXT: tbq.barrier %arg8
  // CHECK-NEXT: tbq.packed_linear
  // CHECK-NEXT: tbq.barrier %arg8
  // CHECK-NEXT: tbq.observe %arg8 operation 0 value 2 layer %arg9 rows %arg6 of %[[B]] : memref<8x64xf32>
  // CHECK-NEXT: tbq.barrier %arg8
  tbq.packed_linear %a, %m residual(%b) into(%b) count(%count) range(%0, %1) : (memref<8x64xf32>, !weight, memref<8x64xf32>, memref<8x64xf32>, index, index, index) -> () loc("model.layers.0.mlp.down_proj")
  // CHECK: tbq.observe %arg8 operation 1 value 0 layer %arg9 rows %arg6 of %[[K]]
  // CHECK-NEXT: tbq.observe %arg8 operation 1 value 1 layer %arg9 rows %arg6 of %[[K]]
  // CHECK-NEXT: tbq.barrier %arg8
  // CHECK-NEXT: tbq.append_cache
  // CHECK-NEXT: tbq.barrier %arg8
  // CHECK-NEXT: tbq.observe %arg8 operation 1 value 2 layer %arg9 rows %arg6 of %arg2 : memref<8192xi8>
  tbq.append_cache %k, %k, %cache[%layer] at %position tokens %count !cache count(%count) range(%0, %1) : (memref<8x16xf32>, memref<8x16xf32>, memref<8192xi8>, index, index, index, index, index, index) -> ()
  return
}

// Outside of layers; where rows are selected, the input has those of all tokens.
// CHECK-LABEL: func.func @decode(
func.func @decode(%arena: memref<8192xi8>, %weights: memref<65536xi8>, %cache: memref<8192xi8>, %tokens: memref<8xi32>,
                  %logits: memref<8x64xf32>, %position: index, %count: index, %first: index, %team: !tbq.team) {
  // CHECK: %[[NONE:.*]] = arith.constant -1 : index
  %0 = arith.constant 0 : index
  %1 = arith.constant 1 : index
  %a = memref.view %arena[%0][] : memref<8192xi8> to memref<8x64xf32>
  %m = tbq.placed_weight [0] in %weights : memref<65536xi8> : !weight
  // CHECK: tbq.observe %arg8 operation 2 value 0 layer %[[NONE]] rows %arg6 of %arg3 : memref<8xi32>
  tbq.embedding %tokens, %m into(%a) count(%count) range(%0, %1) : (memref<8xi32>, !weight, memref<8x64xf32>, index, index, index) -> ()
  // CHECK: %[[LEFT:.*]] = arith.subi
  %left = arith.subi %count, %first : index
  // CHECK: tbq.observe %arg8 operation 3 value 0 layer %[[NONE]] rows %arg6 of
  // CHECK: tbq.select_rows
  // CHECK: tbq.observe %arg8 operation 3 value 1 layer %[[NONE]] rows %[[LEFT]] of %arg4
  tbq.select_rows %a from %first into(%logits) count(%left) range(%0, %1) : (memref<8x64xf32>, index, memref<8x64xf32>, index, index, index) -> ()
  return
}
