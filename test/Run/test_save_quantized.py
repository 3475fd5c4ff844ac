# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""--save-quantized: what was quantised at compile time, as a checkpoint.

Compiling what was saved gives the same code and weights, byte for byte, and a manifest that differs
in nothing but what the compiler was asked for; the Python package reads it, and writing it again
gives the same files; dequantised, it is what the tests' own quantisers make.
"""

import json
import subprocess

import numpy
import pytest
from safetensors.torch import load_file
from tbq import checkpoint
from tbq.checkpoint.files import write_tensors

import synthetic
from conftest import LLVM, runGood, runTool
from test_models import quantiser

SPECS = [
    "ternary:g64",
    "ternary:row",
    "binary:g32",
    "binary:g64,salient=0.1",
    "binary:row,salient=0.5",
    "dual-binary:g64",
]
POLICY = """
.*layers.0.*down_proj   float
.*layers.1.*            ternary:row
.*[gu][ap][a-z]*_proj   binary:g32,salient=0.2
.*                      dual-binary:g64
"""


def describe(directory, artifact, *flags):
    """Code, and the manifest with the hashes of the weights, of what is compiled here. What reaches
    the optimiser is compared: it is left out, which halves the time."""
    runGood("tbqc", directory, "-o", artifact, "-O0", *flags)
    manifest = json.loads(runGood("tbq-inspect", "--json", artifact).stdout)
    manifest.pop("graph", None)
    code = artifact.with_suffix(".text")
    subprocess.run([LLVM / "llvm-objcopy", f"--dump-section=.text={code}", artifact, "/dev/null"], check=True)
    return manifest, code.read_bytes()


def save(directory, folder, *flags):
    """Compiles and saves; then compiles what was saved. The directory, and what the two gave."""
    saved = folder / "saved"
    first = describe(directory, folder / "first.so", "--save-quantized", saved, *flags)
    return saved, first, describe(saved, folder / "again.so")


def checkWrittenAgain(saved, folder):
    """The Python package writes the bytes that the compiler wrote."""
    again = folder / "written"
    checkpoint.write_checkpoint(again, checkpoint.read_checkpoint(saved))
    for name in ("model.safetensors", "config.json"):
        assert (again / name).read_bytes() == (saved / name).read_bytes(), name


@pytest.mark.parametrize(
    "name, spec",
    [
        *(("odd-biased-linear-rope", spec) for spec in SPECS),
        ("tied-f32", "binary:g64,salient=0.1"),
        ("tinystories", "ternary:g64"),
    ],
)
def test_round_trip(name, spec, model_directory, tmp_path):
    directory = model_directory(name)
    flags = ("--quantize", spec, "--activations=i8")
    saved, first, again = save(directory, tmp_path, *flags)
    assert first == again
    checkWrittenAgain(saved, tmp_path)
    read = checkpoint.read_checkpoint(saved)
    source = load_file(directory / "model.safetensors")
    assert read.linears
    for linear, value in read.linears.items():
        expected = quantiser(spec)(source[f"{linear}.weight"].float().numpy())
        assert numpy.array_equal(value.dequantize().numpy(), expected), linear
    for other, value in read.floats.items():
        assert value.dtype == source[other].dtype and (value == source[other]).all(), other


@pytest.mark.parametrize("embedding", ["int8:g32", "int4:row"])
@pytest.mark.parametrize("name", ["tied-f32", "odd-biased-linear-rope"])
def test_embedding(name, embedding, model_directory, tmp_path):
    """With the embedding alone, no linear is quantised, and the config says so."""
    flags = ("--embedding", embedding)
    saved, first, again = save(model_directory(name), tmp_path, *flags)
    assert first == again
    checkWrittenAgain(saved, tmp_path)
    config = json.loads((saved / "config.json").read_text())["quantization_config"]
    group = 32 if embedding == "int8:g32" else "row"
    assert config["embedding"] == {"bits": int(embedding[3]), "group_size": group}
    assert not checkpoint.read_checkpoint(saved).linears


def test_policy(model_directory, tmp_path):
    (tmp_path / "policy").write_text(POLICY)
    flags = ("--policy", tmp_path / "policy", "--embedding=int8:g64", "--activations=i8")
    saved, first, again = save(model_directory("tied-f32"), tmp_path, *flags)
    assert first == again
    checkWrittenAgain(saved, tmp_path)
    linears = checkpoint.read_checkpoint(saved).linears
    kinds = {name: type(linear).__name__ for name, linear in linears.items()}
    assert "model.layers.0.mlp.down_proj" not in kinds
    assert kinds["model.layers.1.mlp.down_proj"] == "TernaryLinear"
    assert kinds["model.layers.2.mlp.gate_proj"] == "BinaryLinear"
    assert linears["model.layers.2.mlp.up_proj"].salient is not None
    assert kinds["model.layers.2.self_attn.q_proj"] == "DualBinaryLinear"


def test_replaces_another_checkpoint(model_directory, tmp_path):
    """Shards and an index of what was there before do not survive."""
    saved = tmp_path / "saved"
    synthetic.makeCheckpoint(saved, shardSize="100KB")
    assert (saved / "model.safetensors.index.json").exists()
    flags = ("--quantize=ternary:g64", "--activations=f32")
    saved, first, again = save(model_directory("tinystories"), tmp_path, *flags)
    assert first == again
    assert [path.name for path in saved.glob("*.safetensors*")] == ["model.safetensors"]


def test_refusals(model_directory, tmp_path):
    directory = model_directory("tied-f32")
    artifact, saved = tmp_path / "m.so", tmp_path / "saved"

    def refused(part, *flags):
        result = runTool("tbqc", directory, "-o", artifact, *flags)
        assert result.returncode == 1 and result.stderr.count("\n") == 1, result.stderr
        assert part in result.stderr
        assert not artifact.exists() and not (saved / "config.json").exists()

    refused("needs a model directory and --quantize", "--save-quantized", saved)
    flags = ("--quantize=ternary:g64", "--save-quantized")
    refused("is the float checkpoint itself", *flags, directory)
    (tmp_path / "file").write_text("")
    refused(f"{tmp_path}/file", *flags, tmp_path / "file")
    refused("has no effect with --stop-after=import", *flags, saved, "--stop-after=import")


def test_failure_keeps_the_older_one(model_directory, tmp_path):
    """A weight that cannot be quantised: what stood there before still stands."""
    directory = model_directory("tied-f32")
    saved, _, _ = save(directory, tmp_path, "--quantize=ternary:g64")
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    broken = tmp_path / "broken"
    synthetic.makeCheckpoint(broken)
    tensors = load_file(broken / "model.safetensors")
    name = "model.layers.2.mlp.down_proj.weight"
    tensors[name][3, 5] = float("inf")
    write_tensors(broken / "model.safetensors", tensors)
    for spec in ("ternary:g64", "binary:g64,salient=0.1"):
        flags = (f"--quantize={spec}", "--save-quantized", saved)
        result = runTool("tbqc", broken, "-o", tmp_path / "m.so", *flags)
        assert result.returncode == 1 and name in result.stderr, result.stderr
        assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
