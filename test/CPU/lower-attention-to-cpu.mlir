// RUN: tbq-opt %s --tbq-lower-step-to-cpu="fma registers=32" --canonicalize --cse | FileCheck %s
// RUN: tbq-opt %s --tbq-lower-step-to-cpu="fma registers=3" --canonicalize --cse | FileCheck %s --check-prefix=FEW
// Attention by groups of queries that share a kv head, of 24 features in rows
// of 32: heads of a token, and in prefill tokens too.

!kv = !tbq.cache<2 layers, 1 by 24, 40 tokens, f16>
!two = !tbq.cache<1 layers, 2 by 16, 40 tokens, f16>
!wide = !tbq.cache<1 layers, 1 by 64, 40 tokens, f32>

// A worker's heads of one token, two together, and one that is left. Blocks of
// 16 absolute positions, up to the token's own; keys after it weigh nothing and
// their values are not read. A span of 16 blocks has one largest score, of its
// own. Each block's values are summed from zero and added to those of its span,
// and a span to those before.
// CHECK-LABEL: func.func @decode(
// CHECK-DAG: %[[NEVER:.*]] = arith.constant dense<0xFF800000> : vector<16xf32>
// CHECK-DAG: %[[LOWEST:.*]] = arith.constant dense<-1.000000e+30> : vector<16xf32>
// CHECK-DAG: %[[UNIT:.*]] = arith.constant dense<1.000000e+00> : vector<16xf32>
// CHECK-DAG: %[[SCALE:.*]] = arith.constant dense<5.000000e-01> : vector<16xf32>
// CHECK-DAG: %[[LANE_NUMBERS:.*]] = arith.constant dense<[0, 1, 2, {{.*}}]> : vector<16xi32>
// CHECK: %[[SCORES:.*]] = memref.alloca() {alignment = 64 : i64} : memref<16x2x16xf32>
// CHECK: scf.for %[[TOKEN:.*]] = %{{.*}} to %{{.*}} step %c1
// CHECK: %[[START:.*]] = arith.muli %[[TOKEN]], %c2
// CHECK: %[[FROM:.*]] = arith.maxui %arg6, %[[START]]
// CHECK: %[[AFTER:.*]] = arith.addi %[[START]], %c2
// CHECK: %[[TO:.*]] = arith.minui %arg7, %[[AFTER]]
// CHECK: %[[OWN:.*]] = arith.subi %[[TO]], %[[FROM]]
// CHECK: %[[ODD:.*]] = arith.remui %[[OWN]], %c2
// CHECK: %[[EVEN:.*]] = arith.subi %[[TO]], %[[ODD]]
// CHECK: scf.for %{{.*}} = %[[FROM]] to %[[EVEN]] step %c2
// CHECK: %[[POSITION:.*]] = arith.addi %arg4, %[[TOKEN]]
// CHECK: %[[LIMIT:.*]] = arith.addi %[[POSITION]], %c1
// CHECK: %[[WHOLE:.*]] = arith.divui %[[POSITION]], %c16
// CHECK: %[[BLOCKS:.*]] = arith.addi %[[WHOLE]], %c1
// CHECK: %[[AHEAD:.*]] = arith.minui %[[BLOCKS]], %c8
// CHECK: %[[LAST:.*]] = arith.subi %[[BLOCKS]], %[[AHEAD]]
// CHECK: %[[WITHIN:.*]] = arith.muli %[[AHEAD]], %c768
// CHECK: scf.for %[[SPAN:.*]] = %c0 to %[[BLOCKS]] step %c16 iter_args(%[[SEEN_LARGEST:.*]] = %[[LOWEST]], %[[SEEN:.*]] = %[[ZERO:.*]], %{{.*}} = %[[ZERO]], %{{.*}} = %[[ZERO]], %{{.*}} = %[[ZERO]], %{{.*}} = %[[ZERO]], %{{.*}} = %[[ZERO]])
// CHECK: %[[NEXT:.*]] = arith.addi %[[SPAN]], %c16
// CHECK: %[[END:.*]] = arith.minui %[[NEXT]], %[[BLOCKS]]
// Scores of a block: a key is loaded once for both heads, which have two sums
// each, and every other row asks for what comes eight blocks of 768 bytes later,
// where there is any: no other kv head comes after this one.
// CHECK: scf.for %[[BLOCK:.*]] = %[[SPAN]] to %[[END]] step %c1 iter_args(%[[MOST:.*]] = %[[NEVER]], %{{.*}} = %[[NEVER]])
// CHECK: %[[FIRST:.*]] = arith.muli %[[BLOCK]], %c16
// CHECK: %[[LEFT:.*]] = arith.subi %[[LIMIT]], %[[FIRST]]
// CHECK: %[[COUNT:.*]] = arith.index_cast %[[LEFT]]
// CHECK: %[[COUNTS:.*]] = vector.broadcast %[[COUNT]]
// CHECK: %[[VISIBLE:.*]] = arith.cmpi sgt, %[[COUNTS]], %[[LANE_NUMBERS]]
// CHECK: %[[IS_BEFORE:.*]] = arith.cmpi ult, %[[BLOCK]], %[[LAST]]
// CHECK: %[[DISTANCE:.*]] = arith.select %[[IS_BEFORE]], %[[WITHIN]], %c0
// CHECK: scf.for %{{.*}} = %c0 to %c24 step %c8 iter_args(%[[A:.*]] = %{{.*}}, %[[B:.*]] = %{{.*}}, %[[C:.*]] = %{{.*}}, %[[D:.*]] = %{{[^)]*}})
// CHECK: %[[LATER:.*]] = arith.addi %{{.*}}, %[[DISTANCE]]
// CHECK: memref.prefetch %arg1[%[[LATER]]], read, locality<2>, data
// CHECK: %[[KEY:.*]] = arith.extf
// CHECK: math.fma %{{.*}}, %[[KEY]], %[[A]]
// CHECK: math.fma %{{.*}}, %[[KEY]], %[[C]]
// CHECK-NOT: memref.prefetch
// CHECK: %[[OTHER:.*]] = arith.extf
// CHECK: math.fma %{{.*}}, %[[OTHER]], %[[B]]
// CHECK: math.fma %{{.*}}, %[[OTHER]], %[[D]]
// CHECK: memref.prefetch
// CHECK: scf.yield
// CHECK: arith.mulf %{{.*}}, %[[SCALE]]
// CHECK: %[[SCORE:.*]] = arith.select %[[VISIBLE]], %{{.*}}, %[[NEVER]]
// CHECK: vector.store %[[SCORE]], %[[SCORES]][%{{.*}}, %c0, %c0]
// CHECK: %[[IS_LARGER:.*]] = arith.cmpf ogt, %[[SCORE]], %[[MOST]]
// CHECK: arith.select %[[IS_LARGER]], %[[SCORE]], %[[MOST]]
// The largest of each 16 in four steps, the two heads in one vector.
// CHECK: vector.shuffle %[[S:.*]], %[[T:.*]] [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23]
// CHECK-NEXT: vector.shuffle %[[S]], %[[T]] [8, 9, 10, 11, 12, 13, 14, 15, 24, 25,
// CHECK-NEXT: arith.maxnumf
// CHECK-NEXT: vector.shuffle {{.*}} [0, 1, 2, 3, 8, 9, 10, 11,
// CHECK-NEXT: vector.shuffle {{.*}} [4, 5, 6, 7, 12, 13, 14, 15,
// CHECK-NEXT: arith.maxnumf
// CHECK-NEXT: vector.shuffle {{.*}} [0, 1, 4, 5,
// CHECK-NEXT: vector.shuffle {{.*}} [2, 3, 6, 7,
// CHECK-NEXT: arith.maxnumf
// CHECK-NEXT: vector.shuffle {{.*}} [0, 2, 4, 6,
// CHECK-NEXT: vector.shuffle {{.*}} [1, 3, 5, 7,
// CHECK-NEXT: %[[SPAN_LARGEST:.*]] = arith.maxnumf
// CHECK-NEXT: %[[NEWEST:.*]] = arith.maxnumf %[[SPAN_LARGEST]], %[[LOWEST]]
// CHECK-NEXT: %[[ONE:.*]] = vector.shuffle %[[NEWEST]], %[[NEWEST]] [0, 0, 0,
// Then the span's weights of each head, which stand in place of its scores.
// CHECK-NEXT: %[[WEIGHTS:.*]] = scf.for %{{.*}} = %[[SPAN]] to %[[END]] step %c1 iter_args(%[[WEIGHED:.*]] = %[[ZERO]])
// CHECK: %[[OLD:.*]] = vector.load %[[SCORES]][%[[ROW:.*]], %c0, %c0]
// CHECK-NEXT: arith.subf %[[OLD]], %[[ONE]]
// CHECK-NEXT: %[[WEIGHT:.*]] = math.exp
// CHECK-NEXT: vector.store %[[WEIGHT]], %[[SCORES]][%[[ROW]], %c0, %c0]
// CHECK-NEXT: arith.addf %[[WEIGHED]], %[[WEIGHT]]
// CHECK: %[[TWO:.*]] = vector.shuffle %[[NEWEST]], %[[NEWEST]] [1, 1, 1,
// CHECK-NEXT: scf.for %{{.*}} = %[[SPAN]] to %[[END]] step %c1 iter_args(%{{.*}} = %[[ZERO]])
// CHECK: arith.subf %{{.*}}, %[[TWO]]
// CHECK-NEXT: math.exp
// Two queries are few: both vectors of a value at once.
// CHECK: %[[SUMS:.*]]:4 = scf.for %[[BLOCK:.*]] = %[[SPAN]] to %[[END]] step %c1 iter_args(%[[BEFORE:.*]] = %[[ZERO]], %{{.*}} = %[[ZERO]], %{{.*}} = %[[ZERO]], %{{.*}} = %[[ZERO]])
// CHECK: %[[VALUES:.*]] = arith.muli %[[BLOCK]], %c16
// CHECK: %[[VALUES_END:.*]] = arith.addi %[[VALUES]], %c16
// CHECK: %[[KEYS_END:.*]] = arith.minui %[[LIMIT]], %[[VALUES_END]]
// CHECK: %[[BLOCK_SUMS:.*]]:4 = scf.for %{{.*}} = %[[VALUES]] to %[[KEYS_END]] step %c1 iter_args(%{{.*}} = %[[ZERO]], %{{.*}} = %[[ZERO]], %{{.*}} = %[[ZERO]], %{{.*}} = %[[ZERO]])
// CHECK: memref.prefetch
// CHECK: arith.extf
// CHECK-NOT: memref.prefetch
// CHECK: arith.extf
// CHECK-NOT: arith.extf
// CHECK-COUNT-4: math.fma
// CHECK: arith.addf %[[BEFORE]], %[[BLOCK_SUMS]]#0
// Both heads' decay is one exponential, of those sums whose largest score is the
// smaller one.
// CHECK: %[[IS_NEW:.*]] = arith.cmpf ogt, %[[NEWEST]], %[[SEEN_LARGEST]]
// CHECK-NEXT: %[[LARGER:.*]] = arith.select %[[IS_NEW]], %[[NEWEST]], %[[SEEN_LARGEST]]
// CHECK-NEXT: %[[SMALLER:.*]] = arith.select %[[IS_NEW]], %[[SEEN_LARGEST]], %[[NEWEST]]
// CHECK-NEXT: arith.subf %[[SMALLER]], %[[LARGER]]
// CHECK-NEXT: %[[DECAYS:.*]] = math.exp
// CHECK-NEXT: %[[OF_SEEN:.*]] = arith.select %[[IS_NEW]], %[[DECAYS]], %[[UNIT]]
// CHECK-NEXT: %[[OF_SPAN:.*]] = arith.select %[[IS_NEW]], %[[UNIT]], %[[DECAYS]]
// CHECK-NEXT: %[[DECAY:.*]] = vector.shuffle %[[OF_SEEN]], %[[OF_SEEN]] [0, 0, 0,
// CHECK-NEXT: %[[SPAN_DECAY:.*]] = vector.shuffle %[[OF_SPAN]], %[[OF_SPAN]] [0, 0, 0,
// CHECK-NEXT: %[[DECAYED:.*]] = arith.mulf %[[WEIGHTS]], %[[SPAN_DECAY]]
// CHECK-NEXT: math.fma %[[SEEN]], %[[DECAY]], %[[DECAYED]]
// CHECK-COUNT-2: math.fma %{{.*}}, %[[DECAY]], %
// CHECK-NEXT: vector.shuffle %[[OF_SEEN]], %[[OF_SEEN]] [1, 1, 1,
// CHECK-COUNT-3: math.fma
// CHECK: vector.reduction <add>
// CHECK: vector.store %{{.*}}, %arg2
// CHECK: %[[MASK:.*]] = vector.constant_mask [8] : vector<16xi1>
// CHECK: vector.maskedstore %arg2[%[[TOKEN]], %{{.*}}], %[[MASK]]
// One head.
// CHECK: scf.for %{{.*}} = %[[EVEN]] to %[[TO]] step %c1
// CHECK: scf.for %{{.*}} = %c0 to %{{.*}} step %c16
// CHECK: scf.for %{{.*}} = %c0 to %c24 step %c8
// CHECK-COUNT-8: math.fma
// CHECK-NEXT: scf.yield
func.func @decode(%q: memref<1x48xf32>, %cache: memref<8192xi8>, %y: memref<1x48xf32>, %l: index, %p: index, %n: index, %b: index, %e: index) {
  tbq.attention %q, %cache[%l] at %p heads 2 scale 0.5 !kv into(%y) count(%n) range(%b, %e) : (memref<1x48xf32>, memref<8192xi8>, index, index, memref<1x48xf32>, index, index, index) -> ()
  return
}

