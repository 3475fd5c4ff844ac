// RUN: tbq-opt %s --tbq-tile-cache | FileCheck %s
// f16 keys and values lie in tiles, f32 ones as they did: in arguments, in what
// ops say of their cache and in a layer's.

// CHECK-DAG: ![[HALF:cache[0-9]*]] = !tbq.cache<2 layers, 1 by 16, 32 tokens, f16, tiled>
// CHECK-DAG: ![[FLOAT:cache[0-9]*]] = !tbq.cache<2 layers, 1 by 16, 32 tokens, f32>
!half = !tbq.cache<2 layers, 1 by 16, 32 tokens, f16>
!float = !tbq.cache<2 layers, 1 by 16, 32 tokens, f32>

// CHECK: @forward(%{{.*}}: tensor<?x16xf32>, %[[CACHE:.*]]: ![[HALF]], %[[OTHER:.*]]: ![[FLOAT]]
// CHECK: tbq.append_cache %{{.*}}, %[[CACHE]][%{{.*}}] at %{{.*}} tokens %{{.*}} ![[HALF]] : {{.*}}![[HALF]]
// CHECK: tbq.attention %{{.*}}, %[[CACHE]][%{{.*}}] at %{{.*}} ![[HALF]] : {{.*}}![[HALF]]
// CHECK: tbq.append_cache %{{.*}}, %[[OTHER]][%{{.*}}] at %{{.*}} tokens %{{.*}} ![[FLOAT]] : {{.*}}![[FLOAT]]
func.func @forward(%x: tensor<?x16xf32>, %half: !half, %float: !float, %i: index) -> tensor<?x16xf32> {
  tbq.append_cache %x, %x, %half[%i] at %i tokens %i !half
    : (tensor<?x16xf32>, tensor<?x16xf32>, !half, index, index, index) -> ()
  %y = tbq.attention %x, %half[%i] at %i heads 1 scale 1.0 !half
    : (tensor<?x16xf32>, !half, index, index) -> tensor<?x16xf32>
  tbq.append_cache %x, %x, %float[%i] at %i tokens %i !float
    : (tensor<?x16xf32>, tensor<?x16xf32>, !float, index, index, index) -> ()
  return %y : tensor<?x16xf32>
}
