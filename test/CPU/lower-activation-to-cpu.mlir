// RUN: tbq-opt %s --tbq-lower-step-to-cpu=fma --canonicalize --cse | FileCheck %s
// relu keeps what is not below zero, which what is not a number is neither. gelu
// takes exp of the square of u's upper half, which is exact, apart from the rest.

// CHECK-LABEL: func.func @relu(
// CHECK-DAG: %[[ZEROS:.*]] = arith.constant dense<0.000000e+00> : vector<16xf32>
// CHECK: %[[X:.*]] = vector.load %arg0
// CHECK: %[[NEGATIVE:.*]] = arith.cmpf olt, %[[X]], %[[ZEROS]]
// CHECK: %[[Y:.*]] = arith.select %[[NEGATIVE]], %[[ZEROS]], %[[X]]
// CHECK: vector.store %[[Y]], %arg1
func.func @relu(%x: memref<1x32xf32>, %y: memref<1x32xf32>, %n: index, %b: index, %e: index) {
  tbq.activation %x relu into(%y) count(%n) range(%b, %e) : (memref<1x32xf32>, memref<1x32xf32>, index, index, index) -> ()
  return
}

// CHECK-LABEL: func.func @gelu(
// CHECK-DAG: %[[ONE:.*]] = arith.constant dense<1.000000e+00> : vector<16xf32>
// CHECK-DAG: %[[END:.*]] = arith.constant dense<1.500000e+01> : vector<16xf32>
// CHECK-DAG: %[[UPPER:.*]] = arith.constant dense<-4096> : vector<16xi32>
// CHECK: %[[X:.*]] = vector.load %arg0
// CHECK: %[[A:.*]] = math.absf %[[X]]
// CHECK: %[[U:.*]] = arith.minnumf %[[A]], %[[END]]
// CHECK: %[[DIVISOR:.*]] = math.fma %[[U]], %{{.*}}, %[[ONE]]
// CHECK: %[[T:.*]] = arith.divf %[[ONE]], %[[DIVISOR]]
// CHECK-COUNT-9: math.fma %{{.*}}, %[[T]], %{{.*}}
// CHECK: %[[BITS:.*]] = arith.andi %{{.*}}, %[[UPPER]]
// CHECK: %[[HIGH:.*]] = arith.bitcast %[[BITS]]
// CHECK-COUNT-2: math.exp
// CHECK: %[[NEGATIVE:.*]] = arith.cmpf olt, %[[X]]
// CHECK: %[[BELOW:.*]] = arith.subf %[[ONE]], %[[ABOVE:.*]] : vector
// CHECK: %[[SHARE:.*]] = arith.select %[[NEGATIVE]], %[[ABOVE]], %[[BELOW]]
// CHECK: arith.mulf %[[X]], %[[SHARE]]
func.func @gelu(%x: memref<1x32xf32>, %y: memref<1x32xf32>, %n: index, %b: index, %e: index) {
  tbq.activation %x gelu into(%y) count(%n) range(%b, %e) : (memref<1x32xf32>, memref<1x32xf32>, index, index, index) -> ()
  return
}
