// RUN: tbq-opt %s --tbq-distribute --split-input-file --verify-diagnostics | FileCheck %s
// Each op gets its share of its units; a barrier stands where another worker may
// have touched the same bytes since the last one, and one of the two writes.

!vector = !tbq.packed<1x64, f32, tile 1>
!matrix = !tbq.packed<64x64, f32, tile 16>
!codes = !tbq.packed<40x64, digits [2], terms [[1, -1]], group 64, tile 16>

// CHECK-LABEL: func.func @decode(
func.func @decode(%arena: memref<8192xi8>, %weights: memref<65536xi8>, %cache: memref<8192xi8>, %tokens: memref<8xi32>,
                  %logits: memref<8x48xf32>, %position: index, %count: index, %first: index, %team: !tbq.team) {
  // CHECK: %[[ME:.*]] = tbq.worker %arg8
  // CHECK: %[[ALL:.*]] = tbq.workers %arg8
  // CHECK: %[[ONE:.*]] = arith.constant 1 : index
  // CHECK: %[[NEXT:.*]] = arith.addi %[[ME]], %[[ONE]]
  %0 = arith.constant 0 : index
  %2048 = arith.constant 2048 : index
  %4096 = arith.constant 4096 : index
  %4608 = arith.constant 4608 : index
  %5120 = arith.constant 5120 : index
  %6144 = arith.constant 6144 : index
  %a = memref.view %arena[%0][] : memref<8192xi8> to memref<8x64xf32>
  %b = memref.view %arena[%2048][] : memref<8192xi8> to memref<8x64xf32>
  %q = memref.view %arena[%4096][] : memref<8192xi8> to memref<8x64xi8>
  %s = memref.view %arena[%4608][] : memref<8192xi8> to memref<8x16xf32>
  %d = memref.view %arena[%5120][] : memref<8192xi8> to memref<8x16xi32>
  %c = memref.view %arena[%6144][] : memref<8192xi8> to memref<8x64xf32>
  %n = tbq.placed_weight [0] in %weights : memref<65536xi8> : !vector
  %m = tbq.placed_weight [0] in %weights : memref<65536xi8> : !matrix
  %w = tbq.placed_weight [0] in %weights : memref<65536xi8> : !codes

  // One unit a token: count * worker / workers up to count * (worker + 1) / workers.
  // CHECK: %[[TOKEN:.*]] = arith.constant 1 : index
  // CHECK: %[[UNITS:.*]] = arith.muli %arg6, %[[TOKEN]]
  // CHECK: %[[LOW:.*]] = arith.muli %[[UNITS]], %[[ME]]
  // CHECK: %[[BEGIN:.*]] = arith.divui %[[LOW]], %[[ALL]]
  // CHECK: %[[HIGH:.*]] = arith.muli %[[UNITS]], %[[NEXT]]
  // CHECK: %[[END:.*]] = arith.divui %[[HIGH]], %[[ALL]]
  // CHECK-NOT: tbq.barrier
  // CHECK: tbq.embedding {{.*}} range(%[[BEGIN]], %[[END]]) :
  tbq.embedding %tokens, %m into(%a) count(%count) : (memref<8xi32>, !matrix, memref<8x64xf32>, index) -> ()
  // Rows that one worker hands to itself need no barrier.
  // CHECK-NOT: tbq.barrier
  // CHECK: tbq.rms_norm
  tbq.rms_norm %a, %n epsilon 1.0 features 64 into(%b) count(%count) : (memref<8x64xf32>, !vector, memref<8x64xf32>, index) -> ()
  // CHECK-NOT: tbq.barrier
  // CHECK: tbq.quantize_activations
  tbq.quantize_activations %b columns 64 group 64 into(%q, %s, %d) count(%count) : (memref<8x64xf32>, memref<8x64xi8>, memref<8x16xf32>, memref<8x16xi32>, index) -> ()
  // Read after write: a linear reads every row. Its units are its 3 tiles,
  // whatever the count.
  // CHECK: %[[TILES:.*]] = arith.constant 3 : index
  // CHECK-NOT: arith.muli %arg6
  // CHECK: %[[LOW:.*]] = arith.muli %[[TILES]], %[[ME]]
  // CHECK: %[[BEGIN:.*]] = arith.divui %[[LOW]], %[[ALL]]
  // CHECK: %[[HIGH:.*]] = arith.muli %[[TILES]], %[[NEXT]]
  // CHECK: %[[END:.*]] = arith.divui %[[HIGH]], %[[ALL]]
  // CHECK: tbq.barrier %arg8
  // CHECK-NEXT: tbq.packed_linear {{.*}} range(%[[BEGIN]], %[[END]]) :
  tbq.packed_linear %q, %w sums(%d) activation_scale(%s) into(%logits) count(%count) : (memref<8x64xi8>, !codes, memref<8x16xi32>, memref<8x16xf32>, memref<8x48xf32>, index) -> ()
  // Read after read, into other bytes: none.
  // CHECK-NOT: tbq.barrier
  // CHECK: tbq.packed_linear
  tbq.packed_linear %b, %m into(%c) count(%count) : (memref<8x64xf32>, !matrix, memref<8x64xf32>, index) -> ()
  // Write after read: the linears read what this one writes.
  // CHECK: tbq.barrier
  // CHECK-NEXT: tbq.quantize_activations
  tbq.quantize_activations %a columns 64 group 64 into(%q, %s, %d) count(%count) : (memref<8x64xf32>, memref<8x64xi8>, memref<8x16xf32>, memref<8x16xi32>, index) -> ()
  // 4 vectors of 16 columns a token.
  // CHECK: %[[PARTS:.*]] = arith.constant 4 : index
  // CHECK: arith.muli %arg6, %[[PARTS]]
  // CHECK-NOT: tbq.barrier
  // CHECK: tbq.gated_activation
  tbq.gated_activation %c, %c into(%c) count(%count) : (memref<8x64xf32>, memref<8x64xf32>, memref<8x64xf32>, index) -> ()
  // CHECK-NOT: tbq.barrier
  // CHECK: tbq.add
  tbq.add %c, %c into(%c) count(%count) : (memref<8x64xf32>, memref<8x64xf32>, memref<8x64xf32>, index) -> ()
  // Divided otherwise, row by row: a worker reads what another wrote.
  // CHECK: tbq.barrier
  // CHECK-NEXT: tbq.rms_norm
  tbq.rms_norm %c, %n epsilon 1.0 features 64 into(%b) count(%count) : (memref<8x64xf32>, !vector, memref<8x64xf32>, index) -> ()
  return
}
func.func @prefill(%arena: memref<8192xi8>, %weights: memref<65536xi8>, %cache: memref<8192xi8>, %tokens: memref<8xi32>,
                   %logits: memref<8x48xf32>, %position: index, %count: index, %first: index, %team: !tbq.team) {
  return
}

