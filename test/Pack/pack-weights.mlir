// RUN: tbq-opt %s --tbq-pack-weights --split-input-file --verify-diagnostics | FileCheck %s
// RUN: tbq-opt %s --tbq-pack-weights --cse --split-input-file --verify-diagnostics | FileCheck %s --check-prefix=SHARED

!rows = tensor<?x40xf32>

// Ternary with scale and shift: y = a (D - S) + c S; the digit is T + 1.
// CHECK-DAG: ![[SHIFT:packed[0-9]*]] = !tbq.packed<8x40, digits [2], terms {{\[}}[1, -1], [0, 1]], group 16, tile 16>
// CHECK-DAG: ![[PLAIN:packed[0-9]*]] = !tbq.packed<8x40, digits [2], terms {{\[}}[1, -1]], group 40, tile 16, bias>
// CHECK-LABEL: @ternary
// SHARED-LABEL: @ternary
func.func @ternary(%x: !rows, %h: tensor<?x8xf32>, %t: !tbq.digits<8x40, ternary>, %a: tensor<8x3xf16>,
                   %row: tensor<8x1xf16>, %b: tensor<8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) {
  // CHECK: %[[P:.*]] = tbq.pack %arg2 coefficients(%arg3, %arg3) : (!tbq.digits<8x40, ternary>, tensor<8x3xf16>, tensor<8x3xf16>) -> ![[SHIFT]]
  // CHECK: %[[Q:.*]]:3 = tbq.quantize_activations %arg0 columns 40 group 16 : (tensor<?x40xf32>) -> (tensor<?x40xi8>, tensor<?x1xf32>, tensor<?x3xi32>)
  // CHECK: tbq.packed_linear %[[Q]]#0, %[[P]] sums(%[[Q]]#2) activation_scale(%[[Q]]#1) : (tensor<?x40xi8>, ![[SHIFT]], tensor<?x3xi32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %0 = tbq.linear %x, %t scale(%a) shift(%a) group 16 activations i8
    : (!rows, !tbq.digits<8x40, ternary>, tensor<8x3xf16>, tensor<8x3xf16>) -> tensor<?x8xf32>
  // f32 activations keep their type; their sums are f32.
  // CHECK: %[[S:.*]] = tbq.group_sums %arg0 columns 40 group 16 : (tensor<?x40xf32>) -> tensor<?x3xf32>
  // CHECK: tbq.packed_linear %arg0, %{{.*}} sums(%[[S]]) residual(%arg1) : (tensor<?x40xf32>, ![[SHIFT]], tensor<?x3xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %1 = tbq.linear %x, %t scale(%a) shift(%a) residual(%h) group 16 activations f32
    : (!rows, !tbq.digits<8x40, ternary>, tensor<8x3xf16>, tensor<8x3xf16>, tensor<?x8xf32>) -> tensor<?x8xf32>
  // No shift: one term. The bias lies in the tile.
  // CHECK: tbq.pack %arg2 coefficients(%arg4) bias(%arg5) : (!tbq.digits<8x40, ternary>, tensor<8x1xf16>, tensor<8xf32>) -> ![[PLAIN]]
  %2 = tbq.linear %x, %t scale(%row) bias(%b) group 40
    : (!rows, !tbq.digits<8x40, ternary>, tensor<8x1xf16>, tensor<8xf32>) -> tensor<?x8xf32>
  %3 = tbq.linear %x, %t scale(%a) shift(%a) group 16 activations i8
    : (!rows, !tbq.digits<8x40, ternary>, tensor<8x3xf16>, tensor<8x3xf16>) -> tensor<?x8xf32>
  // CHECK-NOT: tbq.linear
  // Who reads the same activations in the same groups shares their digits.
  // SHARED: tbq.quantize_activations %arg0 columns 40 group 16
  // SHARED-NOT: tbq.quantize_activations
  // SHARED: tbq.group_sums %arg0 columns 40 group 16
  // SHARED: tbq.group_sums %arg0 columns 40 group 40
  // SHARED-NOT: tbq.quantize_activations
  // SHARED: return
  return %0, %1, %2, %3 : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>
}

// -----

