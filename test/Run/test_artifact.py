# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What an artifact is: self-contained, one symbol, reproducible, portable where asked."""

import json
import re
import subprocess

import numpy
import pytest

import reference
from conftest import LLVM, runGood
from test_models import BOUND, quantiser, windowsOf

BASELINE = ("--mtriple=x86_64-linux-gnu", "--mcpu=x86-64")
ALLOWED = {"memcpy", "memset", "memmove"}
NAME = "odd-biased-linear-rope"

# Float and ternary, with float and integer activations, for this machine and the oldest x86-64.
FLAGS = [
    pytest.param(scheme + target, id=f"{name}-{machine}")
    for name, scheme in {
        "float": ("--activations=f32",),
        "ternary-f32": ("--quantize=ternary:g128", "--activations=f32"),
        "ternary-i8": ("--quantize=ternary:row", "--activations=i8"),
        "ternary-i16": ("--quantize=ternary:g128", "--embedding=int8:g20"),
        "f16-cache": ("--kv-cache=f16",),
    }.items()
    for machine, target in {"native": (), "baseline": BASELINE}.items()
]


def symbolsOf(artifact, *flags):
    command = [LLVM / "llvm-nm", "-D", "--format=just-symbols", *flags, artifact]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return set(output.split())


@pytest.mark.parametrize("flags", FLAGS)
def test_symbols(flags, model_directory, compile_model):
    """Needs nothing but libc's three memory functions, and exports the one entry."""
    artifact = compile_model(model_directory(NAME), *flags)
    undefined = {name.split("@")[0] for name in symbolsOf(artifact, "--undefined-only")}
    assert undefined <= ALLOWED
    assert symbolsOf(artifact, "--defined-only", "--extern-only") == {"tbq_model_query"}


def test_needs_no_library_and_runs_no_constructor(model_directory, compile_model):
    artifact = compile_model(model_directory(NAME))
    command = [LLVM / "llvm-readelf", "--dynamic-table", "--section-headers", "-W", artifact]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for absent in ("(NEEDED)", "(INIT)", ".init_array", ".ctors"):
        assert absent not in output
    weights = next(line for line in output.splitlines() if ".tbq.weights" in line)
    fields = weights.split("]", 1)[1].split()
    assert int(fields[3], 16) % 4096 == 0, "the weights start on a page"
    assert ".tbq.manifest" in output and ".tbq.tokenizer" in output


@pytest.mark.parametrize("spec", [None, "ternary:g128", "binary:g64", "dual-binary:g64"])
def test_baseline_agrees(spec, model_directory, compile_model, logits_of, measure):
    """The code for the oldest x86-64 computes the same model."""
    directory = model_directory(NAME)
    flags = (f"--quantize={spec}",) if spec else ()
    model = reference.loadModel(directory, quantiser(spec) if spec else None)
    artifact = compile_model(directory, *flags, "--activations=f32", *BASELINE)
    ids = windowsOf(NAME, directory)[0]
    error = reference.nmse(logits_of(artifact, ids), reference.logitsOf(model, ids))
    measure("NMSE", error)
    assert error <= BOUND


def test_reproducible(model_directory, tmp_path):
    """The same input and flags give the same bytes, from any folder."""
    directory = model_directory(NAME)
    images = []
    for folder in (tmp_path / "one", tmp_path / "another"):
        folder.mkdir()
        runGood("tbqc", directory, "-o", "model.so", "--quantize=ternary:g128", folder=folder)
        assert [path.name for path in folder.iterdir()] == ["model.so"]
        images.append((folder / "model.so").read_bytes())
    assert images[0] == images[1]


def test_inspect(model_directory, compile_model):
    """tbq-inspect shows what was compiled."""
    artifact = compile_model(model_directory(NAME), "--quantize=ternary:g128", "--activations=i8")
    manifest = json.loads(runGood("tbq-inspect", "--json", artifact).stdout)
    model = manifest["model"]
    assert (model["hidden"], model["layers"], model["heads"]) == (72, 3, 3)
    assert (model["kv_heads"], model["head_dim"], model["ffn"]) == (1, 20, 200)
    assert model["vocab"] == 331 and manifest["activations"] == "i8"
    assert manifest["steps"]["logits_stride"] % 16 == 0
    linears = [layer for layer in manifest["layers"] if layer["scheme"] == "ternary"]
    assert len(linears) >= 3 * 4
    for layer in linears:
        whole = layer["shape"][1] <= 128  # such a row is one group, recorded as 0
        assert layer["group"] == (0 if whole else 128)
        assert layer["shift"] and layer["bits_per_weight"] >= 2.25
    assert {layer["group"] for layer in linears} == {0, 128}
    text = runGood("tbq-inspect", artifact).stdout
    assert "ternary" in text and "llama" in text and "in the file" in text
    # One line for all layers, and the share of the head, from the layers' own figures.
    count = sum(layer["shape"][0] * layer["shape"][1] for layer in manifest["layers"])
    bits = sum(bitsOf(layer) for layer in manifest["layers"]) / count
    total = rf"all +{len(manifest['layers'])} layers, {count / 1e6:.2f} M weights, {bits:.3f} bits"
    assert re.search(total, text)
    head = bitsOf(manifest["layers"][0]) / 8  # tied: the embedding
    assert f"{100 * head / manifest['bytes_per_token']:.1f} % of it the head" in text


def bitsOf(layer):
    return layer["shape"][0] * layer["shape"][1] * layer["bits_per_weight"]


@pytest.mark.parametrize(
    "spec, bits, shift", [("binary:g64", 1.5, True), ("dual-binary:g64", 2.5, False)]
)
def test_inspect_bits(spec, bits, shift, model_directory, compile_model):
    """Two f16 coefficients for 64 weights are half a bit a weight."""
    artifact = compile_model(model_directory("tied-f32"), f"--quantize={spec}")
    layers = json.loads(runGood("tbq-inspect", "--json", artifact).stdout)["layers"]
    layers = [layer for layer in layers if layer["scheme"] != "float"]
    assert len(layers) == 3 * 7
    for layer in layers:
        assert layer["scheme"] == spec.split(":")[0]
        assert (layer["bits_per_weight"], layer["shift"]) == (bits, shift)


def test_context_and_chunk_flags(model_directory, compile_model, logits_of):
    """A short context and an odd chunk change the sizes, not the logits."""
    directory = model_directory(NAME)
    flags = ("--quantize=ternary:row", "--activations=f32")
    ids = windowsOf(NAME, directory)[0][:40]
    expected = logits_of(compile_model(directory, *flags), ids, chunk=5)
    small = compile_model(directory, *flags, "--context=40", "--prefill-chunk=5")
    manifest = json.loads(runGood("tbq-inspect", "--json", small).stdout)
    assert manifest["model"]["context"] == 40 and manifest["steps"]["prefill_tokens"] == 5
    assert numpy.array_equal(logits_of(small, ids, chunk=5), expected)
