// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Every pass, stage by stage, in the order of lib/Driver/Pipelines.cpp.

#ifndef TBQ_PASSES_TD
#define TBQ_PASSES_TD

include "mlir/Pass/PassBase.td"

//===----------------------------------------------------------------------===//
// graph: what must be computed
//===----------------------------------------------------------------------===//

def QuantizePass : Pass<"tbq-quantize"> {
  let summary = "quantise a float model's linears and embedding after training";
  let description = [{
    Each float linear inside a decoder layer gets digits and coefficients made
    from its weight, as the first rule that matches its name says. A rule is
    `PATTERN=SCHEME:gN`, `PATTERN=SCHEME:row` or `PATTERN=float`; a binary one
    may go on with `,salient=R`. With `embedding`, the embedding and the head,
    one weight if they are tied, become int8 or int4.

    ```mlir
    %y = tbq.linear %x, %w : (tensor<?x576xf32>, tensor<576x576xbf16>) -> tensor<?x576xf32>
    // becomes
    %t, %c:2 = tbq.quantize %w ternary group 128 : ...
    %y = tbq.linear %x, %t scale(%c#0) shift(%c#1) group 128 activations i8 : ...
    ```
  }];
  let options = [
    ListOption<"rules", "rules", "std::string", "PATTERN=SPEC, first match wins">,
    Option<"embedding", "embedding", "std::string", "\"float\"",
           "int8:gN, int4:gN, int8:row, int4:row or float">,
    Option<"activations", "activations", "std::string", "\"i16\"", "f32, i16 or i8">];
  let dependentDialects = ["::mlir::tbq::TbqDialect"];
}

def FuseResidualPass : Pass<"tbq-fuse-residual"> {
  let summary = "fold a residual addition into the linear that feeds it";
  let description = [{
    ```mlir
    %y = tbq.linear %x, %w : ...
    %r = tbq.add %h, %y : ...
    // becomes
    %r = tbq.linear %x, %w residual(%h) : ...
    ```
    Only where the linear has no other use.
  }];
}

//===----------------------------------------------------------------------===//
// pack: how it is stored
//===----------------------------------------------------------------------===//

def PackWeightsPass : Pass<"tbq-pack-weights"> {
  let summary = "choose layouts and bring every linear into the one form";
  let description = [{
    Every weight becomes a `tbq.pack` of a layout that kernels read in one
    stream; every linear a `tbq.packed_linear` whose integer terms stand in the
    layout. What depends on the activations alone (their int8 digits, their
    group sums) becomes an op of its own, shared by all linears that read the
    same activations in the same groups.

    ```mlir
    %y = tbq.linear %x, %t scale(%a) shift(%c) group 128 activations i8 : ...
    // becomes
    %p = tbq.pack %t coefficients(%a, %c) : ... -> !tbq.packed<576x576, digits [2], terms [[1, -1], [0, 1]], group 128, tile 16>
    %q, %s, %sums = tbq.quantize_activations %x columns 576 group 128 : ...
    %y = tbq.packed_linear %q, %p sums(%sums) activation_scale(%s) : ...
    ```

    Where a tile's weights would drive the activations that the next tile meets
    again out of the first cache (`panel-bytes`), a matrix is cut into panels of
    columns. A table that an embedding reads is not.

    Ternary digits of large matrices stand by threes, 1.75 bits each instead of
    2, in panels of about `triple-columns` columns: a kernel looks their sums up
    in tables that the first cache holds. Their tiles are large; of `threads`
    workers, where that is known, none must have more to read than of two bits.
  }];
  let options = [
    Option<"tileRows", "tile-rows", "int64_t", "kLanes", "rows of a packed tile">,
    Option<"panelBytes", "panel-bytes", "int64_t", "0",
           "most bytes of a tile and its activations in a panel; 0: no panels">,
    Option<"tripleColumns", "triple-columns", "int64_t", "0",
           "columns of a panel of digits by threes; 0: digits have two bits">,
    Option<"tripleWeights", "triple-weights", "int64_t", "0",
           "weights of a matrix from which on digits stand by threes">,
    Option<"threads", "threads", "int64_t", "0",
           "workers that will share the tiles; 0: any number">];
  let dependentDialects = ["::mlir::tbq::TbqDialect"];
}

