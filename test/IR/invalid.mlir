// RUN: tbq-opt %s --split-input-file --verify-diagnostics -o /dev/null
// Every rule that a type or an op states of itself, broken once.

//===- Layouts -===//

// expected-error @below {{expected a shape rows x columns}}
func.func private @f() attributes {layout = #tbq.layout<576, f32, tile 1>}

// -----

// expected-error @below {{layout of an empty matrix 0x4}}
func.func private @f() attributes {layout = #tbq.layout<0x4, f32, tile 1>}

// -----

// expected-error @below {{tile must be 1, 8, 16 or 1 to 6 times 64 rows, not 4}}
func.func private @f() attributes {layout = #tbq.layout<16x16, f32, tile 4>}

// -----

// expected-error @below {{elements must be f32, f16 or bf16, not 'f64'}}
func.func private @f() attributes {layout = #tbq.layout<16x16, f64, tile 16>}

// -----

// expected-error @below {{a layout needs an element type or digits}}
func.func private @f() attributes {layout = #tbq.layout<16x16, digits [], terms [[1]], group 16, tile 16>}

// -----

// expected-error @below {{digits need tiles of 8, 16 or more rows}}
func.func private @f() attributes {layout = #tbq.layout<16x16, digits [2], terms [[1, -1]], group 16, tile 1>}

// -----

// expected-error @below {{tile must be 1, 8, 16 or 1 to 6 times 64 rows, not 448}}
func.func private @f() attributes {layout = #tbq.layout<448x64, digits [2], terms [[1, -1]], group 64, tile 448>}

// -----

// expected-error @below {{tiles of 128 rows need as many whole, and columns and groups of whole 64s}}
func.func private @f() attributes {layout = #tbq.layout<192x64, digits [2], terms [[1, -1]], group 64, tile 128>}

// -----

// expected-error @below {{tiles of 64 rows need as many whole, and columns and groups of whole 64s}}
func.func private @f() attributes {layout = #tbq.layout<64x96, digits [2], terms [[1, -1]], group 64, tile 64>}

// -----

// expected-error @below {{tiles of 64 rows need as many whole, and columns and groups of whole 64s}}
func.func private @f() attributes {layout = #tbq.layout<64x192, digits [2], terms [[1, -1]], group 96, tile 64>}

// -----

// expected-error @below {{tiles of 64 rows need one plane of 2 bits}}
func.func private @f() attributes {layout = #tbq.layout<64x64, digits [4], terms [[1, -8]], group 64, tile 64>}

// -----

// expected-error @below {{tiles of 64 rows need digits}}
func.func private @f() attributes {layout = #tbq.layout<64x64, bf16, tile 64>}

// -----

// expected-error @below {{a digit has 1, 2, 4 or 8 bits, not 3}}
func.func private @f() attributes {layout = #tbq.layout<16x16, digits [2, 3], terms [[1, 1, -1]], group 16, tile 16>}

// -----

// expected-error @below {{each term needs 3 integers: one a plane and one for the sum}}
func.func private @f() attributes {layout = #tbq.layout<16x16, digits [2, 2], terms [[1, -1]], group 16, tile 16>}

// -----

// expected-error @below {{each term needs 2 integers: one a plane and one for the sum}}
func.func private @f() attributes {layout = #tbq.layout<16x16, digits [2], terms [], group 16, tile 16>}

// -----

// expected-error @below {{group of 32 columns in a row of 16}}
func.func private @f() attributes {layout = #tbq.layout<16x16, digits [2], terms [[1, -1]], group 32, tile 16>}

// -----

// expected-error @below {{group of 0 columns in a row of 16}}
func.func private @f() attributes {layout = #tbq.layout<16x16, digits [2], terms [[1, -1]], group 0, tile 16>}

// -----

// expected-error @below {{groups of 24 columns do not end with a step of 16}}
func.func private @f() attributes {layout = #tbq.layout<16x64, digits [2], terms [[1, -1]], group 24, tile 16>}

// -----

// expected-error @below {{panels of 96 columns are no multiple of groups of 64}}
func.func private @f() attributes {layout = #tbq.layout<16x192, digits [2], terms [[1, -1]], group 64, tile 16, panel 96>}

// -----

// expected-error @below {{panels of 6 columns are no multiple of 4}}
func.func private @f() attributes {layout = #tbq.layout<16x64, f32, tile 16, panel 6>}

// -----

// expected-error @below {{panel of 0 columns in a row of 64}}
func.func private @f() attributes {layout = #tbq.layout<16x64, f32, tile 16, panel 0>}

// -----

// expected-error @below {{panels need tiles of 16 or 64 rows without salient digits}}
func.func private @f() attributes {layout = #tbq.layout<16x64, f32, tile 1, panel 16>}

// -----

// expected-error @below {{panels need tiles of 16 or 64 rows without salient digits}}
func.func private @f() attributes {layout = #tbq.layout<16x128, digits [1, 8], terms [[1, 0, -1], [0, 1, 0]], salient, group 64, tile 16, panel 64>}

// -----

// expected-error @below {{groups of 16 columns do not end with a step of 32}}
func.func private @f() attributes {layout = #tbq.layout<16x64, digits [1, 2], terms [[1, 1, -1]], group 16, tile 16>}

// -----

// expected-error @below {{salient digits need a last plane of 8 bits after a mask of 1 bit}}
func.func private @f() attributes {layout = #tbq.layout<16x64, digits [1, 2, 8], terms [[1, 1, 0, 0], [0, 0, 1, 0]], salient, group 64, tile 16>}

// -----

// expected-error @below {{a list of salient digits holds columns up to 2097152, not 2097153}}
func.func private @f() attributes {layout = #tbq.layout<8x2097153, digits [1, 1, 8], terms [[2, 1, 0, -1], [0, 0, 1, 0]], salient, group 64, tile 8>}

// -----

// expected-error @below {{the last term, and no other, must be of the salient digits alone}}
func.func private @f() attributes {layout = #tbq.layout<16x64, digits [1, 1, 8], terms [[1, 1, 1, 0], [0, 0, 1, 0]], salient, group 64, tile 16>}

// -----

//===- Digits and caches -===//

// expected-error @below {{expected a shape rows x columns}}
func.func private @f(!tbq.digits<1x2x3, ternary>)

// -----

// expected-error @below {{unknown scheme 'quinary'}}
func.func private @f(!tbq.digits<4x4, quinary>)

// -----

// expected-error @below {{digits of an empty matrix 4x0}}
func.func private @f(!tbq.digits<4x0, ternary>)

// -----

// expected-error @below {{a cache has at least one layer, head, feature and token}}
func.func private @f(!tbq.cache<1 layers, 0 by 64, 16 tokens, f32>)

// -----

// expected-error @below {{cache elements must be f32 or f16, not 'bf16'}}
func.func private @f(!tbq.cache<1 layers, 1 by 64, 16 tokens, bf16>)

// -----

// expected-error @below {{a tiled cache has f16 elements, not 'f32'}}
func.func private @f(!tbq.cache<1 layers, 1 by 64, 16 tokens, f32, tiled>)

// -----

//===- Weights -===//

func.func @f(%w: tensor<40xf32>) {
  // expected-error @below {{quantises matrices, not 'tensor<40xf32>'}}
  %t, %a, %c = tbq.quantize %w ternary group 32 : tensor<40xf32> -> !tbq.digits<4x40, ternary>, tensor<4x2xf16>, tensor<4x2xf16>
  return
}

// -----

func.func @f(%w: tensor<4x64xf32>) {
  // expected-error @below {{digits '!tbq.digits<4x40, ternary>' do not match 'tensor<4x64xf32>' as ternary}}
  %t, %a, %c = tbq.quantize %w ternary group 32 : tensor<4x64xf32> -> !tbq.digits<4x40, ternary>, tensor<4x2xf16>, tensor<4x2xf16>
  return
}

// -----

func.func @f(%w: tensor<4x40xf32>) {
  // expected-error @below {{digits '!tbq.digits<4x40, ternary>' do not match 'tensor<4x40xf32>' as binary}}
  %t, %a, %c = tbq.quantize %w binary group 32 : tensor<4x40xf32> -> !tbq.digits<4x40, ternary>, tensor<4x2xf16>, tensor<4x2xf16>
  return
}

// -----

func.func @f(%w: tensor<4x40xf32>) {
  // expected-error @below {{group 64 in rows of 40}}
  %t, %a, %c = tbq.quantize %w ternary group 64 : tensor<4x40xf32> -> !tbq.digits<4x40, ternary>, tensor<4x2xf16>, tensor<4x2xf16>
  return
}

// -----

func.func @f(%w: tensor<4x40xf32>) {
  // expected-error @below {{coefficients must be 4x2, not 'tensor<4x1xf16>'}}
  %t, %a, %c = tbq.quantize %w ternary group 32 : tensor<4x40xf32> -> !tbq.digits<4x40, ternary>, tensor<4x2xf16>, tensor<4x1xf16>
  return
}

// -----

func.func @f(%w: tensor<4x40xf32>) {
  // expected-error @below {{has a salient part but no fraction of it}}
  %t, %c:2, %p:5 = tbq.quantize %w binary group 40 : tensor<4x40xf32> -> !tbq.digits<4x40, binary>, tensor<4x1xf16>, tensor<4x1xf16> salient !tbq.digits<4x40, salient_mask>, tensor<15xi8>, tensor<5xi32>, tensor<4xf16>, tensor<4xi16>
  return
}

// -----

func.func @f(%w: tensor<4x40xf32>) {
  // expected-error @below {{only binary weights have a salient part}}
  %t, %c:2, %p:5 = tbq.quantize %w ternary group 40 salient 0.1 : tensor<4x40xf32> -> !tbq.digits<4x40, ternary>, tensor<4x1xf16>, tensor<4x1xf16> salient !tbq.digits<4x40, salient_mask>, tensor<15xi8>, tensor<5xi32>, tensor<4xf16>, tensor<4xi16>
  return
}

// -----

func.func @f(%w: tensor<4x40xf32>) {
  // expected-error @below {{salient fraction must be above 0 and at most 0.5}}
  %t, %c:2, %p:5 = tbq.quantize %w binary group 40 salient 0.6 : tensor<4x40xf32> -> !tbq.digits<4x40, binary>, tensor<4x1xf16>, tensor<4x1xf16> salient !tbq.digits<4x40, salient_mask>, tensor<15xi8>, tensor<5xi32>, tensor<4xf16>, tensor<4xi16>
  return
}

// -----

func.func @f(%w: tensor<4x40xf32>) {
  // expected-error @below {{needs a threshold for each of 1 groups, not 2}}
  %t, %c:2, %p:5 = tbq.quantize %w binary group 40 salient 0.1 thresholds [1.0, 2.0] : tensor<4x40xf32> -> !tbq.digits<4x40, binary>, tensor<4x1xf16>, tensor<4x1xf16> salient !tbq.digits<4x40, salient_mask>, tensor<15xi8>, tensor<5xi32>, tensor<4xf16>, tensor<4xi16>
  return
}

// -----

func.func @f(%w: tensor<4x40xf32>) {
  // expected-error @below {{makes all 5 salient parts, not 4}}
  %t, %c:2, %p:4 = tbq.quantize %w binary group 40 salient 0.1 : tensor<4x40xf32> -> !tbq.digits<4x40, binary>, tensor<4x1xf16>, tensor<4x1xf16> salient !tbq.digits<4x40, salient_mask>, tensor<15xi8>, tensor<5xi32>, tensor<4xf16>
  return
}

// -----

func.func @quantize_mask(%w: tensor<4x40xf32>) {
  // expected-error @below {{a salient mask is no scheme of a weight}}
  %t, %c:2 = tbq.quantize %w salient_mask group 32 : tensor<4x40xf32> -> !tbq.digits<4x40, salient_mask>, tensor<4x2xf16>, tensor<4x2xf16>
  return
}

// -----

func.func @quantize_count(%w: tensor<4x40xf32>) {
  // expected-error @below {{coefficients of dual_binary: 2 a group, not 1}}
  %t, %c = tbq.quantize %w dual_binary group 32 : tensor<4x40xf32> -> !tbq.digits<4x40, dual_binary>, tensor<4x2xf16>
  return
}

// -----

func.func @quantize_count(%w: tensor<4x40xf32>) {
  // expected-error @below {{coefficients of int8: 1 a group, not 2}}
  %q, %c:2 = tbq.quantize %w int8 group 32 : tensor<4x40xf32> -> !tbq.digits<4x40, int8>, tensor<4x2xf16>, tensor<4x2xf16>
  return
}

// -----

func.func @f() {
  // expected-error @below {{needs a result of positions x 4 f32, not 'tensor<8x2xf32>'}}
  %r = tbq.rope_table [1.0, 0.5] : tensor<8x2xf32>
  return
}

// -----

func.func @f(%t: !tbq.digits<4x40, binary>, %a: tensor<4x1xf16>) {
  // expected-error @below {{the layout and the operands disagree on a salient part}}
  %p = tbq.pack %t coefficients(%a) : (!tbq.digits<4x40, binary>, tensor<4x1xf16>) -> !tbq.packed<4x40, digits [1, 1, 8], terms [[2, 1, 0, -1], [0, 0, 1, 0]], salient, group 40, tile 16>
  return
}

// -----

func.func @f(%t: !tbq.digits<4x40, ternary>, %a: tensor<4x2xf16>) {
  // expected-error @below {{the layout and the operands disagree on a bias}}
  %p = tbq.pack %t coefficients(%a, %a) : (!tbq.digits<4x40, ternary>, tensor<4x2xf16>, tensor<4x2xf16>) -> !tbq.packed<4x40, digits [2], terms [[1, -1], [0, 1]], group 32, tile 16, bias>
  return
}

// -----

func.func @f(%t: !tbq.digits<4x40, ternary>, %a: tensor<4x2xf16>) {
  // expected-error @below {{cannot pack digits into a float layout}}
  %p = tbq.pack %t coefficients(%a) : (!tbq.digits<4x40, ternary>, tensor<4x2xf16>) -> !tbq.packed<4x40, f32, tile 16>
  return
}

// -----

func.func @f(%t: !tbq.digits<4x40, ternary>, %a: tensor<4x2xf16>) {
  // expected-error @below {{digits '!tbq.digits<4x40, ternary>' do not fit #tbq.layout<4x48}}
  %p = tbq.pack %t coefficients(%a, %a) : (!tbq.digits<4x40, ternary>, tensor<4x2xf16>, tensor<4x2xf16>) -> !tbq.packed<4x48, digits [2], terms [[1, -1], [0, 1]], group 32, tile 16>
  return
}

// -----

func.func @f(%t: !tbq.digits<4x40, ternary>, %a: tensor<4x2xf16>) {
  // expected-error @below {{has 1 coefficients for 2 terms}}
  %p = tbq.pack %t coefficients(%a) : (!tbq.digits<4x40, ternary>, tensor<4x2xf16>) -> !tbq.packed<4x40, digits [2], terms [[1, -1], [0, 1]], group 32, tile 16>
  return
}

// -----

func.func @f(%t: !tbq.digits<4x40, ternary>, %a: tensor<4x2xf16>, %c: tensor<4x3xf16>) {
  // expected-error @below {{coefficients must be 4x2, not 'tensor<4x3xf16>'}}
  %p = tbq.pack %t coefficients(%a, %c) : (!tbq.digits<4x40, ternary>, tensor<4x2xf16>, tensor<4x3xf16>) -> !tbq.packed<4x40, digits [2], terms [[1, -1], [0, 1]], group 32, tile 16>
  return
}

// -----

func.func @f(%w: tensor<4x40xf32>) {
  // expected-error @below {{cannot pack a float weight into digits}}
  %p = tbq.pack %w : (tensor<4x40xf32>) -> !tbq.packed<4x40, digits [2], terms [[1, -1], [0, 1]], group 32, tile 16>
  return
}

// -----

func.func @f(%w: tensor<4x40xf32>) {
  // expected-error @below {{'tensor<4x40xf32>' does not fit #tbq.layout<4x41, f32, tile 16>}}
  %p = tbq.pack %w : (tensor<4x40xf32>) -> !tbq.packed<4x41, f32, tile 16>
  return
}

// -----

func.func @f(%t: !tbq.digits<4x80, ternary>, %a: tensor<4x2xf16>) {
  // expected-error @below {{groups of 32 columns are no parts of groups of 48}}
  %p = tbq.pack %t coefficients(%a) group 48 : (!tbq.digits<4x80, ternary>, tensor<4x2xf16>) -> !tbq.packed<4x80, digits [2], terms [[1, -1]], group 32, tile 16>
  return
}

// -----

func.func @f(%t: !tbq.digits<4x80, ternary>, %a: tensor<4x5xf16>) {
  // expected-error @below {{groups of 32 columns are no parts of groups of 16}}
  %p = tbq.pack %t coefficients(%a) group 16 : (!tbq.digits<4x80, ternary>, tensor<4x5xf16>) -> !tbq.packed<4x80, digits [2], terms [[1, -1]], group 32, tile 16>
  return
}

// -----

func.func @f(%t: !tbq.digits<4x80, ternary>, %a: tensor<4x1xf16>) {
  // expected-error @below {{groups of 32 columns are no parts of groups of 96}}
  %p = tbq.pack %t coefficients(%a) group 96 : (!tbq.digits<4x80, ternary>, tensor<4x1xf16>) -> !tbq.packed<4x80, digits [2], terms [[1, -1]], group 32, tile 16>
  return
}

// -----

func.func @f(%t: !tbq.digits<4x80, ternary>, %a: tensor<4x3xf16>) {
  // expected-error @below {{coefficients must be 4x2, not 'tensor<4x3xf16>'}}
  %p = tbq.pack %t coefficients(%a) group 64 : (!tbq.digits<4x80, ternary>, tensor<4x3xf16>) -> !tbq.packed<4x80, digits [2], terms [[1, -1]], group 32, tile 16>
  return
}

// -----

func.func @f() {
  // expected-error @below {{needs an offset}}
  %p = tbq.placed_weight [] : !tbq.packed<1x16, f32, tile 1>
  return
}

// -----

func.func @f() {
  // expected-error @below {{has 2 offsets but no layer to choose by}}
  %p = tbq.placed_weight [0, 64] : !tbq.packed<1x16, f32, tile 1>
  return
}

// -----

func.func @f(%i: index) {
  // expected-error @below {{offset 100 is not a multiple of 64}}
  %p = tbq.placed_weight [64, 100] layer(%i) : !tbq.packed<1x16, f32, tile 1>
  return
}

// -----

func.func @f() {
  // expected-error @below {{offset -64 is not a multiple of 64}}
  %p = tbq.placed_weight [-64] : !tbq.packed<1x16, f32, tile 1>
  return
}

// -----

//===- Layers -===//

func.func @f(%x: tensor<?x16xf32>) {
  // expected-error @below {{region takes the residual and the layer's number}}
  %r = tbq.layer "a" number 0 (%x) : tensor<?x16xf32> {
  ^bb0(%h: tensor<?x16xf32>):
    tbq.yield %h : tensor<?x16xf32>
  }
  return
}

// -----

func.func @f(%x: tensor<?x16xf32>) {
  // expected-error @below {{must yield a residual of its input's type}}
  %r = tbq.layer "a" number 0 (%x) : tensor<?x16xf32> {
  ^bb0(%h: tensor<?x16xf32>, %i: index):
    tbq.yield %i : index
  }
  return
}

// -----

func.func private @layer(tensor<1x16xf32>, index) -> tensor<1x16xf32>
func.func @f(%x: tensor<1x16xf32>) {
  // expected-error @below {{repeats no layer: 2 to 2}}
  %r = tbq.layers @layer(%x) numbers 2 to 2 : (tensor<1x16xf32>) -> tensor<1x16xf32>
  return
}

// -----

func.func private @layer(tensor<1x16xf32>, index) -> tensor<1x16xf32>
func.func @f(%x: tensor<1x16xf32>) {
  // expected-error @below {{must hand on a residual of its input's type}}
  %r = tbq.layers @layer(%x) numbers 0 to 2 : (tensor<1x16xf32>) -> tensor<1x8xf32>
  return
}

// -----

func.func private @layer(tensor<1x16xf32>, index) -> tensor<1x16xf32>
func.func @f(%x: tensor<1x16xf32>) {
  // expected-error @below {{calls no function 'other'}}
  %r = tbq.layers @other(%x) numbers 0 to 2 : (tensor<1x16xf32>) -> tensor<1x16xf32>
  return
}

// -----

func.func private @layer(tensor<1x16xf32>, index) -> tensor<1x16xf32>
func.func @f(%x: tensor<1x16xf32>) {
  // expected-error @below {{arguments do not match 'layer'}}
  %r = tbq.layers @layer(%x, %x) numbers 0 to 2 : (tensor<1x16xf32>, tensor<1x16xf32>) -> tensor<1x16xf32>
  return
}

// -----

//===- The form of a step's ops -===//

func.func @f(%x: tensor<1x16xf32>, %m: memref<1x16xf32>) {
  // expected-error @below {{has both results and buffers to write into}}
  %r = tbq.add %x, %x into(%m) : (tensor<1x16xf32>, tensor<1x16xf32>, memref<1x16xf32>) -> tensor<1x16xf32>
  return
}

// -----

func.func @f(%x: tensor<1x16xf32>) {
  // expected-error @below {{needs 1 results or buffers, not 0}}
  tbq.add %x, %x : (tensor<1x16xf32>, tensor<1x16xf32>) -> ()
  return
}

// -----

func.func @f(%x: tensor<1x16xf32>) {
  // expected-error @below {{needs 3 results or buffers, not 2}}
  %q, %s = tbq.quantize_activations %x columns 16 group 16 : (tensor<1x16xf32>) -> (tensor<1x16xi8>, tensor<1x1xf32>)
  return
}

// -----

func.func @f(%x: tensor<16xf32>) {
  // expected-error @below {{makes tokens x columns, not 'tensor<16xf32>'}}
  %r = tbq.add %x, %x : (tensor<16xf32>, tensor<16xf32>) -> tensor<16xf32>
  return
}

// -----

func.func @f(%x: tensor<f32>, %i: index) {
  // expected-error @below {{makes tokens x columns, not 'tensor<f32>'}}
  %r = tbq.select_rows %x from %i : (tensor<f32>, index) -> tensor<f32>
  return
}

// -----

func.func @f(%m: memref<1x16xf32>, %i: index) {
  // expected-error @below {{range needs a begin and an end}}
  tbq.add %m, %m into(%m) range(%i) : (memref<1x16xf32>, memref<1x16xf32>, memref<1x16xf32>, index) -> ()
  return
}

// -----

//===- Row by row -===//

func.func @f(%t: tensor<?xi64>, %w: tensor<9x16xf32>) {
  // expected-error @below {{tokens are i32 numbers, not 'tensor<?xi64>'}}
  %r = tbq.embedding %t, %w : (tensor<?xi64>, tensor<9x16xf32>) -> tensor<?x16xf32>
  return
}

// -----

func.func @f(%t: tensor<?xi32>, %w: tensor<9x16xf32>) {
  // expected-error @below {{gives rows of 16 columns, not 'tensor<?x9xf32>'}}
  %r = tbq.embedding %t, %w : (tensor<?xi32>, tensor<9x16xf32>) -> tensor<?x9xf32>
  return
}

// -----

func.func @f(%t: tensor<?xi32>, %q: !tbq.digits<9x16, int8>, %a: tensor<9x1xf16>) {
  // expected-error @below {{gives rows of 16 columns, not 'tensor<?x9xf32>'}}
  %r = tbq.embedding %t, %q scale(%a) group 16 : (tensor<?xi32>, !tbq.digits<9x16, int8>, tensor<9x1xf16>) -> tensor<?x9xf32>
  return
}

// -----

func.func @f(%t: tensor<?xi32>, %q: !tbq.digits<9x16, ternary>, %a: tensor<9x1xf16>) {
  // expected-error @below {{digits of a table are int8 or int4, not ternary}}
  %r = tbq.embedding %t, %q scale(%a) group 16 : (tensor<?xi32>, !tbq.digits<9x16, ternary>, tensor<9x1xf16>) -> tensor<?x16xf32>
  return
}

// -----

func.func @f(%t: tensor<?xi32>, %q: !tbq.packed<9x32, f32, tile 16, panel 16>) {
  // expected-error @below {{takes rows, which a table in panels has not whole}}
  %r = tbq.embedding %t, %q : (tensor<?xi32>, !tbq.packed<9x32, f32, tile 16, panel 16>) -> tensor<?x32xf32>
  return
}

// -----

func.func @f(%t: tensor<?xi32>, %q: !tbq.digits<9x16, int4>) {
  // expected-error @below {{a table of digits needs a scale}}
  %r = tbq.embedding %t, %q group 16 : (tensor<?xi32>, !tbq.digits<9x16, int4>) -> tensor<?x16xf32>
  return
}

// -----

func.func @f(%t: tensor<?xi32>, %q: !tbq.digits<9x16, int8>, %a: tensor<9x1xf16>) {
  // expected-error @below {{needs a group of 1 to 16 columns}}
  %r = tbq.embedding %t, %q scale(%a) group 17 : (tensor<?xi32>, !tbq.digits<9x16, int8>, tensor<9x1xf16>) -> tensor<?x16xf32>
  return
}

// -----

func.func @f(%t: tensor<?xi32>, %q: !tbq.digits<9x16, int8>, %a: tensor<9x1xf16>) {
  // expected-error @below {{scales and shift must be 9x2 f16, not 'tensor<9x1xf16>'}}
  %r = tbq.embedding %t, %q scale(%a) group 8 : (tensor<?xi32>, !tbq.digits<9x16, int8>, tensor<9x1xf16>) -> tensor<?x16xf32>
  return
}

// -----

func.func @f(%t: tensor<?xi32>, %w: tensor<9x16xf32>, %a: tensor<9x1xf16>) {
  // expected-error @below {{only a table of digits has a scale and a group}}
  %r = tbq.embedding %t, %w scale(%a) : (tensor<?xi32>, tensor<9x16xf32>, tensor<9x1xf16>) -> tensor<?x16xf32>
  return
}

// -----

func.func @f(%t: tensor<?xi32>, %w: tensor<9x16xf32>) {
  // expected-error @below {{only a table of digits has a scale and a group}}
  %r = tbq.embedding %t, %w group 16 : (tensor<?xi32>, tensor<9x16xf32>) -> tensor<?x16xf32>
  return
}

// -----

func.func @f(%x: tensor<?x16xf32>, %w: tensor<8xf32>) {
  // expected-error @below {{input, weight and output need 16 features}}
  %r = tbq.rms_norm %x, %w epsilon 1.0e-05 features 16 : (tensor<?x16xf32>, tensor<8xf32>) -> tensor<?x16xf32>
  return
}

// -----

func.func @f(%x: tensor<?x16xf32>, %w: tensor<f32>) {
  // expected-error @below {{input, weight and output need 16 features}}
  %r = tbq.rms_norm %x, %w epsilon 1.0e-05 features 16 : (tensor<?x16xf32>, tensor<f32>) -> tensor<?x16xf32>
  return
}

// -----

func.func @f(%x: tensor<?x16xf32>, %w: tensor<16xf32>, %b: tensor<8xf32>) {
  // expected-error @below {{input, weight, bias and output need 16 features}}
  %r = tbq.layer_norm %x, %w, %b epsilon 1.0e-05 features 16 : (tensor<?x16xf32>, tensor<16xf32>, tensor<8xf32>) -> tensor<?x16xf32>
  return
}

// -----

func.func @f(%x: tensor<?x16xf32>) {
  // expected-error @below {{keeps rows of f32 as they are, not 'tensor<?x16xf32>' to 'tensor<?x8xf32>'}}
  %r = tbq.activation %x relu : (tensor<?x16xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @f(%x: tensor<?x16xf16>, %t: tensor<9x16xf32>, %i: index) {
  // expected-error @below {{keeps the type of its rows, not 'tensor<?x16xf16>' to 'tensor<?x16xf16>'}}
  %r = tbq.add_positions %x, %t at %i offset 2 : (tensor<?x16xf16>, tensor<9x16xf32>, index) -> tensor<?x16xf16>
  return
}

// -----

func.func @f(%x: tensor<?x16xf32>, %t: tensor<9x8xf32>, %i: index) {
  // expected-error @below {{table has 8 columns for rows of 16}}
  %r = tbq.add_positions %x, %t at %i offset 2 : (tensor<?x16xf32>, tensor<9x8xf32>, index) -> tensor<?x16xf32>
  return
}

// -----

func.func @f(%x: tensor<?x16xf32>, %t: tensor<9x16xf32>, %i: index) {
  // expected-error @below {{begins at row 9 of a table of 9}}
  %r = tbq.add_positions %x, %t at %i offset 9 : (tensor<?x16xf32>, tensor<9x16xf32>, index) -> tensor<?x16xf32>
  return
}

// -----

func.func @f(%x: tensor<?x16xf32>, %i: index) {
  // expected-error @below {{keeps the columns of 'tensor<?x16xf32>'}}
  %r = tbq.select_rows %x from %i : (tensor<?x16xf32>, index) -> tensor<?x8xf32>
  return
}

// -----

func.func @f(%x: tensor<?x16xf32>, %y: tensor<?x8xf32>) {
  // expected-error @below {{gate and up differ: 'tensor<?x16xf32>' and 'tensor<?x8xf32>'}}
  %r = tbq.gated_activation %x, %y : (tensor<?x16xf32>, tensor<?x8xf32>) -> tensor<?x16xf32>
  return
}

// -----

func.func @f(%x: tensor<?x16xf16>) {
  // expected-error @below {{adds rows of one type, not 'tensor<?x16xf16>' and 'tensor<?x16xf16>'}}
  %r = tbq.add %x, %x : (tensor<?x16xf16>, tensor<?x16xf16>) -> tensor<?x16xf16>
  return
}

// -----

//===- Heads -===//

func.func @f(%x: tensor<?x16xf32>, %t: tensor<8x4xf32>, %i: index) {
  // expected-error @below {{rotates pairs: head_dim 5 is odd}}
  %r = tbq.rope %x, %t at %i heads 3 x 5 : (tensor<?x16xf32>, tensor<8x4xf32>, index) -> tensor<?x16xf32>
  return
}

// -----

func.func @f(%x: tensor<?x16xf32>, %t: tensor<8x4xf32>, %i: index) {
  // expected-error @below {{needs rows of 12 columns, not 'tensor<?x16xf32>'}}
  %r = tbq.rope %x, %t at %i heads 3 x 4 : (tensor<?x16xf32>, tensor<8x4xf32>, index) -> tensor<?x16xf32>
  return
}

// -----

func.func @f(%x: tensor<?x16xf32>, %t: tensor<8x8xf32>, %i: index) {
  // expected-error @below {{table has 8 columns for head_dim 4}}
  %r = tbq.rope %x, %t at %i heads 4 x 4 : (tensor<?x16xf32>, tensor<8x8xf32>, index) -> tensor<?x16xf32>
  return
}

// -----

func.func @f(%x: tensor<1x100xf32>) {
  // expected-error @below {{makes rows of 130 f32 of 100, not 'tensor<1x100xf32>' to 'tensor<1x102xf32>'}}
  %r = tbq.summarize_logits %x columns 100 : (tensor<1x100xf32>) -> tensor<1x102xf32>
  return
}

// -----

func.func @f(%x: tensor<4x16xf32>, %t: tensor<8x4xf32>, %places: tensor<4x3xi64>) {
  // expected-error @below {{needs a position and a byte of the cache for each of 'tensor<4x16xf32>', not 'tensor<4x3xi64>'}}
  %r = tbq.rope %x, %t at %places heads 4 x 4 : (tensor<4x16xf32>, tensor<8x4xf32>, tensor<4x3xi64>) -> tensor<4x16xf32>
  return
}

// -----

func.func @f(%x: tensor<4x16xf32>, %t: tensor<8x4xf32>, %places: tensor<5x2xi64>) {
  // expected-error @below {{needs a position and a byte of the cache for each of 'tensor<4x16xf32>', not 'tensor<5x2xi64>'}}
  %r = tbq.rope %x, %t at %places heads 4 x 4 : (tensor<4x16xf32>, tensor<8x4xf32>, tensor<5x2xi64>) -> tensor<4x16xf32>
  return
}

// -----

func.func @f(%k: tensor<?x8xf32>, %x: tensor<?x16xf32>, %c: !tbq.cache<1 layers, 2 by 4, 8 tokens, f32>, %i: index) {
  // expected-error @below {{keys and values need 8 columns, not 'tensor<?x8xf32>' and 'tensor<?x16xf32>'}}
  tbq.append_cache %k, %x, %c[%i] at %i tokens %i !tbq.cache<1 layers, 2 by 4, 8 tokens, f32> : (tensor<?x8xf32>, tensor<?x16xf32>, !tbq.cache<1 layers, 2 by 4, 8 tokens, f32>, index, index, index) -> ()
  return
}

// -----

func.func @f(%x: tensor<?x16xf32>, %c: !tbq.cache<1 layers, 2 by 4, 8 tokens, f32>, %i: index) {
  // expected-error @below {{3 heads do not share 2 kv heads evenly}}
  %r = tbq.attention %x, %c[%i] at %i heads 3 scale 1.0 !tbq.cache<1 layers, 2 by 4, 8 tokens, f32> : (tensor<?x16xf32>, !tbq.cache<1 layers, 2 by 4, 8 tokens, f32>, index, index) -> tensor<?x16xf32>
  return
}

// -----

func.func @f(%x: tensor<?x16xf32>, %c: !tbq.cache<1 layers, 2 by 4, 8 tokens, f32>, %i: index) {
  // expected-error @below {{query and output need 8 columns, not 'tensor<?x16xf32>'}}
  %r = tbq.attention %x, %c[%i] at %i heads 2 scale 1.0 !tbq.cache<1 layers, 2 by 4, 8 tokens, f32> : (tensor<?x16xf32>, !tbq.cache<1 layers, 2 by 4, 8 tokens, f32>, index, index) -> tensor<?x16xf32>
  return
}

// -----

func.func @f(%x: tensor<1x8xf32>, %c: !tbq.cache<1 layers, 2 by 4, 8 tokens, f32>, %i: index) {
  // expected-error @below {{has a key or a value of its token, not both}}
  %r = tbq.attention %x, %c[%i] at %i key(%x) heads 2 scale 1.0 !tbq.cache<1 layers, 2 by 4, 8 tokens, f32> : (tensor<1x8xf32>, !tbq.cache<1 layers, 2 by 4, 8 tokens, f32>, index, index, tensor<1x8xf32>) -> tensor<1x8xf32>
  return
}

// -----

func.func @f(%x: tensor<?x8xf32>, %c: !tbq.cache<1 layers, 2 by 4, 8 tokens, f32>, %i: index) {
  // expected-error @below {{has a key and a value for one token, not 'tensor<?x8xf32>'}}
  %r = tbq.attention %x, %c[%i] at %i key(%x) value(%x) heads 2 scale 1.0 !tbq.cache<1 layers, 2 by 4, 8 tokens, f32> : (tensor<?x8xf32>, !tbq.cache<1 layers, 2 by 4, 8 tokens, f32>, index, index, tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @f(%x: tensor<1x8xf32>, %k: tensor<1x16xf32>, %c: !tbq.cache<1 layers, 2 by 4, 8 tokens, f32>, %i: index) {
  // expected-error @below {{key and value need 8 columns, not 'tensor<1x16xf32>' and 'tensor<1x8xf32>'}}
  %r = tbq.attention %x, %c[%i] at %i key(%k) value(%x) heads 2 scale 1.0 !tbq.cache<1 layers, 2 by 4, 8 tokens, f32> : (tensor<1x8xf32>, !tbq.cache<1 layers, 2 by 4, 8 tokens, f32>, index, index, tensor<1x16xf32>, tensor<1x8xf32>) -> tensor<1x8xf32>
  return
}

// -----

func.func @f(%x: tensor<?x8xf32>, %c: !tbq.cache<1 layers, 2 by 4, 264 tokens, f32>, %i: index) {
  // expected-error @below {{has sums of spans for one token, whose key is in the cache}}
  %r, %s = tbq.attention %x, %c[%i] at %i heads 2 scale 1.0 !tbq.cache<1 layers, 2 by 4, 264 tokens, f32> : (tensor<?x8xf32>, !tbq.cache<1 layers, 2 by 4, 264 tokens, f32>, index, index) -> (tensor<?x8xf32>, tensor<1x192xf32>)
  return
}

// -----

func.func @f(%x: tensor<1x8xf32>, %c: !tbq.cache<1 layers, 2 by 4, 264 tokens, f32>, %i: index) {
  // expected-error @below {{needs 192 columns for sums of spans, not 'tensor<1x128xf32>'}}
  %r, %s = tbq.attention %x, %c[%i] at %i heads 2 scale 1.0 !tbq.cache<1 layers, 2 by 4, 264 tokens, f32> : (tensor<1x8xf32>, !tbq.cache<1 layers, 2 by 4, 264 tokens, f32>, index, index) -> (tensor<1x8xf32>, tensor<1x128xf32>)
  return
}

// -----

func.func @f(%x: tensor<1x8xf32>) {
  // expected-error @below {{units of 3 columns are no parts of vectors of 16, and no such vectors}}
  %r = tbq.add %x, %x unit 3 : (tensor<1x8xf32>, tensor<1x8xf32>) -> tensor<1x8xf32>
  return
}

// -----

//===- Linears, as the checkpoint says them -===//

func.func @f(%x: tensor<?x40xf32>, %t: !tbq.digits<4x40, salient_mask>, %a: tensor<4x2xf16>) {
  // expected-error @below {{a salient mask is no weight}}
  %r = tbq.linear %x, %t scale(%a) group 32 : (tensor<?x40xf32>, !tbq.digits<4x40, salient_mask>, tensor<4x2xf16>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%x: tensor<?x40xf32>, %t: !tbq.digits<4x40, dual_binary>, %a: tensor<4x2xf16>) {
  // expected-error @below {{dual_binary needs 2 scale tensors, not 1}}
  %r = tbq.linear %x, %t scale(%a) group 32 : (tensor<?x40xf32>, !tbq.digits<4x40, dual_binary>, tensor<4x2xf16>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%x: tensor<?x40xf32>, %t: !tbq.digits<4x40, ternary>) {
  // expected-error @below {{ternary needs 1 scale tensors, not 0}}
  %r = tbq.linear %x, %t group 32 : (tensor<?x40xf32>, !tbq.digits<4x40, ternary>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%x: tensor<?x40xf32>, %t: !tbq.digits<4x40, dual_binary>, %a: tensor<4x2xf16>) {
  // expected-error @below {{dual_binary has no shift}}
  %r = tbq.linear %x, %t scale(%a, %a) shift(%a) group 32 : (tensor<?x40xf32>, !tbq.digits<4x40, dual_binary>, tensor<4x2xf16>, tensor<4x2xf16>, tensor<4x2xf16>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%x: tensor<?x40xf32>, %q: !tbq.digits<4x40, int8>, %a: tensor<4x2xf16>) {
  // expected-error @below {{int8 needs 1 scale tensors, not 2}}
  %r = tbq.linear %x, %q scale(%a, %a) group 32 : (tensor<?x40xf32>, !tbq.digits<4x40, int8>, tensor<4x2xf16>, tensor<4x2xf16>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%x: tensor<?x40xf32>, %q: !tbq.digits<4x40, int4>, %a: tensor<4x2xf16>) {
  // expected-error @below {{int4 has no shift}}
  %r = tbq.linear %x, %q scale(%a) shift(%a) group 32 : (tensor<?x40xf32>, !tbq.digits<4x40, int4>, tensor<4x2xf16>, tensor<4x2xf16>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%x: tensor<?x40xf32>, %t: !tbq.digits<4x40, ternary>, %a: tensor<4x2xf16>, %m: !tbq.digits<4x40, salient_mask>) {
  // expected-error @below {{only binary weights have a salient part}}
  %r = tbq.linear %x, %t scale(%a) salient(%m, %a, %a, %a) group 32 : (tensor<?x40xf32>, !tbq.digits<4x40, ternary>, tensor<4x2xf16>, !tbq.digits<4x40, salient_mask>, tensor<4x2xf16>, tensor<4x2xf16>, tensor<4x2xf16>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%x: tensor<?x40xf32>, %t: !tbq.digits<4x40, binary>, %a: tensor<4x2xf16>, %m: !tbq.digits<4x40, salient_mask>) {
  // expected-error @below {{salient needs mask, values, offsets, value scale and perhaps zero}}
  %r = tbq.linear %x, %t scale(%a) salient(%m, %a) group 32 : (tensor<?x40xf32>, !tbq.digits<4x40, binary>, tensor<4x2xf16>, !tbq.digits<4x40, salient_mask>, tensor<4x2xf16>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%x: tensor<?x40xf32>, %t: !tbq.digits<4x40, binary>, %a: tensor<4x2xf16>, %m: !tbq.digits<4x40, binary>, %v: tensor<15xi8>, %o: tensor<5xi32>, %vs: tensor<4xf16>) {
  // expected-error @below {{salient mask does not match weights of 4x40}}
  %r = tbq.linear %x, %t scale(%a) salient(%m, %v, %o, %vs) group 32 : (tensor<?x40xf32>, !tbq.digits<4x40, binary>, tensor<4x2xf16>, !tbq.digits<4x40, binary>, tensor<15xi8>, tensor<5xi32>, tensor<4xf16>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%x: tensor<?x40xf32>, %t: !tbq.digits<4x40, binary>, %a: tensor<4x2xf16>, %m: !tbq.digits<4x40, salient_mask>, %v: tensor<161xi8>, %o: tensor<5xi32>, %vs: tensor<4xf16>) {
  // expected-error @below {{salient values must be i8, at most one a weight, not 'tensor<161xi8>'}}
  %r = tbq.linear %x, %t scale(%a) salient(%m, %v, %o, %vs) group 32 : (tensor<?x40xf32>, !tbq.digits<4x40, binary>, tensor<4x2xf16>, !tbq.digits<4x40, salient_mask>, tensor<161xi8>, tensor<5xi32>, tensor<4xf16>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%x: tensor<?x40xf32>, %t: !tbq.digits<4x40, binary>, %a: tensor<4x2xf16>, %m: !tbq.digits<4x40, salient_mask>, %v: tensor<15xi8>, %o: tensor<4xi32>, %vs: tensor<4xf16>) {
  // expected-error @below {{salient offsets must be 5 i32, not 'tensor<4xi32>'}}
  %r = tbq.linear %x, %t scale(%a) salient(%m, %v, %o, %vs) group 32 : (tensor<?x40xf32>, !tbq.digits<4x40, binary>, tensor<4x2xf16>, !tbq.digits<4x40, salient_mask>, tensor<15xi8>, tensor<4xi32>, tensor<4xf16>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%x: tensor<?x40xf32>, %t: !tbq.digits<4x40, binary>, %a: tensor<4x2xf16>, %m: !tbq.digits<4x40, salient_mask>, %v: tensor<15xi8>, %o: tensor<5xi32>, %vs: tensor<4xf32>) {
  // expected-error @below {{salient value scale must be 4 f16, not 'tensor<4xf32>'}}
  %r = tbq.linear %x, %t scale(%a) salient(%m, %v, %o, %vs) group 32 : (tensor<?x40xf32>, !tbq.digits<4x40, binary>, tensor<4x2xf16>, !tbq.digits<4x40, salient_mask>, tensor<15xi8>, tensor<5xi32>, tensor<4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%x: tensor<?x40xf32>, %t: !tbq.digits<4x40, binary>, %a: tensor<4x2xf16>, %m: !tbq.digits<4x40, salient_mask>, %v: tensor<15xi8>, %o: tensor<5xi32>, %vs: tensor<4xf16>, %z: tensor<4xi8>) {
  // expected-error @below {{salient zero must be 4 i16, not 'tensor<4xi8>'}}
  %r = tbq.linear %x, %t scale(%a) salient(%m, %v, %o, %vs, %z) group 32 : (tensor<?x40xf32>, !tbq.digits<4x40, binary>, tensor<4x2xf16>, !tbq.digits<4x40, salient_mask>, tensor<15xi8>, tensor<5xi32>, tensor<4xf16>, tensor<4xi8>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%x: tensor<?x40xf32>, %t: !tbq.digits<4x40, ternary>, %a: tensor<4x2xf16>) {
  // expected-error @below {{needs a group of 1 to 40 columns}}
  %r = tbq.linear %x, %t scale(%a) : (tensor<?x40xf32>, !tbq.digits<4x40, ternary>, tensor<4x2xf16>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%x: tensor<?x40xf32>, %t: !tbq.digits<4x40, ternary>, %a: tensor<4x2xf16>) {
  // expected-error @below {{needs a group of 1 to 40 columns}}
  %r = tbq.linear %x, %t scale(%a) group 41 : (tensor<?x40xf32>, !tbq.digits<4x40, ternary>, tensor<4x2xf16>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%x: tensor<?x40xf32>, %t: !tbq.digits<4x40, ternary>, %a: tensor<4x2xf16>, %c: tensor<4x3xf16>) {
  // expected-error @below {{scales and shift must be 4x2 f16, not 'tensor<4x3xf16>'}}
  %r = tbq.linear %x, %t scale(%a) shift(%c) group 32 : (tensor<?x40xf32>, !tbq.digits<4x40, ternary>, tensor<4x2xf16>, tensor<4x3xf16>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%x: tensor<?x40xf32>, %t: !tbq.digits<4x40, ternary>, %a: tensor<4x2xf32>) {
  // expected-error @below {{scales and shift must be 4x2 f16, not 'tensor<4x2xf32>'}}
  %r = tbq.linear %x, %t scale(%a) group 32 : (tensor<?x40xf32>, !tbq.digits<4x40, ternary>, tensor<4x2xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%x: tensor<?x40xf32>, %w: tensor<4x40xi8>) {
  // expected-error @below {{weight must be a float matrix or digits, not 'tensor<4x40xi8>'}}
  %r = tbq.linear %x, %w : (tensor<?x40xf32>, tensor<4x40xi8>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%x: tensor<?x40xf32>, %w: tensor<4x40xf32>) {
  // expected-error @below {{a float weight has no scale, shift, salient part or group}}
  %r = tbq.linear %x, %w group 32 : (tensor<?x40xf32>, tensor<4x40xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%x: tensor<?x16xf32>, %w: tensor<4x40xf32>) {
  // expected-error @below {{input needs 40 columns, not 'tensor<?x16xf32>'}}
  %r = tbq.linear %x, %w : (tensor<?x16xf32>, tensor<4x40xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%x: tensor<?x40xf32>, %w: tensor<4x40xf32>) {
  // expected-error @below {{output needs 4 columns, not 'tensor<?x40xf32>'}}
  %r = tbq.linear %x, %w : (tensor<?x40xf32>, tensor<4x40xf32>) -> tensor<?x40xf32>
  return
}

// -----

func.func @f(%x: tensor<?x40xf32>, %w: tensor<4x40xf32>) {
  // expected-error @below {{residual differs from the output: 'tensor<?x40xf32>'}}
  %r = tbq.linear %x, %w residual(%x) : (tensor<?x40xf32>, tensor<4x40xf32>, tensor<?x40xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%x: tensor<?x40xf32>, %w: tensor<4x40xf32>, %b: tensor<3xf32>) {
  // expected-error @below {{bias needs 4 elements, not 'tensor<3xf32>'}}
  %r = tbq.linear %x, %w bias(%b) : (tensor<?x40xf32>, tensor<4x40xf32>, tensor<3xf32>) -> tensor<?x4xf32>
  return
}

// -----

//===- Activations and linears, packed -===//

func.func @f(%x: tensor<1x40xf32>) {
  // expected-error @below {{group 41 in rows of 40}}
  %s = tbq.group_sums %x columns 40 group 41 : (tensor<1x40xf32>) -> tensor<1x2xf32>
  return
}

// -----

func.func @f(%x: tensor<1x40xf32>) {
  // expected-error @below {{input needs 48 columns of f32, not 'tensor<1x40xf32>'}}
  %s = tbq.group_sums %x columns 48 group 32 : (tensor<1x40xf32>) -> tensor<1x2xf32>
  return
}

// -----

func.func @f(%x: tensor<1x40xf16>) {
  // expected-error @below {{input needs 40 columns of f32, not 'tensor<1x40xf16>'}}
  %s = tbq.group_sums %x columns 40 group 32 : (tensor<1x40xf16>) -> tensor<1x2xf32>
  return
}

// -----

func.func @f(%x: tensor<1x40xf32>) {
  // expected-error @below {{needs one sum for each group of 32, not 'tensor<1x3xf32>'}}
  %s = tbq.group_sums %x columns 40 group 32 : (tensor<1x40xf32>) -> tensor<1x3xf32>
  return
}

// -----

func.func @f(%x: tensor<1x40xf32>) {
  // expected-error @below {{needs one sum for each group of 32, not 'tensor<1x1xi32>'}}
  %q, %s, %d = tbq.quantize_activations %x columns 40 group 32 : (tensor<1x40xf32>) -> (tensor<1x40xi8>, tensor<1x1xf32>, tensor<1x1xi32>)
  return
}

// -----

func.func @f(%x: tensor<1x40xf32>, %p: !tbq.packed<4x40, f32, tile 1>) {
  // expected-error @below {{needs a matrix in tiles, not a table}}
  %r = tbq.packed_linear %x, %p : (tensor<1x40xf32>, !tbq.packed<4x40, f32, tile 1>) -> tensor<1x4xf32>
  return
}

// -----

func.func @f(%x: tensor<1x40xf32>, %p: !tbq.packed<4x40, f32, tile 16>) {
  // expected-error @below {{does not map 'tensor<1x40xf32>' to 'tensor<1x5xf32>' by #tbq.layout<4x40, f32, tile 16>}}
  %r = tbq.packed_linear %x, %p : (tensor<1x40xf32>, !tbq.packed<4x40, f32, tile 16>) -> tensor<1x5xf32>
  return
}

// -----

func.func @f(%x: tensor<1x40xf32>, %p: !tbq.packed<4x40, f32, tile 16>, %s: tensor<1x2xf32>) {
  // expected-error @below {{a float weight needs no sums and no activation scale}}
  %r = tbq.packed_linear %x, %p sums(%s) : (tensor<1x40xf32>, !tbq.packed<4x40, f32, tile 16>, tensor<1x2xf32>) -> tensor<1x4xf32>
  return
}

// -----

func.func @f(%x: tensor<1x40xf32>, %p: !tbq.packed<4x40, digits [2], terms [[1, -1], [0, 1]], group 32, tile 16>, %s: tensor<1x2xf32>, %a: tensor<1x1xf32>) {
  // expected-error @below {{integer activations, and only they, have a scale}}
  %r = tbq.packed_linear %x, %p sums(%s) activation_scale(%a) : (tensor<1x40xf32>, !tbq.packed<4x40, digits [2], terms [[1, -1], [0, 1]], group 32, tile 16>, tensor<1x2xf32>, tensor<1x1xf32>) -> tensor<1x4xf32>
  return
}

// -----

func.func @f(%x: tensor<1x40xi8>, %p: !tbq.packed<4x40, digits [2], terms [[1, -1], [0, 1]], group 32, tile 16>, %s: tensor<1x2xi32>) {
  // expected-error @below {{integer activations, and only they, have a scale}}
  %r = tbq.packed_linear %x, %p sums(%s) : (tensor<1x40xi8>, !tbq.packed<4x40, digits [2], terms [[1, -1], [0, 1]], group 32, tile 16>, tensor<1x2xi32>) -> tensor<1x4xf32>
  return
}

// -----

func.func @f(%x: tensor<1x40xf32>, %p: !tbq.packed<4x40, digits [2], terms [[1, -1], [0, 1]], group 32, tile 16>) {
  // expected-error @below {{the layout's terms need sums of the activations}}
  %r = tbq.packed_linear %x, %p : (tensor<1x40xf32>, !tbq.packed<4x40, digits [2], terms [[1, -1], [0, 1]], group 32, tile 16>) -> tensor<1x4xf32>
  return
}

// -----

func.func @f(%x: tensor<1x40xf32>, %p: !tbq.packed<4x40, digits [8], terms [[1, 0]], group 32, tile 16>, %s: tensor<1x2xf32>) {
  // expected-error @below {{the layout's terms use no sums}}
  %r = tbq.packed_linear %x, %p sums(%s) : (tensor<1x40xf32>, !tbq.packed<4x40, digits [8], terms [[1, 0]], group 32, tile 16>, tensor<1x2xf32>) -> tensor<1x4xf32>
  return
}

// -----

func.func @f(%x: tensor<1x40xf32>, %p: !tbq.packed<4x40, digits [2], terms [[1, -1], [0, 1]], group 32, tile 16>, %s: tensor<1x3xf32>) {
  // expected-error @below {{needs one sum for each of 2 groups}}
  %r = tbq.packed_linear %x, %p sums(%s) : (tensor<1x40xf32>, !tbq.packed<4x40, digits [2], terms [[1, -1], [0, 1]], group 32, tile 16>, tensor<1x3xf32>) -> tensor<1x4xf32>
  return
}

// -----

func.func @f(%x: tensor<1x40xf32>) {
  // expected-error @below {{makes digits of 40 columns of i8, not 'tensor<1x40xi16>'}}
  %q, %s, %d = tbq.quantize_activations %x columns 40 group 32 : (tensor<1x40xf32>) -> (tensor<1x40xi16>, tensor<1x1xf32>, tensor<1x2xi32>)
  return
}

// -----

func.func @f(%x: tensor<1x40xf32>) {
  // expected-error @below {{makes digits of 40 columns of i8, not 'tensor<1x41xi8>'}}
  %h, %l, %s, %d = tbq.quantize_activations %x columns 40 group 32 : (tensor<1x40xf32>) -> (tensor<1x40xi8>, tensor<1x41xi8>, tensor<1x1xf32>, tensor<1x2xi32>)
  return
}

// -----

func.func @f(%x: tensor<1x40xf32>, %p: !tbq.packed<4x40, digits [2], terms [[1, 0]], group 32, tile 16>) {
  // expected-error @below {{low digits stand beside high ones of their type, not 'tensor<1x40xf32>'}}
  %r = tbq.packed_linear %x, %p low(%x) : (tensor<1x40xf32>, !tbq.packed<4x40, digits [2], terms [[1, 0]], group 32, tile 16>, tensor<1x40xf32>) -> tensor<1x4xf32>
  return
}

// -----

func.func @f(%h: tensor<1x40xi8>, %l: tensor<2x40xi8>, %a: tensor<1x1xf32>, %p: !tbq.packed<4x40, digits [2], terms [[1, 0]], group 32, tile 16>) {
  // expected-error @below {{low digits stand beside high ones of their type, not 'tensor<1x40xi8>'}}
  %r = tbq.packed_linear %h, %p low(%l) activation_scale(%a) : (tensor<1x40xi8>, !tbq.packed<4x40, digits [2], terms [[1, 0]], group 32, tile 16>, tensor<2x40xi8>, tensor<1x1xf32>) -> tensor<1x4xf32>
  return
}

// -----

// 255 * 32639 * 258 is less than 2^31, and 255 * 32639 * 259 more.
!packed = !tbq.packed<4x520, digits [8], terms [[1, -128]], group 260, tile 16>
func.func @f(%h: tensor<1x520xi8>, %a: tensor<1x1xf32>, %s: tensor<1x2xi32>, %p: !packed) {
  %0 = tbq.packed_linear %h, %p sums(%s) activation_scale(%a) : (tensor<1x520xi8>, !packed, tensor<1x2xi32>, tensor<1x1xf32>) -> tensor<1x4xf32>
  // expected-error @below {{sums of groups of 260 columns may not fit int32: with i16 activations at most 258}}
  %1 = tbq.packed_linear %h, %p low(%h) sums(%s) activation_scale(%a) : (tensor<1x520xi8>, !packed, tensor<1x520xi8>, tensor<1x2xi32>, tensor<1x1xf32>) -> tensor<1x4xf32>
  return
}

// -----

// The integers of a term count: two bits may add 3 times an activation.
!packed = !tbq.packed<4x21952, digits [1, 1], terms [[2, 1, 0]], group 21952, tile 16>
func.func @f(%h: tensor<1x21952xi8>, %a: tensor<1x1xf32>, %p: !packed) {
  // expected-error @below {{sums of groups of 21952 columns may not fit int32: with i16 activations at most 21931}}
  %0 = tbq.packed_linear %h, %p low(%h) activation_scale(%a) : (tensor<1x21952xi8>, !packed, tensor<1x21952xi8>, tensor<1x1xf32>) -> tensor<1x4xf32>
  return
}

// -----

// Negative ones too.
!packed = !tbq.packed<4x70016, digits [2], terms [[-2, 0]], group 70016, tile 16>
func.func @f(%h: tensor<1x70016xi8>, %a: tensor<1x1xf32>, %p: !packed) {
  // expected-error @below {{sums of groups of 70016 columns may not fit int32: with i16 activations at most 10965}}
  %0 = tbq.packed_linear %h, %p low(%h) activation_scale(%a) : (tensor<1x70016xi8>, !packed, tensor<1x70016xi8>, tensor<1x1xf32>) -> tensor<1x4xf32>
  return
}

// -----

// Digits at the top of a byte: 255 * 128 * 65793 is the most.
!packed = !tbq.packed<4x70016, digits [2], terms [[-2, 0]], group 70016, tile 16>
func.func @f(%h: tensor<1x70016xi8>, %a: tensor<1x1xf32>, %p: !packed) {
  // expected-error @below {{sums of groups of 70016 columns may not fit int32: with i8 activations at most 65793}}
  %1 = tbq.packed_linear %h, %p activation_scale(%a) : (tensor<1x70016xi8>, !packed, tensor<1x1xf32>) -> tensor<1x4xf32>
  return
}
