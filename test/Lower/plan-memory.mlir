// RUN: tbq-opt %s --tbq-plan-memory --cse --split-input-file --verify-diagnostics | FileCheck %s
// Tensors become views of one arena; the arguments are those of
// format/StepAbi.h. Rows of 40 are padded to 48 floats, 12 tokens to 16 rows.

!kv = !tbq.cache<2 layers, 1 by 40, 20 tokens, f16>
!table = !tbq.packed<20x40, bf16, tile 16>
!norm = !tbq.packed<1x40, f32, tile 1>
!codes = !tbq.packed<40x40, digits [2], terms [[1, -1]], group 40, tile 16>

// The arena is the largest step's: six times 1024 bytes, then the residual's
// 16 x 48 floats. The cache: 2 layers of keys and values for 20 tokens, padded
// to 32 positions, and values of 40 features to 48.
// CHECK: module attributes {tbq.arena_bytes = 9216 : i64, tbq.cache_bytes = 11264 : i64, tbq.decode_tokens = 1 : i64, tbq.logits_stride = 32 : i64, tbq.prefill_tokens = 12 : i64}

// CHECK-LABEL: func.func private @decode_layers_0(
// CHECK-SAME: %[[ARENA:arg0]]: memref<9216xi8>, %[[WEIGHTS:arg1]]: memref<5312xi8>, %[[CACHE:arg2]]: memref<11264xi8>, %arg3: memref<1xi32>, %arg4: memref<1x32xf32>, %[[POSITION:arg5]]: index, %[[COUNT:arg6]]: index, %arg7: index, %arg8: !tbq.team, %[[LAYER:arg9]]: index) {
// What every worker makes for itself lies in memory of its own. One token's other
// buffers, y and the attention's, share no bytes; the residual lies above what
// its layer needs.
// CHECK-DAG: %[[Y:.*]] = memref.view %[[ARENA]][%c0][] : memref<9216xi8> to memref<1x48xf32>
// CHECK-DAG: %[[O:.*]] = memref.view %[[ARENA]][%c192][] : memref<9216xi8> to memref<1x48xf32>
// CHECK-DAG: %[[OWN:.*]] = memref.alloca() {alignment = 64 : i64} : memref<640xi8>
// CHECK-DAG: %[[S:.*]] = memref.view %[[OWN]][%c512][] : memref<640xi8> to memref<1x16xi32>
// CHECK-DAG: %[[A:.*]] = memref.view %[[OWN]][%c384][] : memref<640xi8> to memref<1x16xf32>
// CHECK-DAG: %[[Q:.*]] = memref.view %[[OWN]][%c256][] : memref<640xi8> to memref<1x48xi8>
// CHECK-DAG: %[[X:.*]] = memref.view %[[OWN]][%c0][] : memref<640xi8> to memref<1x48xf32>
// CHECK-DAG: %[[H:.*]] = memref.view %[[ARENA]][%c384][] : memref<9216xi8> to memref<1x48xf32>
// CHECK: %[[N:.*]] = tbq.placed_weight [2560, 2752] layer(%[[LAYER]]) in %[[WEIGHTS]]
// CHECK: tbq.rms_norm %[[H]], %[[N]] {{.*}} into(%[[X]]) count(%[[COUNT]]) :
// CHECK: tbq.quantize_activations %[[X]] {{.*}} into(%[[Q]], %[[A]], %[[S]]) count(%[[COUNT]]) :
// CHECK: tbq.packed_linear %[[Q]], %{{.*}} sums(%[[S]]) activation_scale(%[[A]]) into(%[[Y]]) count(%[[COUNT]]) :
// CHECK: tbq.append_cache %[[Y]], %[[Y]], %[[CACHE]][%[[LAYER]]] at %[[POSITION]] tokens %[[COUNT]] !cache count(%[[COUNT]]) :
// CHECK: tbq.attention %[[Y]], %[[CACHE]][%[[LAYER]]] at %[[POSITION]] {{.*}} into(%[[O]]) count(%[[COUNT]]) :
// The residual is added to in place.
// CHECK: tbq.add %[[H]], %[[O]] into(%[[H]]) count(%[[COUNT]]) :
// CHECK-NEXT: return

