// RUN: tbq-opt %s --tbq-pack-weights=panel-bytes=2048 --cse | FileCheck %s
// RUN: tbq-opt %s --tbq-pack-weights --cse | FileCheck %s --check-prefix=NONE
// RUN: tbq-opt %s --tbq-pack-weights="panel-bytes=2048 tile-rows=8" --cse | FileCheck %s --check-prefix=NONE
// A matrix is cut where a tile and the activations it meets are more than that.

// NONE-NOT: , panel

// A tile has 20 groups of 192 bytes and 640 bytes of int8 activations, 4,480:
// three panels, of seven groups and of six. Of 1,600 columns and i16 it is
// 12,800: seven panels of eight groups, the last one of two.
// CHECK-DAG: ![[THREE:packed[0-9]*]] = !tbq.packed<48x640, digits [2], terms {{\[}}[1, -1], [0, 1]], group 32, tile 16, panel 224>
// CHECK-DAG: ![[SEVEN:packed[0-9]*]] = !tbq.packed<48x1600, digits [2], terms {{\[}}[1, -1], [0, 1]], group 32, tile 16, panel 256>
// Five groups of 704 bytes with activations: two together, for three pass it.
// CHECK-DAG: ![[WIDE:packed[0-9]*]] = !tbq.packed<48x640, digits [2], terms {{\[}}[1, -1], [0, 1]], group 128, tile 16, panel 256>
// Short rows are whole, and rows of int8 weights, beside which int8
// activations are little.
// CHECK-DAG: ![[SHORT:packed[0-9]*]] = !tbq.packed<48x128, digits [2], terms {{\[}}[1, -1], [0, 1]], group 32, tile 16>
// CHECK-DAG: ![[EIGHT:packed[0-9]*]] = !tbq.packed<48x640, digits [8], terms {{\[}}[1, -128]], group 32, tile 16>
// Floats: 32 bytes a column and four of its activation, 2,880 of 80 columns.
// CHECK-DAG: ![[FLOAT:packed[0-9]*]] = !tbq.packed<48x80, bf16, tile 16, panel 48>
// A head that is the embedding too is whole; it meets i8 and f32.
// CHECK-DAG: ![[TIED:packed[0-9]*]] = !tbq.packed<48x640, digits [4], terms {{\[}}[1, -8]], group 32, tile 16>
// CHECK-LABEL: @matrices
func.func @matrices(%tokens: tensor<?xi32>, %x: tensor<?x640xf32>, %long: tensor<?x1600xf32>, %short: tensor<?x128xf32>,
    %f: tensor<?x80xf32>, %a: tensor<48x20xf16>, %b: tensor<48x50xf16>, %c: tensor<48x4xf16>,
    %t: !tbq.digits<48x640, ternary>, %u: !tbq.digits<48x1600, ternary>, %s: !tbq.digits<48x128, ternary>,
    %e: !tbq.digits<48x640, int8>, %n: !tbq.digits<48x640, int4>, %w: tensor<48x80xbf16>, %g: tensor<48x5xf16>)
    -> (tensor<?x48xf32>, tensor<?x48xf32>, tensor<?x48xf32>, tensor<?x48xf32>, tensor<?x48xf32>, tensor<?x48xf32>, tensor<?x48xf32>, tensor<?x640xf32>) {
  // CHECK: -> ![[FLOAT]]
  // CHECK: -> ![[THREE]]
  %0 = tbq.linear %x, %t scale(%a) shift(%a) group 32 activations i8
    : (tensor<?x640xf32>, !tbq.digits<48x640, ternary>, tensor<48x20xf16>, tensor<48x20xf16>) -> tensor<?x48xf32>
  // CHECK: -> ![[SEVEN]]
  %1 = tbq.linear %long, %u scale(%b) shift(%b) group 32 activations i16
    : (tensor<?x1600xf32>, !tbq.digits<48x1600, ternary>, tensor<48x50xf16>, tensor<48x50xf16>) -> tensor<?x48xf32>
  // CHECK: -> ![[WIDE]]
  %7 = tbq.linear %x, %t scale(%g) shift(%g) group 128 activations i8
    : (tensor<?x640xf32>, !tbq.digits<48x640, ternary>, tensor<48x5xf16>, tensor<48x5xf16>) -> tensor<?x48xf32>
  // CHECK: -> ![[SHORT]]
  %2 = tbq.linear %short, %s scale(%c) shift(%c) group 32 activations i8
    : (tensor<?x128xf32>, !tbq.digits<48x128, ternary>, tensor<48x4xf16>, tensor<48x4xf16>) -> tensor<?x48xf32>
  // CHECK: -> ![[EIGHT]]
  %3 = tbq.linear %x, %e scale(%a) group 32 activations i8
    : (tensor<?x640xf32>, !tbq.digits<48x640, int8>, tensor<48x20xf16>) -> tensor<?x48xf32>
  %4 = tbq.linear %f, %w : (tensor<?x80xf32>, tensor<48x80xbf16>) -> tensor<?x48xf32>
  // CHECK: -> ![[TIED]]
  %5 = tbq.linear %x, %n scale(%a) group 32 activations i8
    : (tensor<?x640xf32>, !tbq.digits<48x640, int4>, tensor<48x20xf16>) -> tensor<?x48xf32>
  %6 = tbq.embedding %tokens, %n scale(%a) group 32
    : (tensor<?xi32>, !tbq.digits<48x640, int4>, tensor<48x20xf16>) -> tensor<?x640xf32>
  return %7, %0, %1, %2, %3, %4, %5, %6 : tensor<?x48xf32>, tensor<?x48xf32>, tensor<?x48xf32>, tensor<?x48xf32>, tensor<?x48xf32>, tensor<?x48xf32>, tensor<?x48xf32>, tensor<?x640xf32>
}