// Of tokens that are this worker's with all heads, four go together: heads of
// one kv head. Then the heads of tokens that it has a part of, and tokens left,
// before and after those.
// CHECK-LABEL: func.func @prefill(
// CHECK: memref.alloca() {alignment = 64 : i64} : memref<16x12x16xf32>
// CHECK: %[[UP:.*]] = arith.addi %arg6, %c2
// CHECK: %[[FIRST:.*]] = arith.divui %[[UP]], %c3
// CHECK: %[[DOWN:.*]] = arith.divui %arg7, %c3
// CHECK: %[[UNTIL:.*]] = arith.maxui %[[FIRST]], %[[DOWN]]
// CHECK: %[[WHOLE:.*]] = arith.subi %[[UNTIL]], %[[FIRST]]
// CHECK: %[[REST:.*]] = arith.remui %[[WHOLE]], %c4
// CHECK: %[[LAST:.*]] = arith.subi %[[UNTIL]], %[[REST]]
// CHECK: scf.for %[[TOKEN:.*]] = %[[FIRST]] to %[[LAST]] step %c4
// CHECK: %[[POSITION:.*]] = arith.addi %arg4, %[[TOKEN]]
// CHECK: %[[LIMIT:.*]] = arith.addi %[[POSITION]], %c1
// Twelve queries, of which each sees as many keys as its token may: 24 sums.
// CHECK: scf.for %{{.*}} = %{{.*}} to %{{.*}} step %c1
// CHECK-COUNT-4: arith.cmpi sgt
// CHECK: scf.for %{{.*}} = %c0 to %c24 step %c4
// CHECK-COUNT-48: math.fma
// CHECK-NOT: math.fma
// CHECK: math.exp
// Many queries: one vector of a value at a time, of all blocks before the next.
// Values that all four tokens see, then those that only later ones do: an
// infinite one must not meet a weight of 0.
// CHECK: %[[COMMON:.*]] = arith.minui %[[LIMIT]], %{{.*}}
// CHECK: scf.for %{{.*}} = %[[BEGIN:.*]] to %[[COMMON]] step %c1
// CHECK-NOT: arith.select
// CHECK: arith.extf
// CHECK-NOT: arith.extf
// CHECK-COUNT-12: math.fma
// CHECK-NEXT: scf.yield
// CHECK: %[[THEN:.*]] = arith.maxui %[[BEGIN]], %[[COMMON]]
// CHECK: scf.for %[[KEY:.*]] = %[[THEN]] to %{{.*}} step %c1
// CHECK: %[[MORE:.*]] = math.fma %{{.*}}, %{{.*}}, %[[BEFORE:.*]] :
// CHECK-NEXT: %[[SEES:.*]] = arith.cmpi ult, %[[KEY]], %[[LIMIT]]
// CHECK-NEXT: arith.select %[[SEES]], %[[MORE]], %[[BEFORE]]
// What pads the row, for each of the four tokens: those of the last head.
// CHECK: %[[ALL:.*]] = arith.cmpi
// CHECK-COUNT-4: memref.store %{{.*}}, %arg2[%{{.*}}, %c79]
// CHECK: %[[HEAD_END:.*]] = arith.muli %[[FIRST]], %c3
// CHECK: %[[BEFORE_END:.*]] = arith.minui %[[HEAD_END]], %arg7
// CHECK: %[[LAST_END:.*]] = arith.muli %[[LAST]], %c3
// CHECK: %[[AFTER:.*]] = arith.maxui %[[LAST_END]], %[[BEFORE_END]]
// CHECK: scf.for %[[SIDE:.*]] = %c0 to %c2 step %c1
// CHECK: %[[IS_AFTER:.*]] = arith.cmpi
// CHECK-DAG: arith.select %[[IS_AFTER]], %[[AFTER]], %arg6
// CHECK-DAG: arith.select %[[IS_AFTER]], %arg7, %[[BEFORE_END]]
// CHECK: scf.for %{{.*}} = %{{.*}} to %{{.*}} step %c3
// CHECK: scf.for %{{.*}} = %{{.*}} to %{{.*}} step %c2
func.func @prefill(%q: memref<16x80xf32>, %cache: memref<8192xi8>, %y: memref<16x80xf32>, %l: index, %p: index, %n: index, %b: index, %e: index) {
  tbq.attention %q, %cache[%l] at %p heads 3 scale 0.5 !kv into(%y) count(%n) range(%b, %e) : (memref<16x80xf32>, memref<8192xi8>, index, index, memref<16x80xf32>, index, index, index) -> ()
  return
}

