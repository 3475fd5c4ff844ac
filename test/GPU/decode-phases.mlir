// RUN: tbq-opt %s --tbq-lower="own-key worker-bytes=20480" | FileCheck %s
// RUN: tbq-opt %s --tbq-lower="own-key worker-bytes=20480 observe" | FileCheck %s --check-prefix=SHOWN
// RUN: tbq-opt %s --tbq-lower="own-key worker-bytes=20480" --tbq-exchange-rows | FileCheck %s --check-prefix=ROWS
// RUN: tbq-opt %s --tbq-lower="own-key worker-bytes=20480 observe" --tbq-exchange-rows | FileCheck %s --check-prefix=PLAIN
// A decoder layer of one token has five phases between barriers on a GPU.

!kv = !tbq.cache<2 layers, 1 by 32, 64 tokens, f16>
!norm = !tbq.packed<1x64, f32, tile 1>
!angles = !tbq.packed<64x32, f32, tile 1>
!table = !tbq.packed<64x64, f32, tile 8>
!q = !tbq.packed<64x64, digits [2], terms [[1, -1]], group 64, tile 8>
!k = !tbq.packed<32x64, digits [2], terms [[1, -1]], group 64, tile 8>
!up = !tbq.packed<128x64, digits [2], terms [[1, -1]], group 64, tile 8>
!down = !tbq.packed<64x128, digits [2], terms [[1, -1]], group 64, tile 8>

// CHECK-LABEL: func.func private @decode_layers_0(
// CHECK: tbq.barrier
// CHECK-NOT: tbq.barrier
// CHECK: tbq.rms_norm {{.*}} into(%[[ROW:.*]]) count
// CHECK-NOT: tbq.barrier
// CHECK: tbq.quantize_activations
// CHECK-NOT: tbq.barrier
// CHECK-COUNT-3: tbq.packed_linear
// What was rotated is the worker's own: all heads, from 0 on.
// CHECK: tbq.barrier
// CHECK-NOT: tbq.barrier
// CHECK: tbq.rope %{{.*}} into(%[[Q:.*]]) count(%{{.*}}) range(%c0, %{{.*}})
// CHECK-NOT: tbq.barrier
// CHECK: tbq.rope %{{.*}} into(%[[K:.*]]) count(%{{.*}}) range(%c0, %{{.*}})
// CHECK-NOT: tbq.barrier
// CHECK: tbq.attention %[[Q]], %{{.*}} key(%[[K]])
// CHECK-NOT: tbq.barrier
// CHECK: tbq.append_cache %[[K]],
// CHECK: tbq.barrier
// CHECK-NOT: tbq.barrier
// CHECK: tbq.quantize_activations
// CHECK-NOT: tbq.barrier
// CHECK: tbq.packed_linear {{.*}} residual
// CHECK: tbq.barrier
// CHECK-NOT: tbq.barrier
// Where the first norm's was, in memory of the worker's own.
// CHECK: tbq.rms_norm {{.*}} into(%[[ROW]]) count
// CHECK-NOT: tbq.barrier
// CHECK: tbq.packed_linear
// CHECK-NOT: tbq.barrier
// CHECK: tbq.packed_linear
// CHECK-NOT: tbq.barrier
// CHECK: tbq.gated_activation {{.*}} unit 8
// CHECK: tbq.barrier
// CHECK-NOT: tbq.barrier
// CHECK: tbq.quantize_activations
// CHECK-NOT: tbq.barrier
// CHECK: tbq.packed_linear {{.*}} residual
// CHECK-NOT: tbq.barrier
// CHECK: return

