// RUN: tbq-opt %s --tbq-lower="own-key worker-bytes=20480" --tbq-exchange-rows | FileCheck %s
// Behind attention a norm reads the query, which the next layer writes again before
// its barrier: what it makes of it is no row that others wait for, so a block that
// comes late would find the next layer's. All barriers stay.

!kv = !tbq.cache<2 layers, 1 by 32, 64 tokens, f16>
!norm = !tbq.packed<1x64, f32, tile 1>
!angles = !tbq.packed<64x32, f32, tile 1>
!table = !tbq.packed<64x64, f32, tile 8>
!q = !tbq.packed<64x64, digits [2], terms [[1, -1]], group 64, tile 8>
!k = !tbq.packed<32x64, digits [2], terms [[1, -1]], group 64, tile 8>
!up = !tbq.packed<128x64, digits [2], terms [[1, -1]], group 64, tile 8>
!down = !tbq.packed<64x128, digits [2], terms [[1, -1]], group 64, tile 8>

// CHECK: tbq.rms_norm
// CHECK-NOT: tbq.exchange
// CHECK-NOT: tbq.block_only
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
  %y = tbq.rms_norm %q, %n epsilon 1.0 features 64 : (tensor<1x64xf32>, !norm) -> tensor<1x64xf32>
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