// Floats: a matrix keeps its element type in tiles; vectors and tables are f32,
// row by row. A tied table is packed once.
// CHECK-DAG: ![[TABLE:packed[0-9]*]] = !tbq.packed<50x16, bf16, tile 16>
// CHECK-DAG: ![[HEAD:packed[0-9]*]] = !tbq.packed<50x16, f16, tile 16, bias>
// CHECK-DAG: ![[NORM:packed[0-9]*]] = !tbq.packed<1x16, f32, tile 1>
// CHECK-DAG: ![[ROPE:packed[0-9]*]] = !tbq.packed<32x8, f32, tile 1>
// CHECK-DAG: ![[POSITIONS:packed[0-9]*]] = !tbq.packed<50x16, f32, tile 1>
!rows = tensor<?x16xf32>
// CHECK-LABEL: @floats
// SHARED-LABEL: @floats
func.func @floats(%tokens: tensor<?xi32>, %b: tensor<50xf32>, %i: index) -> (tensor<?x50xf32>, tensor<?x50xf32>) {
  // CHECK: %[[T:.*]] = tbq.weight "embed"
  // SHARED: %[[T:.*]] = tbq.weight "embed"
  // SHARED: %[[P:.*]] = tbq.pack %[[T]]
  // SHARED-NOT: tbq.pack %[[T]]
  // SHARED: tbq.embedding %{{.*}}, %[[P]]
  // SHARED: tbq.packed_linear %{{.*}}, %[[P]]
  %table = tbq.weight "embed" : tensor<50x16xbf16>
  %head = tbq.weight "head" : tensor<50x16xf16>
  %norm = tbq.weight "norm" : tensor<16xf16>
  %rope = tbq.rope_table [1.0, 0.5, 0.25, 0.125] : tensor<32x8xf32>
  // CHECK: tbq.embedding %arg0, %{{.*}} : (tensor<?xi32>, ![[TABLE]]) -> tensor<?x16xf32>
  %0 = tbq.embedding %tokens, %table : (tensor<?xi32>, tensor<50x16xbf16>) -> !rows
  // CHECK: tbq.rms_norm %{{.*}}, %{{.*}} epsilon 1.000000e+00 features 16 : (tensor<?x16xf32>, ![[NORM]]) -> tensor<?x16xf32>
  %1 = tbq.rms_norm %0, %norm epsilon 1.0 features 16 : (!rows, tensor<16xf16>) -> !rows
  // CHECK: tbq.layer_norm %{{.*}}, %{{.*}}, %{{.*}} epsilon 1.000000e+00 features 16 : (tensor<?x16xf32>, ![[NORM]], ![[NORM]]) -> tensor<?x16xf32>
  %l = tbq.layer_norm %1, %norm, %norm epsilon 1.0 features 16 : (!rows, tensor<16xf16>, tensor<16xf16>) -> !rows
  // CHECK: tbq.add_positions %{{.*}}, %{{.*}} at %arg2 offset 2 : (tensor<?x16xf32>, ![[POSITIONS]], index) -> tensor<?x16xf32>
  %p = tbq.add_positions %l, %head at %i offset 2 : (!rows, tensor<50x16xf16>, index) -> !rows
  // CHECK: tbq.rope %{{.*}}, %{{.*}} at %arg2 heads 2 x 8 : (tensor<?x16xf32>, ![[ROPE]], index) -> tensor<?x16xf32>
  %2 = tbq.rope %p, %rope at %i heads 2 x 8 : (!rows, tensor<32x8xf32>, index) -> !rows
  // CHECK: tbq.packed_linear %{{.*}}, %{{.*}} : (tensor<?x16xf32>, ![[TABLE]]) -> tensor<?x50xf32>
  %3 = tbq.linear %2, %table : (!rows, tensor<50x16xbf16>) -> tensor<?x50xf32>
  // CHECK: tbq.packed_linear %{{.*}}, %{{.*}} : (tensor<?x16xf32>, ![[HEAD]]) -> tensor<?x50xf32>
  %4 = tbq.linear %2, %head bias(%b) : (!rows, tensor<50x16xf16>, tensor<50xf32>) -> tensor<?x50xf32>
  return %3, %4 : tensor<?x50xf32>, tensor<?x50xf32>
}

// -----

