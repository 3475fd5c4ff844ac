// RUN: tbq-opt %s --verify-roundtrip | FileCheck %s
// RUN: tbq-opt %s --mlir-print-op-generic | tbq-opt | FileCheck %s
// Every op in every form: as the checkpoint says it, as it is packed, on
// tensors, on buffers, with and without a worker's range.

!ternary = !tbq.digits<48x64, ternary>
!codes = !tbq.packed<48x64, digits [2], terms [[1, -1], [0, 1]], group 32, tile 16>
!row = !tbq.packed<48x64, digits [2], terms [[1, -1]], group 64, tile 16, bias>
!matrix = !tbq.packed<48x64, bf16, tile 16>
!vector = !tbq.packed<1x64, f32, tile 1>
!angles = !tbq.packed<40x16, f32, tile 1>
!kv = !tbq.cache<2 layers, 2 by 16, 40 tokens, f32>

// CHECK-LABEL: @weights
func.func @weights() {
  // CHECK: %[[W:.*]] = tbq.weight "model.layers.0.up_proj.weight" : tensor<48x64xbf16>
  %w = tbq.weight "model.layers.0.up_proj.weight" : tensor<48x64xbf16>
  // CHECK: tbq.weight "model.layers.0.up_proj.codes" : !tbq.digits<48x64, ternary>
  %t = tbq.weight "model.layers.0.up_proj.codes" : !ternary
  // CHECK: %[[T:.*]], %[[C:.*]]:2 = tbq.quantize %[[W]] ternary group 32 : tensor<48x64xbf16> -> <48x64, ternary>, tensor<48x2xf16>, tensor<48x2xf16>
  %q, %a, %c = tbq.quantize %w ternary group 32 : tensor<48x64xbf16> -> !ternary, tensor<48x2xf16>, tensor<48x2xf16>
  // CHECK: tbq.rope_table [1.00000000e+00, 2.50000000e-01] : tensor<40x4xf32>
  %r = tbq.rope_table [1.0, 0.25] : tensor<40x4xf32>
  // CHECK: tbq.pack %[[T]] coefficients(%[[C]]#0, %[[C]]#1) : (!tbq.digits<48x64, ternary>, tensor<48x2xf16>, tensor<48x2xf16>) -> !packed
  %p0 = tbq.pack %q coefficients(%a, %c) : (!ternary, tensor<48x2xf16>, tensor<48x2xf16>) -> !codes
  return
}

// CHECK-LABEL: @pack
func.func @pack(%t: !ternary, %a: tensor<48x1xf16>, %b: tensor<48xf32>, %w: tensor<48x64xbf16>, %n: tensor<64xf16>) {
  // CHECK: tbq.pack %arg0 coefficients(%arg1) bias(%arg2) :
  %p0 = tbq.pack %t coefficients(%a) bias(%b) : (!ternary, tensor<48x1xf16>, tensor<48xf32>) -> !row
  // CHECK: tbq.pack %arg0 coefficients(%arg1, %arg1) group 64 :
  %parts = tbq.pack %t coefficients(%a, %a) group 64 : (!ternary, tensor<48x1xf16>, tensor<48x1xf16>) -> !codes
  // CHECK: tbq.pack %arg3 : (tensor<48x64xbf16>) -> !packed
  %p1 = tbq.pack %w : (tensor<48x64xbf16>) -> !matrix
  // CHECK: tbq.pack %arg4 : (tensor<64xf16>) -> !packed
  %p2 = tbq.pack %n : (tensor<64xf16>) -> !vector
  // CHECK: tbq.packed_bytes %{{.*}} : !packed{{[0-9]*}} -> memref<6144xi8>
  %p3 = tbq.packed_bytes %p1 : !matrix -> memref<6144xi8>
  return
}

// CHECK: tbq.weights @weights_section bytes 256 {
tbq.weights @weights_section bytes 256 {
  %n = tbq.weight "model.norm.weight" : tensor<64xf16>
  %p = tbq.pack %n : (tensor<64xf16>) -> !vector
  // CHECK: tbq.place %{{.*}} at 0 "model.norm" : !packed
  tbq.place %p at 0 "model.norm" : !vector
}

