// RUN: tbq-opt %s --tbq-lower-step-to-cpu=fma --canonicalize --cse | FileCheck %s
// RUN: tbq-opt %s --tbq-lower-step-to-cpu --canonicalize --cse | FileCheck %s --check-prefix=NOFMA
// Every op of the step but the linear, for rows that no vector of 16 divides:
// 24 columns in rows of 32, heads of 24, groups of 32 in 72.

// NOFMA-NOT: math.fma
// CHECK-NOT: into(

!table = !tbq.packed<40x24, f16, tile 16>
!norm = !tbq.packed<1x24, f32, tile 1>
!angles = !tbq.packed<40x24, f32, tile 1>
!kv = !tbq.cache<2 layers, 1 by 24, 40 tokens, f16>

// Row id / 16 is the tile, of 768 bytes; id modulo 16 the lane, of 2; a column
// is 32 bytes on. What pads the row is zero: whoever sums reads it.
// CHECK-LABEL: func.func @embedding(
// CHECK: %[[ZERO:.*]] = arith.constant 0.000000e+00 : f32
// CHECK: scf.for %[[TOKEN:.*]] = %arg4 to %arg5 step %c1
// CHECK: %[[T:.*]] = memref.load %arg0[%[[TOKEN]]]
// CHECK: %[[ID:.*]] = arith.index_castui %[[T]]
// CHECK: %[[TILE:.*]] = arith.divui %[[ID]], %c16
// CHECK: arith.muli %[[TILE]], %c768
// CHECK: %[[LANE:.*]] = arith.remui %[[ID]], %c16
// CHECK: arith.muli %[[LANE]], %c2
// CHECK: scf.for %[[COLUMN:.*]] = %c0 to %c24 step %c1
// CHECK: arith.muli %[[COLUMN]], %c32
// CHECK: arith.extf %{{.*}} : vector<1xf16> to vector<1xf32>
// CHECK: vector.store %{{.*}}, %arg1[%[[TOKEN]], %[[COLUMN]]]
// CHECK-COUNT-8: memref.store %[[ZERO]], %arg1[%[[TOKEN]],
// CHECK-NOT: memref.store
func.func @embedding(%t: memref<1xi32>, %y: memref<1x32xf32>, %section: memref<65536xi8>, %n: index, %b: index, %e: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !table
  tbq.embedding %t, %w into(%y) count(%n) range(%b, %e) : (memref<1xi32>, !table, memref<1x32xf32>, index, index, index) -> ()
  return
}

// The mean is over the 24 features, not over the row with its padding.
// CHECK-LABEL: func.func @rms_norm(
// CHECK-DAG: %[[EPSILON:.*]] = arith.constant 9.99999974E-6 : f32
// CHECK-DAG: %[[FEATURES:.*]] = arith.constant 2.400000e+01 : f32
// CHECK: scf.for %{{.*}} = %arg4 to %arg5 step %c1
// CHECK: scf.for %{{.*}} = %c0 to %c32 step %c16
// CHECK: math.fma
// CHECK: %[[SUM:.*]] = vector.reduction <add>
// CHECK: %[[MEAN:.*]] = arith.divf %[[SUM]], %[[FEATURES]]
// CHECK: %[[MORE:.*]] = arith.addf %[[MEAN]], %[[EPSILON]]
// CHECK: math.sqrt %[[MORE]]
// CHECK: scf.for %{{.*}} = %c0 to %c32 step %c16
// CHECK: vector.store
func.func @rms_norm(%x: memref<1x32xf32>, %y: memref<1x32xf32>, %section: memref<65536xi8>, %n: index, %b: index, %e: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !norm
  tbq.rms_norm %x, %w epsilon 1.0e-5 features 24 into(%y) count(%n) range(%b, %e) : (memref<1x32xf32>, !norm, memref<1x32xf32>, index, index, index) -> ()
  return
}