def TileCachePass : Pass<"tbq-tile-cache", "::mlir::ModuleOp"> {
  let summary = "hold f16 keys and values as a GPU's products read them";
  let description = [{
    ```mlir
    !tbq.cache<30 layers, 3 by 64, 2048 tokens, f16>
    // becomes
    !tbq.cache<30 layers, 3 by 64, 2048 tokens, f16, tiled>
    ```
  }];
}

def PlaceWeightsPass : Pass<"tbq-place-weights", "::mlir::ModuleOp"> {
  let summary = "give every packed weight its place in the weights section";
  let description = [{
    Weights move, in the order of their first use, into the module's one
    `tbq.weights`; uses become `tbq.placed_weight` with a byte offset. A weight
    used twice (a tied embedding) is placed once.
  }];
  let dependentDialects = ["::mlir::tbq::TbqDialect"];
}

def SpecializeEntriesPass : Pass<"tbq-specialize-entries", "::mlir::ModuleOp"> {
  let summary = "make the entry points: decode, prefill and batch";
  let description = [{
    `@forward`, on any number of tokens, becomes `@decode` on one and
    `@prefill` on a chunk; and, where a step may carry several sequences,
    `@batch` on one token of each:

    ```mlir
    func.func @forward(%tokens: tensor<?xi32>, %cache: !cache, %position: index, ...)
    // becomes, with max-batch=8, beside the others
    func.func @batch(%tokens: tensor<8xi32>, %cache: !cache, %places: tensor<8x2xi64>, ...)
    ```
  }];
  let options = [
    Option<"prefillTokens", "prefill-tokens", "int64_t", "64", "tokens of a prefill chunk">,
    Option<"maxBatch", "max-batch", "int64_t", "1", "sequences that a step can carry">];
}

def ShareLayersPass : Pass<"tbq-share-layers", "::mlir::ModuleOp"> {
  let summary = "one function for each run of equal layers";
  let description = [{
    Two layers are equal if their ops, types and attributes are, whatever the
    offsets of their weights. A run of equal layers becomes a function that
    `tbq.layers` repeats; its weights have one offset a layer.
  }];
  let dependentDialects = ["::mlir::tbq::TbqDialect", "::mlir::func::FuncDialect"];
}

//===----------------------------------------------------------------------===//
// lower: how it is divided
//===----------------------------------------------------------------------===//

def MatchUnitsPass : Pass<"tbq-match-units", "::mlir::func::FuncOp"> {
  let summary = "units of what goes element by element are the linears' tiles";
  let description = [{
    For a step of one token, where a worker so goes on with what it wrote.

    ```mlir
    %g = tbq.packed_linear %x, %w : (..., !tbq.packed<1536x576, ..., tile 8>) -> tensor<1x1536xf32>
    %y = tbq.gated_activation %g, %u : (tensor<1x1536xf32>, tensor<1x1536xf32>) -> tensor<1x1536xf32>
    // becomes
    %y = tbq.gated_activation %g, %u unit 8 : ...
    ```
  }];
}

def AttendOwnKeyPass : Pass<"tbq-attend-own-key", "::mlir::func::FuncOp"> {
  let summary = "attention does not wait for its token's key to be stored";
  let description = [{
    For a step of one token:

    ```mlir
    tbq.append_cache %k, %v, %cache[%layer] at %position tokens %count !cache : ...
    %o = tbq.attention %q, %cache[%layer] at %position heads 9 scale 0.125 !cache : ...
    // becomes
    %o = tbq.attention %q, %cache[%layer] at %position key(%k) value(%v) heads 9 scale 0.125 !cache : ...
    tbq.append_cache %k, %v, %cache[%layer] at %position tokens %count !cache : ...
    ```
  }];
}