// Binary: the bit B stands for 2 B - 1. Dual binary: a coefficient for each
// plane, and no sums.
// CHECK-DAG: ![[BINARY:packed[0-9]*]] = !tbq.packed<8x64, digits [1], terms {{\[}}[2, -1], [0, 1]], group 32, tile 16>
// CHECK-DAG: ![[DUAL:packed[0-9]*]] = !tbq.packed<8x64, digits [1, 1], terms {{\[}}[1, 0, 0], [0, 1, 0]], group 64, tile 16>
// CHECK-LABEL: @binary
// SHARED-LABEL: @binary
func.func @binary(%x: tensor<?x64xf32>, %s: !tbq.digits<8x64, binary>, %a: tensor<8x2xf16>, %m: tensor<8x2xf16>,
                  %p: !tbq.digits<8x64, dual_binary>, %a1: tensor<8x1xf16>, %a2: tensor<8x1xf16>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  // CHECK: tbq.pack %arg1 coefficients(%arg2, %arg3) : (!tbq.digits<8x64, binary>, tensor<8x2xf16>, tensor<8x2xf16>) -> ![[BINARY]]
  // CHECK: tbq.packed_linear %{{.*}} sums(
  %0 = tbq.linear %x, %s scale(%a) shift(%m) group 32 activations i8
    : (tensor<?x64xf32>, !tbq.digits<8x64, binary>, tensor<8x2xf16>, tensor<8x2xf16>) -> tensor<?x8xf32>
  // CHECK: tbq.pack %arg4 coefficients(%arg5, %arg6) : (!tbq.digits<8x64, dual_binary>, tensor<8x1xf16>, tensor<8x1xf16>) -> ![[DUAL]]
  // CHECK-NOT: sums(
  // CHECK: return
  %1 = tbq.linear %x, %p scale(%a1, %a2) group 64
    : (tensor<?x64xf32>, !tbq.digits<8x64, dual_binary>, tensor<8x1xf16>, tensor<8x1xf16>) -> tensor<?x8xf32>
  return %0, %1 : tensor<?x8xf32>, tensor<?x8xf32>
}

// -----

// PB-LLM: the mask is a plane, and the values under it are the digits of the last
// one, with a coefficient a row. No shift, no term of it.
// CHECK-DAG: ![[SALIENT:packed[0-9]*]] = !tbq.packed<8x64, digits [1, 1, 8], terms {{\[}}[2, 1, 0, -1], [0, -1, 0, 1], [0, 0, 1, 0]], salient, group 32, tile 16>
// CHECK-DAG: ![[PLAIN:packed[0-9]*]] = !tbq.packed<8x64, digits [1, 1, 8], terms {{\[}}[2, 1, 0, -1], [0, 0, 1, 0]], salient, group 64, tile 16, bias>
// CHECK-LABEL: @salient
// SHARED-LABEL: @salient
func.func @salient(%x: tensor<?x64xf32>, %s: !tbq.digits<8x64, binary>, %a: tensor<8x2xf16>, %c: tensor<8x2xf16>, %m: !tbq.digits<8x64, salient_mask>,
                   %v: tensor<50xi8>, %o: tensor<9xi32>, %vs: tensor<8xf16>, %z: tensor<8xi16>, %r: tensor<8x1xf16>, %b: tensor<8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  // CHECK: tbq.pack %arg1 coefficients(%arg2, %arg3) salient(%arg4, %arg5, %arg6, %arg7, %arg8) : {{.*}} -> ![[SALIENT]]
  // CHECK: tbq.packed_linear %{{.*}} sums(
  %0 = tbq.linear %x, %s scale(%a) shift(%c) salient(%m, %v, %o, %vs, %z) group 32 activations i8
    : (tensor<?x64xf32>, !tbq.digits<8x64, binary>, tensor<8x2xf16>, tensor<8x2xf16>, !tbq.digits<8x64, salient_mask>, tensor<50xi8>, tensor<9xi32>, tensor<8xf16>, tensor<8xi16>) -> tensor<?x8xf32>
  // CHECK: tbq.pack %arg1 coefficients(%arg9) salient(%arg4, %arg5, %arg6, %arg7) bias(%arg10) : {{.*}} -> ![[PLAIN]]
  %1 = tbq.linear %x, %s scale(%r) salient(%m, %v, %o, %vs) bias(%b) group 64
    : (tensor<?x64xf32>, !tbq.digits<8x64, binary>, tensor<8x1xf16>, !tbq.digits<8x64, salient_mask>, tensor<50xi8>, tensor<9xi32>, tensor<8xf16>, tensor<8xf32>) -> tensor<?x8xf32>
  return %0, %1 : tensor<?x8xf32>, tensor<?x8xf32>
}

// -----

