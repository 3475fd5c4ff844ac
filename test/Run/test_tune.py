# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tables of CPU families: what `tbqc --tune` writes is a table, and no table changes what is computed."""

import json
import signal
import subprocess

import pytest

from conftest import BUILD, REPOSITORY, instructionsHere, runGood, runTool
from test_models import windowsOf

TABLES = REPOSITORY / "lib/Tuning/tables"
# Numbers as unlike the shipped ones as they get, of blocks, tiles and what is left over.
ODD = {
    "decode": {"far_bytes": 0, "near_bytes": 64, "panel_bytes": 320, "triple_columns": 0,
               "triple_weights": 0, "cache_bytes": 0, "unrolled_steps": 1},
    "prefill": {
        "chunk_tokens": 48, "few_tokens": 1, "token_tile": 2, "row_tiles": 3, "block_tokens": 16, "unrolled_quads": 3,
        "unrolled_tokens": 16,
    },
}  # fmt: skip
WIDE = {
    "decode": {"far_bytes": 65536, "near_bytes": 0, "panel_bytes": 1024, "triple_columns": 0,
               "triple_weights": 0, "cache_bytes": 64, "unrolled_steps": 64},
    "prefill": {
        "chunk_tokens": 20, "few_tokens": 9, "token_tile": 4, "row_tiles": 4, "block_tokens": 1024,
        "unrolled_quads": 16, "unrolled_tokens": 1,
    },
}  # fmt: skip


@pytest.mark.parametrize("spec", ["ternary:g64", "binary:g64,salient=0.1", "float"])
@pytest.mark.parametrize("changes", [ODD, WIDE], ids=["odd", "wide"])
def test_same_bits(spec, changes, model_directory, compile_model, logits_of, tmp_path):
    """Whatever a table says, and whichever instructions."""
    # Float weights have panels where they have 16 bits.
    name = "untied-bf16-sharded" if spec == "float" else "tinystories"
    directory = model_directory(name)
    flags = () if spec == "float" else (f"--quantize={spec}", "--embedding=int8:g64", "--activations=i8")
    ids = windowsOf(name, directory)[0][:70]
    expected = logits_of(compile_model(directory, *flags), ids).tobytes()
    here = instructionsHere()
    for name in {here, "vnni" if here == "amx" else here}:
        table = json.loads((TABLES / f"{name}.json").read_text())
        for section, numbers in changes.items():
            table[section] |= numbers
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(table))
        artifact = compile_model(directory, *flags, f"--tuning={path}")
        # Few, whatever their numbers are, go by one token's kernel, through panels too.
        for chunk in (64, 3, 1):
            assert logits_of(artifact, ids, chunk=chunk, workers=2).tobytes() == expected, (name, chunk)


@pytest.mark.parametrize("columns", [64, 256])
@pytest.mark.parametrize("spec", ["ternary:g64", "ternary:g192", "ternary:row"])
def test_digits_by_threes_have_the_same_bits(spec, columns, model_directory, compile_model, logits_of, tmp_path):
    """One token, a few, and chunks with a rest; two tiles of four bands of rows and eight of five."""
    name = {"amx": "amx", "vnni": "vnni"}.get(instructionsHere())
    if not name:
        pytest.skip("needs AVX-512 VNNI")
    directory = model_directory("many-rows")
    flags = (f"--quantize={spec}", "--activations=i8", "--max-batch=3", "--threads=1")
    ids = [3 * i % 251 for i in range(70)]
    paths = []
    for threes in (0, columns):
        table = json.loads((TABLES / f"{name}.json").read_text())
        table["decode"] |= {"triple_columns": threes, "triple_weights": 0}
        paths.append(tmp_path / f"{threes}.json")
        paths[-1].write_text(json.dumps(table))
    two, three = (compile_model(directory, *flags, f"--tuning={path}") for path in paths)
    sizes = [json.loads(runGood("tbq-inspect", "--json", path).stdout)["weights"]["bytes"] for path in (two, three)]
    assert sizes[1] < sizes[0]
    expected = logits_of(two, ids)
    for chunk, workers in ((64, 1), (1, 1), (1, 3), (3, 2), (7, 1)):
        assert (logits_of(three, ids, chunk=chunk, workers=workers) == expected).all(), (chunk, workers)
    assert (logits_of(three, ids, batch=3, workers=2) == logits_of(two, ids, batch=3)).all()


def test_tune_writes_a_table(model_directory, tmp_path):
    """Measured hastily: only its form is of interest, and that it compiles."""
    directory, path = model_directory("stored-ternary-g128"), tmp_path / "table.json"
    flags = ("--activations=i8", "-O0", "--threads=1")
    done = runGood("tbqc", directory, f"--tune={path}", "--tune-seconds=1", *flags)
    lines = done.stderr.splitlines()
    assert all(line.startswith("tbqc: tune: ") for line in lines), done.stderr
    assert lines[-1] == f"tbqc: tune: wrote {path}"
    table = json.loads(path.read_text())
    shipped = json.loads((TABLES / f"{instructionsHere()}.json").read_text())
    assert table.keys() - {"measured"} == shipped.keys() - {"measured"}
    for section in ("decode", "prefill"):
        assert table[section].keys() == shipped[section].keys()
    if instructionsHere() in ("avx2", "vnni", "amx"):
        figures = table["measured"]
        assert figures["threads"] == 1 and figures["decode_gb_per_second"] > 0
        assert figures["prefill_gop_per_second"] > 0 and figures["read_gb_per_second"] > 0
    runGood("tbqc", directory, "-o", tmp_path / "m.so", f"--tuning={path}", *flags)


def test_tune_without_a_model(tmp_path):
    """The made-up model can be compiled and stepped: a first comparison is enough to see it."""
    path = tmp_path / "table.json"
    path.write_text("as it was")
    command = [BUILD / "bin/tbqc", f"--tune={path}", "--tune-seconds=1", "--activations=i8"]
    environment = {"TMPDIR": str(tmp_path / "t"), "PATH": ""}
    (tmp_path / "t").mkdir()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    lines = []
    for line in process.stderr:
        lines.append(line)
        if " of the best so far" in line:
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 1
    assert len(lines) == 2 and "threads" in lines[0], lines
    assert rest.endswith(f"tbqc: error: --tune: interrupted: {path} is as it was\n"), rest
    # Neither a table nor anything of the candidates is left.
    assert path.read_text() == "as it was"
    assert list((tmp_path / "t").iterdir()) == []


def test_what_is_refused(model_directory, tmp_path):
    result = runTool("tbqc", model_directory("tinystories"), f"--tune={tmp_path}/none/t.json")
    assert result.returncode == 1 and result.stderr.count("\n") == 1, result.stderr
    salient = ("--quantize=binary:g64,salient=0.1", "--tune-seconds=1")
    result = runTool("tbqc", model_directory("tinystories"), f"--tune={tmp_path}/t.json", *salient)
    assert result.returncode == 1 and "take a scheme without them" in result.stderr
    assert not (tmp_path / "t.json").exists()
