// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The ops, in the order of the stages that introduce them: weights, graph,
// pack, lower.

#ifndef TBQ_OPS_TD
#define TBQ_OPS_TD

include "tbq/IR/TbqTypes.td"
include "tbq/IR/TbqInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/IR/OpAsmInterface.td"

class Tbq_Op<string mnemonic, list<Trait> traits = []>
    : Op<Tbq_Dialect, mnemonic, traits>;

//===----------------------------------------------------------------------===//
// Weights: named, external, never constants.
//===----------------------------------------------------------------------===//

def Tbq_SalientPart : AnyTypeOf<[AnyStaticShapeTensor, Tbq_DigitsType],
    "mask, values, offsets, value scale or zero of salient weights">;

def Tbq_WeightOp : Tbq_Op<"weight", [Pure]> {
  let summary = "a tensor of the checkpoint, by name";
  let description = [{
    With `plane`, one of the matrices that a tensor [planes, rows, columns]
    holds.

    ```mlir
    %w = tbq.weight "model.layers.0.mlp.up_proj.codes" : !tbq.digits<1536x576, ternary>
    %a1 = tbq.weight "model.layers.0.mlp.down_proj.scale" plane 0 : tensor<576x24xf16>
    ```
  }];
  let arguments = (ins StrAttr:$name, OptionalAttr<I64Attr>:$plane);
  let results = (outs AnyTypeOf<[AnyStaticShapeTensor, Tbq_DigitsType]>:$result);
  let assemblyFormat = "$name (`plane` $plane^)? attr-dict `:` type($result)";
  let builders = [OpBuilder<(ins "Type":$type, "StringRef":$name), [{
    build($_builder, $_state, type, $_builder.getStringAttr(name), IntegerAttr());
  }]>];
}

