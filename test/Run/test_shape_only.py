# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Artifacts of a model's shapes alone: small, run by tbq-bench with weights that it makes up, and by
nothing else.
"""

import json
import os

import pytest

import emulator
from conftest import REPOSITORY, runGood, runTool

SHAPES = "--shape-only"
FAST = ("-p", "8", "-n", "8", "-r", "1", "-t", "1", "--limit-seconds", "0.01", "-o", "json")


def bench(artifact, *flags, **options):
    rows = json.loads(runGood("tbq-bench", "-m", artifact, *FAST, *flags, **options).stdout)
    return {row["test"]: row for row in rows}


@pytest.mark.parametrize("activations", ["f32", "i8"])
def test_runs_with_random_weights(activations, model_directory, compile_model):
    """At the speed of the whole model, more or less, since they read as many bytes."""
    directory = model_directory("tinytales")
    flag = f"--activations={activations}"
    shapes, whole = compile_model(directory, SHAPES, flag), compile_model(directory, flag)
    assert shapes.stat().st_size < whole.stat().st_size / 3
    # In turn, the best of three: others may keep the machine busy meanwhile.
    runs = [(bench(shapes, "--random-weights"), bench(whole)) for _ in range(3)]
    assert all(run.keys() == runs[0][0].keys() for pair in runs for run in pair)
    for name in runs[0][0]:
        weights = {run[name]["model"]["weights_bytes"] for pair in runs for run in pair}
        assert len(weights) == 1
        found, expected = (max(run[name]["tokens_per_second"] for run in ofOne) for ofOne in zip(*runs))
        # Infinities or denormal numbers would be ten times as slow.
        assert found > expected / 5


def test_on_a_gpu(model_directory, compile_model, tmp_path):
    """The made-up weights travel there as others do; the driver is a test double."""
    artifact = compile_model(model_directory("stored-ternary-g128"), SHAPES, "--target=cuda")
    driver = emulator.buildDriver(tmp_path, emulates=False)
    rows = bench(artifact, "--random-weights", env={**os.environ, "TBQ_LIBCUDA": str(driver)})
    assert rows.keys() == {"pp8", "tg8"}
    assert rows["tg8"]["limit_gb_per_second"] == 0


def test_a_wide_row_is_a_block_s_own(monkeypatch, compile_model, tmp_path):
    """Of 8,192 columns, and so norm and projections one phase, where blocks may have that much memory."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    import make_model

    monkeypatch.setitem(make_model.SIZES, "70B", {**make_model.SIZES["70B"], "layers": 1})
    make_model.makeModel("70B", tmp_path / "model", holes=True, vocabulary=512)
    flags = (SHAPES, "--target=cuda", "--time-phases", "--quantize=ternary:g128", "--activations=i8", "--context=64")

    def phases(architecture):
        artifact = compile_model(tmp_path / "model", *flags, f"--gpu-arch={architecture}")
        return json.loads(runGood("tbq-inspect", "--json", artifact).stdout)["phases"]

    first = "rms_norm, quantize_activations"
    assert phases("sm_80")[0] == first
    assert phases("sm_90a")[0] == f"{first}, q_proj, k_proj, v_proj"
    assert phases("sm_80,sm_90a")[0] == first


def test_what_is_refused(model_directory, compile_model, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    import make_model

    directory = model_directory("stored-ternary-g128")
    shapes, whole = compile_model(directory, SHAPES), compile_model(directory)

    def refused(*arguments):
        result = runTool(*arguments)
        assert result.returncode == 1 and result.stderr.count("\n") == 1, result.stderr
        return result.stderr

    said = "manifest.weights: are nowhere: --shape-only compiled it, for tbq-bench --random-weights"
    assert said in refused("tbq-bench", "-m", shapes)
    assert said in refused("tbq-run", "-m", shapes, "-p", "x")
    assert "manifest.weights: are there: random ones are for" in refused("tbq-bench", "-m", whole, "--random-weights")
    assert "nothing to verify" in refused("tbq-inspect", "--verify", shapes)
    out = ("-o", tmp_path / "m.so")
    assert "leaves --weights nothing to place" in refused("tbqc", directory, *out, SHAPES, "--weights=sidecar")
    assert "is for an artifact" in refused("tbqc", directory, SHAPES, "--emit=mlir")
    message = "model.layers.0.self_attn.q_proj: where salient weights are is in the weights themselves"
    assert message in refused("tbqc", model_directory("stored-salient-g64"), *out, SHAPES)
    # Of weights that are all alike none is salient, and yet there is a mask.
    make_model.makeModel("125M", tmp_path / "holes", holes=True, vocabulary=512)
    assert message in refused("tbqc", tmp_path / "holes", *out, SHAPES, "--quantize=binary:g64,salient=0.1")
    assert not (tmp_path / "m.so").exists()


def test_says_so(model_directory, compile_model):
    artifact = compile_model(model_directory("stored-ternary-g128"), SHAPES)
    assert "MB, of which it has the shapes\n" in runGood("tbq-inspect", artifact).stdout
    weights = json.loads(runGood("tbq-inspect", "--json", artifact).stdout)["weights"]
    assert weights["shape_only"] is True and weights["hashes"] == []