// The mean goes out of 24 columns, not of what pads them; that is not as far
// from the mean as its zeros are.
// CHECK-LABEL: func.func @layer_norm(
// CHECK-DAG: %[[KEPT:.*]] = arith.constant dense<[true, true, true, true, true, true, true, true, false, false, false, false, false, false, false, false]> : vector<16xi1>
// CHECK-DAG: %[[ZEROS:.*]] = arith.constant dense<0.000000e+00> : vector<16xf32>
// CHECK-DAG: %[[FEATURES:.*]] = arith.constant 2.400000e+01 : f32
// CHECK: scf.for %{{.*}} = %c0 to %c32 step %c16
// CHECK: %[[SUM:.*]] = vector.reduction <add>
// CHECK: %[[ONE_MEAN:.*]] = arith.divf %[[SUM]], %[[FEATURES]]
// CHECK: %[[MEAN:.*]] = vector.broadcast %[[ONE_MEAN]]
// CHECK: vector.load %arg0[%{{.*}}, %c0]
// CHECK: %[[D:.*]] = arith.subf %{{.*}}, %[[MEAN]]
// CHECK: math.fma %[[D]], %[[D]]
// CHECK: vector.load %arg0[%{{.*}}, %c16]
// CHECK: %[[D:.*]] = arith.subf %{{.*}}, %[[MEAN]]
// CHECK: %[[VALID:.*]] = arith.select %[[KEPT]], %[[D]], %[[ZEROS]]
// CHECK: math.fma %[[VALID]], %[[VALID]]
// CHECK: %[[SQUARES:.*]] = vector.reduction <add>
// CHECK: %[[VARIANCE:.*]] = arith.divf %[[SQUARES]], %[[FEATURES]]
// CHECK: arith.addf %[[VARIANCE]]
// CHECK: math.sqrt
// CHECK: scf.for %{{.*}} = %c0 to %c32 step %c16
// CHECK: arith.subf %{{.*}}, %[[MEAN]]
// CHECK: math.fma
// CHECK: vector.store
func.func @layer_norm(%x: memref<1x32xf32>, %y: memref<1x32xf32>, %section: memref<65536xi8>, %n: index, %b: index, %e: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !norm
  %c = tbq.placed_weight [256] in %section : memref<65536xi8> : !norm
  tbq.layer_norm %x, %w, %c epsilon 1.0e-5 features 24 into(%y) count(%n) range(%b, %e) : (memref<1x32xf32>, !norm, !norm, memref<1x32xf32>, index, index, index) -> ()
  return
}

// The row of the token's position, and two on.
// CHECK-LABEL: func.func @positions(
// CHECK: %[[TOKEN:.*]] = arith.divui %[[UNIT:.*]], %c2
// CHECK: %[[PART:.*]] = arith.remui %[[UNIT]], %c2
// CHECK: %[[COLUMN:.*]] = arith.muli %[[PART]], %c16
// CHECK: %[[POSITION:.*]] = arith.addi %arg3, %[[TOKEN]]
// CHECK: %[[ROW:.*]] = arith.addi %[[POSITION]], %c2
// CHECK: arith.muli %[[ROW]], %c128
// CHECK: arith.muli %[[PART]], %c64
// CHECK: %[[SUM:.*]] = arith.addf
// CHECK: vector.store %[[SUM]], %arg1[%[[TOKEN]], %[[COLUMN]]]
func.func @positions(%x: memref<1x32xf32>, %y: memref<1x32xf32>, %section: memref<65536xi8>, %p: index, %n: index, %b: index, %e: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !angles
  tbq.add_positions %x, %w at %p offset 2 into(%y) count(%n) range(%b, %e) : (memref<1x32xf32>, !angles, index, memref<1x32xf32>, index, index, index) -> ()
  return
}