// Salient weights: the fraction, and the thresholds once the weights were looked at.
// CHECK-LABEL: @salient
func.func @salient(%w: tensor<4x40xf32>) {
  // CHECK: tbq.quantize %arg0 binary group 32 salient 1.250000e-01 : tensor<4x40xf32> -> <4x40, binary>, tensor<4x2xf16>, tensor<4x2xf16> salient !tbq.digits<4x40, salient_mask>, tensor<18xi8>, tensor<5xi32>, tensor<4xf16>, tensor<4xi16>
  %t, %c:2, %p:5 = tbq.quantize %w binary group 32 salient 0.125 : tensor<4x40xf32> -> !tbq.digits<4x40, binary>, tensor<4x2xf16>, tensor<4x2xf16> salient !tbq.digits<4x40, salient_mask>, tensor<18xi8>, tensor<5xi32>, tensor<4xf16>, tensor<4xi16>
  // CHECK: salient 1.250000e-01 thresholds [1.50000000e+00, 2.50000000e-01] :
  %u, %d:2, %q:5 = tbq.quantize %w binary group 32 salient 0.125 thresholds [1.5, 0.25] : tensor<4x40xf32> -> !tbq.digits<4x40, binary>, tensor<4x2xf16>, tensor<4x2xf16> salient !tbq.digits<4x40, salient_mask>, tensor<17xi8>, tensor<5xi32>, tensor<4xf16>, tensor<4xi16>
  return
}

// The linear in every scheme, with whatever may stand beside it.
// CHECK-LABEL: @linears
func.func @linears(%x: tensor<?x64xf32>, %r: tensor<?x48xf32>, %w: tensor<48x64xbf16>, %w16: tensor<48x64xf16>,
                   %b: tensor<48xf32>, %t: !ternary, %s: !tbq.digits<48x64, binary>, %d: !tbq.digits<48x64, dual_binary>,
                   %a: tensor<48x2xf16>, %c: tensor<48x2xf16>, %m: !tbq.digits<48x64, salient_mask>,
                   %values: tensor<100xi8>, %offsets: tensor<49xi32>, %vs: tensor<48xf16>, %zero: tensor<48xi16>) {
  // CHECK: tbq.linear %arg0, %arg2 : (tensor<?x64xf32>, tensor<48x64xbf16>) -> tensor<?x48xf32>
  %0 = tbq.linear %x, %w : (tensor<?x64xf32>, tensor<48x64xbf16>) -> tensor<?x48xf32>
  // CHECK: tbq.linear %arg0, %arg3 bias(%arg4) residual(%arg1) : (tensor<?x64xf32>, tensor<48x64xf16>, tensor<48xf32>, tensor<?x48xf32>) -> tensor<?x48xf32>
  %1 = tbq.linear %x, %w16 bias(%b) residual(%r) : (tensor<?x64xf32>, tensor<48x64xf16>, tensor<48xf32>, tensor<?x48xf32>) -> tensor<?x48xf32>
  // CHECK: tbq.linear %arg0, %arg5 scale(%arg8) shift(%arg9) group 32 activations i8 : (tensor<?x64xf32>, !tbq.digits<48x64, ternary>, tensor<48x2xf16>, tensor<48x2xf16>) -> tensor<?x48xf32>
  %2 = tbq.linear %x, %t scale(%a) shift(%c) group 32 activations i8 : (tensor<?x64xf32>, !ternary, tensor<48x2xf16>, tensor<48x2xf16>) -> tensor<?x48xf32>
  // CHECK: tbq.linear %arg0, %arg5 scale(%arg8) bias(%arg4) residual(%arg1) group 32 activations f32 :
  %3 = tbq.linear %x, %t scale(%a) bias(%b) residual(%r) group 32 activations f32 : (tensor<?x64xf32>, !ternary, tensor<48x2xf16>, tensor<48xf32>, tensor<?x48xf32>) -> tensor<?x48xf32>
  // CHECK: tbq.linear %arg0, %arg6 scale(%arg8) shift(%arg9) salient(%arg10, %arg11, %arg12, %arg13) group 32 :
  %4 = tbq.linear %x, %s scale(%a) shift(%c) salient(%m, %values, %offsets, %vs) group 32 : (tensor<?x64xf32>, !tbq.digits<48x64, binary>, tensor<48x2xf16>, tensor<48x2xf16>, !tbq.digits<48x64, salient_mask>, tensor<100xi8>, tensor<49xi32>, tensor<48xf16>) -> tensor<?x48xf32>
  // CHECK: tbq.linear %arg0, %arg6 scale(%arg8) salient(%arg10, %arg11, %arg12, %arg13, %arg14) group 32 :
  %5 = tbq.linear %x, %s scale(%a) salient(%m, %values, %offsets, %vs, %zero) group 32 : (tensor<?x64xf32>, !tbq.digits<48x64, binary>, tensor<48x2xf16>, !tbq.digits<48x64, salient_mask>, tensor<100xi8>, tensor<49xi32>, tensor<48xf16>, tensor<48xi16>) -> tensor<?x48xf32>
  // CHECK: tbq.linear %arg0, %arg7 scale(%arg8, %arg9) group 32 :
  %6 = tbq.linear %x, %d scale(%a, %c) group 32 : (tensor<?x64xf32>, !tbq.digits<48x64, dual_binary>, tensor<48x2xf16>, tensor<48x2xf16>) -> tensor<?x48xf32>
  return
}