// All rows but those that attention reads go from block to block without a
// barrier: by places of layers in turn, from 0 and from 1280 on.
// ROWS: tbq.arena_bytes = 5376
// ROWS-LABEL: func.func private @decode_layers_0(
// ROWS: tbq.barrier %{{.*}} {tbq.block_only_later}
// ROWS-NEXT: tbq.rms_norm {{.*}} {tbq.exchange = array<i64: 0, 1280, 1>}
// ROWS-COUNT-3: tbq.packed_linear {{.*}} range(%{{.*}}, %{{.*}}) : (
// ROWS: tbq.barrier %{{.*}} {tbq.empties = array<i64: 0, 1280, 1280>}
// ROWS: tbq.attention {{.*}} {tbq.exchange = array<i64: 256, 1280, 0>}
// ROWS: tbq.barrier %{{.*}} {tbq.block_only}
// ROWS-NEXT: tbq.quantize_activations {{.*}} {tbq.exchange = array<i64: 256, 1280, 0>}
// ROWS: tbq.packed_linear {{.*}} residual{{.*}} {tbq.exchange = array<i64: 512, 1280, 0>}
// ROWS: tbq.barrier %{{.*}} {tbq.block_only}
// ROWS-NEXT: tbq.rms_norm {{.*}} {tbq.exchange = array<i64: 512, 1280, 0>}
// ROWS: tbq.gated_activation {{.*}} {tbq.exchange = array<i64: 768, 1280, 0>}
// ROWS: tbq.barrier %{{.*}} {tbq.block_only}
// ROWS-NEXT: tbq.quantize_activations {{.*}} {tbq.exchange = array<i64: 768, 1280, 0>}
// ROWS: tbq.packed_linear {{.*}} residual{{.*}} {tbq.carried, tbq.exchange = array<i64: 0, 1280, 0>}
// ROWS: return
// ROWS-LABEL: func.func @decode(
// As a layer before the first one writes it.
// ROWS: tbq.embedding {{.*}} {tbq.carried, tbq.exchange = array<i64: 1280, 0, 0>}
// ROWS: tbq.barrier %arg8{{$}}
// Attention that reads this step's keys waits for them.
// PLAIN-NOT: tbq.exchange
// PLAIN-NOT: tbq.block_only