// Two kv heads, one after the other: the last blocks of the first one's keys ask
// for the second's, 1536 bytes after their own.
// CHECK-LABEL: func.func @two(
// CHECK: scf.for %[[PIECE:.*]] = %arg6 to %arg7 step %c1
// CHECK: %[[KV_HEAD:.*]] = arith.remui %[[PIECE]], %c2
// CHECK: %[[NEXT:.*]] = arith.minui %{{.*}}, %{{.*}}
// CHECK-NEXT: %[[NEXT_HEAD:.*]] = arith.remui %[[NEXT]], %c2
// CHECK-NEXT: %[[HAS_NEXT:.*]] = arith.cmpi ult, %[[KV_HEAD]], %[[NEXT_HEAD]]
// CHECK: %[[AHEAD:.*]] = arith.minui %[[BLOCKS:.*]], %c12
// CHECK: %[[LAST:.*]] = arith.subi %[[BLOCKS]], %[[AHEAD]]
// CHECK: %[[SKIPPED:.*]] = arith.muli %[[LAST]], %c512
// CHECK: %[[BEYOND:.*]] = arith.subi %c1536, %[[SKIPPED]]
// CHECK: arith.select %[[HAS_NEXT]], %[[BEYOND]], %c0
func.func @two(%q: memref<1x32xf32>, %cache: memref<8192xi8>, %y: memref<1x32xf32>, %l: index, %p: index, %n: index, %b: index, %e: index) {
  tbq.attention %q, %cache[%l] at %p heads 2 scale 0.5 !two into(%y) count(%n) range(%b, %e) : (memref<1x32xf32>, memref<8192xi8>, index, index, memref<1x32xf32>, index, index, index) -> ()
  return
}