// The embedding and the head in 8 and 4 bits.
// CHECK-LABEL: @integers
func.func @integers(%tokens: tensor<?xi32>, %x: tensor<?x64xf32>, %w: tensor<48x64xbf16>, %q: !tbq.digits<48x64, int8>, %a: tensor<48x2xf16>) {
  // CHECK: tbq.embedding %arg0, %arg3 scale(%arg4) group 32 : (tensor<?xi32>, !tbq.digits<48x64, int8>, tensor<48x2xf16>) -> tensor<?x64xf32>
  %0 = tbq.embedding %tokens, %q scale(%a) group 32 : (tensor<?xi32>, !tbq.digits<48x64, int8>, tensor<48x2xf16>) -> tensor<?x64xf32>
  // CHECK: %[[Q:.*]], %[[A:.*]] = tbq.quantize %arg2 int4 group 64 : tensor<48x64xbf16> -> <48x64, int4>, tensor<48x1xf16>
  %n, %row = tbq.quantize %w int4 group 64 : tensor<48x64xbf16> -> !tbq.digits<48x64, int4>, tensor<48x1xf16>
  // CHECK: tbq.linear %arg1, %[[Q]] scale(%[[A]]) group 64 activations i8 : (tensor<?x64xf32>, !tbq.digits<48x64, int4>, tensor<48x1xf16>) -> tensor<?x48xf32>
  %1 = tbq.linear %x, %n scale(%row) group 64 activations i8 : (tensor<?x64xf32>, !tbq.digits<48x64, int4>, tensor<48x1xf16>) -> tensor<?x48xf32>
  return
}

// CHECK-LABEL: @step_on_tensors
func.func @step_on_tensors(%tokens: tensor<?xi32>, %h: tensor<?x64xf32>, %k: tensor<?x32xf32>, %cache: !kv,
                           %table: tensor<60x64xbf16>, %n: tensor<64xf32>, %rope: tensor<40x16xf32>, %i: index) {
  // CHECK: tbq.embedding %arg0, %arg4 : (tensor<?xi32>, tensor<60x64xbf16>) -> tensor<?x64xf32>
  %0 = tbq.embedding %tokens, %table : (tensor<?xi32>, tensor<60x64xbf16>) -> tensor<?x64xf32>
  // CHECK: tbq.rms_norm %arg1, %arg5 epsilon 9.99999974E-6 features 64 : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  %1 = tbq.rms_norm %h, %n epsilon 1.0e-05 features 64 : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  // CHECK: tbq.rope %arg1, %arg6 at %arg7 heads 4 x 16 : (tensor<?x64xf32>, tensor<40x16xf32>, index) -> tensor<?x64xf32>
  %2 = tbq.rope %h, %rope at %i heads 4 x 16 : (tensor<?x64xf32>, tensor<40x16xf32>, index) -> tensor<?x64xf32>
  // CHECK: tbq.append_cache %arg2, %arg2, %arg3[%arg7] at %arg7 tokens %arg7 !cache : (tensor<?x32xf32>, tensor<?x32xf32>, !cache, index, index, index) -> ()
  tbq.append_cache %k, %k, %cache[%i] at %i tokens %i !kv : (tensor<?x32xf32>, tensor<?x32xf32>, !kv, index, index, index) -> ()
  // CHECK: tbq.attention %arg1, %arg3[%arg7] at %arg7 heads 4 scale 2.500000e-01 !cache : (tensor<?x64xf32>, !cache, index, index) -> tensor<?x64xf32>
  %3 = tbq.attention %h, %cache[%i] at %i heads 4 scale 0.25 !kv : (tensor<?x64xf32>, !kv, index, index) -> tensor<?x64xf32>
  // CHECK: tbq.gated_activation %arg1, %arg1 : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %4 = tbq.gated_activation %h, %h : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK: tbq.add %arg1, %arg1 : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %5 = tbq.add %h, %h : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK: tbq.layer_norm %arg1, %arg5, %arg5 epsilon 9.99999974E-6 features 64 : (tensor<?x64xf32>, tensor<64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  %l = tbq.layer_norm %h, %n, %n epsilon 1.0e-05 features 64 : (tensor<?x64xf32>, tensor<64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  // CHECK: tbq.add_positions %arg1, %arg4 at %arg7 offset 2 : (tensor<?x64xf32>, tensor<60x64xbf16>, index) -> tensor<?x64xf32>
  %p = tbq.add_positions %h, %table at %i offset 2 : (tensor<?x64xf32>, tensor<60x64xbf16>, index) -> tensor<?x64xf32>
  // CHECK: tbq.activation %arg1 gelu : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %a = tbq.activation %h gelu : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK: tbq.select_rows %arg1 from %arg7 : (tensor<?x64xf32>, index) -> tensor<?x64xf32>
  %6 = tbq.select_rows %h from %i : (tensor<?x64xf32>, index) -> tensor<?x64xf32>
  // CHECK: tbq.layer "model.layers.7" number 7(%arg1) : tensor<?x64xf32> {
  // CHECK-NEXT: ^bb0(%[[H:.*]]: tensor<?x64xf32>, %{{.*}}: index):
  // CHECK-NEXT: tbq.yield %[[H]] : tensor<?x64xf32>
  %7 = tbq.layer "model.layers.7" number 7 (%h) : tensor<?x64xf32> {
  ^bb0(%r: tensor<?x64xf32>, %layer: index):
    tbq.yield %r : tensor<?x64xf32>
  }
  return
}