// Values are shown with each key in the cache.
// SHOWN: tbq.append_cache
// SHOWN: tbq.attention %{{.*}} at %{{.*}} heads 2
func.func private @decode_layers_0(%h: tensor<1x64xf32>, %i: index, %position: index, %cache: !kv, %count: index) -> tensor<1x64xf32> {
  %n = tbq.placed_weight [0, 256] layer(%i) : !norm
  %angles = tbq.placed_weight [1024] : !angles
  %wq = tbq.placed_weight [2048, 3072] layer(%i) : !q
  %wk = tbq.placed_weight [4096, 5120] layer(%i) : !k
  %wu = tbq.placed_weight [6144, 8192] layer(%i) : !up
  %wd = tbq.placed_weight [10240, 12288] layer(%i) : !down
  %x = tbq.rms_norm %h, %n epsilon 1.0 features 64 : (tensor<1x64xf32>, !norm) -> tensor<1x64xf32>
  %d, %a, %s = tbq.quantize_activations %x columns 64 group 64 : (tensor<1x64xf32>) -> (tensor<1x64xi8>, tensor<1x1xf32>, tensor<1x1xi32>)
  %q = tbq.packed_linear %d, %wq sums(%s) activation_scale(%a) : (tensor<1x64xi8>, !q, tensor<1x1xi32>, tensor<1x1xf32>) -> tensor<1x64xf32>
  %k = tbq.packed_linear %d, %wk sums(%s) activation_scale(%a) : (tensor<1x64xi8>, !k, tensor<1x1xi32>, tensor<1x1xf32>) -> tensor<1x32xf32>
  %v = tbq.packed_linear %d, %wk sums(%s) activation_scale(%a) : (tensor<1x64xi8>, !k, tensor<1x1xi32>, tensor<1x1xf32>) -> tensor<1x32xf32>
  %rq = tbq.rope %q, %angles at %position heads 2 x 32 : (tensor<1x64xf32>, !angles, index) -> tensor<1x64xf32>
  %rk = tbq.rope %k, %angles at %position heads 1 x 32 : (tensor<1x32xf32>, !angles, index) -> tensor<1x32xf32>
  tbq.append_cache %rk, %v, %cache[%i] at %position tokens %count !kv : (tensor<1x32xf32>, tensor<1x32xf32>, !kv, index, index, index) -> ()
  %o = tbq.attention %rq, %cache[%i] at %position heads 2 scale 1.0 !kv : (tensor<1x64xf32>, !kv, index, index) -> tensor<1x64xf32>
  %do, %ao, %so = tbq.quantize_activations %o columns 64 group 64 : (tensor<1x64xf32>) -> (tensor<1x64xi8>, tensor<1x1xf32>, tensor<1x1xi32>)
  %r = tbq.packed_linear %do, %wq sums(%so) activation_scale(%ao) residual(%h) : (tensor<1x64xi8>, !q, tensor<1x1xi32>, tensor<1x1xf32>, tensor<1x64xf32>) -> tensor<1x64xf32>
  %y = tbq.rms_norm %r, %n epsilon 1.0 features 64 : (tensor<1x64xf32>, !norm) -> tensor<1x64xf32>
  %dy, %ay, %sy = tbq.quantize_activations %y columns 64 group 64 : (tensor<1x64xf32>) -> (tensor<1x64xi8>, tensor<1x1xf32>, tensor<1x1xi32>)
  %g = tbq.packed_linear %dy, %wu sums(%sy) activation_scale(%ay) : (tensor<1x64xi8>, !up, tensor<1x1xi32>, tensor<1x1xf32>) -> tensor<1x128xf32>
  %u = tbq.packed_linear %dy, %wu sums(%sy) activation_scale(%ay) : (tensor<1x64xi8>, !up, tensor<1x1xi32>, tensor<1x1xf32>) -> tensor<1x128xf32>
  %z = tbq.gated_activation %g, %u : (tensor<1x128xf32>, tensor<1x128xf32>) -> tensor<1x128xf32>
  %dz, %az, %sz = tbq.quantize_activations %z columns 128 group 64 : (tensor<1x128xf32>) -> (tensor<1x128xi8>, tensor<1x1xf32>, tensor<1x2xi32>)
  %l = tbq.packed_linear %dz, %wd sums(%sz) activation_scale(%az) residual(%r) : (tensor<1x128xi8>, !down, tensor<1x2xi32>, tensor<1x1xf32>, tensor<1x64xf32>) -> tensor<1x64xf32>
  return %l : tensor<1x64xf32>
}
func.func @decode(%tokens: tensor<1xi32>, %cache: !kv, %position: index, %count: index, %first: index) -> tensor<1x64xf32> {
  %table = tbq.placed_weight [16384] : !table
  %0 = tbq.embedding %tokens, %table : (tensor<1xi32>, !table) -> tensor<1x64xf32>
  %1 = tbq.layers @decode_layers_0(%0, %position, %cache, %count) numbers 0 to 2 : (tensor<1x64xf32>, index, !kv, index) -> tensor<1x64xf32>
  %2 = tbq.select_rows %1 from %first : (tensor<1x64xf32>, index) -> tensor<1x64xf32>
  %3 = tbq.packed_linear %2, %table : (tensor<1x64xf32>, !table) -> tensor<1x64xf32>
  return %3 : tensor<1x64xf32>
}
func.func @prefill(%tokens: tensor<8xi32>, %cache: !kv, %position: index, %count: index, %first: index) -> tensor<8x64xf32> {
  %table = tbq.placed_weight [16384] : !table
  %0 = tbq.embedding %tokens, %table : (tensor<8xi32>, !table) -> tensor<8x64xf32>
  return %0 : tensor<8x64xf32>
}
tbq.weights @weights bytes 65536 {
}