// Registers for two sums: one query at a time, a block at a time, and the
// values of two vectors of its features, then of the other two. A vector of f32
// is a line of the cache.
// FEW-LABEL: func.func @wide(
// FEW: memref.alloca() {alignment = 64 : i64} : memref<16x1x16xf32>
// FEW: scf.for %[[SPAN:.*]] = %c0 to %{{.*}} step %c16 iter_args(
// FEW: scf.for %{{.*}} = %[[SPAN]] to %[[END:.*]] step %c1 iter_args(
// FEW: scf.for %{{.*}} = %c0 to %c64 step %c8 iter_args(
// FEW-COUNT-8: memref.prefetch
// FEW: scf.for %{{.*}} = %[[SPAN]] to %[[END]] step %c1 iter_args(
// FEW: math.exp
// FEW: scf.for %{{.*}} = %[[SPAN]] to %[[END]] step %c1 iter_args(
// FEW: scf.for %{{.*}} = %[[KEYS:.*]] to %[[KEYS_END:.*]] step %c1 iter_args(
// FEW-COUNT-2: memref.prefetch
// FEW-COUNT-2: math.fma
// FEW-NOT: math.fma
// FEW: scf.for %{{.*}} = %[[KEYS]] to %[[KEYS_END]] step %c1 iter_args(
// FEW-COUNT-2: memref.prefetch
// FEW-COUNT-2: math.fma
// FEW-NEXT: scf.yield
func.func @wide(%q: memref<16x64xf32>, %cache: memref<24576xi8>, %y: memref<16x64xf32>, %l: index, %p: index, %n: index, %b: index, %e: index) {
  tbq.attention %q, %cache[%l] at %p heads 1 scale 0.5 !wide into(%y) count(%n) range(%b, %e) : (memref<16x64xf32>, memref<24576xi8>, index, index, memref<16x64xf32>, index, index, index) -> ()
  return
}

