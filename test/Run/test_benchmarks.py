# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The random models that are measured: real checkpoints, the same ones every time."""

import json
import subprocess
import sys

import numpy
import pytest
from safetensors import safe_open

from conftest import BUILD, REPOSITORY, runGood

TINY = {"hidden": 64, "layers": 2, "ffn": 96, "heads": 4, "kv_heads": 2}


@pytest.fixture(params=["llama", "opt"])
def make_model(request, monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    import make_model

    monkeypatch.setitem(make_model.SIZES, "tiny", {**TINY, "opt": request.param == "opt"})
    monkeypatch.setitem(make_model.VOCABULARIES, request.param, 500)

    def make(directory, *flags):
        monkeypatch.setattr(sys, "argv", ["make_model.py", "tiny", str(directory), *flags])
        make_model.main()
        return directory

    return make


def readTensors(directory):
    index = json.loads((directory / "model.safetensors.index.json").read_text())
    tensors = {}
    for shard in set(index["weight_map"].values()):
        with safe_open(directory / shard, framework="pt") as file:
            tensors |= {name: file.get_tensor(name).float().numpy() for name in file.keys()}
    assert set(tensors) == set(index["weight_map"])
    return tensors


def test_random_model(make_model, tmp_path):
    """The seed decides, not the shards; the weights are normal(0, 0.02); tbqc takes it."""
    whole = readTensors(make_model(tmp_path / "whole"))
    sharded = make_model(tmp_path / "sharded", "--shard-bytes", "40000")
    assert len(list(sharded.glob("*.safetensors"))) > 2
    again = readTensors(sharded)
    assert all(numpy.array_equal(whole[name], again[name]) for name in whole)
    other = readTensors(make_model(tmp_path / "other", "--seed", "2"))
    table = next(name for name in whole if "embed_tokens" in name)
    assert not numpy.array_equal(whole[table], other[table])
    values = numpy.concatenate([v.ravel() for v in whole.values() if v.ndim == 2])
    assert abs(values.mean()) < 5e-4 and abs(values.std() - 0.02) < 5e-4
    assert all((value == 1).all() for value in whole.values() if value.ndim == 1)
    artifact = tmp_path / "model.so"
    runGood("tbqc", sharded, "-o", artifact, "--quantize=ternary:g32", "--activations=i8")
    runGood("tbq-run", "-m", artifact, "-p", "a", "-n", 2, "--temp", 0)


def test_holes(make_model, tmp_path):
    """Names and shapes alone: a head or none, as many tokens as asked for, no byte of a weight."""
    directory = make_model(tmp_path / "holes", "--holes", "--vocabulary", "300")
    tensors = readTensors(directory)
    assert tensors.keys() == readTensors(make_model(tmp_path / "whole")).keys()
    table = next(name for name in tensors if "embed_tokens" in name)
    assert tensors[table].shape[0] == 300 == json.loads((directory / "config.json").read_text())["vocab_size"]
    assert not any(value.any() for value in tensors.values())
    runGood("tbqc", directory, "-o", tmp_path / "model.so", "--shape-only", "--quantize=ternary:g32")


def test_a_gpu_s_linear_compiles(tmp_path):
    """What benchmarks/gpu times, without a GPU: a module of the linear alone, its kernels, their shared memory."""
    flags = ["--compile", "--kernels", tmp_path, "--shapes", "64x256", "--tokens", "1", "64", "--tbqc", BUILD / "bin/tbqc"]
    subprocess.run([sys.executable, REPOSITORY / "benchmarks/gpu/linear.py", *flags], check=True)
    for tokens in (1, 64):
        folder = tmp_path / f"64x256x{tokens}"
        ptx = (folder / "linear.ptx").read_text()
        assert ".entry decode(" in ptx and ".entry prefill(" in ptx and "mma.sync" in ptx
        assert json.loads((folder / "launch.json").read_text())["shared_bytes"] > 0