// Half of 24 is 12: vectors of 4. Cosines, then sines 48 bytes on, at the row of
// the token's position; x cos - y sin and y cos + x sin.
// CHECK-LABEL: func.func @rope(
// CHECK: %[[TOKEN:.*]] = arith.divui %[[UNIT:.*]], %c2
// CHECK: %[[HEAD:.*]] = arith.remui %[[UNIT]], %c2
// CHECK: %[[POSITION:.*]] = arith.addi %arg3, %[[TOKEN]]
// CHECK: %[[ROW:.*]] = arith.muli %[[POSITION]], %c128
// CHECK: %[[LOW:.*]] = arith.muli %[[HEAD]], %c24
// CHECK: %[[HIGH:.*]] = arith.addi %[[LOW]], %c12
// CHECK: scf.for %[[I:.*]] = %c0 to %c12 step %c4
// CHECK: %[[C:.*]] = vector.bitcast %{{.*}} : vector<16xi8> to vector<4xf32>
// CHECK: arith.addi %{{.*}}, %c48
// CHECK: %[[S:.*]] = vector.bitcast %{{.*}} : vector<16xi8> to vector<4xf32>
// CHECK: %[[LOWI:.*]] = arith.addi %[[LOW]], %[[I]]
// CHECK: %[[X:.*]] = vector.load %arg0[%[[TOKEN]], %[[LOWI]]]
// CHECK: %[[HIGHI:.*]] = arith.addi %[[HIGH]], %[[I]]
// CHECK: %[[Y:.*]] = vector.load %arg0[%[[TOKEN]], %[[HIGHI]]]
// CHECK-DAG: %[[XC:.*]] = arith.mulf %[[X]], %[[C]]
// CHECK-DAG: %[[YS:.*]] = arith.mulf %[[Y]], %[[S]]
// CHECK: %[[FIRST:.*]] = arith.subf %[[XC]], %[[YS]]
// CHECK: vector.store %[[FIRST]], %arg1[%[[TOKEN]], %[[LOWI]]]
// CHECK-DAG: %[[YC:.*]] = arith.mulf %[[Y]], %[[C]]
// CHECK-DAG: %[[XS:.*]] = arith.mulf %[[X]], %[[S]]
// CHECK: %[[SECOND:.*]] = arith.addf %[[YC]], %[[XS]]
// CHECK: vector.store %[[SECOND]], %arg1[%[[TOKEN]], %[[HIGHI]]]
func.func @rope(%x: memref<1x48xf32>, %y: memref<1x48xf32>, %section: memref<65536xi8>, %p: index, %n: index, %b: index, %e: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !angles
  tbq.rope %x, %w at %p heads 2 x 24 into(%y) count(%n) range(%b, %e) : (memref<1x48xf32>, !angles, index, memref<1x48xf32>, index, index, index) -> ()
  return
}

// Keys: [position / 16][feature][16], one element at a time. Values: rows of 24,
// padded to 32; the second vector of one is masked, not read from the next head.
// CHECK-LABEL: func.func @append(
// CHECK: %[[POSITION:.*]] = arith.addi %arg4, %{{.*}}
// CHECK: %[[LAYER:.*]] = arith.muli %arg3, %c5376
// CHECK: %[[VALUES:.*]] = arith.addi %[[LAYER]], %c2304
// CHECK: %[[BLOCK:.*]] = arith.divui %[[POSITION]], %c16
// CHECK: %[[LANE:.*]] = arith.remui %[[POSITION]], %c16
// CHECK: arith.muli %[[LANE]], %c2
// CHECK: scf.for %[[FEATURE:.*]] = %c0 to %c24 step %c1
// CHECK: %[[FIRST:.*]] = arith.muli %[[BLOCK]], %c24
// CHECK: %[[ROW:.*]] = arith.addi %[[FIRST]], %[[FEATURE]]
// CHECK: arith.muli %[[ROW]], %c32
// CHECK: arith.truncf %{{.*}} : vector<1xf32> to vector<1xf16>
// CHECK: vector.store %{{.*}}, %arg2[%{{.*}}] : memref<8192xi8>, vector<2xi8>
// CHECK: arith.muli %[[POSITION]], %c64
// CHECK: vector.store %{{.*}}, %arg2[%{{.*}}] : memref<8192xi8>, vector<32xi8>
// CHECK: %[[MASK:.*]] = vector.constant_mask [8] : vector<16xi1>
// CHECK: vector.maskedload %arg1[%{{.*}}, %c16], %[[MASK]]
// CHECK: vector.store %{{.*}}, %arg2[%{{.*}}] : memref<8192xi8>, vector<32xi8>
func.func @append(%k: memref<1x32xf32>, %v: memref<1x32xf32>, %cache: memref<8192xi8>, %l: index, %p: index, %n: index, %b: index, %e: index) {
  tbq.append_cache %k, %v, %cache[%l] at %p tokens %n !kv count(%n) range(%b, %e) : (memref<1x32xf32>, memref<1x32xf32>, memref<8192xi8>, index, index, index, index, index, index) -> ()
  return
}