def DivideKeysPass : Pass<"tbq-divide-keys", "::mlir::func::FuncOp"> {
  let summary = "attention has memory for sums of spans of keys";
  let description = [{
    For a step of one token, whose heads may be uneven shares for its workers:

    ```mlir
    %o = tbq.attention %q, %cache[%layer] at %position heads 9 scale 0.125 !cache
      : (tensor<1x576xf32>, !cache, index, index) -> tensor<1x576xf32>
    // becomes, with a cache of 2048 tokens
    %o, %sums = tbq.attention %q, %cache[%layer] at %position heads 9 scale 0.125 !cache
      : (tensor<1x576xf32>, !cache, index, index) -> (tensor<1x576xf32>, tensor<1x6912xf32>)
    ```
  }];
}

def SummarizeLogitsPass : Pass<"tbq-summarize-logits", "::mlir::ModuleOp"> {
  let summary = "steps say which logits are large";
  let description = [{
    Of @decode and @batch, for whoever chooses tokens: where the logits are far
    away, he need not look at all of them.

    ```mlir
    %y = tbq.packed_linear ... -> tensor<1x49152xf32>
    return %y : tensor<1x49152xf32>
    // becomes
    %y = tbq.packed_linear ... -> tensor<1x49152xf32>
    %s = tbq.summarize_logits %y columns 49152 : (tensor<1x49152xf32>) -> tensor<1x49920xf32>
    return %s : tensor<1x49920xf32>
    ```
  }];
  let dependentDialects = ["::mlir::tbq::TbqDialect"];
}

def PlanMemoryPass : Pass<"tbq-plan-memory", "::mlir::ModuleOp"> {
  let summary = "give every tensor its bytes in one static arena";
  let description = [{
    Functions on tensors become functions on memory, with the arguments of
    format/StepAbi.h: arena, weights, cache, tokens, logits, position or places,
    count, first logits row, team. Tensors whose lives do not overlap share bytes. The
    residual stream stays in one buffer through all layers. In a step of one
    token, what an op makes of a whole row lies on the stack of each worker,
    which computes it for itself: up to `worker-bytes` a function. So do rotated
    queries and keys, where attention takes the token's key as it is.
  }];
  let options = [
    Option<"workerBytes", "worker-bytes", "int64_t", "1 << 18",
           "most bytes of a worker's own buffers in a function">];
  let dependentDialects = ["::mlir::tbq::TbqDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::scf::SCFDialect", "::mlir::arith::ArithDialect"];
}

def DistributePass : Pass<"tbq-distribute", "::mlir::ModuleOp"> {
  let summary = "divide each op among the workers, with barriers where needed";
  let description = [{
    Each op gets the worker's range of its units. A `tbq.barrier` is placed
    before an op that touches bytes which another worker may have written, or
    writes bytes which another worker may have touched, since the last barrier;
    the loop over layers is followed around its back edge.
  }];
  let dependentDialects = ["::mlir::tbq::TbqDialect", "::mlir::arith::ArithDialect"];
}

def TimePhasesPass : Pass<"tbq-time-phases", "::mlir::ModuleOp"> {
  let summary = "barriers say what stands behind them, for the time it takes";
  let description = [{
    To measure with only: numbers the barriers, and lists in `tbq.phases` what
    stands between each and the next. Entry points begin and end with one.

    ```mlir
    tbq.barrier %team
    tbq.rms_norm ...
    tbq.packed_linear ... loc("model.layers.0.mlp.up_proj")
    // becomes, where tbq.phases[3] is "rms_norm, up_proj"
    tbq.barrier %team phase 3 layer %layer
    tbq.rms_norm ...
    tbq.packed_linear ... loc("model.layers.0.mlp.up_proj")
    ```
  }];
  let dependentDialects = ["::mlir::tbq::TbqDialect", "::mlir::arith::ArithDialect"];
}

