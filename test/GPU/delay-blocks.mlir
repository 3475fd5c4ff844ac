// RUN: tbq-opt %s --tbq-delay-blocks --canonicalize | FileCheck %s
// Each warp sleeps before a barrier and behind it; of two halves, before the
// first and behind the second.

// CHECK-LABEL: func.func @whole(
// CHECK: nvvm.read.ptx.sreg.clock
// CHECK: %[[BITS:.*]] = arith.shrui %{{.*}}, %c20_i32
// CHECK-NEXT: nvvm.nanosleep %[[BITS]]
// CHECK-NEXT: tbq.barrier
// CHECK: nvvm.nanosleep
// CHECK: return
func.func @whole(%team: !tbq.team) {
  tbq.barrier %team
  return
}

// CHECK-LABEL: func.func @halves(
// CHECK: nvvm.nanosleep
// CHECK-NEXT: tbq.barrier %{{.*}} {tbq.arrives}
// CHECK-NEXT: tbq.barrier %{{.*}} {tbq.waits}
// CHECK: nvvm.nanosleep
// CHECK: return
func.func @halves(%team: !tbq.team) {
  tbq.barrier %team {tbq.arrives}
  tbq.barrier %team {tbq.waits}
  return
}