// -----

// Written by one, written over by another; and bytes that overlap in part.
!vector = !tbq.packed<1x64, f32, tile 1>
!matrix = !tbq.packed<64x64, f32, tile 16>
!half = !tbq.packed<1x32, f32, tile 1>
// CHECK-LABEL: func.func @decode(
func.func @decode(%arena: memref<8192xi8>, %weights: memref<65536xi8>, %cache: memref<8192xi8>, %tokens: memref<8xi32>,
    %logits: memref<8x64xf32>, %position: index, %count: index, %first: index, %team: !tbq.team) {
  %a_at = arith.constant 0 : index
  %a = memref.view %arena[%a_at][] : memref<8192xi8> to memref<8x64xf32>
  %b_at = arith.constant 2048 : index
  %b = memref.view %arena[%b_at][] : memref<8192xi8> to memref<8x64xf32>
  %c_at = arith.constant 4096 : index
  %c = memref.view %arena[%c_at][] : memref<8192xi8> to memref<8x64xf32>
  %s_at = arith.constant 0 : index
  %s = memref.view %arena[%s_at][] : memref<8192xi8> to memref<8x16xf32>
  %early_at = arith.constant 0 : index
  %early = memref.view %arena[%early_at][] : memref<8192xi8> to memref<8x32xf32>
  %late_at = arith.constant 2048 : index
  %late = memref.view %arena[%late_at][] : memref<8192xi8> to memref<8x32xf32>
  %next_at = arith.constant 1984 : index
  %next = memref.view %arena[%next_at][] : memref<8192xi8> to memref<8x64xf32>
  %m = tbq.placed_weight [0] in %weights : memref<65536xi8> : !matrix
  %n = tbq.placed_weight [0] in %weights : memref<65536xi8> : !vector
  %h = tbq.placed_weight [0] in %weights : memref<65536xi8> : !half
  // CHECK-NOT: tbq.barrier
  // CHECK: tbq.packed_linear
  tbq.packed_linear %logits, %m into(%b) count(%count) : (memref<8x64xf32>, !matrix, memref<8x64xf32>, index) -> ()
  // Write after write.
  // CHECK: tbq.barrier
  // CHECK-NEXT: tbq.gated_activation
  tbq.gated_activation %c, %c into(%b) count(%count) : (memref<8x64xf32>, memref<8x64xf32>, memref<8x64xf32>, index) -> ()
  // CHECK: tbq.barrier
  // CHECK-NEXT: tbq.rms_norm
  tbq.rms_norm %b, %n epsilon 1.0 features 64 into(%c) count(%count) : (memref<8x64xf32>, !vector, memref<8x64xf32>, index) -> ()
  // Rows of 64 bytes over rows of 256: worker 1's lie where worker 0 still reads.
  // CHECK-NOT: tbq.barrier
  // CHECK: tbq.rms_norm
  tbq.rms_norm %a, %n epsilon 1.0 features 64 into(%c) count(%count) : (memref<8x64xf32>, !vector, memref<8x64xf32>, index) -> ()
  // CHECK: tbq.barrier
  // CHECK-NEXT: tbq.group_sums
  tbq.group_sums %c columns 64 group 4 into(%s) count(%count) : (memref<8x64xf32>, memref<8x16xf32>, index) -> ()
  // CHECK: tbq.barrier
  // CHECK-NEXT: tbq.rms_norm
  tbq.rms_norm %late, %h epsilon 1.0 features 32 into(%early) count(%count) : (memref<8x32xf32>, !half, memref<8x32xf32>, index) -> ()
  // As long, but 64 bytes apart.
  // CHECK-NOT: tbq.barrier
  // CHECK: tbq.rms_norm
  tbq.rms_norm %b, %n epsilon 1.0 features 64 into(%c) count(%count) : (memref<8x64xf32>, !vector, memref<8x64xf32>, index) -> ()
  // CHECK: tbq.barrier
  // CHECK-NEXT: tbq.rms_norm
  tbq.rms_norm %c, %n epsilon 1.0 features 64 into(%next) count(%count) : (memref<8x64xf32>, !vector, memref<8x64xf32>, index) -> ()
  return
}
func.func @prefill(%arena: memref<8192xi8>, %weights: memref<65536xi8>, %cache: memref<8192xi8>, %tokens: memref<8xi32>,
    %logits: memref<8x64xf32>, %position: index, %count: index, %first: index, %team: !tbq.team) {
  return
}

