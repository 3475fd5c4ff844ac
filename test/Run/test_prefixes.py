# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The pipeline may be stopped after any pass, printed, parsed and gone on with: the artifact is the
same, byte for byte.

tbq-opt says which passes the stages are. What each leaves is verified, printed, and parsed for the
next; from the prints (every eighth, with TBQ_LONG=1 each) the rest of the passes, in one go, lead to
the module that tbqc made without stopping.
"""

import json
import re

import pytest

from conftest import LONG, REPOSITORY, runGood

CPU = "znver4"  # any: nothing is run
CPU_OPTIONS = "dot=vnni permute fma f16 registers=32 floor"
slow = pytest.mark.skipif(not LONG, reason="slow: TBQ_LONG=1 runs it")
STAGES = ["import", "graph", "pack", "lower", "cpu"]

# tbqc's flags, and the options of the graph stage that they stand for.
QUANTISED = (["--quantize=ternary:g64", "--activations=i8"], "quantize=ternary:g64 activations=i8")
AS_IT_IS = ([], "")

RECORD = re.compile(rb"tbq\.graph = \{[^}]*\}, ")


def splitPasses(text):
    """The passes of "builtin.module(a,b{x=(1,2)},func.func(c,d))", one by one."""
    passes, depth, begin = [], 0, 0
    inside = text[text.index("(") + 1 : text.rindex(")")]
    for at, letter in enumerate(inside + ","):
        depth += (letter in "({[") - (letter in ")}]")
        if letter == "," and depth == 0:
            passes.append(inside[begin:at].strip())
            begin = at + 1
    nested = [
        [f"func.func({each})" for each in splitPasses(one)] if one.startswith("func.func(") else [one]
        for one in passes
    ]
    return [one for some in nested for one in some]


def run(passes, source, out, *flags):
    """tbq-opt verifies what it parses and what each pass leaves."""
    runGood("tbq-opt", source, f"--pass-pipeline=builtin.module({','.join(passes)})", "-o", out, *flags)


@pytest.mark.parametrize(
    "name, form",
    [
        ("tied-f32", QUANTISED),
        pytest.param("odd-biased-linear-rope", QUANTISED, marks=slow),
        pytest.param("untied-bf16-sharded", AS_IT_IS, marks=slow),
        pytest.param("stored-mixed-salient", AS_IT_IS, marks=slow),
        pytest.param("stored-int4-g8-tied", AS_IT_IS, marks=slow),
    ],
)
def test_any_prefix(name, form, model_directory, tmp_path, measure):
    directory, (flags, graph) = model_directory(name), form
    # The pipeline's text has no table: what it leaves is what passes have by themselves.
    table = json.loads((REPOSITORY / "lib/Tuning/tables/vnni.json").read_text())
    table["prefill"]["row_tiles"] = 2
    table["prefill"]["few_tokens"] = 4
    table["decode"]["cache_bytes"] = 6144
    (tmp_path / "table.json").write_text(json.dumps(table))
    target = (f"--mcpu={CPU}", f"--tuning={tmp_path / 'table.json'}")
    whole, kept = tmp_path / "whole.so", tmp_path / "kept"
    runGood("tbqc", directory, "-o", whole, *target, *flags, f"--save-temps={kept}")
    stages = [f"--tbq-graph={graph}", "--tbq-pack", "--tbq-lower=divide-keys", f"--tbq-cpu={CPU_OPTIONS}"]
    dumped = runGood(
        "tbq-opt", kept / "import.mlir", *stages, "--dump-pass-pipeline", "-o", tmp_path / "all.mlir"
    ).stderr
    # tbqc also records what it was asked for, which the passes do not know.
    expected = RECORD.sub(b"", (kept / "cpu.mlir").read_bytes())
    assert (tmp_path / "all.mlir").read_bytes() == expected

    passes = splitPasses(dumped[dumped.index("builtin.module(") :])
    names = [one.split("{")[0] for one in passes]
    assert len(passes) >= 30 and "tbq-distribute" in names and "cse" in names
    printed = kept / "import.mlir"
    for i in range(len(passes) + 1):
        if i:
            before, printed = printed, tmp_path / f"{i}.mlir"
            run(passes[i - 1 : i], before, printed)
        if not LONG and i % 8 and i < len(passes):
            continue
        out = tmp_path / "rest.mlir"
        run(passes[i:], printed, out, "--verify-roundtrip")
        assert out.read_bytes() == expected, f"stopped before {passes[i:][:1]}"
    measure("prefixes", len(passes) + 1)

    for stage in STAGES:
        again = tmp_path / f"{stage}.so"
        rest = [flag for flag in flags if flag.startswith("--quantize") and stage == "import"]
        source = [kept / f"{stage}.mlir", f"--start-after={stage}", f"--checkpoint={directory}"]
        used = target if stage != "cpu" else target[:1]  # there the table has been used
        runGood("tbqc", *source, "-o", again, *used, *rest)
        assert again.read_bytes() == whole.read_bytes(), stage


def test_split_of_passes():
    assert splitPasses("builtin.module(a,func.func(b{x=1,y={z=2,w=3}},c),d{e=f})") == [
        "a", "func.func(b{x=1,y={z=2,w=3}})", "func.func(c)", "d{e=f}",
    ]  # fmt: skip