def ObserveStepsPass : Pass<"tbq-observe-steps", "::mlir::ModuleOp"> {
  let summary = "show what each op of the step reads and writes";
  let description = [{
    For verification only: before each op its inputs, after it its outputs are
    shown to the team's observer, between barriers, so that the values are whole
    for any number of workers. `tbq.operations` of the module lists the ops.

    ```mlir
    tbq.add %a, %b into(%c) count(%n) range(%i, %j) : ...
    // becomes
    tbq.barrier %team
    tbq.observe %team operation 7 value 0 layer %layer rows %n of %a : memref<64x64xf32>
    tbq.observe %team operation 7 value 1 layer %layer rows %n of %b : memref<64x64xf32>
    tbq.barrier %team
    tbq.add %a, %b into(%c) count(%n) range(%i, %j) : ...
    tbq.barrier %team
    tbq.observe %team operation 7 value 2 layer %layer rows %n of %c : memref<64x64xf32>
    tbq.barrier %team
    ```
  }];
  let dependentDialects = ["::mlir::tbq::TbqDialect", "::mlir::arith::ArithDialect"];
}

def ResolveWeightsPass : Pass<"tbq-resolve-weights", "::mlir::ModuleOp"> {
  let summary = "the bytes of a packed weight, where they were placed";
  let description = [{
    The first pass after a target's ops have asked for bytes, on either target.
    Where layers share code, the offset comes from a table.

    ```mlir
    %w = tbq.placed_weight [0, 640] layer(%layer) in %section : memref<1280xi8> : !packed
    %b = tbq.packed_bytes %w : !packed -> memref<640xi8>
    // becomes
    %t = memref.get_global @tbq_offsets_0 : memref<2xi64>
    %o = memref.load %t[%layer] : memref<2xi64>
    %b = memref.view %section[%o][] : memref<1280xi8> to memref<640xi8>
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect"];
}

//===----------------------------------------------------------------------===//
// cpu: how it runs
//===----------------------------------------------------------------------===//

def LowerLinearToCPUPass : Pass<"tbq-lower-linear-to-cpu"> {
  let summary = "packed linears to loops over vectors, for any layout";
  let description = [{
    One generator for all schemes: it reads planes, terms and groups from the
    layout. With `dot = vnni` int8 dot products are `vpdpbusd`, with `avx2`
    `vpmaddubsw` and `vpmaddwd`, with `dotprod` aarch64's `sdot`, else plain
    vector multiplications and additions. With
    `permute`, too, salient digits find their activations by `vpermi2b`. With
    `amx`, steps of many tokens multiply in AMX tiles what fills them, and all
    else is as with `vnni`.
  }];
  let options = [
    Option<"dot", "dot", "std::string", "\"plain\"", "plain, vnni, amx, avx2 or dotprod">,
    Option<"permute", "permute", "bool", "false", "the target has AVX-512 VBMI">,
    Option<"fma", "fma", "bool", "false", "the target has fused multiply-add">,
    // What a table of the CPU family decides: tbq/Tuning.h.
    Option<"farBytes", "far-bytes", "int64_t", "Tuning().farBytes",
           "how far ahead one token's weights are asked for, into the second cache; 0: not">,
    Option<"nearBytes", "near-bytes", "int64_t", "Tuning().nearBytes", "the same, into the first cache">,
    Option<"unrolledSteps", "unrolled-steps", "int64_t", "Tuning().unrolledSteps",
           "digit steps of a group that are written out">,
    Option<"fewTokens", "few-tokens", "int64_t", "Tuning().fewTokens",
           "most tokens of a step that are multiplied one by one">,
    Option<"tokenTile", "token-tile", "int64_t", "Tuning().tokenTile",
           "tokens whose sums are in registers together">,
    Option<"rowTiles", "row-tiles", "int64_t", "Tuning().rowTiles",
           "tiles of rows that a block of tokens takes together">,
    Option<"blockTokens", "block-tokens", "int64_t", "Tuning().blockTokens", "most tokens of a block">,
    Option<"unrolledQuads", "unrolled-quads", "int64_t", "Tuning().unrolledQuads",
           "columns of a block, four at a time, that are written out">,
    Option<"unrolledTokens", "unrolled-tokens", "int64_t", "Tuning().unrolledTokens",
           "tokens of an AMX tile whose sums are written out">,
    // For remarks alone.
    Option<"readRate", "read-rate", "double", "0", "what the machine reads, GB/s; 0: not known">,
    Option<"peakRate", "peak-rate", "double", "0", "what it multiplies and adds, Gop/s">,
    Option<"decodeRate", "decode-rate", "double", "0", "what steps of one token read, GB/s">,
    Option<"prefillRate", "prefill-rate", "double", "0", "what steps of many multiply, Gop/s">];
  let dependentDialects = ["::mlir::amx::AMXDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
    "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect",
    "::mlir::LLVM::LLVMDialect", "::mlir::tbq::TbqDialect"];
}

def LowerStepToCPUPass : Pass<"tbq-lower-step-to-cpu"> {
  let summary = "every other op of the step to loops over vectors";
  let options = [
    Option<"fma", "fma", "bool", "false", "the target has fused multiply-add">,
    Option<"registers", "registers", "int64_t", "8",
           "vectors of 16 lanes that the target's registers hold">,
    Option<"cacheBytes", "cache-bytes", "int64_t", "Tuning().cacheBytes",
           "how far ahead keys and values are asked for; 0: not">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
    "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect",
    "::mlir::tbq::TbqDialect"];
}

def ExpandMathPass : Pass<"tbq-expand-math"> {
  let summary = "no call to a mathematics library remains";
  let description = [{
    exp becomes upstream's polynomial; f16 conversions become integer
    operations, and fused multiply-adds two operations, where the target has no
    instruction for them.
  }];
  let options = [
    Option<"fma", "fma", "bool", "false", "the target has fused multiply-add">,
    Option<"f16", "f16", "bool", "false", "the target converts f16">,
    Option<"floor", "floor", "bool", "false", "the target rounds to integers">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
    "::mlir::vector::VectorDialect"];
}

def LowerTeamToCPUPass : Pass<"tbq-lower-team-to-cpu", "::mlir::ModuleOp"> {
  let summary = "workers are threads: the team is a struct, a barrier atomics";
  let description = [{
    `!tbq.team` becomes a pointer to the `tbq_team` of format/StepAbi.h. A
    barrier spins a bounded while, then calls the team's wait hook.
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::arith::ArithDialect",
                           "::mlir::memref::MemRefDialect"];
}

//===----------------------------------------------------------------------===//
// gpu: how it runs, on another target
//===----------------------------------------------------------------------===//

def ShareWorkerMemoryPass : Pass<"tbq-share-worker-memory", "::mlir::ModuleOp"> {
  let summary = "a worker's own buffers are shared by the threads of its block";
  let description = [{
    ```mlir
    %x = memref.alloca() {alignment = 64} : memref<1x256xf32>
    // becomes
    %s = memref.get_global @tbq_shared_worker : memref<232448xi8, 3>
    %v = memref.view %s[%c0][] : memref<232448xi8, 3> to memref<1x256xf32, 3>
    %x = memref.memory_space_cast %v : memref<1x256xf32, 3> to memref<1x256xf32>
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect"];
}

def ExchangeRowsPass : Pass<"tbq-exchange-rows", "::mlir::ModuleOp"> {
  let summary = "rows of a token go from block to block without a barrier";
  let description = [{
    Of @decode, where all that goes through a barrier is a row that each block
    reads as a whole: it looks at it until all is there. The places, of layers by
    turns, lie before the arena's other buffers, and are made empty before the
    barrier of each layer that stays:

    ```mlir
    tbq.barrier %team
    tbq.rope ...
    tbq.attention ... into(%a) ...
    tbq.barrier %team
    tbq.quantize_activations %a ...
    // becomes
    tbq.barrier %team {tbq.empties = array<i64: 0, 1280, 1280>}
    tbq.rope ...
    tbq.attention ... into(%a) ... {tbq.exchange = array<i64: 256, 1280, 0>}
    tbq.barrier %team {tbq.block_only}
    tbq.quantize_activations %a ... {tbq.exchange = array<i64: 256, 1280, 0>}
    ```
  }];
}

def BoundArgumentsPass : Pass<"tbq-bound-arguments", "::mlir::ModuleOp"> {
  let summary = "the position and counts of a step of one token are as large as the model allows";
  let description = [{
    In `@decode`, with `arith.minui`, which changes none that the runtime gives.
    What is made of them has a known range then, and most of it fits into 32 bits
    (`arith-int-range-narrowing`): a GPU has no wider arithmetic. Not in
    `@prefill`, whose linears then hold more of it in registers, and are slower.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect"];
}

def NarrowLoopsPass : Pass<"tbq-narrow-loops", "::mlir::ModuleOp"> {
  let summary = "loops over indices that fit count in 32 bits";
  let description = [{
    Where integer range analysis knows the bounds of an `scf.for`. With what
    `tbq-bound-arguments` says, of nearly all.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::scf::SCFDialect"];
}

def LowerLinearToGPUPass : Pass<"tbq-lower-linear-to-gpu"> {
  let summary = "packed linears to what a thread of a block does, for any layout";
  let description = [{
    One generator for all schemes: it reads planes, terms and groups from the
    layout, whose tiles have eight rows. A warp has a tile, or two, or several
    share one where there are fewer tiles than warps on `blocks` blocks. int8
    products are the tensor cores', `nvvm.mma.sync` of m16n8k32, or of one
    token, whose digits' bits then lie apart, of m16n8k256.
  }];
  let options = [
    Option<"blocks", "blocks", "int64_t", "132", "blocks that the step is expected to run on">,
    Option<"sharedBytes", "shared-bytes", "int64_t", "99 << 10", "most bytes that the threads of a block may share">,
    Option<"bits", "bits", "bool", "false", "products of bits, which GPUs before sm_100 have">,
    Option<"warpgroups", "warpgroups", "bool", "false", "products of four warps, which sm_90a alone has">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
    "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect",
    "::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect", "::mlir::tbq::TbqDialect"];
}

def LowerStepToGPUPass : Pass<"tbq-lower-step-to-gpu"> {
  let summary = "every other op of the step to what a thread of a block does";
  let options = [
    Option<"blocks", "blocks", "int64_t", "132", "blocks that the step is expected to run on">,
    Option<"sharedBytes", "shared-bytes", "int64_t", "99 << 10", "most bytes that the threads of a block may share">,
    Option<"warpgroups", "warpgroups", "bool", "false", "warps that take each other's registers, which sm_90a alone has">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
    "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect",
    "::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect", "::mlir::tbq::TbqDialect"];
}

def DelayBlocksPass : Pass<"tbq-delay-blocks", "::mlir::ModuleOp"> {
  let summary = "warps come late to barriers and go on late from them, at random";
  let description = [{
    To test with only: `nvvm.nanosleep` before and behind each `tbq.barrier`, as
    long as the clock, the block and the warp say, up to 4 microseconds. Where a
    barrier is missing, blocks then read what is not there yet.
  }];
  let dependentDialects = ["::mlir::NVVM::NVVMDialect", "::mlir::arith::ArithDialect"];
}

def LowerTeamToGPUPass : Pass<"tbq-lower-team-to-gpu", "::mlir::ModuleOp"> {
  let summary = "workers are blocks of one launch: a barrier is counters in device memory";
  let description = [{
    `!tbq.team` becomes a pointer to the `tbq_device_barrier` of
    format/DeviceAbi.h; a worker's number is its block's.
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect",
                           "::mlir::arith::ArithDialect", "::mlir::func::FuncDialect",
                           "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect"];
}

def MarkKernelsPass : Pass<"tbq-mark-kernels", "::mlir::ModuleOp"> {
  let summary = "entry points are kernels, of blocks of a known size";
  let description = [{
    The last pass: in the LLVM dialect the entry points get `nvvm.kernel`,
    `nvvm.reqntid` and `nvvm.minctasm`, and their weights are never written.
    `tbq.batch_from` tells the runtime how many sequences `@batch` is for: fewer
    are faster through `@decode`, one after the other.
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect"];
}

//===----------------------------------------------------------------------===//
// every stage
//===----------------------------------------------------------------------===//

def CheckStagePass : Pass<"tbq-check-stage", "::mlir::ModuleOp"> {
  let summary = "only the ops that a stage may leave behind are there";
  let options = [Option<"stage", "stage", "std::string", "\"\"", "the stage just run">];
}

#endif // TBQ_PASSES_TD