// Three kv heads that two heads share each, with memory for the sums of three
// spans. If they are uneven shares, by more than a span: spans of all kv heads,
// from the one next to an even share of blocks on, with both queries of each;
// then a barrier, and each head that is this worker's has its spans added up in
// order. Else whole heads, as without that memory.
// CHECK-LABEL: func.func @divided(
// CHECK-DAG: %[[LOWEST:.*]] = arith.constant dense<-1.000000e+30> : vector<16xf32>
// CHECK: %[[WORKER:.*]] = tbq.worker %arg9
// CHECK: %[[WORKERS:.*]] = tbq.workers %arg9
// CHECK: %[[WHOLE_BLOCKS:.*]] = arith.divui %arg5, %c16
// CHECK: %[[BLOCKS:.*]] = arith.addi %[[WHOLE_BLOCKS]], %c1
// CHECK: %[[WHOLE_SPANS:.*]] = arith.divui %arg5, %c256
// CHECK: %[[SPANS:.*]] = arith.addi %[[WHOLE_SPANS]], %c1
// CHECK: %[[ROUNDED:.*]] = arith.addi %[[WORKERS]], %c2
// CHECK: %[[MOST_HEADS:.*]] = arith.divui %[[ROUNDED]], %[[WORKERS]]
// CHECK: %[[MOST_SPANS:.*]] = arith.muli %[[SPANS]], %[[MOST_HEADS]]
// CHECK: %[[BY_HEADS:.*]] = arith.muli %[[MOST_SPANS]], %[[WORKERS]]
// CHECK: %[[ALL_SPANS:.*]] = arith.muli %[[SPANS]], %c3
// CHECK: %[[BY_SPANS:.*]] = arith.addi %[[ALL_SPANS]], %[[WORKERS]]
// CHECK: %[[IS_LESS:.*]] = arith.cmpi ult, %[[BY_SPANS]], %[[BY_HEADS]]
// CHECK: scf.if %[[IS_LESS]] {
// CHECK: %[[ALL_BLOCKS:.*]] = arith.muli %[[BLOCKS]], %c3
// CHECK: %[[PRODUCT:.*]] = arith.muli %[[ALL_BLOCKS]], %[[WORKER]]
// CHECK: %[[BLOCK:.*]] = arith.divui %[[PRODUCT]], %[[WORKERS]]
// CHECK: %[[KV_HEAD:.*]] = arith.divui %[[BLOCK]], %[[BLOCKS]]
// CHECK: %[[BEFORE:.*]] = arith.muli %[[KV_HEAD]], %[[BLOCKS]]
// CHECK: %[[WITHIN:.*]] = arith.subi %[[BLOCK]], %[[BEFORE]]
// CHECK: %[[HEAD_SPANS:.*]] = arith.muli %[[KV_HEAD]], %[[SPANS]]
// CHECK: %[[HALF:.*]] = arith.addi %[[WITHIN]], %c8
// CHECK: %[[SPAN:.*]] = arith.divui %[[HALF]], %c16
// CHECK: %[[BEGIN:.*]] = arith.addi %[[HEAD_SPANS]], %[[SPAN]]
// CHECK: scf.for %[[KV_HEAD:.*]] = %{{.*}} to %{{.*}} step %c1
// CHECK: %[[FIRST:.*]] = arith.muli %[[KV_HEAD]], %[[SPANS]]
// CHECK: %[[BEHIND:.*]] = arith.addi %[[FIRST]], %[[SPANS]]
// CHECK: %[[START:.*]] = arith.maxui %[[BEGIN]], %[[FIRST]]
// CHECK: %[[FROM:.*]] = arith.subi %[[START]], %[[FIRST]]
// CHECK: %[[STOP:.*]] = arith.minui %[[END:.*]], %[[BEHIND]]
// CHECK: %[[TO:.*]] = arith.subi %[[STOP]], %[[FIRST]]
// CHECK: scf.for %[[SPAN:.*]] = %[[FROM]] to %[[TO]] step %c1
// CHECK: %[[ROWS:.*]] = arith.muli %[[SPAN]], %c6
// CHECK: %[[ROW:.*]] = arith.addi %[[ROWS]], %{{.*}}
// CHECK: %[[COLUMN:.*]] = arith.muli %[[ROW]], %c48
// CHECK: vector.store %{{.*}}, %arg3[%c0, %[[COLUMN]]]
// CHECK-COUNT-5: vector.store %{{.*}}, %arg3
// CHECK-NOT: vector.store
// CHECK: tbq.barrier %arg9
// CHECK-NEXT: scf.for %[[HEAD:.*]] = %arg7 to %arg8 step %c1
// CHECK: %[[STATE:.*]]:3 = scf.for %[[SPAN:.*]] = %c0 to %[[SPANS]] step %c1 iter_args(%[[SEEN:.*]] = %[[LOWEST]], %{{.*}}, %{{.*}})
// CHECK-NEXT: %[[ROWS:.*]] = arith.muli %[[SPAN]], %c6
// CHECK-NEXT: %[[ROW:.*]] = arith.addi %[[ROWS]], %[[HEAD]]
// CHECK-NEXT: %[[COLUMN:.*]] = arith.muli %[[ROW]], %c48
// CHECK-NEXT: %[[LARGEST:.*]] = vector.load %arg3[%c0, %[[COLUMN]]]
// CHECK-COUNT-2: vector.load %arg3
// CHECK-NEXT: arith.cmpf ogt, %[[LARGEST]], %[[SEEN]]
// CHECK-COUNT-2: math.fma
// CHECK: vector.reduction <add>, %[[STATE]]#1
// CHECK: vector.store %{{.*}}, %arg2
// CHECK: } else {
// CHECK-NOT: %arg3
// CHECK: scf.for %{{.*}} = %{{.*}} to %{{.*}} step %c2
// CHECK-NOT: %arg3
// CHECK: return
!three = !tbq.cache<1 layers, 3 by 16, 528 tokens, f16>
func.func @divided(%q: memref<1x96xf32>, %cache: memref<8192xi8>, %y: memref<1x96xf32>, %sums: memref<1x864xf32>, %l: index, %p: index, %n: index, %b: index, %e: index, %team: !tbq.team) {
  tbq.attention %q, %cache[%l] at %p heads 6 scale 0.5 !three into(%y, %sums) count(%n) range(%b, %e) : (memref<1x96xf32>, memref<8192xi8>, index, index, memref<1x96xf32>, memref<1x864xf32>, index, index, index) -> ()
  return
}