// CHECK-LABEL: func.func @decode(
// CHECK-DAG: %[[TOP:.*]] = memref.view %arg0[%c384][] : memref<9216xi8> to memref<1x48xf32>
// CHECK: %[[TABLE:.*]] = tbq.placed_weight [0] in %arg1
// CHECK: tbq.embedding %arg3, %[[TABLE]] into(%[[TOP]]) count(%arg6) :
// CHECK: scf.for %[[I:.*]] = %c0 to %c2 step %c1 {
// CHECK-NEXT: func.call @decode_layers_0(%arg0, %arg1, %arg2, %arg3, %arg4, %arg5, %arg6, %arg7, %arg8, %[[I]])
// Only the rows whose logits are asked for go on.
// CHECK: %[[ROWS:.*]] = arith.subi %arg6, %arg7
// CHECK: tbq.select_rows %[[TOP]] from %arg7 into(%[[SELECTED:.*]]) count(%[[ROWS]]) :
// CHECK: tbq.rms_norm %[[SELECTED]], {{.*}} into(%[[LAST:.*]]) count(%[[ROWS]]) :
// The logits are the caller's.
// CHECK: tbq.packed_linear %[[LAST]], %[[TABLE]] into(%arg4) count(%[[ROWS]]) :
// CHECK-NEXT: return

// CHECK-LABEL: func.func @prefill(
// CHECK-SAME: %arg3: memref<12xi32>, %arg4: memref<12x32xf32>
// CHECK: memref.view %arg0[%c6144][] : memref<9216xi8> to memref<16x48xf32>