// Embedding and head in 8 bits, q + 128, or 4, q + 8. A tied table is packed
// once, and its row needs no group sums.
// CHECK-DAG: ![[INT8:packed[0-9]*]] = !tbq.packed<50x24, digits [8], terms {{\[}}[1, -128]], group 4, tile 16>
// CHECK-DAG: ![[INT4:packed[0-9]*]] = !tbq.packed<50x24, digits [4], terms {{\[}}[1, -8]], group 24, tile 16>
// CHECK-LABEL: @integers
// SHARED-LABEL: @integers
func.func @integers(%tokens: tensor<?xi32>, %q: !tbq.digits<50x24, int8>, %a: tensor<50x6xf16>, %n: !tbq.digits<50x24, int4>, %row: tensor<50x1xf16>)
    -> (tensor<?x50xf32>, tensor<?x50xf32>) {
  // CHECK: %[[P:.*]] = tbq.pack %arg1 coefficients(%arg2) : (!tbq.digits<50x24, int8>, tensor<50x6xf16>) -> ![[INT8]]
  // CHECK-NEXT: tbq.embedding %arg0, %[[P]] : (tensor<?xi32>, ![[INT8]]) -> tensor<?x24xf32>
  %0 = tbq.embedding %tokens, %q scale(%a) group 4 : (tensor<?xi32>, !tbq.digits<50x24, int8>, tensor<50x6xf16>) -> tensor<?x24xf32>
  // CHECK: %[[Q:.*]]:3 = tbq.quantize_activations %{{.*}} columns 24 group 4
  // CHECK: tbq.packed_linear %[[Q]]#0, %{{.*}} sums(%[[Q]]#2) activation_scale(%[[Q]]#1) : (tensor<?x24xi8>, ![[INT8]], tensor<?x6xi32>, tensor<?x1xf32>) -> tensor<?x50xf32>
  %1 = tbq.linear %0, %q scale(%a) group 4 activations i8 : (tensor<?x24xf32>, !tbq.digits<50x24, int8>, tensor<50x6xf16>) -> tensor<?x50xf32>
  // CHECK: %[[S:.*]] = tbq.group_sums %{{.*}} columns 24 group 24
  // CHECK: tbq.packed_linear %{{.*}}, %{{.*}} sums(%[[S]]) : (tensor<?x24xf32>, ![[INT4]], tensor<?x1xf32>) -> tensor<?x50xf32>
  %2 = tbq.linear %0, %n scale(%row) group 24 activations f32 : (tensor<?x24xf32>, !tbq.digits<50x24, int4>, tensor<50x1xf16>) -> tensor<?x50xf32>
  // SHARED: %[[P:.*]] = tbq.pack %arg1
  // SHARED-NOT: tbq.pack %arg1
  // SHARED: tbq.embedding %arg0, %[[P]]
  // SHARED: tbq.packed_linear %{{.*}}, %[[P]]
  return %1, %2 : tensor<?x50xf32>, tensor<?x50xf32>
}

// -----

// Sums of 16-bit activations stay within int32: of 8-bit digits at most 258
// columns make a group, and a longer one is packed in parts, each with a copy of
// its coefficient; of a group that is no whole row, in equal ones. A tied table
// has its users' one layout; 4 bits need no parts.
// CHECK-DAG: ![[ROW:packed[0-9]*]] = !tbq.packed<50x600, digits [8], terms {{\[}}[1, -128]], group 200, tile 16>
// CHECK-DAG: ![[GROUP:packed[0-9]*]] = !tbq.packed<50x600, digits [8], terms {{\[}}[1, -128]], group 180, tile 16>
// CHECK-DAG: ![[INT4:packed[0-9]*]] = !tbq.packed<50x600, digits [4], terms {{\[}}[1, -8]], group 600, tile 16>
// CHECK-DAG: ![[INT8:packed[0-9]*]] = !tbq.packed<50x600, digits [8], terms {{\[}}[1, -128]], group 600, tile 16>
// CHECK-LABEL: @i16
// SHARED-LABEL: @i16
!rows = tensor<?x600xf32>
!q8 = !tbq.digits<50x600, int8>
func.func @i16(%tokens: tensor<?xi32>, %q: !q8, %a: tensor<50x1xf16>, %g: !q8, %b: tensor<50x2xf16>,
               %n: !tbq.digits<50x600, int4>) -> (tensor<?x50xf32>, tensor<?x50xf32>, tensor<?x50xf32>, tensor<?x50xf32>) {
  // SHARED: %[[P:.*]] = tbq.pack %arg1 coefficients(%arg2) group 600
  // SHARED-NOT: tbq.pack %arg1
  // SHARED: tbq.embedding %arg0, %[[P]]
  // SHARED: tbq.packed_linear %{{.*}}, %[[P]]
  // CHECK: tbq.pack %arg1 coefficients(%arg2) group 600 : (!tbq.digits<50x600, int8>, tensor<50x1xf16>) -> ![[ROW]]
  // CHECK: tbq.embedding %arg0, %{{.*}} : (tensor<?xi32>, ![[ROW]])
  %0 = tbq.embedding %tokens, %q scale(%a) group 600 : (tensor<?xi32>, !q8, tensor<50x1xf16>) -> !rows
  // CHECK: %[[Q:.*]]:4 = tbq.quantize_activations %{{.*}} columns 600 group 200 : (tensor<?x600xf32>) -> (tensor<?x600xi8>, tensor<?x600xi8>, tensor<?x1xf32>, tensor<?x3xi32>)
  // CHECK: tbq.packed_linear %[[Q]]#0, %{{.*}} low(%[[Q]]#1) sums(%[[Q]]#3) activation_scale(%[[Q]]#2) : (tensor<?x600xi8>, ![[ROW]], tensor<?x600xi8>, tensor<?x3xi32>, tensor<?x1xf32>) -> tensor<?x50xf32>
  %1 = tbq.linear %0, %q scale(%a) group 600 activations i16 : (!rows, !q8, tensor<50x1xf16>) -> tensor<?x50xf32>
  // CHECK: tbq.pack %arg3 coefficients(%arg4) group 360 : (!tbq.digits<50x600, int8>, tensor<50x2xf16>) -> ![[GROUP]]
  %2 = tbq.linear %0, %g scale(%b) group 360 activations i16 : (!rows, !q8, tensor<50x2xf16>) -> tensor<?x50xf32>
  // CHECK: tbq.pack %arg5 coefficients(%arg2) : (!tbq.digits<50x600, int4>, tensor<50x1xf16>) -> ![[INT4]]
  %3 = tbq.linear %0, %n scale(%a) group 600 activations i16 : (!rows, !tbq.digits<50x600, int4>, tensor<50x1xf16>) -> tensor<?x50xf32>
  // In 8-bit activations' sums there is room.
  %h = tbq.weight "h" : !q8
  // CHECK: tbq.pack %{{.*}} coefficients(%arg2) : (!tbq.digits<50x600, int8>, tensor<50x1xf16>) -> ![[INT8]]
  %4 = tbq.linear %0, %h scale(%a) group 600 activations i8 : (!rows, !q8, tensor<50x1xf16>) -> tensor<?x50xf32>
  return %1, %2, %3, %4 : tensor<?x50xf32>, tensor<?x50xf32>, tensor<?x50xf32>, tensor<?x50xf32>
}