// -----

// The cache: what any worker appended is read by all; units are heads.
!kv = !tbq.cache<2 layers, 2 by 32, 16 tokens, f32>
// CHECK-LABEL: func.func @decode(
func.func @decode(%arena: memref<8192xi8>, %weights: memref<65536xi8>, %cache: memref<8192xi8>, %tokens: memref<8xi32>,
    %logits: memref<8x64xf32>, %position: index, %count: index, %first: index, %team: !tbq.team) {
  %a_at = arith.constant 0 : index
  %a = memref.view %arena[%a_at][] : memref<8192xi8> to memref<8x64xf32>
  %b_at = arith.constant 2048 : index
  %b = memref.view %arena[%b_at][] : memref<8192xi8> to memref<8x64xf32>
  // CHECK: %[[KV_HEADS:.*]] = arith.constant 2 : index
  // CHECK: arith.muli %arg6, %[[KV_HEADS]]
  // CHECK-NOT: tbq.barrier
  // CHECK: tbq.append_cache
  tbq.append_cache %a, %a, %cache[%position] at %position tokens %count !kv count(%count) : (memref<8x64xf32>, memref<8x64xf32>, memref<8192xi8>, index, index, index, index) -> ()
  // Read after write, then write after read.
  // CHECK: tbq.barrier
  // CHECK-NEXT: tbq.attention
  tbq.attention %a, %cache[%position] at %position heads 2 scale 1.0 !kv into(%b) count(%count) : (memref<8x64xf32>, memref<8192xi8>, index, index, memref<8x64xf32>, index) -> ()
  // CHECK-NOT: tbq.barrier
  // CHECK: tbq.attention
  tbq.attention %b, %cache[%position] at %position heads 2 scale 1.0 !kv into(%b) count(%count) : (memref<8x64xf32>, memref<8192xi8>, index, index, memref<8x64xf32>, index) -> ()
  // CHECK: tbq.barrier
  // CHECK-NEXT: tbq.append_cache
  tbq.append_cache %a, %a, %cache[%position] at %position tokens %count !kv count(%count) : (memref<8x64xf32>, memref<8x64xf32>, memref<8192xi8>, index, index, index, index) -> ()
  return
}
func.func @prefill(%arena: memref<8192xi8>, %weights: memref<65536xi8>, %cache: memref<8192xi8>, %tokens: memref<8xi32>,
    %logits: memref<8x64xf32>, %position: index, %count: index, %first: index, %team: !tbq.team) {
  return
}