func.func private @decode_layers_0(%h: tensor<1x40xf32>, %i: index, %position: index, %cache: !kv, %count: index) -> tensor<1x40xf32> {
  %n = tbq.placed_weight [2560, 2752] layer(%i) : !norm
  %x = tbq.rms_norm %h, %n epsilon 1.0 features 40 : (tensor<1x40xf32>, !norm) -> tensor<1x40xf32>
  %q, %a, %s = tbq.quantize_activations %x columns 40 group 40 : (tensor<1x40xf32>) -> (tensor<1x40xi8>, tensor<1x1xf32>, tensor<1x1xi32>)
  %w = tbq.placed_weight [3072, 4096] layer(%i) : !codes
  %y = tbq.packed_linear %q, %w sums(%s) activation_scale(%a) : (tensor<1x40xi8>, !codes, tensor<1x1xi32>, tensor<1x1xf32>) -> tensor<1x40xf32>
  tbq.append_cache %y, %y, %cache[%i] at %position tokens %count !kv : (tensor<1x40xf32>, tensor<1x40xf32>, !kv, index, index, index) -> ()
  %o = tbq.attention %y, %cache[%i] at %position heads 1 scale 1.0 !kv : (tensor<1x40xf32>, !kv, index, index) -> tensor<1x40xf32>
  %r = tbq.add %h, %o : (tensor<1x40xf32>, tensor<1x40xf32>) -> tensor<1x40xf32>
  return %r : tensor<1x40xf32>
}
func.func @decode(%tokens: tensor<1xi32>, %cache: !kv, %position: index, %count: index, %first: index) -> tensor<1x20xf32> {
  %table = tbq.placed_weight [0] : !table
  %0 = tbq.embedding %tokens, %table : (tensor<1xi32>, !table) -> tensor<1x40xf32>
  %1 = tbq.layers @decode_layers_0(%0, %position, %cache, %count) numbers 0 to 2 : (tensor<1x40xf32>, index, !kv, index) -> tensor<1x40xf32>
  %2 = tbq.select_rows %1 from %first : (tensor<1x40xf32>, index) -> tensor<1x40xf32>
  %norm = tbq.placed_weight [5120] : !norm
  %3 = tbq.rms_norm %2, %norm epsilon 1.0 features 40 : (tensor<1x40xf32>, !norm) -> tensor<1x40xf32>
  %4 = tbq.packed_linear %3, %table : (tensor<1x40xf32>, !table) -> tensor<1x20xf32>
  return %4 : tensor<1x20xf32>
}
func.func private @prefill_layers_0(%h: tensor<12x40xf32>, %i: index, %position: index, %cache: !kv, %count: index) -> tensor<12x40xf32> {
  %n = tbq.placed_weight [2560, 2752] layer(%i) : !norm
  %x = tbq.rms_norm %h, %n epsilon 1.0 features 40 : (tensor<12x40xf32>, !norm) -> tensor<12x40xf32>
  %q, %a, %s = tbq.quantize_activations %x columns 40 group 40 : (tensor<12x40xf32>) -> (tensor<12x40xi8>, tensor<12x1xf32>, tensor<12x1xi32>)
  %w = tbq.placed_weight [3072, 4096] layer(%i) : !codes
  %y = tbq.packed_linear %q, %w sums(%s) activation_scale(%a) : (tensor<12x40xi8>, !codes, tensor<12x1xi32>, tensor<12x1xf32>) -> tensor<12x40xf32>
  tbq.append_cache %y, %y, %cache[%i] at %position tokens %count !kv : (tensor<12x40xf32>, tensor<12x40xf32>, !kv, index, index, index) -> ()
  %o = tbq.attention %y, %cache[%i] at %position heads 1 scale 1.0 !kv : (tensor<12x40xf32>, !kv, index, index) -> tensor<12x40xf32>
  %r = tbq.add %h, %o : (tensor<12x40xf32>, tensor<12x40xf32>) -> tensor<12x40xf32>
  return %r : tensor<12x40xf32>
}
func.func @prefill(%tokens: tensor<12xi32>, %cache: !kv, %position: index, %count: index, %first: index) -> tensor<12x20xf32> {
  %table = tbq.placed_weight [0] : !table
  %0 = tbq.embedding %tokens, %table : (tensor<12xi32>, !table) -> tensor<12x40xf32>
  %1 = tbq.layers @prefill_layers_0(%0, %position, %cache, %count) numbers 0 to 2 : (tensor<12x40xf32>, index, !kv, index) -> tensor<12x40xf32>
  %2 = tbq.select_rows %1 from %first : (tensor<12x40xf32>, index) -> tensor<12x40xf32>
  %norm = tbq.placed_weight [5120] : !norm
  %3 = tbq.rms_norm %2, %norm epsilon 1.0 features 40 : (tensor<12x40xf32>, !norm) -> tensor<12x40xf32>
  %4 = tbq.packed_linear %3, %table : (tensor<12x40xf32>, !table) -> tensor<12x20xf32>
  return %4 : tensor<12x20xf32>
}
tbq.weights @weights bytes 5312 {
}

// -----