// CHECK-LABEL: @packed_on_tensors
func.func @packed_on_tensors(%x: tensor<1x64xf32>, %r: tensor<1x48xf32>, %i: index) -> tensor<1x48xf32> {
  // CHECK: %[[W:.*]] = tbq.placed_weight [64] : !packed
  %w = tbq.placed_weight [64] : !codes
  // CHECK: tbq.placed_weight [0, 128, 64] layer(%arg2) : !packed
  %w1 = tbq.placed_weight [0, 128, 64] layer(%i) : !row
  %w2 = tbq.placed_weight [0] : !matrix
  // CHECK: %[[S:.*]] = tbq.group_sums %arg0 columns 64 group 32 : (tensor<1x64xf32>) -> tensor<1x2xf32>
  %s = tbq.group_sums %x columns 64 group 32 : (tensor<1x64xf32>) -> tensor<1x2xf32>
  // CHECK: %[[Q:.*]]:3 = tbq.quantize_activations %arg0 columns 64 group 32 : (tensor<1x64xf32>) -> (tensor<1x64xi8>, tensor<1x1xf32>, tensor<1x2xi32>)
  %q, %a, %d = tbq.quantize_activations %x columns 64 group 32 : (tensor<1x64xf32>) -> (tensor<1x64xi8>, tensor<1x1xf32>, tensor<1x2xi32>)
  // CHECK: tbq.packed_linear %arg0, %[[W]] sums(%[[S]]) : (tensor<1x64xf32>, !packed{{[0-9]*}}, tensor<1x2xf32>) -> tensor<1x48xf32>
  %0 = tbq.packed_linear %x, %w sums(%s) : (tensor<1x64xf32>, !codes, tensor<1x2xf32>) -> tensor<1x48xf32>
  // CHECK: tbq.packed_linear %[[Q]]#0, %[[W]] sums(%[[Q]]#2) activation_scale(%[[Q]]#1) residual(%arg1) :
  %1 = tbq.packed_linear %q, %w sums(%d) activation_scale(%a) residual(%r) : (tensor<1x64xi8>, !codes, tensor<1x2xi32>, tensor<1x1xf32>, tensor<1x48xf32>) -> tensor<1x48xf32>
  // CHECK: %[[D:.*]]:4 = tbq.quantize_activations %arg0 columns 64 group 32 : (tensor<1x64xf32>) -> (tensor<1x64xi8>, tensor<1x64xi8>, tensor<1x1xf32>, tensor<1x2xi32>)
  %h, %l, %a16, %d16 = tbq.quantize_activations %x columns 64 group 32 : (tensor<1x64xf32>) -> (tensor<1x64xi8>, tensor<1x64xi8>, tensor<1x1xf32>, tensor<1x2xi32>)
  // CHECK: tbq.packed_linear %[[D]]#0, %[[W]] low(%[[D]]#1) sums(%[[D]]#3) activation_scale(%[[D]]#2) :
  %5 = tbq.packed_linear %h, %w low(%l) sums(%d16) activation_scale(%a16) : (tensor<1x64xi8>, !codes, tensor<1x64xi8>, tensor<1x2xi32>, tensor<1x1xf32>) -> tensor<1x48xf32>
  // CHECK: tbq.packed_linear %arg0, %{{.*}} : (tensor<1x64xf32>, !packed{{[0-9]*}}) -> tensor<1x48xf32>
  %2 = tbq.packed_linear %x, %w2 : (tensor<1x64xf32>, !matrix) -> tensor<1x48xf32>
  // CHECK: tbq.layers @layers(%{{.*}}, %arg2) numbers 3 to 5 : (tensor<1x48xf32>, index) -> tensor<1x48xf32>
  %3 = tbq.layers @layers(%1, %i) numbers 3 to 5 : (tensor<1x48xf32>, index) -> tensor<1x48xf32>
  // CHECK: tbq.layers @bare(%{{.*}}) numbers 0 to 1 : (tensor<1x48xf32>) -> tensor<1x48xf32>
  %4 = tbq.layers @bare(%3) numbers 0 to 1 : (tensor<1x48xf32>) -> tensor<1x48xf32>
  return %4 : tensor<1x48xf32>
}
func.func private @layers(tensor<1x48xf32>, index, index) -> tensor<1x48xf32>
func.func private @bare(tensor<1x48xf32>, index) -> tensor<1x48xf32>

