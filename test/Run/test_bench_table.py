# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The benchmark's runner: its table, its figures, its gate, a whole run with a peer that is a stub."""

import json
import stat
import sys

import numpy
import pytest
import yaml

from conftest import BUILD, REPOSITORY

SIZE = {"hidden": 64, "layers": 2, "ffn": 96, "heads": 4, "kv_heads": 2}
SHARED = {"rounds": 2, "repetitions": 1, "threads": [1], "prompts": [8], "generated": [4]}
TABLE = {
    **SHARED,
    "usual": ["tiny"],
    "peers": {"stub": "PEER_STUB_BENCH"},
    "rows": {
        "tiny": {
            "shape": "tiny",
            "ours": {"ternary": ["--quantize=ternary:g32", "--activations=i8"]},
            "peers": [{"peer": "stub", "format": "TQ2_0", "head": "q8_0"}],
        },
        "absent": {"model": "no-such-model", "ours": {"as it is": []}},
    },
}
# Says what llama-bench says, at 10 tokens/s for a prompt and 2 a token.
STUB = """#!/bin/bash
echo '[{"build_commit": "c0ffee", "n_prompt": 8, "n_gen": 0, "samples_ts": [10], "model_size": 99000},
       {"build_commit": "c0ffee", "n_prompt": 0, "n_gen": 4, "samples_ts": [2], "model_size": 99000}]'
"""
QUANTIZE = """#!/bin/bash
echo "$@" > "$0.log"
cp "${@: -3:1}" "${@: -2:1}"
"""


