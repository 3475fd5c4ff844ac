// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Types that are not numbers: quantised digits, packed weights, the KV cache
// and the workers of a step.

#ifndef TBQ_TYPES_TD
#define TBQ_TYPES_TD

include "tbq/IR/TbqAttrs.td"

class Tbq_Type<string name, string typeMnemonic, list<Trait> traits = []>
    : TypeDef<Tbq_Dialect, name, traits> {
  let mnemonic = typeMnemonic;
}

def Tbq_DigitsType : Tbq_Type<"Digits", "digits"> {
  let summary = "the digits of a quantised matrix, as a checkpoint stores them";
  let description = [{
    `!tbq.digits<576x1536, ternary>`: one digit a weight, row by row. Ternary
    digits are T + 1 in two bits; binary, dual binary and a salient mask have
    one bit a weight and plane; int8 digits are q in two's complement, int4
    digits q + 8. It is not an integer tensor: only a layout says where a digit
    lies.
  }];
  let parameters = (ins "int64_t":$rows, "int64_t":$columns, "Scheme":$scheme);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
}

def Tbq_PackedType : Tbq_Type<"Packed", "packed"> {
  let summary = "a weight in the layout that kernels read";
  let parameters = (ins "LayoutAttr":$layout);
  let assemblyFormat = "`` $layout"; // no space: `!tbq.packed<...>`
}

def Tbq_CacheType : Tbq_Type<"Cache", "cache"> {
  let summary = "keys and values of one sequence, for all layers";
  let description = [{
    `!tbq.cache<30 layers, 3 by 64, 2048 tokens, f32>`. Keys lie in blocks of 16
    positions, transposed ([layer][kv head][position / 16][feature][16]), so
    that sixteen scores are one vector; values lie row by row
    ([layer][kv head][position][feature, padded to 16]).

    `!tbq.cache<30 layers, 3 by 64, 2048 tokens, f16, tiled>` is for the
    products of a GPU's tensor cores. Both lie in tiles of 16 positions by 16
    features ([layer][kv head][position / 16][feature / 16], features padded to
    16), of whose 512 bytes each of 32 lanes takes 16 in turn. A tile of keys is
    [position / 2][feature / 4][2 positions][4 features], one of values
    [feature / 2][position / 2][2 features][2 positions].
  }];
  let parameters = (ins "int64_t":$layers, "int64_t":$kvHeads,
                    "int64_t":$headDim, "int64_t":$positions,
                    "::mlir::Type":$elementType, "bool":$tiled);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    static constexpr int64_t kBlock = 16;
    int64_t getPaddedPositions() const;
    int64_t getPaddedHeadDim() const;
    int64_t getElementBytes() const;
    /// Bytes of the keys (or values) of one kv head of one layer.
    int64_t getKeyHeadBytes() const;
    int64_t getValueHeadBytes() const;
    /// Bytes of a tile: 16 positions by 16 features.
    int64_t getTileBytes() const;
    /// Without tiles: of one feature of a block's keys, of a position's values.
    int64_t getKeyRowBytes() const;
    int64_t getValueRowBytes() const;
    /// Byte offset of the keys and of the values of a layer.
    int64_t getLayerBytes() const;
    int64_t getValuesOffset() const;
    int64_t getBytes() const;
  }];
}

def Tbq_TeamType : Tbq_Type<"Team", "team"> {
  let summary = "the workers that run this step together";
}

#endif // TBQ_TYPES_TD