// Rows are padded to whole vectors of 16, and whole token tiles.
// CHECK-LABEL: @step_on_buffers
func.func @step_on_buffers(%tokens: memref<1xi32>, %h: memref<1x64xf32>, %k: memref<1x32xf32>, %y: memref<1x48xf32>,
                           %digits: memref<1x64xi8>, %scale: memref<1x16xf32>, %sums: memref<1x16xi32>,
                           %cache: memref<20480xi8>, %section: memref<8192xi8>, %i: index, %team: !tbq.team) {
  // CHECK: %[[W:.*]] = tbq.placed_weight [64] in %arg8 : memref<8192xi8> : !packed
  %codes = tbq.placed_weight [64] in %section : memref<8192xi8> : !codes
  // CHECK: tbq.placed_weight [64, 0] layer(%arg9) in %arg8 : memref<8192xi8> : !packed
  %table = tbq.placed_weight [64, 0] layer(%i) in %section : memref<8192xi8> : !matrix
  %norm = tbq.placed_weight [0] in %section : memref<8192xi8> : !vector
  %rope = tbq.placed_weight [0] in %section : memref<8192xi8> : !angles
  // CHECK: %[[ME:.*]] = tbq.worker %arg10
  %worker = tbq.worker %team
  // CHECK: %[[ALL:.*]] = tbq.workers %arg10
  %workers = tbq.workers %team
  // CHECK: tbq.embedding %arg0, %{{.*}} into(%arg1) count(%arg9) range(%[[ME]], %[[ALL]]) : (memref<1xi32>, !packed{{[0-9]*}}, memref<1x64xf32>, index, index, index) -> ()
  tbq.embedding %tokens, %table into(%h) count(%i) range(%worker, %workers) : (memref<1xi32>, !matrix, memref<1x64xf32>, index, index, index) -> ()
  // CHECK: tbq.barrier %arg10
  tbq.barrier %team
  // CHECK: tbq.rms_norm %arg1, %{{.*}} epsilon 1.000000e+00 features 64 into(%arg1) count(%arg9) : (memref<1x64xf32>, !packed{{[0-9]*}}, memref<1x64xf32>, index) -> ()
  tbq.rms_norm %h, %norm epsilon 1.0 features 64 into(%h) count(%i) : (memref<1x64xf32>, !vector, memref<1x64xf32>, index) -> ()
  // CHECK: tbq.rope %arg1, %{{.*}} at %arg9 heads 4 x 16 into(%arg1) : (memref<1x64xf32>, !packed{{[0-9]*}}, index, memref<1x64xf32>) -> ()
  tbq.rope %h, %rope at %i heads 4 x 16 into(%h) : (memref<1x64xf32>, !angles, index, memref<1x64xf32>) -> ()
  // CHECK: tbq.append_cache %arg2, %arg2, %arg7[%arg9] at %arg9 tokens %arg9 !cache count(%arg9) range(%[[ME]], %[[ALL]]) :
  tbq.append_cache %k, %k, %cache[%i] at %i tokens %i !kv count(%i) range(%worker, %workers) : (memref<1x32xf32>, memref<1x32xf32>, memref<20480xi8>, index, index, index, index, index, index) -> ()
  // CHECK: tbq.attention %arg1, %arg7[%arg9] at %arg9 heads 4 scale 2.500000e-01 !cache into(%arg1) count(%arg9) :
  tbq.attention %h, %cache[%i] at %i heads 4 scale 0.25 !kv into(%h) count(%i) : (memref<1x64xf32>, memref<20480xi8>, index, index, memref<1x64xf32>, index) -> ()
  // CHECK: tbq.attention %arg1, %arg7[%arg9] at %arg9 key(%[[KEY:.*]]) value(%[[KEY]]) heads 4 scale 2.500000e-01 !cache into(%arg1) count(%arg9) :
  tbq.attention %h, %cache[%i] at %i key(%k) value(%k) heads 4 scale 0.25 !kv into(%h) count(%i) : (memref<1x64xf32>, memref<20480xi8>, index, index, memref<1x32xf32>, memref<1x32xf32>, memref<1x64xf32>, index) -> ()
  // CHECK: tbq.gated_activation %arg1, %arg1 unit 4 into(%arg1) :
  tbq.gated_activation %h, %h unit 4 into(%h) : (memref<1x64xf32>, memref<1x64xf32>, memref<1x64xf32>) -> ()
  // CHECK: tbq.gated_activation %arg1, %arg1 into(%arg1) :
  tbq.gated_activation %h, %h into(%h) : (memref<1x64xf32>, memref<1x64xf32>, memref<1x64xf32>) -> ()
  // CHECK: tbq.add %arg1, %arg1 into(%arg1) :
  tbq.add %h, %h into(%h) : (memref<1x64xf32>, memref<1x64xf32>, memref<1x64xf32>) -> ()
  // CHECK: tbq.layer_norm %arg1, %{{.*}}, %{{.*}} epsilon 1.000000e+00 features 64 into(%arg1) count(%arg9) :
  tbq.layer_norm %h, %norm, %norm epsilon 1.0 features 64 into(%h) count(%i) : (memref<1x64xf32>, !vector, !vector, memref<1x64xf32>, index) -> ()
  // CHECK: tbq.add_positions %arg1, %{{.*}} at %arg9 offset 0 into(%arg1) :
  tbq.add_positions %h, %norm at %i offset 0 into(%h) : (memref<1x64xf32>, !vector, index, memref<1x64xf32>) -> ()
  // CHECK: tbq.activation %arg1 relu into(%arg1) :
  tbq.activation %h relu into(%h) : (memref<1x64xf32>, memref<1x64xf32>) -> ()
  // CHECK: tbq.select_rows %arg1 from %arg9 into(%arg1) :
  tbq.select_rows %h from %i into(%h) : (memref<1x64xf32>, index, memref<1x64xf32>) -> ()
  // CHECK: tbq.group_sums %arg1 columns 64 group 32 into(%arg5) :
  tbq.group_sums %h columns 64 group 32 into(%scale) : (memref<1x64xf32>, memref<1x16xf32>) -> ()
  // CHECK: tbq.quantize_activations %arg1 columns 64 group 32 into(%arg4, %arg5, %arg6) count(%arg9) :
  tbq.quantize_activations %h columns 64 group 32 into(%digits, %scale, %sums) count(%i) : (memref<1x64xf32>, memref<1x64xi8>, memref<1x16xf32>, memref<1x16xi32>, index) -> ()
  // CHECK: tbq.packed_linear %arg4, %[[W]] sums(%arg6) activation_scale(%arg5) residual(%arg3) into(%arg3) count(%arg9) range(%[[ME]], %[[ALL]]) :
  tbq.packed_linear %digits, %codes sums(%sums) activation_scale(%scale) residual(%y) into(%y) count(%i) range(%worker, %workers) : (memref<1x64xi8>, !codes, memref<1x16xi32>, memref<1x16xf32>, memref<1x48xf32>, memref<1x48xf32>, index, index, index) -> ()
  return
}
