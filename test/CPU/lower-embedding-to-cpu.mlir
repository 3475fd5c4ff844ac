// RUN: tbq-opt %s --tbq-lower-step-to-cpu --canonicalize --cse | FileCheck %s
// A row of digits: each slot of a step is 4 bytes of the row's lane, 4 columns.
// Exact: the integer in the bracket is converted once and multiplied once.

// CHECK-NOT: into(

// Row id / 16 is the tile, of 2 groups of 16 columns (288 bytes each) and one of
// 4 (96); id modulo 16 the lane. Column 4 s is step s, 64 bytes on.
!int8 = !tbq.packed<40x36, digits [8], terms [[1, -128]], group 16, tile 16>
// CHECK-LABEL: func.func @int8(
// CHECK-DAG: %[[OFFSET:.*]] = arith.constant dense<-128> : vector<4xi32>
// CHECK: %[[T:.*]] = memref.load %arg0[%[[TOKEN:.*]]]
// CHECK: %[[ID:.*]] = arith.index_castui %[[T]]
// CHECK: %[[TILENUMBER:.*]] = arith.divui %[[ID]], %c16
// CHECK: %[[TILE:.*]] = arith.muli %[[TILENUMBER]], %c672
// CHECK: %[[LANE:.*]] = arith.remui %[[ID]], %c16
// CHECK: scf.for %[[GROUP:.*]] = %c0 to %c2 step %c1
// CHECK: %[[BEFORE:.*]] = arith.muli %[[GROUP]], %c288
// CHECK: %[[AT:.*]] = arith.addi %[[TILE]], %[[BEFORE]]
// CHECK: %[[FIRST:.*]] = arith.muli %[[GROUP]], %c16
// The scale lies behind the group's digits.
// CHECK: arith.addi %[[AT]], %c256
// CHECK: arith.muli %[[LANE]], %c2
// CHECK: arith.extf %{{.*}} : vector<1xf16> to vector<1xf32>
// CHECK: %[[A:.*]] = vector.broadcast %{{.*}} : f32 to vector<4xf32>
// CHECK: scf.for %[[STEP:.*]] = %c0 to %c4 step %c1
// CHECK: arith.muli %[[STEP]], %c64
// CHECK: arith.muli %[[STEP]], %c4
// CHECK: arith.muli %[[LANE]], %c4
// CHECK: vector.load %{{.*}} vector<4xi8>
// CHECK: %[[DIGITS:.*]] = arith.extui %{{.*}} : vector<4xi8> to vector<4xi32>
// CHECK: %[[Q:.*]] = arith.addi %{{.*}}, %[[OFFSET]]
// CHECK: %[[BRACKET:.*]] = arith.sitofp %[[Q]]
// CHECK: %[[ROW:.*]] = arith.mulf %[[BRACKET]], %[[A]]
// CHECK: vector.store %[[ROW]], %arg1[%[[TOKEN]], %{{.*}}] : memref<1x48xf32>, vector<4xf32>
// The last group, then zeros up to the end of the row's padding.
// CHECK: arith.addi %[[TILE]], %c576
// CHECK: vector.store %{{.*}}, %arg1[%[[TOKEN]], %c32]
// CHECK-COUNT-12: memref.store %{{.*}}, %arg1[%[[TOKEN]],
// CHECK-NOT: memref.store
func.func @int8(%t: memref<1xi32>, %y: memref<1x48xf32>, %section: memref<65536xi8>, %n: index, %b: index, %e: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !int8
  tbq.embedding %t, %w into(%y) count(%n) range(%b, %e) : (memref<1xi32>, !int8, memref<1x48xf32>, index, index, index) -> ()
  return
}

// A step of 4 bits has two slots: the low halves of the bytes, then the high
// ones. Of the last step only the first slot begins within the row, and what it
// writes past the end is overwritten.
!int4 = !tbq.packed<40x19, digits [4], terms [[1, -8]], group 19, tile 16>
// CHECK-LABEL: func.func @int4(
// CHECK-DAG: %[[LOW:.*]] = arith.constant dense<15> : vector<4xi32>
// CHECK-DAG: %[[FOUR:.*]] = arith.constant dense<4> : vector<4xi32>
// CHECK-DAG: %[[OFFSET:.*]] = arith.constant dense<-8> : vector<4xi32>
// CHECK: scf.for %{{.*}} = %c0 to %c2 step %c1
// CHECK: %[[BYTES:.*]] = arith.extui
// CHECK: %[[D:.*]] = arith.andi %[[BYTES]], %[[LOW]]
// CHECK: arith.addi %[[D]], %[[OFFSET]]
// CHECK: vector.store
// CHECK: %[[HIGH:.*]] = arith.shrui %{{.*}}, %[[FOUR]]
// CHECK: arith.addi %[[HIGH]], %[[OFFSET]]
// CHECK: vector.store
// CHECK: vector.store %{{.*}}, %arg1[%{{.*}}, %c16]
// CHECK-NOT: vector.store
// CHECK-COUNT-13: memref.store %{{.*}}, %arg1[%{{.*}},
func.func @int4(%t: memref<1xi32>, %y: memref<1x32xf32>, %section: memref<65536xi8>, %n: index, %b: index, %e: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !int4
  tbq.embedding %t, %w into(%y) count(%n) range(%b, %e) : (memref<1xi32>, !int4, memref<1x32xf32>, index, index, index) -> ()
  return
}

// Any layout: planes of 1 and of 4 bits, two coefficients. The step of 1 bit
// covers 32 columns, so four of 4 bits stand beside it.
!mixed = !tbq.packed<16x32, digits [1, 4], terms [[2, 0, -1], [0, 3, 5]], group 32, tile 16>
// CHECK-LABEL: func.func @mixed(
// CHECK-DAG: %[[TWO:.*]] = arith.constant dense<2> : vector<4xi32>
// CHECK-DAG: %[[THREE:.*]] = arith.constant dense<3> : vector<4xi32>
// CHECK-DAG: %[[FIVE:.*]] = arith.constant dense<5> : vector<4xi32>
// CHECK-DAG: %[[MINUS:.*]] = arith.constant dense<-1> : vector<4xi32>
// CHECK: %[[B:.*]] = arith.muli %{{.*}}, %[[TWO]]
// CHECK: %[[SIGN:.*]] = arith.addi %[[B]], %[[MINUS]]
// CHECK: %[[FIRST:.*]] = arith.sitofp %[[SIGN]]
// CHECK: %[[PART:.*]] = arith.mulf %[[FIRST]],
// CHECK: %[[D:.*]] = arith.muli %{{.*}}, %[[THREE]]
// CHECK: %[[VALUE:.*]] = arith.addi %[[D]], %[[FIVE]]
// CHECK: %[[SECOND:.*]] = arith.sitofp %[[VALUE]]
// CHECK: %[[MORE:.*]] = arith.mulf %[[SECOND]],
// CHECK: arith.addf %[[MORE]], %[[PART]]
// CHECK-COUNT-8: vector.store
// CHECK-NOT: vector.store
func.func @mixed(%t: memref<1xi32>, %y: memref<1x32xf32>, %section: memref<65536xi8>, %n: index, %b: index, %e: index) {
  %w = tbq.placed_weight [0] in %section : memref<65536xi8> : !mixed
  tbq.embedding %t, %w into(%y) count(%n) range(%b, %e) : (memref<1xi32>, !mixed, memref<1x32xf32>, index, index, index) -> ()
  return
}