// -----

// Attention with sums of spans may read all heads and what any worker summed;
// what it returns it divides by heads as before.
!kv = !tbq.cache<1 layers, 2 by 32, 272 tokens, f32>
// CHECK-LABEL: func.func @decode(
func.func @decode(%arena: memref<8192xi8>, %weights: memref<65536xi8>, %cache: memref<139264xi8>, %tokens: memref<8xi32>,
    %logits: memref<8x64xf32>, %position: index, %count: index, %first: index, %team: !tbq.team) {
  %a_at = arith.constant 0 : index
  %a = memref.view %arena[%a_at][] : memref<8192xi8> to memref<1x64xf32>
  %b_at = arith.constant 2048 : index
  %b = memref.view %arena[%b_at][] : memref<8192xi8> to memref<1x64xf32>
  %s_at = arith.constant 4096 : index
  %s = memref.view %arena[%s_at][] : memref<8192xi8> to memref<1x256xf32>
  // CHECK-NOT: tbq.barrier
  // CHECK: tbq.attention
  tbq.attention %a, %cache[%position] at %position heads 2 scale 1.0 !kv into(%b) count(%count) : (memref<1x64xf32>, memref<139264xi8>, index, index, memref<1x64xf32>, index) -> ()
  // CHECK: tbq.barrier
  // CHECK-NEXT: tbq.attention
  tbq.attention %b, %cache[%position] at %position heads 2 scale 1.0 !kv into(%a, %s) count(%count) : (memref<1x64xf32>, memref<139264xi8>, index, index, memref<1x64xf32>, memref<1x256xf32>, index) -> ()
  // CHECK-NOT: tbq.barrier
  // CHECK: tbq.attention
  tbq.attention %a, %cache[%position] at %position heads 2 scale 1.0 !kv into(%a) count(%count) : (memref<1x64xf32>, memref<139264xi8>, index, index, memref<1x64xf32>, index) -> ()
  return
}
func.func @prefill(%arena: memref<8192xi8>, %weights: memref<65536xi8>, %cache: memref<139264xi8>, %tokens: memref<8xi32>,
    %logits: memref<8x64xf32>, %position: index, %count: index, %first: index, %team: !tbq.team) {
  return
}

// -----

