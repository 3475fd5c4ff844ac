# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The module of one linear alone, as the stage `lower` would leave it, and its kernels.

Input:  rows N, columns K and tokens M of a ternary linear, groups of 128 with a shift, int8 digits.
Output: the text of a module whose @decode (one token) and @prefill (M tokens) are that linear, and,
        by tbqc, its PTX with what a launch must know.
Holds:  digits, sums, scales and results stand one behind the other in the arena, from byte 0 on;
        @decode's digits lie by bits (toBits).
"""

import dataclasses
import re
import subprocess

import numpy

GROUP, TILE_ROWS, CODE_BITS, EIGHT = 128, 8, 2, 8
ALIGNMENT = 64


def align(number, to=ALIGNMENT):
    return -(-number // to) * to


@dataclasses.dataclass(frozen=True)
class Linear:
    rows: int
    columns: int
    tokens: int = 1

    @property
    def groups(self):
        return self.columns // GROUP

    @property
    def tiles(self):
        return self.rows // TILE_ROWS

    @property
    def parts(self):
        """Of a tile's bytes, in turn: codes of a group, f16 scales of its rows; behind each eight groups, and the
        last, f16 shifts of eight. As (bytes, are codes)."""
        parts = []
        for group in range(self.groups):
            parts += [(TILE_ROWS * GROUP * CODE_BITS // 8, True), (2 * TILE_ROWS, False)]
            if group % EIGHT == EIGHT - 1 or group == self.groups - 1:
                parts.append((2 * TILE_ROWS * EIGHT, False))
        return parts

    @property
    def bytes(self):
        return self.tiles * sum(size for size, _ in self.parts)

    def places(self, tokens):
        """Offset of digits, sums, scales and results in the arena, and its size."""
        sizes = [tokens * self.columns, tokens * align(self.groups, 16) * 4, tokens * 16 * 4, tokens * self.rows * 4]
        offsets = [0]
        for size in sizes:
            offsets.append(align(offsets[-1] + size))
        return offsets

    @property
    def arenaBytes(self):
        return self.places(max(self.tokens, 2))[-1]


def toBits(digits):
    """A row as lib/GPU/BitColumns.h has it: bit c of a digit in word 4 c + q of its 128 columns, that of column
    64 w + 16 q + 4 f + i in byte i of the word, at bit 2 f + w."""
    parts = digits.view(numpy.uint8).reshape(-1, 2, 4, 4, 4)  # 128 columns, w, q, f, i
    bits = numpy.unpackbits(parts[..., None], axis=-1, bitorder="little")  # and c
    ordered = bits.transpose(0, 5, 2, 4, 3, 1).reshape(-1, 8)
    return numpy.packbits(ordered, bitorder="little").view(numpy.int8).reshape(digits.shape)


def entryOf(name, linear, tokens):
    layout = (f"!tbq.packed<{linear.rows}x{linear.columns}, digits [2], terms [[1, -1], [0, 1]], "
              f"group {GROUP}, tile {TILE_ROWS}>")
    digits, sums, scales, results, _ = linear.places(tokens)
    arena = f"memref<{linear.arenaBytes}xi8>"
    types = {
        "x": f"memref<{tokens}x{linear.columns}xi8>", "sums": f"memref<{tokens}x{align(linear.groups, 16)}xi32>",
        "scales": f"memref<{tokens}x16xf32>", "y": f"memref<{tokens}x{linear.rows}xf32>",
    }  # fmt: skip
    views = "".join(
        f"    %{value}_at = arith.constant {offset} : index\n"
        f"    %{value} = memref.view %arena[%{value}_at][] : {arena} to {types[value]}\n"
        for value, offset in zip(types, (digits, sums, scales, results), strict=True)
    )
    # A step of many tokens divides its work anew between two barriers.
    barrier = "    tbq.barrier %team\n" if tokens > 1 else ""
    form = f" {{tbq.bit_columns = array<i64: {GROUP}, {CODE_BITS}>}}" if tokens == 1 else ""
    return f"""
  func.func @{name}(%arena: {arena}, %weights: memref<{linear.bytes}xi8>, %cache: memref<64xi8>, %tokens: memref<{tokens}xi32>,
      %logits: memref<{tokens}x{linear.rows}xf32>, %position: index, %count: index, %first: index, %team: !tbq.team) {{
    %c1 = arith.constant 1 : index
    %tiles = arith.constant {linear.tiles} : index
{views}    %worker = tbq.worker %team
    %workers = tbq.workers %team
    %next = arith.addi %worker, %c1 : index
    %before = arith.muli %worker, %tiles : index
    %begin = arith.divui %before, %workers : index
    %through = arith.muli %next, %tiles : index
    %end = arith.divui %through, %workers : index
    %w = tbq.placed_weight [0] in %weights : memref<{linear.bytes}xi8> : {layout}
{barrier}    tbq.packed_linear %x, %w sums(%sums) activation_scale(%scales) into(%y) count(%count) range(%begin, %end){form} : ({", ".join(
        (types["x"], layout, types["sums"], types["scales"], types["y"], "index", "index", "index"))}) -> ()
{barrier}    return
  }}"""


def moduleOf(linear):
    attributes = f"tbq.decode_tokens = 1 : i64, tbq.prefill_tokens = {max(linear.tokens, 2)} : i64"
    entries = entryOf("decode", linear, 1) + entryOf("prefill", linear, max(linear.tokens, 2))
    return f"module attributes {{{attributes}}} {{{entries}\n}}\n"


def compileLinear(linear, tbqc, architecture, folder):
    """The PTX and the bytes of shared memory that a launch brings."""
    folder.mkdir(parents=True, exist_ok=True)
    module, ptx = folder / "linear.mlir", folder / "linear.ptx"
    module.write_text(moduleOf(linear))
    flags = [tbqc, module, "--start-after=lower", "--target=cuda", f"--gpu-arch={architecture}"]
    lowered = subprocess.run([*flags, "--stop-after=gpu"], check=True, capture_output=True, text=True).stdout
    subprocess.run([*flags, "--emit=asm", "-o", ptx], check=True)
    shared = re.search(r"tbq\.shared_bytes = (\d+)", lowered)
    return ptx.read_text(), int(shared[1]) if shared else 0
