// RUN: tbq-opt %s --tbq-pack-weights="triple-columns=256 panel-bytes=2048" --cse | FileCheck %s
// RUN: tbq-opt %s --tbq-pack-weights="triple-columns=64 triple-weights=1300000" --cse | FileCheck %s --check-prefix=LARGE
// RUN: tbq-opt %s --tbq-pack-weights="triple-columns=256 threads=1" --cse | FileCheck %s --check-prefix=ALONE
// RUN: tbq-opt %s --tbq-pack-weights="triple-columns=256 threads=3" --cse | FileCheck %s --check-prefix=THIRDS
// RUN: tbq-opt %s --tbq-pack-weights="triple-columns=256 threads=16" --cse | FileCheck %s --check-prefix=NONE
// RUN: tbq-opt %s --tbq-pack-weights --cse | FileCheck %s --check-prefix=NONE
// RUN: tbq-opt %s --tbq-pack-weights="triple-columns=256 tile-rows=8" --cse | FileCheck %s --check-prefix=NONE
// Ternary digits stand by threes where they meet int8 and have rows for enough
// tiles of four bands or more: with fewer, tables are too much of a tile. Where
// there are no shifts, three do.

// NONE-NOT: tile {{64|128|192|256|320|384}}

// Of 2,560 rows tiles of five bands are eight; four groups in panels of two.
// CHECK-DAG: ![[FIVE:packed[0-9]*]] = !tbq.packed<2560x512, digits [2], terms {{\[}}[1, -1], [0, 1]], group 128, tile 320, panel 256>
// Of 1,088 rows, 17 bands, tiles of one are the only whole ones.
// CHECK-DAG: ![[ONE:packed[0-9]*]] = !tbq.packed<1088x512, digits [2], terms {{\[}}[1, -1], [0, 1]], group 128, tile 16, panel 256>
// A group that is a row is a panel.
// CHECK-DAG: ![[ROW:packed[0-9]*]] = !tbq.packed<2048x512, digits [2], terms {{\[}}[1, -1]], group 512, tile 256>
// Five groups of 128 are three panels, the last one of one group.
// CHECK-DAG: ![[ODD:packed[0-9]*]] = !tbq.packed<2048x640, digits [2], terms {{\[}}[1, -1], [0, 1]], group 128, tile 256, panel 256>
// Those of int16, of few rows or of groups of 96 have two bits.
// CHECK-DAG: ![[WORDS:packed[0-9]*]] = !tbq.packed<2304x512, digits [2], terms {{\[}}[1, -1], [0, 1]], group 128, tile 16, panel 256>
// CHECK-DAG: ![[FEW:packed[0-9]*]] = !tbq.packed<768x512, digits [2], terms {{\[}}[1, -1], [0, 1]], group 128, tile 16, panel 256>
// CHECK-DAG: ![[GROUPS:packed[0-9]*]] = !tbq.packed<2048x576, digits [2], terms {{\[}}[1, -1], [0, 1]], group 96, tile 16, panel 288>

// Matrices of fewer weights than that have none.
// LARGE-DAG: !tbq.packed<2560x512, digits [2], terms {{\[}}[1, -1], [0, 1]], group 128, tile 320, panel 128>
// LARGE-DAG: !tbq.packed<2048x512, digits [2], terms {{\[}}[1, -1]], group 512, tile 16>