// -----

// The longest of rows: in parts even for 8-bit activations.
// CHECK-DAG: ![[LONG:packed[0-9]*]] = !tbq.packed<8x70000, digits [2], terms {{\[}}[1, -1]], group 35008, tile 16>
// CHECK-DAG: ![[FLOAT:packed[0-9]*]] = !tbq.packed<8x70000, digits [2], terms {{\[}}[1, -1]], group 70000, tile 16>
// CHECK-LABEL: @long_rows
!long = !tbq.digits<8x70000, ternary>
func.func @long_rows(%x: tensor<?x70000xf32>, %t: !long, %u: !long, %a: tensor<8x1xf16>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  // CHECK: tbq.pack %arg1 coefficients(%arg3) group 70000 : {{.*}} -> ![[LONG]]
  %0 = tbq.linear %x, %t scale(%a) group 70000 activations i8 : (tensor<?x70000xf32>, !long, tensor<8x1xf16>) -> tensor<?x8xf32>
  // CHECK: tbq.pack %arg2 coefficients(%arg3) : {{.*}} -> ![[FLOAT]]
  %1 = tbq.linear %x, %u scale(%a) group 70000 activations f32 : (tensor<?x70000xf32>, !long, tensor<8x1xf16>) -> tensor<?x8xf32>
  return %0, %1 : tensor<?x8xf32>, tensor<?x8xf32>
}

// -----

func.func @embedding_group(%tokens: tensor<?xi32>, %n: !tbq.digits<50x24, int4>, %a: tensor<50x2xf16>) -> tensor<?x24xf32> {
  // expected-error @below {{'tbq.embedding' op groups of 12 columns do not end with a step of 8}}
  %0 = tbq.embedding %tokens, %n scale(%a) group 12 : (tensor<?xi32>, !tbq.digits<50x24, int4>, tensor<50x2xf16>) -> tensor<?x24xf32>
  return %0 : tensor<?x24xf32>
}

// -----

// A group that the layout cannot hold names the linear, not the layout alone.
func.func @group(%x: tensor<?x40xf32>, %t: !tbq.digits<8x40, ternary>, %a: tensor<8x2xf16>) -> tensor<?x8xf32> {
  // expected-error @below {{'tbq.linear' op groups of 24 columns do not end with a step of 16}}
  %y = tbq.linear %x, %t scale(%a) group 24 : (tensor<?x40xf32>, !tbq.digits<8x40, ternary>, tensor<8x2xf16>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}