def Tbq_QuantizeOp : Tbq_Op<"quantize", [Pure, AttrSizedResultSegments]> {
  let summary = "digits and coefficients of a float weight, in closed form";
  let description = [{
    Post-training, per row and group of `group` columns, in float64, rounded to
    f16. The coefficients are those that a `tbq.linear` of the scheme takes:

    - ternary: scale, shift. T from the TWN threshold 0.7 mean|W|, then the
      least-squares pair for that T (TernaryLLM).
    - binary: scale = mean|w - mean|, shift = mean (PB-LLM, section 3.3). With
      `salient r`, the r largest magnitudes of each block of `group` columns
      leave the binary part for 8 bits with a scale and zero point a row: mask,
      values, offsets, value scale, zero, as a `tbq.linear` takes them. Weights
      that tie with the block's threshold stay binary. Before the weights are
      looked at, the type of the values has their largest possible number;
      with `thresholds`, one a block, it is exact.
    - dual_binary: alpha1 = 2 s, alpha2 = -s with s = max|w| / 2, each weight at
      its nearest level (DB-LLM's initialisation).
    - int8: scale = max|w| / 127; int4: scale = e / -8, where e is the weight of
      largest magnitude. q is the weight in steps of the scale, rounded.

    Evaluated when the weights are written; it never runs in a step.

    ```mlir
    %t, %c:2 = tbq.quantize %w ternary group 128
      : tensor<576x576xbf16> -> !tbq.digits<576x576, ternary>, tensor<576x5xf16>, tensor<576x5xf16>
    ```
  }];
  let arguments = (ins AnyStaticShapeTensor:$weight, Tbq_SchemeAttr:$scheme,
                       I64Attr:$group, OptionalAttr<F64Attr>:$salient_fraction,
                       OptionalAttr<DenseF32ArrayAttr>:$thresholds);
  let results = (outs Tbq_DigitsType:$digits,
                      Variadic<AnyStaticShapeTensor>:$coefficients,
                      Variadic<Tbq_SalientPart>:$salient);
  let assemblyFormat = [{
    $weight $scheme `group` $group (`salient` $salient_fraction^)?
    (`thresholds` custom<Floats>($thresholds)^)? attr-dict
    `:` type($weight) `->` type($digits) `,` type($coefficients)
    (`salient` type($salient)^)?
  }];
  let builders = [OpBuilder<(ins "Value":$weight, "Scheme":$scheme,
                                 "int64_t":$group, CArg<"double", "0">:$salient)>];
  let extraClassDeclaration = [{
    /// The most weights of a matrix that are salient, the fraction of them in
    /// each block of `group` columns: those above the weight of that rank.
    static int64_t getMostSalient(int64_t rows, int64_t columns, int64_t group,
                                  double fraction);
  }];
  let hasVerifier = 1;
}

def Tbq_RopeTableOp : Tbq_Op<"rope_table", [Pure]> {
  let summary = "cosines and sines of the rotary embedding, for every position";
  let description = [{
    Row p holds cos(p f_i) for the head_dim / 2 frequencies f_i, then sin(p f_i).
    The frequencies (`inv_freq`, with the checkpoint's scaling applied) and
    their products with p are rounded to f32 as the reference implementation
    does; the functions are evaluated in float64.
  }];
  let arguments = (ins DenseF32ArrayAttr:$inv_freq);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat =
      "custom<Floats>($inv_freq) attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Tbq_PackOp : Tbq_Op<"pack", [Pure, AttrSizedOperandSegments]> {
  let summary = "a weight, brought into a layout when the weights are written";
  let description = [{
    The coefficients come in the order of the layout's terms, one a row and
    group of the layout; or of `group` columns, of which the layout's groups are
    parts: then each part gets a copy, so that sums stay within int32.

    ```mlir
    %p = tbq.pack %t coefficients(%a, %c) : (...) -> !tbq.packed<576x576, digits [2], ...>
    %q = tbq.pack %s coefficients(%a, %m) salient(%mask, %values, %offsets, %scale, %zero)
      : (...) -> !tbq.packed<576x576, digits [1, 1, 8], terms [...], salient, ...>
    %h = tbq.pack %q coefficients(%b) group 576
      : (...) -> !tbq.packed<49152x576, digits [8], terms [...], group 192, ...>
    ```
  }];
  let arguments = (ins AnyTypeOf<[AnyStaticShapeTensor, Tbq_DigitsType]>:$weight,
                       Variadic<AnyStaticShapeTensor>:$coefficients,
                       Variadic<Tbq_SalientPart>:$salient,
                       Optional<AnyStaticShapeTensor>:$bias,
                       OptionalAttr<I64Attr>:$group);
  let results = (outs Tbq_PackedType:$result);
  let assemblyFormat = [{
    $weight (`coefficients` `(` $coefficients^ `)`)?
    (`salient` `(` $salient^ `)`)? (`bias` `(` $bias^ `)`)? (`group` $group^)?
    attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// Columns that share a coefficient.
    int64_t getCoefficientGroup() {
      return getGroup().value_or(getType().getLayout().getGroup());
    }
    /// How many salient digits there are at most.
    int64_t getSalientDigits();
    /// Bits of information a weight carries.
    double getBitsPerWeight() {
      return getType().getLayout().getBitsPerWeight(getCoefficientGroup(),
                                                    getSalientDigits());
    }
    /// Bytes in the weights section: the most it can take.
    int64_t getBytes() {
      return getType().getLayout().getBytes(getSalientDigits());
    }
  }];
}

def Tbq_WeightsOp : Tbq_Op<"weights", [SingleBlock, NoTerminator, Symbol,
                                       IsolatedFromAbove]> {
  let summary = "how the weights section is written";
  let description = [{
    Its region is run once, when the artifact is made: each `tbq.place` says
    which packed weight lies where. `bytes` is the section's size.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, I64Attr:$bytes);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name `bytes` $bytes attr-dict-with-keyword $body";
}

def Tbq_PlaceOp : Tbq_Op<"place"> {
  let summary = "a packed weight's place in the weights section";
  let arguments = (ins Tbq_PackedType:$weight, I64Attr:$offset, StrAttr:$name);
  let assemblyFormat = "$weight `at` $offset $name attr-dict `:` type($weight)";
}

//===----------------------------------------------------------------------===//
// The step. On tensors: inputs and results. In buffer form: `into`, `count`
// and, once distributed, `range`.
//===----------------------------------------------------------------------===//

def Tbq_Rows : AnyTypeOf<[AnyRankedTensor, AnyMemRef],
    "rows of activations, one a token">;
/// An index: tokens follow each other from this position on. Else a row a
/// token, each of a sequence of its own: tbq_place of format/StepAbi.h.
def Tbq_Places : AnyTypeOf<[Index, 2DTensorOf<[I64]>, MemRefRankOf<[I64], [2]>],
    "the first token's position, or each token's place">;
def Tbq_FloatWeight : AnyTypeOf<[AnyStaticShapeTensor, Tbq_PackedType],
    "a float weight, as stored or packed">;

class Tbq_StepOp<string mnemonic, dag inputs, list<string> overrides = []>
    : Tbq_Op<mnemonic, [AttrSizedOperandSegments,
        DeclareOpInterfaceMethods<Tbq_StepOpInterface,
          !listconcat(["getUnitsPerToken"], overrides)>,
        DeclareOpInterfaceMethods<MemoryEffectsOpInterface>]> {
  let arguments = !con(inputs, (ins Variadic<AnyMemRef>:$into,
                                    Optional<Index>:$count,
                                    Variadic<Index>:$range));
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let hasVerifier = 1;
}

defvar BufferForm = [{ (`into` `(` $into^ `)`)? (`count` `(` $count^ `)`)?
  (`range` `(` $range^ `)`)? attr-dict `:` functional-type(operands, results)
}];

def Tbq_EmbeddingOp : Tbq_StepOp<"embedding",
    (ins Tbq_Rows:$tokens,
         AnyTypeOf<[AnyStaticShapeTensor, Tbq_DigitsType, Tbq_PackedType]>:$table,
         Optional<AnyStaticShapeTensor>:$scale,
         OptionalAttr<I64Attr>:$group)> {
  let summary = "the table's row of each token, float or int8 or int4";
  let description = [{
    A row of a quantised table is scale * q, in f32.

    ```mlir
    %h = tbq.embedding %ids, %table : (tensor<?xi32>, tensor<320x64xbf16>) -> tensor<?x64xf32>
    %h = tbq.embedding %ids, %q scale(%a) group 64 : ...
    ```
  }];
  let assemblyFormat = !strconcat([{
    $tokens `,` $table (`scale` `(` $scale^ `)`)? (`group` $group^)?}], BufferForm);
}

def Tbq_RmsNormOp : Tbq_StepOp<"rms_norm",
    (ins Tbq_Rows:$input, Tbq_FloatWeight:$weight, F32Attr:$epsilon,
         I64Attr:$features)> {
  let summary = "x / sqrt(mean(x^2) + epsilon) * weight, row by row";
  let assemblyFormat = !strconcat("$input `,` $weight `epsilon` $epsilon `features` $features", BufferForm);
}

def Tbq_LayerNormOp : Tbq_StepOp<"layer_norm",
    (ins Tbq_Rows:$input, Tbq_FloatWeight:$weight, Tbq_FloatWeight:$bias,
         F32Attr:$epsilon, I64Attr:$features)> {
  let summary = "(x - mean(x)) / sqrt(var(x) + epsilon) * weight + bias, row by row";
  let description = [{
    The variance is the mean of (x - mean(x))^2.
  }];
  let assemblyFormat = !strconcat([{
    $input `,` $weight `,` $bias `epsilon` $epsilon `features` $features}], BufferForm);
}

def Tbq_AddPositionsOp : Tbq_StepOp<"add_positions",
    (ins Tbq_Rows:$input, Tbq_FloatWeight:$table, Tbq_Places:$position,
         I64Attr:$offset), ["getUnitColumns", "mayOverwrite"]> {
  let summary = "adds to each token the table's row of its position";
  let description = [{
    Token t gets row position + t + `offset`, or that of its own position:
    learned positions, which in OPT begin behind two rows of padding.

    ```mlir
    %1 = tbq.add_positions %0, %table at %position offset 2
      : (tensor<?x64xf32>, tensor<130x64xf16>, index) -> tensor<?x64xf32>
    ```
  }];
  let assemblyFormat = !strconcat(
      "$input `,` $table `at` $position `offset` $offset", BufferForm);
}

def Tbq_LinearOp : Tbq_StepOp<"linear",
    (ins AnyRankedTensor:$input,
         AnyTypeOf<[AnyStaticShapeTensor, Tbq_DigitsType]>:$weight,
         Variadic<AnyStaticShapeTensor>:$scale,
         Optional<AnyStaticShapeTensor>:$shift,
         Variadic<Tbq_SalientPart>:$salient,
         Optional<AnyStaticShapeTensor>:$bias,
         Optional<AnyRankedTensor>:$residual,
         OptionalAttr<I64Attr>:$group,
         OptionalAttr<Tbq_ActivationsAttr>:$activations)> {
  let summary = "y = x W^T (+ bias) (+ residual), float or quantised";
  let description = [{
    The scheme is in the type of the weight's digits; coefficients are f16, one
    a row and group of `group` columns. No digits: a float linear.

    ```mlir
    %y = tbq.linear %x, %w : (tensor<?x576xf32>, tensor<1536x576xbf16>) -> tensor<?x1536xf32>
    // ternary: scale * T + shift
    %y = tbq.linear %x, %t scale(%a) shift(%c) group 128 activations i8 : ...
    // partially binary: scale * (+-1) + shift, but value_scale * (q - zero) under the mask
    %y = tbq.linear %x, %signs scale(%a) shift(%m) salient(%mask, %values, %offsets, %value_scale, %zero) group 128 : ...
    // dual binary: alpha1 * b1 + alpha2 * b2
    %y = tbq.linear %x, %planes scale(%alpha1, %alpha2) group 64 : ...
    // int8 or int4 (the head): scale * q
    %y = tbq.linear %x, %q scale(%a) group 64 activations i8 : ...
    ```
  }];
  let assemblyFormat = !strconcat([{
    $input `,` $weight (`scale` `(` $scale^ `)`)? (`shift` `(` $shift^ `)`)?
    (`salient` `(` $salient^ `)`)? (`bias` `(` $bias^ `)`)?
    (`residual` `(` $residual^ `)`)? (`group` $group^)?
    (`activations` $activations^)?}], BufferForm);
  let hasCanonicalizer = 1;
}

def Tbq_RopeOp : Tbq_StepOp<"rope",
    (ins Tbq_Rows:$input, Tbq_FloatWeight:$table, Tbq_Places:$position,
         I64Attr:$heads, I64Attr:$head_dim),
    ["getUnitColumns", "mayOverwrite"]> {
  let summary = "rotary position embedding, half-split pairs (i, i + head_dim/2)";
  let assemblyFormat = !strconcat([{
    $input `,` $table `at` $position `heads` $heads `x` $head_dim}], BufferForm);
}

def Tbq_AppendCacheOp : Tbq_StepOp<"append_cache",
    (ins Tbq_Rows:$key, Tbq_Rows:$value,
         AnyTypeOf<[Tbq_CacheType, AnyMemRef]>:$cache,
         Index:$layer, Tbq_Places:$position, Index:$tokens,
         TypeAttrOf<Tbq_CacheType>:$cache_type),
    ["getUnitColumns", "getCacheMemory", "writesCache"]> {
  let summary = "stores the keys and values of `tokens` tokens at their positions";
  let assemblyFormat = !strconcat([{
    $key `,` $value `,` $cache `[` $layer `]` `at` $position `tokens` $tokens
    $cache_type}], BufferForm);
}

def Tbq_AttentionOp : Tbq_StepOp<"attention",
    (ins Tbq_Rows:$query, AnyTypeOf<[Tbq_CacheType, AnyMemRef]>:$cache,
         Index:$layer, Tbq_Places:$position, Optional<Tbq_Rows>:$key,
         Optional<Tbq_Rows>:$value, I64Attr:$heads, F32Attr:$scale,
         TypeAttrOf<Tbq_CacheType>:$cache_type),
    ["getUnitColumns", "getCacheMemory", "readsEarlierCache"]> {
  let summary = "causal attention of each token over the cache, grouped heads";
  let description = [{
    Token t attends to positions 0 .. position + t, or 0 up to its own in its
    sequence, where each has a place. Head h reads kv head
    h / (heads / kv_heads). Keys are visited in blocks of 16 absolute positions,
    so that the result does not depend on how many tokens a step carries; blocks
    are summed in spans of 16, so that its error does not grow with their
    number.

    A second result is memory for the sums of each span of one token, by which
    workers may divide its keys (tbq-divide-keys).

    With `key` and `value` there is one token, whose own these are: rounded as
    the cache holds them, they stand at its position. Of the cache, only what
    earlier steps left is read then.

    ```mlir
    %o = tbq.attention %q, %cache[%layer] at %position key(%k) value(%v) heads 9 scale 0.125 !cache
      : (tensor<1x576xf32>, !cache, index, index, tensor<1x192xf32>, tensor<1x192xf32>) -> tensor<1x576xf32>
    ```
  }];
  let assemblyFormat = !strconcat([{
    $query `,` $cache `[` $layer `]` `at` $position (`key` `(` $key^ `)`)?
    (`value` `(` $value^ `)`)? `heads` $heads `scale` $scale $cache_type}],
    BufferForm);
  let extraClassDeclaration = [{
    static constexpr int64_t kSpan = 16; // blocks
    /// Spans of the whole cache.
    int64_t getMostSpans();
    /// Columns of a head's sums of a span: its largest score and its sum of
    /// weights, each in sixteen lanes, and its values.
    int64_t getSumColumns();
  }];
}

/// Columns of a unit of an op that goes element by element: 16, unless
/// `unit` says so.
defvar Unit = "(`unit` $unit^)?";

def Tbq_GatedActivationOp : Tbq_StepOp<"gated_activation",
    (ins Tbq_Rows:$gate, Tbq_Rows:$up, OptionalAttr<I64Attr>:$unit),
    ["getUnitColumns", "mayOverwrite"]> {
  let summary = "silu(gate) * up, element by element";
  let assemblyFormat = !strconcat("$gate `,` $up", Unit, BufferForm);
}

def Tbq_ActivationOp : Tbq_StepOp<"activation",
    (ins Tbq_Rows:$input, Tbq_FunctionAttr:$function,
         OptionalAttr<I64Attr>:$unit), ["getUnitColumns", "mayOverwrite"]> {
  let summary = "relu or gelu, element by element";
  let description = [{
    gelu is x times the normal distribution's share below x, not the
    approximation of it by tanh.
  }];
  let assemblyFormat = !strconcat("$input $function", Unit, BufferForm);
}

def Tbq_AddOp : Tbq_StepOp<"add",
    (ins Tbq_Rows:$lhs, Tbq_Rows:$rhs, OptionalAttr<I64Attr>:$unit), ["getUnitColumns", "mayOverwrite"]> {
  let summary = "residual addition";
  let assemblyFormat = !strconcat("$lhs `,` $rhs", Unit, BufferForm);
}

def Tbq_SelectRowsOp : Tbq_StepOp<"select_rows",
    (ins Tbq_Rows:$input, Index:$first)> {
  let summary = "rows from `first` on: the tokens whose logits are asked for";
  let description = [{
    The result has `count - first` valid rows; what follows computes only those.
  }];
  let assemblyFormat = !strconcat("$input `from` $first", BufferForm);
}

def Tbq_LayerOp : Tbq_Op<"layer", [SingleBlock,
    AllTypesMatch<["input", "result"]>]> {
  let summary = "one decoder layer of the model, by name";
  let description = [{
    Takes the residual stream and gives it back; the region's arguments are the
    residual and the layer's number. Layers stay apart until
    `tbq-share-layers` gives equal ones one function.

    ```mlir
    %1 = tbq.layer "model.layers.0" number 0 (%0) : tensor<?x576xf32> {
    ^bb0(%h: tensor<?x576xf32>, %layer: index):
      ...
      tbq.yield %r : tensor<?x576xf32>
    }
    ```
  }];
  let arguments = (ins StrAttr:$name, I64Attr:$number, AnyRankedTensor:$input);
  let results = (outs AnyRankedTensor:$result);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $name `number` $number `(` $input `)` `:` type($input)
    attr-dict-with-keyword $body
  }];
  let hasVerifier = 1;
}

def Tbq_YieldOp : Tbq_Op<"yield", [Pure, Terminator, HasParent<"LayerOp">]> {
  let summary = "the residual stream after a layer";
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

//===----------------------------------------------------------------------===//
// Pack: every linear in the one form.
//===----------------------------------------------------------------------===//

def Tbq_GroupSumsOp : Tbq_StepOp<"group_sums",
    (ins Tbq_Rows:$input, I64Attr:$columns, I64Attr:$group)> {
  let summary = "S: the sum of each group of a row of f32 activations";
  let assemblyFormat = !strconcat("$input `columns` $columns `group` $group", BufferForm);
}

def Tbq_QuantizeActivationsOp : Tbq_StepOp<"quantize_activations",
    (ins Tbq_Rows:$input, I64Attr:$columns, I64Attr:$group)> {
  let summary = "integer activations of each row, their scale and group sums";
  let description = [{
    q = round(x * n / m), ties to even, with m = max(max|x|, 1e-5) of the token;
    the scale is m / n; the sums S of each group of q are int32. With n = 127, q
    is int8, and the results are q, scale, sums. With one result more, n = 32639,
    and q = 256 h + l comes as two digits of int8, l in [-128, 127], so that the
    instructions for int8 serve: h, l, scale, sums.

    ```mlir
    %q, %a, %s = tbq.quantize_activations %x columns 64 group 32
      : (tensor<1x64xf32>) -> (tensor<1x64xi8>, tensor<1x1xf32>, tensor<1x2xi32>)
    %h, %l, %a, %s = tbq.quantize_activations %x columns 64 group 32
      : (tensor<1x64xf32>) -> (tensor<1x64xi8>, tensor<1x64xi8>, tensor<1x1xf32>, tensor<1x2xi32>)
    ```
  }];
  let assemblyFormat = !strconcat("$input `columns` $columns `group` $group", BufferForm);
}

def Tbq_PackedLinearOp : Tbq_StepOp<"packed_linear",
    (ins Tbq_Rows:$input, Tbq_PackedType:$weight,
         Optional<Tbq_Rows>:$low, Optional<Tbq_Rows>:$sums, Optional<Tbq_Rows>:$activation_scale,
         Optional<Tbq_Rows>:$residual), ["getFixedUnits", "getUnitColumns", "mayOverwrite"]> {
  let summary = "a linear in the one form: digit planes, sums, terms";
  let description = [{
    y = activation_scale * sum over groups and terms of the layout (see
    `#tbq.layout`), plus the layout's bias, plus `residual`. With i8 input the
    sums are exact int32 and each bracket is converted to f32 once; with `low`,
    an activation is 256 * input + low. One unit of work is a tile of rows of the
    weight. With `count`, only the first tokens are computed, rounded up to the
    token tile.
  }];
  let assemblyFormat = !strconcat([{
    $input `,` $weight (`low` `(` $low^ `)`)? (`sums` `(` $sums^ `)`)?
    (`activation_scale` `(` $activation_scale^ `)`)?
    (`residual` `(` $residual^ `)`)?}], BufferForm);
}

def Tbq_PlacedWeightOp : Tbq_Op<"placed_weight", [Pure, AttrSizedOperandSegments]> {
  let summary = "a packed weight at its byte offset in the weights section";
  let description = [{
    Within a function shared by several layers there is one offset for each of
    them, selected by `layer`. Once memory is planned, `section` is the
    section's memory.
  }];
  let arguments = (ins Optional<Index>:$layer, Optional<AnyMemRef>:$section,
                       DenseI64ArrayAttr:$offsets);
  let results = (outs Tbq_PackedType:$result);
  let assemblyFormat = [{
    $offsets (`layer` `(` $layer^ `)`)? (`in` $section^ `:` type($section))?
    attr-dict `:` type($result)
  }];
  let hasVerifier = 1;
}

def Tbq_LayersOp : Tbq_Op<"layers",
    [DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "a run of equal layers: one function, called for each number";
  let description = [{
    ```mlir
    %1 = tbq.layers @decode_layer(%0, %cache, %position, %count) numbers 0 to 30 : (...) -> tensor<1x576xf32>
    ```
    Calls `@decode_layer(residual, i, ...)` for i from `first` up to `last`,
    handing the residual on. i counts the layers of this run's function, from
    the number of the first layer of the model.
  }];
  let arguments = (ins FlatSymbolRefAttr:$callee, AnyRankedTensor:$input,
                       Variadic<AnyType>:$arguments, I64Attr:$first,
                       I64Attr:$last);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $callee `(` $input (`,` $arguments^)? `)` `numbers` $first `to` $last
    attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Lower: what a step adds to its logits, workers, and the bytes of a weight.
//===----------------------------------------------------------------------===//

def Tbq_SummarizeLogitsOp : Tbq_StepOp<"summarize_logits",
    (ins Tbq_Rows:$input, I64Attr:$columns), ["getUnitColumns"]> {
  let summary = "logits, and behind them the largest of each group";
  let description = [{
    A row of `columns` logits as it is, then, from the next multiple of
    TBQ_LOGITS_GROUP (format/StepAbi.h) on, the largest of each so many of
    them, or NaN if one is NaN. A unit is such a group.

    ```mlir
    %s = tbq.summarize_logits %logits columns 320 : (tensor<1x320xf32>) -> tensor<1x325xf32>
    ```
  }];
  let assemblyFormat = !strconcat("$input `columns` $columns", BufferForm);
  let extraClassDeclaration = [{
    /// Of a row of so many logits, with what stands behind them.
    static int64_t getSummaryColumns(int64_t columns);
  }];
}

def Tbq_WorkerOp : Tbq_Op<"worker", [Pure]> {
  let summary = "this worker's number, 0 up to the number of workers";
  let arguments = (ins Tbq_TeamType:$team);
  let results = (outs Index:$result);
  let assemblyFormat = "$team attr-dict";
}

def Tbq_WorkersOp : Tbq_Op<"workers", [Pure]> {
  let summary = "the number of workers";
  let arguments = (ins Tbq_TeamType:$team);
  let results = (outs Index:$result);
  let assemblyFormat = "$team attr-dict";
}

def Tbq_BarrierOp : Tbq_Op<"barrier"> {
  let summary = "no worker passes before all have come, and their writes are seen";
  let description = [{
    With a phase, the team notes when each worker came and went on, if its
    target can: `phase` is the number of what stands behind the barrier, in
    layer `layer` of the model (0 outside of layers).
  }];
  let arguments = (ins Tbq_TeamType:$team, OptionalAttr<I64Attr>:$phase,
                       Optional<Index>:$layer);
  let assemblyFormat = "$team (`phase` $phase^ `layer` $layer)? attr-dict";
  let builders = [OpBuilder<(ins "::mlir::Value":$team), [{
    build($_builder, $_state, team, ::mlir::IntegerAttr(), ::mlir::Value());
  }]>];
}

def Tbq_ObserveOp : Tbq_Op<"observe"> {
  let summary = "shows a value of an operation to whoever asked the team";
  let description = [{
    `rows` rows of the buffer, the value number `value` of operation
    `number`, are shown by worker 0, in layer `layer` of the model or outside
    of any (-1). Nobody asks in ordinary use.
  }];
  let arguments = (ins Tbq_TeamType:$team, I64Attr:$number, I64Attr:$value,
                       Index:$layer, Index:$rows, AnyMemRef:$buffer);
  let assemblyFormat = [{
    $team `operation` $number `value` $value `layer` $layer `rows` $rows `of`
    $buffer attr-dict `:` type($buffer)
  }];
}

def Tbq_PackedBytesOp : Tbq_Op<"packed_bytes", [Pure]> {
  let summary = "the bytes of a packed weight, in its layout's order";
  let arguments = (ins Tbq_PackedType:$weight);
  let results = (outs AnyMemRef:$result);
  let assemblyFormat = "$weight attr-dict `:` type($weight) `->` type($result)";
}

#endif // TBQ_OPS_TD
