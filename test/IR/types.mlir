// RUN: tbq-opt %s --verify-roundtrip | FileCheck %s
// Types print as they were read; packed layouts and caches once, as aliases at
// the head of the module.

// CHECK-DAG: ![[CACHE:cache[0-9]*]] = !tbq.cache<30 layers, 3 by 64, 2048 tokens, f32>
// CHECK-DAG: ![[HALF:cache[0-9]*]] = !tbq.cache<1 layers, 1 by 1, 1 tokens, f16>
// CHECK-DAG: ![[TILED:cache[0-9]*]] = !tbq.cache<1 layers, 1 by 1, 1 tokens, f16, tiled>
// CHECK-DAG: ![[TERNARY:packed[0-9]*]] = !tbq.packed<576x1536, digits [2], terms {{\[}}[1, -1], [0, 1]], group 128, tile 16>
// CHECK-DAG: ![[ROW:packed[0-9]*]] = !tbq.packed<576x20, digits [2], terms {{\[}}[1, -1]], group 20, tile 16, bias>
// CHECK-DAG: ![[MIXED:packed[0-9]*]] = !tbq.packed<64x64, digits [1, 4, 8], terms {{\[}}[2, 0, 0, -1], [0, 16, 1, 0]], group 32, tile 16>
// CHECK-DAG: ![[FLOAT:packed[0-9]*]] = !tbq.packed<49152x576, bf16, tile 16>
// CHECK-DAG: ![[BIAS:packed[0-9]*]] = !tbq.packed<40x20, f16, tile 16, bias>
// CHECK-DAG: ![[PANELS:packed[0-9]*]] = !tbq.packed<576x1536, digits [2], terms {{\[}}[1, -1]], group 128, tile 16, panel 640>
// One panel of all columns is none.
// CHECK-DAG: ![[WHOLE:packed[0-9]*]] = !tbq.packed<576x1536, digits [2], terms {{\[}}[1, -1]], group 128, tile 16>
// CHECK-DAG: ![[CUT:packed[0-9]*]] = !tbq.packed<40x20, f16, tile 16, panel 12, bias>
// CHECK-DAG: ![[THREES:packed[0-9]*]] = !tbq.packed<576x1536, digits [2], terms {{\[}}[1, -1]], group 128, tile 192, panel 256>
// CHECK-DAG: ![[NORM:packed[0-9]*]] = !tbq.packed<1x576, f32, tile 1>

// CHECK-LABEL: @digits
// CHECK-SAME: !tbq.digits<576x1536, ternary>
// CHECK-SAME: !tbq.digits<1x1, binary>
// CHECK-SAME: !tbq.digits<4x8, dual_binary>
// CHECK-SAME: !tbq.digits<4x8, salient_mask>
func.func private @digits(!tbq.digits<576x1536, ternary>, !tbq.digits<1x1, binary>,
                          !tbq.digits<4x8, dual_binary>, !tbq.digits<4x8, salient_mask>)

// CHECK: @caches(![[CACHE]], ![[HALF]], ![[TILED]])
func.func private @caches(!tbq.cache<30 layers, 3 by 64, 2048 tokens, f32>,
                          !tbq.cache<1 layers, 1 by 1, 1 tokens, f16>,
                          !tbq.cache<1 layers, 1 by 1, 1 tokens, f16, tiled>)

// CHECK: @digit_planes(![[TERNARY]], ![[ROW]], ![[MIXED]])
func.func private @digit_planes(
    !tbq.packed<576x1536, digits [2], terms [[1, -1], [0, 1]], group 128, tile 16>,
    !tbq.packed<576x20, digits [2], terms [[1, -1]], group 20, tile 16, bias>,
    !tbq.packed<64x64, digits [1, 4, 8], terms [[2, 0, 0, -1], [0, 16, 1, 0]], group 32, tile 16>)

// CHECK: @panels(![[PANELS]], ![[WHOLE]], ![[CUT]])
func.func private @panels(
    !tbq.packed<576x1536, digits [2], terms [[1, -1]], group 128, tile 16, panel 640>,
    !tbq.packed<576x1536, digits [2], terms [[1, -1]], group 128, tile 16, panel 1536>,
    !tbq.packed<40x20, f16, tile 16, panel 12, bias>)

// CHECK: @threes(![[THREES]])
func.func private @threes(!tbq.packed<576x1536, digits [2], terms [[1, -1]], group 128, tile 192, panel 256>)

// CHECK: @floats(![[FLOAT]], ![[BIAS]], ![[NORM]])
func.func private @floats(!tbq.packed<49152x576, bf16, tile 16>,
                          !tbq.packed<40x20, f16, tile 16, bias>,
                          !tbq.packed<1x576, f32, tile 1>)

// CHECK: @team(!tbq.team)
func.func private @team(!tbq.team)

// A layout stands alone as an attribute too.
// CHECK: layout = #tbq.layout<576x1536, digits [2], terms {{\[}}[1, -1], [0, 1]], group 128, tile 16>
func.func private @attribute() attributes {
  layout = #tbq.layout<576x1536, digits [2], terms [[1, -1], [0, 1]], group 128, tile 16>}