// CHECK-LABEL: func.func @gated(
// CHECK: %[[PART:.*]] = arith.remui %{{.*}}, %c2
// CHECK: %[[COLUMN:.*]] = arith.muli %[[PART]], %c16
// CHECK: %[[G:.*]] = vector.load %arg0
// CHECK: %[[U:.*]] = vector.load %arg1
// CHECK: %[[MINUS:.*]] = arith.negf %[[G]]
// CHECK: %[[EXP:.*]] = math.exp %[[MINUS]]
// CHECK: %[[DIVISOR:.*]] = arith.addf %[[EXP]], %{{.*}}
// CHECK: %[[SILU:.*]] = arith.divf %[[G]], %[[DIVISOR]]
// CHECK: arith.mulf %[[SILU]], %[[U]]
func.func @gated(%g: memref<1x32xf32>, %u: memref<1x32xf32>, %y: memref<1x32xf32>, %n: index, %b: index, %e: index) {
  tbq.gated_activation %g, %u into(%y) count(%n) range(%b, %e) : (memref<1x32xf32>, memref<1x32xf32>, memref<1x32xf32>, index, index, index) -> ()
  return
}

// Units of several vectors, as the tiles of a linear have rows.
// CHECK-LABEL: func.func @add_long(
// CHECK: %[[FIRST:.*]] = arith.muli %{{.*}}, %c32
// CHECK: vector.store %{{.*}}, %arg2[%{{.*}}, %[[FIRST]]] : memref<1x64xf32>, vector<16xf32>
// CHECK: %[[SECOND:.*]] = arith.addi %[[FIRST]], %c16
// CHECK: vector.store %{{.*}}, %arg2[%{{.*}}, %[[SECOND]]] : memref<1x64xf32>, vector<16xf32>
func.func @add_long(%g: memref<1x64xf32>, %u: memref<1x64xf32>, %y: memref<1x64xf32>, %n: index, %b: index, %e: index) {
  tbq.add %g, %u unit 32 into(%y) count(%n) range(%b, %e) : (memref<1x64xf32>, memref<1x64xf32>, memref<1x64xf32>, index, index, index) -> ()
  return
}

// CHECK-LABEL: func.func @add(
// CHECK: %[[SUM:.*]] = arith.addf
// CHECK-NEXT: vector.store %[[SUM]], %arg2[%{{.*}}, %{{.*}}] : memref<1x32xf32>, vector<16xf32>
func.func @add(%g: memref<1x32xf32>, %u: memref<1x32xf32>, %y: memref<1x32xf32>, %n: index, %b: index, %e: index) {
  tbq.add %g, %u into(%y) count(%n) range(%b, %e) : (memref<1x32xf32>, memref<1x32xf32>, memref<1x32xf32>, index, index, index) -> ()
  return
}

// CHECK-LABEL: func.func @select(
// CHECK: %[[FROM:.*]] = arith.addi %[[TOKEN:.*]], %arg1
// CHECK: %[[X:.*]] = vector.load %arg0[%[[FROM]], %{{.*}}]
// CHECK: vector.store %[[X]], %arg2[%[[TOKEN]], %{{.*}}]
func.func @select(%x: memref<16x32xf32>, %f: index, %y: memref<16x32xf32>, %n: index, %b: index, %e: index) {
  tbq.select_rows %x from %f into(%y) count(%n) range(%b, %e) : (memref<16x32xf32>, index, memref<16x32xf32>, index, index, index) -> ()
  return
}