// Around the loop: the norm needs no barrier after the embedding, but it does
// after the linear of the layer before; so does what follows the loop.
!vector = !tbq.packed<1x64, f32, tile 1>
!matrix = !tbq.packed<64x64, f32, tile 16>
// CHECK-LABEL: func.func private @layer(
func.func private @layer(%arena: memref<8192xi8>, %weights: memref<65536xi8>, %cache: memref<8192xi8>, %tokens: memref<8xi32>,
    %logits: memref<8x64xf32>, %position: index, %count: index, %first: index, %team: !tbq.team, %layer: index) {
  %h_at = arith.constant 0 : index
  %h = memref.view %arena[%h_at][] : memref<8192xi8> to memref<8x64xf32>
  %x_at = arith.constant 2048 : index
  %x = memref.view %arena[%x_at][] : memref<8192xi8> to memref<8x64xf32>
  %n = tbq.placed_weight [0, 256] layer(%layer) in %weights : memref<65536xi8> : !vector
  %m = tbq.placed_weight [512, 1024] layer(%layer) in %weights : memref<65536xi8> : !matrix
  // CHECK: tbq.barrier %arg8
  // CHECK-NEXT: tbq.rms_norm
  tbq.rms_norm %h, %n epsilon 1.0 features 64 into(%x) count(%count) : (memref<8x64xf32>, !vector, memref<8x64xf32>, index) -> ()
  // CHECK: tbq.barrier %arg8
  // CHECK-NEXT: tbq.packed_linear
  tbq.packed_linear %x, %m residual(%h) into(%h) count(%count) : (memref<8x64xf32>, !matrix, memref<8x64xf32>, memref<8x64xf32>, index) -> ()
  return
}
// CHECK-LABEL: func.func private @row_layer(
func.func private @row_layer(%arena: memref<8192xi8>, %weights: memref<65536xi8>, %cache: memref<8192xi8>, %tokens: memref<8xi32>,
    %logits: memref<8x64xf32>, %position: index, %count: index, %first: index, %team: !tbq.team, %layer: index) {
  %h_at = arith.constant 0 : index
  %h = memref.view %arena[%h_at][] : memref<8192xi8> to memref<8x64xf32>
  %x_at = arith.constant 2048 : index
  %x = memref.view %arena[%x_at][] : memref<8192xi8> to memref<8x64xf32>
  %n = tbq.placed_weight [0, 256] layer(%layer) in %weights : memref<65536xi8> : !vector
  // Rows stay with their worker from layer to layer.
  // CHECK-NOT: tbq.barrier
  // CHECK: tbq.rms_norm
  // CHECK-NOT: tbq.barrier
  // CHECK: tbq.rms_norm
  tbq.rms_norm %h, %n epsilon 1.0 features 64 into(%x) count(%count) : (memref<8x64xf32>, !vector, memref<8x64xf32>, index) -> ()
  tbq.rms_norm %x, %n epsilon 1.0 features 64 into(%h) count(%count) : (memref<8x64xf32>, !vector, memref<8x64xf32>, index) -> ()
  return
}
// CHECK-LABEL: func.func @decode(
func.func @decode(%arena: memref<8192xi8>, %weights: memref<65536xi8>, %cache: memref<8192xi8>, %tokens: memref<8xi32>,
    %logits: memref<8x64xf32>, %position: index, %count: index, %first: index, %team: !tbq.team) {
  %h_at = arith.constant 0 : index
  %h = memref.view %arena[%h_at][] : memref<8192xi8> to memref<8x64xf32>
  %x_at = arith.constant 2048 : index
  %x = memref.view %arena[%x_at][] : memref<8192xi8> to memref<8x64xf32>
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %m = tbq.placed_weight [512] in %weights : memref<65536xi8> : !matrix
  // CHECK-NOT: tbq.barrier
  // CHECK: tbq.embedding
  // CHECK: scf.for
  tbq.embedding %tokens, %m into(%h) count(%count) : (memref<8xi32>, !matrix, memref<8x64xf32>, index) -> ()
  scf.for %i = %c0 to %c2 step %c1 {
    func.call @layer(%arena, %weights, %cache, %tokens, %logits, %position, %count, %first, %team, %i) : (memref<8192xi8>, memref<65536xi8>, memref<8192xi8>, memref<8xi32>, memref<8x64xf32>, index, index, index, !tbq.team, index) -> ()
  }
  // The rows selected are others than the worker's own, and divided by another
  // count.
  // CHECK: %[[ROWS:.*]] = arith.subi %arg6, %arg7
  // CHECK: arith.muli %[[ROWS]]
  // CHECK: tbq.barrier
  // CHECK-NEXT: tbq.select_rows
  %rows = arith.subi %count, %first : index
  tbq.select_rows %h from %first into(%x) count(%rows) : (memref<8x64xf32>, index, memref<8x64xf32>, index) -> ()
  // CHECK: tbq.barrier
  // CHECK-NEXT: tbq.packed_linear
  tbq.packed_linear %x, %m into(%logits) count(%rows) : (memref<8x64xf32>, !matrix, memref<8x64xf32>, index) -> ()
  return
}
// CHECK-LABEL: func.func @prefill(
func.func @prefill(%arena: memref<8192xi8>, %weights: memref<65536xi8>, %cache: memref<8192xi8>, %tokens: memref<8xi32>,
    %logits: memref<8x64xf32>, %position: index, %count: index, %first: index, %team: !tbq.team) {
  %h_at = arith.constant 0 : index
  %h = memref.view %arena[%h_at][] : memref<8192xi8> to memref<8x64xf32>
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %m = tbq.placed_weight [512] in %weights : memref<65536xi8> : !matrix
  tbq.embedding %tokens, %m into(%h) count(%count) : (memref<8xi32>, !matrix, memref<8x64xf32>, index) -> ()
  scf.for %i = %c0 to %c2 step %c1 {
    func.call @row_layer(%arena, %weights, %cache, %tokens, %logits, %position, %count, %first, %team, %i) : (memref<8192xi8>, memref<65536xi8>, memref<8192xi8>, memref<8xi32>, memref<8x64xf32>, index, index, index, !tbq.team, index) -> ()
  }
  return
}

// -----

