# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""One op of a step by itself, as code: what a compiled model runs, called from Python.

Input:  the op in buffer form, on views of the arena; a processor's name.
Output: functions of numpy arrays.
Holds:  the code takes the road of an artifact's (cpu stage, optimiser, code generation, as tbqc
        does them) and is reached through the table of format/StepAbi.h.
"""

import ctypes
import re
import subprocess

import numpy

from conftest import LLVM, REPOSITORY, runGood

HEADER = (REPOSITORY / "format/StepAbi.h").read_text(encoding="utf-8")
ABI = int(re.search(r"^#define TBQ_STEP_ABI (\d+)u$", HEADER, re.M)[1])
SIGNATURE = (
    "(%arena: memref<{arena}xi8>, %weights: memref<{weights}xi8>, %cache: memref<{cache}xi8>,"
    " %tokens: memref<1xi32>, %logits: memref<1x16xf32>, %position: index, %count: index,"
    " %first: index, %team: !tbq.team)"
)
MODULE = """
module attributes {{tbq.arena_bytes = {arena} : i64, tbq.cache_bytes = {cache} : i64,
    tbq.decode_tokens = 1 : i64, tbq.prefill_tokens = 1 : i64, tbq.logits_stride = 16 : i64}} {{
  func.func @decode{signature} {{
    %zero = arith.constant 0 : index
    {decode}
    return
  }}
  func.func @prefill{signature} {{
    %zero = arith.constant 0 : index
    {prefill}
    return
  }}
}}
"""


class Team(ctypes.Structure):
    """tbq_team: one worker, and nobody to wait for."""

    _fields_ = [
        ("worker", ctypes.c_int64),
        ("workers", ctypes.c_int64),
        ("barrier", ctypes.c_void_p),
        ("spins", ctypes.c_int64),
        ("wait", ctypes.c_void_p),
        ("wait_context", ctypes.c_void_p),
        ("observe", ctypes.c_void_p),
        ("observe_context", ctypes.c_void_p),
    ]


STEP = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 5, *[ctypes.c_int64] * 3, ctypes.POINTER(Team))


class Table(ctypes.Structure):
    """tbq_model_table."""

    _fields_ = [
        ("abi", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        *[(name, ctypes.c_void_p) for name in ("manifest", "manifest_bytes")],
        *[(name, ctypes.c_void_p) for name in ("tokenizer", "tokenizer_bytes")],
        *[(name, ctypes.c_void_p) for name in ("weights", "weights_bytes")],
        *[(name, ctypes.c_int64) for name in ("arena_bytes", "cache_bytes", "shared_bytes")],
        *[(name, ctypes.c_int64) for name in ("decode_tokens", "prefill_tokens", "batch_tokens", "stride")],
        *[(name, ctypes.c_void_p) for name in ("decode", "prefill", "batch", "kernels", "kernels_bytes")],
    ]


def views(**shapes):
    """f32 views of the arena, one behind the other: their text, and their bytes in all."""
    text, offset = [], 0
    for name, (rows, columns) in shapes.items():
        text.append(
            f"%{name}_at = arith.constant {offset} : index\n"
            f"%{name} = memref.view %arena[%{name}_at][]"
            f" : memref<ARENAxi8> to memref<{rows}x{columns}xf32>"
        )
        offset += 4 * rows * columns
    return "\n".join(text).replace("ARENA", str(offset)), offset


def aligned(size):
    """Zeros, 64-byte aligned as the ABI asks."""
    memory = numpy.zeros(size + 64, numpy.uint8)
    begin = -memory.ctypes.data % 64
    return memory[begin : begin + size]


class Operation:
    """Two steps on one arena, cache and weights, all of them uint8 arrays."""

    def __init__(self, folder, cpu, arena, decode, prefill="", weights=64, cache=64):
        folder.mkdir()
        source, code, library = (folder / f"operation{end}" for end in (".mlir", ".o", ".so"))
        sizes = {"arena": arena, "weights": weights, "cache": cache}
        signature = SIGNATURE.format(**sizes)
        source.write_text(
            MODULE.format(signature=signature, decode=decode, prefill=prefill, **sizes)
        )
        runGood("tbqc", source, "--start-after=lower", "--emit=obj", f"--mcpu={cpu}", "-o", code)
        # Data that an artifact has and no step reads.
        data = [f"tbq_{part}{end}" for part in ("manifest", "tokenizer", "weights", "kernels") for end in ("", "_bytes")]
        defined = [f"--defsym={name}=0" for name in data]
        linker = [LLVM / "ld.lld", "-shared", "-o", library, code, *defined]
        subprocess.run(linker, check=True, capture_output=True)
        self.library = ctypes.CDLL(str(library))
        self.library.tbq_model_query.restype = ctypes.POINTER(Table)
        table = self.library.tbq_model_query(ABI).contents
        assert table.size == ctypes.sizeof(Table) and table.arena_bytes == arena
        self.arena, self.weights, self.cache = map(aligned, sizes.values())
        self.steps = {"decode": STEP(table.decode), "prefill": STEP(table.prefill)}

    def run(self, name="decode", position=0, count=1):
        pointers = [memory.ctypes.data for memory in (self.arena, self.weights, self.cache)]
        team = Team(worker=0, workers=1)
        self.steps[name](*pointers, None, None, position, count, 0, ctypes.byref(team))

    def floats(self, rows, columns, at=0, memory="arena"):
        """A writable f32 view of memory, `at` floats on."""
        values = getattr(self, memory).view(numpy.float32)
        return values[at : at + rows * columns].reshape(rows, columns)