!kv = !tbq.cache<2 layers, 1 by 16, 16 tokens, f32>
!rows = tensor<8x16xf32>
!table = !tbq.packed<16x16, f32, tile 16>
// %0 lives to the end, %1 until %3 is made, which takes over its buffer: an
// element of it is read by the unit that writes it. Only %4, the logits, is
// elsewhere.
// CHECK: tbq.arena_bytes = 1536 : i64
// CHECK-LABEL: func.func @decode(
// CHECK-DAG: %[[B0:.*]] = memref.view %arg0[%c0][]
// CHECK-DAG: %[[B1:.*]] = memref.view %arg0[%c512][]
// CHECK-DAG: %[[B2:.*]] = memref.view %arg0[%c1024][]
// CHECK: tbq.embedding {{.*}} into(%[[B0]])
// CHECK: tbq.gated_activation %[[B0]], %[[B0]] into(%[[B1]])
// CHECK: tbq.gated_activation %[[B0]], %[[B1]] into(%[[B2]])
// CHECK: tbq.gated_activation %[[B1]], %[[B2]] into(%[[B1]])
// CHECK: tbq.gated_activation %[[B0]], %[[B1]] into(%arg4)
func.func @decode(%tokens: tensor<8xi32>, %cache: !kv, %position: index, %count: index, %first: index) -> !rows {
  %table = tbq.placed_weight [0] : !table
  %0 = tbq.embedding %tokens, %table : (tensor<8xi32>, !table) -> !rows
  %1 = tbq.gated_activation %0, %0 : (!rows, !rows) -> !rows
  %2 = tbq.gated_activation %0, %1 : (!rows, !rows) -> !rows
  %3 = tbq.gated_activation %1, %2 : (!rows, !rows) -> !rows
  %4 = tbq.gated_activation %0, %3 : (!rows, !rows) -> !rows
  return %4 : !rows
}
func.func @prefill(%tokens: tensor<8xi32>, %cache: !kv, %position: index, %count: index, %first: index) -> !rows {
  %table = tbq.placed_weight [0] : !table
  %0 = tbq.embedding %tokens, %table : (tensor<8xi32>, !table) -> !rows
  return %0 : !rows
}
tbq.weights @weights bytes 1024 {
}

// -----

!kv = !tbq.cache<2 layers, 1 by 16, 16 tokens, f32>
!rows = tensor<1x40000xf32>
!table = !tbq.packed<40000x40000, f32, tile 16>
!norm = !tbq.packed<1x40000, f32, tile 1>
// Two rows of 160,000 bytes are more than a worker's stack is asked for: the
// second one lies in the arena.
// CHECK-LABEL: func.func @decode(
// CHECK-DAG: %[[STACK:.*]] = memref.alloca() {alignment = 64 : i64} : memref<160000xi8>
// CHECK-DAG: %[[OWN:.*]] = memref.view %[[STACK]][%c0][] : memref<160000xi8> to memref<1x40000xf32>
// CHECK-DAG: %[[SHARED:.*]] = memref.view %arg0[
// CHECK: tbq.embedding {{.*}} into(%[[OWN]])
// CHECK: tbq.rms_norm %[[OWN]], {{.*}} into(%[[SHARED]])
func.func @decode(%tokens: tensor<1xi32>, %cache: !kv, %position: index, %count: index, %first: index) -> !rows {
  %table = tbq.placed_weight [0] : !table
  %n = tbq.placed_weight [0] : !norm
  %0 = tbq.embedding %tokens, %table : (tensor<1xi32>, !table) -> !rows
  %1 = tbq.rms_norm %0, %n epsilon 1.0 features 40000 : (!rows, !norm) -> !rows
  %2 = tbq.packed_linear %1, %table : (!rows, !table) -> !rows
  return %2 : !rows
}
func.func @prefill(%tokens: tensor<1xi32>, %cache: !kv, %position: index, %count: index, %first: index) -> !rows {
  %table = tbq.placed_weight [0] : !table
  %0 = tbq.embedding %tokens, %table : (tensor<1xi32>, !table) -> !rows
  return %0 : !rows
}
tbq.weights @weights bytes 6400000000 {
}

// -----

