// RUN: tbq-opt %s --tbq-narrow-loops | FileCheck %s
// A loop counts in 32 bits where it cannot pass them, a step past its end too.

// CHECK-LABEL: func.func @known(
func.func @known(%n: index, %into: memref<4096xf32>, %x: f32) -> f32 {
  %zero = arith.constant 0 : index
  %four = arith.constant 4 : index
  %most = arith.constant 4095 : index
  %end = arith.minui %n, %most : index
  // CHECK: %[[BEGIN:.*]] = arith.index_castui %{{.*}} : index to i32
  // CHECK: %[[END:.*]] = arith.index_castui %{{.*}} : index to i32
  // CHECK: %[[STEP:.*]] = arith.index_castui %{{.*}} : index to i32
  // CHECK: scf.for %[[I:.*]] = %[[BEGIN]] to %[[END]] step %[[STEP]] iter_args(%{{.*}} = %{{.*}}) -> (f32) : i32 {
  // CHECK: %[[INDEX:.*]] = arith.index_castui %[[I]] : i32 to index
  // CHECK: memref.store %{{.*}}, %{{.*}}[%[[INDEX]]]
  %sum = scf.for %i = %zero to %end step %four iter_args(%before = %x) -> f32 {
    %next = arith.addf %before, %x : f32
    memref.store %next, %into[%i] : memref<4096xf32>
    scf.yield %next : f32
  }
  return %sum : f32
}

// CHECK-LABEL: func.func @unknown(
func.func @unknown(%n: index, %into: memref<?xf32>, %x: f32) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  // CHECK: scf.for %{{[a-z0-9]+}} = %{{[a-z0-9]+}} to %{{[a-z0-9]+}} step %{{[a-z0-9]+}} {
  scf.for %i = %zero to %n step %one {
    memref.store %x, %into[%i] : memref<?xf32>
  }
  return
}

// The last step goes past 2^31.
// CHECK-LABEL: func.func @passes(
func.func @passes(%n: index, %into: memref<?xf32>, %x: f32) {
  %zero = arith.constant 0 : index
  %step = arith.constant 8 : index
  %most = arith.constant 2147483640 : index
  %end = arith.minui %n, %most : index
  // CHECK: scf.for %{{[a-z0-9]+}} = %{{[a-z0-9]+}} to %{{[a-z0-9]+}} step %{{[a-z0-9]+}} {
  scf.for %i = %zero to %end step %step {
    memref.store %x, %into[%i] : memref<?xf32>
  }
  return
}

// It may be less than 0.
// CHECK-LABEL: func.func @below(
func.func @below(%n: index, %into: memref<?xf32>, %x: f32) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %most = arith.constant 4095 : index
  %end = arith.minsi %n, %most : index
  // CHECK: scf.for %{{[a-z0-9]+}} = %{{[a-z0-9]+}} to %{{[a-z0-9]+}} step %{{[a-z0-9]+}} {
  scf.for %i = %zero to %end step %one {
    memref.store %x, %into[%i] : memref<?xf32>
  }
  return
}