// One token. What lies in the worker's own memory every worker computes whole,
// so a linear that reads it waits for nobody; what is as many units as a linear
// has tiles goes on with the worker's own columns.
!vector = !tbq.packed<1x64, f32, tile 1>
!matrix = !tbq.packed<64x64, f32, tile 16>
// CHECK-LABEL: func.func @decode(
func.func @decode(%arena: memref<8192xi8>, %weights: memref<65536xi8>, %cache: memref<8192xi8>, %tokens: memref<1xi32>,
    %logits: memref<1x64xf32>, %position: index, %count: index, %first: index, %team: !tbq.team) {
  %a_at = arith.constant 0 : index
  %a = memref.view %arena[%a_at][] : memref<8192xi8> to memref<1x64xf32>
  %b_at = arith.constant 256 : index
  %b = memref.view %arena[%b_at][] : memref<8192xi8> to memref<1x64xf32>
  %c_at = arith.constant 512 : index
  %c = memref.view %arena[%c_at][] : memref<8192xi8> to memref<1x64xf32>
  %stack = memref.alloca() : memref<256xi8>
  %own_at = arith.constant 0 : index
  %own = memref.view %stack[%own_at][] : memref<256xi8> to memref<1x64xf32>
  %n = tbq.placed_weight [0] in %weights : memref<65536xi8> : !vector
  %m = tbq.placed_weight [0] in %weights : memref<65536xi8> : !matrix
  // CHECK-NOT: tbq.barrier
  // CHECK: tbq.embedding
  tbq.embedding %tokens, %m into(%a) count(%count) : (memref<1xi32>, !matrix, memref<1x64xf32>, index) -> ()
  // One worker wrote what all of them read.
  // CHECK: %[[UNITS:.*]] = arith.muli %arg6
  // CHECK: %[[ZERO:.*]] = arith.constant 0 : index
  // CHECK: tbq.barrier
  // CHECK-NEXT: tbq.rms_norm {{.*}} range(%[[ZERO]], %[[UNITS]])
  tbq.rms_norm %a, %n epsilon 1.0 features 64 into(%own) count(%count) : (memref<1x64xf32>, !vector, memref<1x64xf32>, index) -> ()
  // CHECK-NOT: tbq.barrier
  // CHECK: tbq.packed_linear
  // CHECK-NOT: tbq.barrier
  // CHECK: tbq.gated_activation
  tbq.packed_linear %own, %m into(%b) count(%count) : (memref<1x64xf32>, !matrix, memref<1x64xf32>, index) -> ()
  tbq.gated_activation %b, %b into(%c) count(%count) : (memref<1x64xf32>, memref<1x64xf32>, memref<1x64xf32>, index) -> ()
  // A residual is read as it is written, tile by tile.
  // CHECK-NOT: tbq.barrier
  // CHECK: tbq.packed_linear
  tbq.packed_linear %own, %m residual(%c) into(%b) count(%count) : (memref<1x64xf32>, !matrix, memref<1x64xf32>, memref<1x64xf32>, index) -> ()
  // An input is read whole.
  // CHECK: tbq.barrier
  // CHECK-NEXT: tbq.packed_linear
  tbq.packed_linear %b, %m into(%c) count(%count) : (memref<1x64xf32>, !matrix, memref<1x64xf32>, index) -> ()
  // Also where it is the residual too.
  // CHECK: tbq.barrier
  // CHECK-NEXT: tbq.packed_linear
  tbq.packed_linear %c, %m residual(%c) into(%a) count(%count) : (memref<1x64xf32>, !matrix, memref<1x64xf32>, memref<1x64xf32>, index) -> ()
  // Heads of 32 columns are other units than tiles of 16.
  // CHECK: tbq.barrier
  // CHECK-NEXT: tbq.rope
  %t = tbq.placed_weight [0] in %weights : memref<65536xi8> : !tbq.packed<64x32, f32, tile 1>
  tbq.rope %a, %t at %position heads 2 x 32 into(%b) count(%count) : (memref<1x64xf32>, !tbq.packed<64x32, f32, tile 1>, index, memref<1x64xf32>, index) -> ()
  return
}
func.func @prefill(%arena: memref<8192xi8>, %weights: memref<65536xi8>, %cache: memref<8192xi8>, %tokens: memref<1xi32>,
    %logits: memref<1x64xf32>, %position: index, %count: index, %first: index, %team: !tbq.team) {
  return
}

// -----

// expected-error @below {{has no entry point 'decode'}}
module {}
