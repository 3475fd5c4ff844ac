# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""benchmarks/training/run_table.py: processes that share a table, and what a
final run waits for."""

import collections
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("matplotlib")

from some_llama import some_llama  # noqa: E402
from some_tokenizer import VOCABULARY, write_tokenizer  # noqa: E402
from tbq.data.shards import ShardWriter  # noqa: E402

REPOSITORY = Path(__file__).parents[2]
TABLE = """
shared: {distill: kd=1, batch: 2, length: 32, chunk: 64, device: cpu, log_every: 1}
sweep: {options: {steps: 2, eval_tokens: 64, seed: 1}, rates: [1.0e-3, 3.0e-3]}
final: {options: {steps: 3, eval_tokens: 64}, seeds: [1]}
rows:
  two-seeds: {scheme: "dlt:g16", seeds: [1, 2]}
  row: {scheme: "dlt:row", rate_of: two-seeds}
  other: {scheme: "twn:g16", rates: [2.0e-3]}
quantized:
  nearest: {scheme: "dlt:g16", method: nearest}
"""
RUNS = ["two-seeds@0.001", "two-seeds@0.003", "other@0.002", "two-seeds#1",
        "two-seeds#2", "row#1", "other#1", "nearest!", "teacher"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    some_llama(vocab=VOCABULARY).save_pretrained(folder / "teacher")
    write_tokenizer(folder / "teacher")
    for name, seed in (("tokens", 1), ("held-out", 2)):
        writer = ShardWriter(folder / name, VOCABULARY, row_length=32)
        writer.append(np.random.default_rng(seed).integers(
            VOCABULARY, size=(40, 32)))
        writer.close({})
    (folder / "text").write_text("Once upon a time. " * 60)
    (folder / "table.yaml").write_text(TABLE)
    return folder


def begin(folder, *stages, **more):
    return subprocess.Popen(
        [sys.executable, REPOSITORY / "benchmarks/training/run_table.py",
         "--stage", *stages, "--table", folder / "table.yaml", "--teacher",
         folder / "teacher", "--data", folder / "tokens", "--held-out",
         folder / "held-out", "--text", f"tale={folder / 'text'}", "--samples",
         "2", "--out", folder / "out"], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "python"),
             "OMP_NUM_THREADS": "1"}, **more)


def lines(folder):
    path = folder / "out/results.jsonl"
    return ([json.loads(line) for line in path.read_text().splitlines()]
            if path.exists() else [])


def test_processes_share_a_table(folder):
    killed = begin(folder, "sweep")
    while not (taken := list(folder.glob("out/taken/*"))):
        assert killed.poll() is None, killed.stderr.read()
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert len(taken) == 1 and not lines(folder)

    stages = "sweep", "final", "quantized", "teacher"
    both = [begin(folder, *stages) for _ in range(2)]
    for process in both:
        assert process.communicate(timeout=300)[1].count("Traceback") == 0
    # One that found a sweep in the other's hand left its final run to it.
    begin(folder, "final").communicate(timeout=300)
    found = lines(folder)
    assert collections.Counter(line["run"] for line in found) == dict.fromkeys(
        RUNS, 1)
    by_run = {line["run"]: line for line in found}
    sweep = [by_run[name] for name in RUNS[:2]]
    best = min(sweep, key=lambda line: line["kl"])["options"]["rate"]
    for name in RUNS[3:6]:
        assert by_run[name]["options"]["rate"] == best
        assert by_run[name]["steps"] == 3
    assert by_run["other#1"]["options"]["rate"] == 2e-3
    assert by_run["teacher"]["kl"] == pytest.approx(0, abs=1e-6)
    assert by_run["nearest!"]["kl"] > 0
    assert all(line["perplexity_tale"] > 1 for line in found)

    # The chart has every row of a stage, and says so where there is none.
    for name, code in (("out/results.jsonl", 0), ("empty", 2)):
        (folder / "empty").touch()
        drawn = subprocess.run(
            [sys.executable, REPOSITORY / "benchmarks/training/draw_table.py",
             "--stage", "final", folder / name, folder / "chart.png"],
            capture_output=True, text=True, check=False)
        assert drawn.returncode == code, drawn.stderr
    assert "empty: has no line of the stage final" in drawn.stderr
    assert (folder / "chart.png").read_bytes()[:4] == b"\x89PNG"

    again = begin(folder, *stages)
    assert again.communicate(timeout=300)[1] == "" and again.returncode == 0
    assert lines(folder) == found


def test_chart_has_each_row_at_its_best():
    path = REPOSITORY / "benchmarks/training/draw_table.py"
    spec = importlib.util.spec_from_file_location("draw_table", path)
    chart = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(chart)
    lines = [{"row": row, "stage": stage, "kl": kl, "bits_of_linears": bits}
             for row, stage, kl, bits in (
                 ("a", "sweep", 0.5, 2.5), ("a", "sweep", 0.4, 2.5),
                 ("a", "final", 0.1, 2.5), ("b", "sweep", 0.41, 2.5),
                 ("c", "sweep", 0.43, 2.5), ("d", "sweep", 0.4, 3.0),
                 ("e", "sweep", None, 2.0))]
    points = chart.points_of(lines, "sweep")
    assert points == [(2.5, 0.4, "a"), (2.5, 0.41, "b"), (2.5, 0.43, "c"),
                      (3.0, 0.4, "d")]
    assert chart.labels_of(points) == [(2.5, 0.4, [1, 3]), (2.5, 0.43, [4]),
                                       (3.0, 0.4, [2])]