@pytest.fixture
def runner(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    import bench
    import make_model

    monkeypatch.setitem(make_model.SIZES, "tiny", SIZE)
    monkeypatch.setitem(make_model.VOCABULARIES, "llama", 500)
    return bench


def writeProgram(path, text):
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def writeTable(path, **changes):
    path.write_text(yaml.safe_dump(TABLE | changes))
    return path


def run(runner, monkeypatch, folder, *flags):
    table = folder / "table.yaml"
    if not table.exists():
        writeTable(table)
    command = [
        "bench.py", "--table", table, "--models", folder / "models", "--tools", BUILD / "bin",
        "--limit-seconds", "0.02", "--wait", "0", *flags,
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", [str(word) for word in command])
    return runner.main()


def test_table_of_the_benchmark(runner):
    table, rows = runner.readTable(runner.HERE / "table.yaml")
    assert set(table["usual"]) <= set(rows)
    assert rows["3B"]["prompts"] == [512] and rows["3B"]["ours"] == rows["1.1B"]["ours"]
    assert [row["name"] for row in runner.chooseRows(table, rows, "1.1B.*")] == ["1.1B-AVX2", "1.1B", "1.1B-others"]


@pytest.mark.parametrize(
    "row, message",
    [
        ({"shape": "tiny", "ours": {}, "pears": []}, "rows.r.pears: unknown field"),
        ({"ours": {}}, "rows.r: needs a model or a shape"),
        ({"shape": "tiny", "model": "m", "ours": {}}, "rows.r: needs a model or a shape"),
        ({"shape": "14B", "ours": {}}, "rows.r.shape: '14B' is not known"),
        ({"shape": "tiny", "ours": {}, "peers": [{"peer": "x"}]}, "rows.r: 'x' is no peer"),
    ],
)
def test_refused_table(runner, tmp_path, row, message):
    with pytest.raises(SystemExit, match=message.replace(".", r"\.")):
        runner.readTable(writeTable(tmp_path / "table.yaml", rows={"r": row}))


def test_no_such_row(runner, monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match="--rows=huge: none of absent, tiny"):
        run(runner, monkeypatch, tmp_path, "--rows=huge")


def test_peer_that_is_no_program(runner, monkeypatch, tmp_path):
    monkeypatch.setenv("PEER_STUB_BENCH", str(tmp_path / "nothing"))
    with pytest.raises(SystemExit, match="PEER_STUB_BENCH: .*nothing is not a program"):
        run(runner, monkeypatch, tmp_path)


def test_program_that_fails(runner, monkeypatch, tmp_path):
    bench = writeProgram(tmp_path / "llama-bench", "#!/bin/bash\necho too old >&2\nexit 4\n")
    writeProgram(tmp_path / "llama-quantize", QUANTIZE)
    monkeypatch.setenv("PEER_STUB_BENCH", str(bench))
    with pytest.raises(SystemExit, match="llama-bench .*: exit code 4: too old"):
        run(runner, monkeypatch, tmp_path)


def test_whole_run(runner, monkeypatch, tmp_path, capsys):
    """Ours beside the peer, the files and the gate; a row whose model is not there says so."""
    monkeypatch.setenv("PEER_STUB_BENCH", str(writeProgram(tmp_path / "llama-bench", STUB)))
    writeProgram(tmp_path / "llama-quantize", QUANTIZE)
    out, png = tmp_path / "out.json", tmp_path / "out.png"
    files = ("--json", out, "--chart", png, "--lock", tmp_path / "lock")
    assert run(runner, monkeypatch, tmp_path, "--rows=.*", *files) == 0
    printed = capsys.readouterr()
    assert "absent left out: no-such-model is not there" in printed.err
    assert "| stub TQ2_0 head q8_0 | 10.0" in printed.out and "| tbq ternary |" in printed.out
    assert png.read_bytes().startswith(b"\x89PNG")
    report = json.loads(out.read_text())
    assert report["machine"]["cpu"] and report["flags"] and "git" in report
    assert {"stub TQ2_0 head q8_0": "c0ffee"}.items() <= {
        p["name"]: p.get("commit") for p in report["programs"]
    }.items()
    results = {(r["program"], r["test"]): r for r in report["results"]}
    ours, peer = results["tbq ternary", "tg4"], results["stub TQ2_0 head q8_0", "tg4"]
    # A round beside which others used the processor does not count.
    assert len(ours["samples"]) in (1, 2) and ours["over_best_peer"] == ours["tokens_per_second"] / 2
    # The file without its embedding, and the keys and values that ours reads too: on average of
    # 2.5 positions, two layers, two heads of 16, two bytes.
    assert peer["bytes_per_token"] == 99000 - 500 * 64 * 8.5 / 8 + 2.5 * 2 * 2 * 2 * 2 * 16
    assert peer["operations_per_token"] == ours["operations_per_token"]
    words = (tmp_path / "llama-quantize.log").read_text().split()
    assert words[1:5] == ["--token-embedding-type", "q8_0", "--output-tensor-type", "q8_0"]
    assert words[-1] == "TQ2_0"

    gated = ("--baseline", out, "--ratio", "1e-6")
    assert run(runner, monkeypatch, tmp_path, *gated) == 0
    for result in report["results"]:
        result["share"] = 9.0
    out.write_text(json.dumps(report))
    assert run(runner, monkeypatch, tmp_path, "--baseline", out) == 3
    assert "gate: tiny: tbq ternary: tg4, 1 thread: share of the limit" in capsys.readouterr().err


def test_float16_file(runner, tmp_path):
    """Every weight of the checkpoint, under GGUF's name."""
    import gguf
    import make_gguf
    import make_model

    make_model.makeModel("tiny", tmp_path / "model")
    make_gguf.makeGguf(tmp_path / "model", tmp_path / "model.gguf")
    found = {t.name: t.data for t in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    tensors = list(make_gguf.readTensors(tmp_path / "model"))
    assert len(found) == len(tensors) == 3 + 9 * 2
    for name, _, bits in tensors:
        values = (bits.astype(numpy.uint32) << 16).view(numpy.float32)
        assert numpy.allclose(found[make_gguf.nameOf(name)], values, atol=1e-4), name
    assert found["blk.1.ffn_down.weight"].shape == (64, 96)


def figures(row, program, ours=True, **fields):
    return {"row": row, "program": program, "ours": ours, "threads": 1, "test": "tg4"} | fields


def test_figures(runner):
    """Medians of quiet runs; a peer is held against the limit that ours measured; above it is invalid."""
    from results import cellOf, resultsOf

    shared = {"row": "r", "test": "tg4", "threads": 1}
    ours = {**shared, "program": "o", "ours": True, "bytes_per_token": 1e9, "cache_bytes": 0}
    peer = {**shared, "program": "p", "ours": False, "bytes_per_token": 2e9, "others": 0}
    found = resultsOf([
        {**ours, "samples": [5, 9], "others": 0, "limit_gb_per_second": 8},
        {**peer, "samples": [6]},
        {**ours, "samples": [7], "others": 0.05, "limit_gb_per_second": 10},
        {**ours, "samples": [1], "others": 0.5, "limit_gb_per_second": 3},
    ])  # fmt: skip
    assert [r["tokens_per_second"] for r in found] == [7, 6]
    assert [r["share"] for r in found] == [0.7, 1.2] and [r["valid"] for r in found] == [True, False]
    assert found[0]["over_best_peer"] == 7 / 6 and found[0]["best_peer"] == "p"
    assert cellOf(found[0]) == "7.0 (70 %, x 1.17)"
    assert cellOf(found[1]) == "6.0 (120 % INVALID)"
    (busy,) = resultsOf([{**peer, "samples": [6], "others": 0.5}])
    assert cellOf(busy) == "6.0\\*"


@pytest.mark.parametrize("tiles", [False, True])
def test_above_the_peak(runner, tiles):
    """Prefill above vpdpbusd's peak is a mistake of the measurement, unless it is by AMX tiles."""
    from results import cellOf, resultsOf

    run = {
        "row": "r", "test": "pp4", "threads": 1, "program": "o", "ours": True, "samples": [6],
        "operations_per_token": 1e12, "peak_tera_operations_per_second": 4, "others": 0,
        "uses_tiles": tiles, "machine": {"amx": True},
    }  # fmt: skip
    (found,) = resultsOf([run])
    assert cellOf(found) == ("6.0 (150 %)" if tiles else "6.0 (150 % INVALID)")


def test_gate(runner):
    """What fell is named; what is no longer there too; other rows and the peers' own are not asked."""
    from gate import compare

    old = [
        figures("a", "o", share=0.8, over_best_peer=2.0),
        figures("a", "gone", share=0.8),
        figures("a", "p", ours=False, share=0.9),
        figures("b", "o", share=0.8),
    ]
    assert compare(old[:1], [figures("a", "o", share=0.73, over_best_peer=1.81)], 0.9) == ([], 2)
    failures, compared = compare(old, [figures("a", "o", share=0.71)], 0.9)
    assert compared == 2
    assert failures == [
        "a: o: tg4, 1 thread: share of the limit 0.71, was 0.80 (least: 0.9 of that)",
        "a: o: tg4, 1 thread: no ratio to the best peer; it was 2.00",
        "a: gone: tg4, 1 thread: not measured",
    ]


def test_gate_without_a_baseline(runner, monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit, match="old.json: not a file of benchmarks/bench.py"):
        run(runner, monkeypatch, tmp_path, "--baseline", tmp_path / "old.json")
    names = [str(tmp_path / name) for name in ("old.json", "new.json")]
    for name, row in zip(names, "ab"):
        open(name, "w").write(json.dumps({"results": [figures(row, "o", share=0.8)]}))
    import gate

    monkeypatch.setattr(sys, "argv", ["gate.py", *names])
    assert gate.main() == 1
    assert "old.json has none of the rows measured" in capsys.readouterr().err