!kv = !tbq.cache<2 layers, 1 by 16, 16 tokens, f32>
!rows = tensor<1x16xf32>
!table = !tbq.packed<16x16, f32, tile 16>
// Layers that need no more bytes than the residual: theirs lie above it.
// CHECK: tbq.arena_bytes = 128 : i64
// CHECK-LABEL: func.func private @layer(
// CHECK-DAG: %[[H:.*]] = memref.view %arg0[%c0][]
// CHECK-DAG: %[[Y:.*]] = memref.view %arg0[%c64][]
// CHECK: tbq.gated_activation %[[H]], %[[H]] into(%[[Y]])
// CHECK: tbq.add %[[H]], %[[Y]] into(%[[H]])
func.func private @layer(%h: !rows, %i: index) -> !rows {
  %y = tbq.gated_activation %h, %h : (!rows, !rows) -> !rows
  %r = tbq.add %h, %y : (!rows, !rows) -> !rows
  return %r : !rows
}
func.func @decode(%tokens: tensor<1xi32>, %cache: !kv, %position: index, %count: index, %first: index) -> !rows {
  %table = tbq.placed_weight [0] : !table
  %0 = tbq.embedding %tokens, %table : (tensor<1xi32>, !table) -> !rows
  %1 = tbq.layers @layer(%0) numbers 0 to 2 : (!rows) -> !rows
  %2 = tbq.gated_activation %1, %1 : (!rows, !rows) -> !rows
  return %2 : !rows
}
func.func @prefill(%tokens: tensor<1xi32>, %cache: !kv, %position: index, %count: index, %first: index) -> !rows {
  %table = tbq.placed_weight [0] : !table
  %0 = tbq.embedding %tokens, %table : (tensor<1xi32>, !table) -> !rows
  return %0 : !rows
}
tbq.weights @weights bytes 1024 {
}

// -----

!kv = !tbq.cache<2 layers, 1 by 16, 16 tokens, f32>
!rows = tensor<1x16xf32>
!table = !tbq.packed<16x16, f32, tile 16>
func.func private @layer(%h: !rows, %i: index) -> !rows {
  %w = tbq.placed_weight [0] : !table
  // A tile of the linear reads whole rows of what others have written over.
  // expected-error @below {{reads a residual that the layer's result has overwritten}}
  %y = tbq.packed_linear %h, %w : (!rows, !table) -> !rows
  return %y : !rows
}
func.func @decode(%tokens: tensor<1xi32>, %cache: !kv, %position: index, %count: index, %first: index) -> !rows {
  %table = tbq.placed_weight [0] : !table
  %0 = tbq.embedding %tokens, %table : (tensor<1xi32>, !table) -> !rows
  %1 = tbq.layers @layer(%0) numbers 0 to 2 : (!rows) -> !rows
  return %1 : !rows
}
func.func @prefill(%tokens: tensor<1xi32>, %cache: !kv, %position: index, %count: index, %first: index) -> !rows {
  %table = tbq.placed_weight [0] : !table
  %0 = tbq.embedding %tokens, %table : (tensor<1xi32>, !table) -> !rows
  return %0 : !rows
}
tbq.weights @weights bytes 1024 {
}

// -----

!kv = !tbq.cache<2 layers, 1 by 16, 16 tokens, f32>
!rows = tensor<1x16xf32>
!table = !tbq.packed<16x16, f32, tile 16>
func.func private @layer(%h: !rows, %i: index) -> !rows {
  %w = tbq.placed_weight [0] : !table
  // Even where it is the residual that is added to.
  // expected-error @below {{reads a residual that the layer's result has overwritten}}
  %y = tbq.packed_linear %h, %w residual(%h) : (!rows, !table, !rows) -> !rows
  return %y : !rows
}
func.func @decode(%tokens: tensor<1xi32>, %cache: !kv, %position: index, %count: index, %first: index) -> !rows {
  %table = tbq.placed_weight [0] : !table
  %0 = tbq.embedding %tokens, %table : (tensor<1xi32>, !table) -> !rows
  %1 = tbq.layers @layer(%0) numbers 0 to 2 : (!rows) -> !rows
  return %1 : !rows
}
func.func @prefill(%tokens: tensor<1xi32>, %cache: !kv, %position: index, %count: index, %first: index) -> !rows {
  %table = tbq.placed_weight [0] : !table
  %0 = tbq.embedding %tokens, %table : (tensor<1xi32>, !table) -> !rows
  return %0 : !rows
}
tbq.weights @weights bytes 1024 {
}

// -----