// Few rows too do for one worker, and three have a tile each of four bands.
// ALONE-DAG: !tbq.packed<2560x512, digits [2], terms {{\[}}[1, -1], [0, 1]], group 128, tile 320, panel 256>
// ALONE-DAG: !tbq.packed<768x512, digits [2], terms {{\[}}[1, -1], [0, 1]], group 128, tile 384, panel 256>
// ALONE-DAG: !tbq.packed<192x512, digits [2], terms {{\[}}[1, -1]], group 512, tile 192>
// THIRDS-DAG: !tbq.packed<768x512, digits [2], terms {{\[}}[1, -1], [0, 1]], group 128, tile 256, panel 256>
// Three tiles of eight are more than a third of two bits.
// THIRDS-DAG: !tbq.packed<2560x512, digits [2], terms {{\[}}[1, -1], [0, 1]], group 128, tile 16>
// THIRDS-DAG: !tbq.packed<2048x640, digits [2], terms {{\[}}[1, -1], [0, 1]], group 128, tile 16>
// CHECK-LABEL: @matrices
func.func @matrices(%x: tensor<?x512xf32>, %odd: tensor<?x640xf32>, %wide: tensor<?x576xf32>,
    %five: !tbq.digits<2560x512, ternary>, %a: tensor<2560x4xf16>,
    %one: !tbq.digits<1088x512, ternary>, %b: tensor<1088x4xf16>,
    %row: !tbq.digits<2048x512, ternary>, %c: tensor<2048x1xf16>,
    %five_groups: !tbq.digits<2048x640, ternary>, %d: tensor<2048x5xf16>,
    %words: !tbq.digits<2304x512, ternary>, %e: tensor<2304x4xf16>,
    %few: !tbq.digits<768x512, ternary>, %f: tensor<768x4xf16>,
    %groups: !tbq.digits<2048x576, ternary>, %g: tensor<2048x6xf16>,
    %three: !tbq.digits<192x512, ternary>, %h: tensor<192x1xf16>)
    -> (tensor<?x2560xf32>, tensor<?x1088xf32>, tensor<?x2048xf32>, tensor<?x2048xf32>, tensor<?x2304xf32>, tensor<?x768xf32>, tensor<?x2048xf32>, tensor<?x192xf32>) {
  // CHECK: -> ![[FIVE]]
  %0 = tbq.linear %x, %five scale(%a) shift(%a) group 128 activations i8
    : (tensor<?x512xf32>, !tbq.digits<2560x512, ternary>, tensor<2560x4xf16>, tensor<2560x4xf16>) -> tensor<?x2560xf32>
  // CHECK: -> ![[ONE]]
  %1 = tbq.linear %x, %one scale(%b) shift(%b) group 128 activations i8
    : (tensor<?x512xf32>, !tbq.digits<1088x512, ternary>, tensor<1088x4xf16>, tensor<1088x4xf16>) -> tensor<?x1088xf32>
  // CHECK: -> ![[ROW]]
  %2 = tbq.linear %x, %row scale(%c) group 512 activations i8
    : (tensor<?x512xf32>, !tbq.digits<2048x512, ternary>, tensor<2048x1xf16>) -> tensor<?x2048xf32>
  // CHECK: -> ![[ODD]]
  %3 = tbq.linear %odd, %five_groups scale(%d) shift(%d) group 128 activations i8
    : (tensor<?x640xf32>, !tbq.digits<2048x640, ternary>, tensor<2048x5xf16>, tensor<2048x5xf16>) -> tensor<?x2048xf32>
  // CHECK: -> ![[WORDS]]
  %4 = tbq.linear %x, %words scale(%e) shift(%e) group 128 activations i16
    : (tensor<?x512xf32>, !tbq.digits<2304x512, ternary>, tensor<2304x4xf16>, tensor<2304x4xf16>) -> tensor<?x2304xf32>
  // CHECK: -> ![[FEW]]
  %5 = tbq.linear %x, %few scale(%f) shift(%f) group 128 activations i8
    : (tensor<?x512xf32>, !tbq.digits<768x512, ternary>, tensor<768x4xf16>, tensor<768x4xf16>) -> tensor<?x768xf32>
  // CHECK: -> ![[GROUPS]]
  %6 = tbq.linear %wide, %groups scale(%g) shift(%g) group 96 activations i8
    : (tensor<?x576xf32>, !tbq.digits<2048x576, ternary>, tensor<2048x6xf16>, tensor<2048x6xf16>) -> tensor<?x2048xf32>
  %7 = tbq.linear %x, %three scale(%h) group 512 activations i8
    : (tensor<?x512xf32>, !tbq.digits<192x512, ternary>, tensor<192x1xf16>) -> tensor<?x192xf32>
  return %0, %1, %2, %3, %4, %5, %6, %7 : tensor<?x2560xf32>, tensor<?x1088xf32>, tensor<?x2048xf32>, tensor<?x2048xf32>, tensor<?x2304xf32>, tensor<?x768xf32>, tensor<?x2048xf32>, tensor<?x192xf32>
}