// Two whole groups, then one of 8 columns, of which the padding is zero.
// CHECK-LABEL: func.func @sums(
// CHECK: scf.for %[[GROUP:.*]] = %c0 to %c2 step %c1
// CHECK: scf.for %{{.*}} = %c0 to %c32 step %c16
// CHECK: memref.store %{{.*}}, %arg1[%{{.*}}, %[[GROUP]]]
// CHECK: vector.load %arg0[%{{.*}}, %c64]
// CHECK: memref.store %{{.*}}, %arg1[%{{.*}}, %c2]
func.func @sums(%x: memref<1x80xf32>, %s: memref<1x16xf32>, %n: index, %b: index, %e: index) {
  tbq.group_sums %x columns 72 group 32 into(%s) count(%n) range(%b, %e) : (memref<1x80xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}

// The largest magnitude of the whole row; scale = it / 127. Rounding to nearest,
// ties to even, by adding 1.5 * 2^23 (0x4B400000).
// CHECK-LABEL: func.func @quantize(
// CHECK-DAG: %[[ROUND:.*]] = arith.constant dense<0x4B400000> : vector<16xf32>
// CHECK-DAG: %[[MAX:.*]] = arith.constant 1.270000e+02 : f32
// CHECK-DAG: %[[LEAST:.*]] = arith.constant 9.99999974E-6 : f32
// CHECK: scf.for %{{.*}} = %c0 to %c80 step %c16
// CHECK: math.absf
// CHECK-COUNT-4: vector.shuffle
// CHECK: %[[LANE:.*]] = vector.extract %{{.*}}[0]
// CHECK-NEXT: %[[LARGEST:.*]] = arith.maxnumf %[[LANE]], %[[LEAST]]
// CHECK: %[[SCALE:.*]] = arith.divf %[[LARGEST]], %[[MAX]]
// CHECK: memref.store %[[SCALE]], %arg2[%{{.*}}, %c0]
// CHECK: arith.divf %[[MAX]], %[[LARGEST]]
// CHECK: scf.for %[[GROUP:.*]] = %c0 to %c2 step %c1
// CHECK: arith.addf %{{.*}}, %[[ROUND]]
// CHECK: %[[Q:.*]] = arith.subi
// CHECK: arith.trunci %[[Q]] : vector<16xi32> to vector<16xi8>
// CHECK: vector.store %{{.*}}, %arg1
// CHECK: arith.addi %{{.*}}, %[[Q]]
// CHECK: memref.store %{{.*}}, %arg3[%{{.*}}, %[[GROUP]]]
// CHECK: vector.store %{{.*}}, %arg1[%{{.*}}, %c64]
// CHECK: memref.store %{{.*}}, %arg3[%{{.*}}, %c2]
func.func @quantize(%x: memref<1x80xf32>, %q: memref<1x80xi8>, %a: memref<1x16xf32>, %s: memref<1x16xi32>, %n: index, %b: index, %e: index) {
  tbq.quantize_activations %x columns 72 group 32 into(%q, %a, %s) count(%n) range(%b, %e) : (memref<1x80xf32>, memref<1x80xi8>, memref<1x16xf32>, memref<1x16xi32>, index, index, index) -> ()
  return
}

// In 16 bits: scale = the largest / 32639, and of each number a low byte from
// -128 to 127, the high one above it.
// CHECK-LABEL: func.func @quantize16(
// CHECK-DAG: %[[MAX:.*]] = arith.constant 3.263900e+04 : f32
// CHECK-DAG: %[[HALF:.*]] = arith.constant dense<128> : vector<16xi32>
// CHECK-DAG: %[[EIGHT:.*]] = arith.constant dense<8> : vector<16xi32>
// CHECK: arith.divf %{{.*}}, %[[MAX]]
// CHECK: memref.store %{{.*}}, %arg3[%{{.*}}, %c0]
// CHECK: arith.divf %[[MAX]], %
// CHECK: %[[Q:.*]] = arith.subi
// CHECK-NEXT: %[[L:.*]] = arith.trunci %[[Q]] : vector<16xi32> to vector<16xi8>
// CHECK-NEXT: vector.store %[[L]], %arg2
// CHECK-NEXT: %[[ABOVE:.*]] = arith.addi %[[Q]], %[[HALF]]
// CHECK-NEXT: %[[SHIFTED:.*]] = arith.shrsi %[[ABOVE]], %[[EIGHT]]
// CHECK-NEXT: %[[H:.*]] = arith.trunci %[[SHIFTED]] : vector<16xi32> to vector<16xi8>
// CHECK-NEXT: vector.store %[[H]], %arg1
// CHECK: arith.addi %{{.*}}, %[[Q]]
// CHECK: memref.store %{{.*}}, %arg4[%{{.*}}, %c0]
func.func @quantize16(%x: memref<1x32xf32>, %h: memref<1x32xi8>, %l: memref<1x32xi8>, %a: memref<1x16xf32>, %s: memref<1x16xi32>, %n: index, %b: index, %e: index) {
  tbq.quantize_activations %x columns 32 group 32 into(%h, %l, %a, %s) count(%n) range(%b, %e) : (memref<1x32xf32>, memref<1x32xi8>, memref<1x32xi8>, memref<1x16xf32>, memref<1x16xi32>, index, index, index) -> ()
  return
}

// Groups of an 8-bit head may be no whole vectors: of 20 columns, the second
// vector has 4. The last group takes the row's padding along.
// CHECK-LABEL: func.func @short_groups(
// CHECK: scf.for %[[GROUP:.*]] = %c0 to %c2 step %c1
// CHECK: %[[FIRST:.*]] = arith.muli %[[GROUP]], %c20
// CHECK: vector.load %arg0[%{{.*}}, %[[FIRST]]]
// CHECK: vector.store %{{.*}}, %arg1[%{{.*}}, %[[FIRST]]]
// CHECK: %[[SECOND:.*]] = arith.addi %[[FIRST]], %c16
// CHECK: %[[MASK:.*]] = vector.constant_mask [4] : vector<16xi1>
// CHECK: vector.maskedload %arg0[%{{.*}}, %[[SECOND]]], %[[MASK]]
// CHECK: vector.maskedstore %arg1[%{{.*}}, %[[SECOND]]], %[[MASK]]
// CHECK: memref.store %{{.*}}, %arg3[%{{.*}}, %[[GROUP]]]
// CHECK: vector.load %arg0[%{{.*}}, %c40]
// CHECK: %[[REST:.*]] = vector.constant_mask [8] : vector<16xi1>
// CHECK: vector.maskedload %arg0[%{{.*}}, %c56], %[[REST]]
// CHECK: memref.store %{{.*}}, %arg3[%{{.*}}, %c2]
// CHECK: scf.for %{{.*}} = %c0 to %c2 step %c1
// CHECK: %[[FOUR:.*]] = vector.constant_mask [4] : vector<16xi1>
// CHECK: vector.maskedload %arg0[%{{.*}}, %{{.*}}], %[[FOUR]]
// CHECK: vector.reduction <add>
func.func @short_groups(%x: memref<1x64xf32>, %q: memref<1x64xi8>, %a: memref<1x16xf32>, %s: memref<1x16xi32>, %f: memref<1x16xf32>, %n: index, %b: index, %e: index) {
  tbq.quantize_activations %x columns 60 group 20 into(%q, %a, %s) count(%n) range(%b, %e) : (memref<1x64xf32>, memref<1x64xi8>, memref<1x16xf32>, memref<1x16xi32>, index, index, index) -> ()
  tbq.group_sums %x columns 60 group 20 into(%f) count(%n) range(%b, %e) : (memref<1x64xf32>, memref<1x16xf32>, index, index, index) -> ()
  return
}