!kv = !tbq.cache<2 layers, 1 by 16, 16 tokens, f32>
!rows = tensor<1x16xf32>
!table = !tbq.packed<16x16, f32, tile 16>
func.func private @layer(%h: !rows, %i: index) -> !rows {
  %y = tbq.gated_activation %h, %h : (!rows, !rows) -> !rows
  %r = tbq.add %h, %y : (!rows, !rows) -> !rows
  // expected-error @below {{reads a residual that the layer's result has overwritten}}
  %z = tbq.gated_activation %h, %r : (!rows, !rows) -> !rows
  return %r : !rows
}
func.func @decode(%tokens: tensor<1xi32>, %cache: !kv, %position: index, %count: index, %first: index) -> !rows {
  %table = tbq.placed_weight [0] : !table
  %0 = tbq.embedding %tokens, %table : (tensor<1xi32>, !table) -> !rows
  %1 = tbq.layers @layer(%0) numbers 0 to 2 : (!rows) -> !rows
  return %1 : !rows
}
func.func @prefill(%tokens: tensor<1xi32>, %cache: !kv, %position: index, %count: index, %first: index) -> !rows {
  %table = tbq.placed_weight [0] : !table
  %0 = tbq.embedding %tokens, %table : (tensor<1xi32>, !table) -> !rows
  return %0 : !rows
}
tbq.weights @weights bytes 1024 {
}

// -----

!kv = !tbq.cache<2 layers, 1 by 16, 16 tokens, f32>
!rows = tensor<1x16xf32>
!table = !tbq.packed<16x16, f32, tile 16>
func.func private @layer(%h: !rows, %i: index) -> !rows {
  %y = tbq.add %h, %h : (!rows, !rows) -> !rows
  return %y : !rows
}
func.func @decode(%tokens: tensor<1xi32>, %cache: !kv, %position: index, %count: index, %first: index) -> !rows {
  %table = tbq.placed_weight [0] : !table
  %0 = tbq.embedding %tokens, %table : (tensor<1xi32>, !table) -> !rows
  // expected-error @below {{overwrites a residual that is used after it}}
  %1 = tbq.layers @layer(%0) numbers 0 to 2 : (!rows) -> !rows
  %2 = tbq.add %0, %1 : (!rows, !rows) -> !rows
  return %2 : !rows
}
func.func @prefill(%tokens: tensor<1xi32>, %cache: !kv, %position: index, %count: index, %first: index) -> !rows {
  %table = tbq.placed_weight [0] : !table
  %0 = tbq.embedding %tokens, %table : (tensor<1xi32>, !table) -> !rows
  return %0 : !rows
}
tbq.weights @weights bytes 1024 {
}

// -----

!kv = !tbq.cache<2 layers, 1 by 16, 16 tokens, f32>
!rows = tensor<1x16xf32>
!table = !tbq.packed<16x16, f32, tile 16>
func.func private @layer(%h: !rows, %i: index, %j: index) -> !rows {
  %y = tbq.add %h, %h : (!rows, !rows) -> !rows
  return %y : !rows
}
func.func @decode(%tokens: tensor<1xi32>, %cache: !kv, %position: index, %count: index, %first: index) -> !rows {
  %table = tbq.placed_weight [0] : !table
  %0 = tbq.embedding %tokens, %table : (tensor<1xi32>, !table) -> !rows
  %one = arith.constant 1 : index
  // expected-error @below {{captures a value that is no argument of 'decode'}}
  %1 = tbq.layers @layer(%0, %one) numbers 0 to 2 : (!rows, index) -> !rows
  return %1 : !rows
}
func.func @prefill(%tokens: tensor<1xi32>, %cache: !kv, %position: index, %count: index, %first: index) -> !rows {
  %table = tbq.placed_weight [0] : !table
  %0 = tbq.embedding %tokens, %table : (tensor<1xi32>, !table) -> !rows
  return %0 : !rows
}
tbq.weights @weights bytes 1024 {
}

// -----

// expected-error @below {{has no entry point 'decode'}}
module {
  tbq.weights @weights bytes 64 {
  }
}

// -----

// expected-error @below {{has no tbq.weights: run tbq-place-weights before}}
module {}
