# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Embedding and head in 8 and 4 bits: stored or made by --embedding, tied and not, against
transformers with the dequantised tables; with int8 activations; and what the manifest says.
"""

import json

import numpy
import pytest

import integer
import reference
import synthetic
from conftest import runGood
from test_models import FAST, checkBits, checkFloats, checkIntegers, quantiser, windowsOf

UNTIED = "untied-bf16-sharded"
ODD = "odd-biased-linear-rope"  # rows of 72 columns, 331 tokens
# A scheme of the linears, or none; groups that end within a vector, and short last ones.
CASES = [
    ("tied-f32", "int8:g64", None),
    ("tied-f32", "int4:row", "ternary:g64"),
    (UNTIED, "int8:g32", "ternary:g64"),
    (UNTIED, "int4:g32", None),
    (ODD, "int8:g20", "ternary:g64"),
    (ODD, "int4:g24", None),
    ("tinystories", "int8:g64", "ternary:g64"),
    ("tinystories", "int4:g32", None),
    ("tinystories", "int8:row", None),
    ("smollm2", "int8:g64", "ternary:g64"),
]


def tableQuantiser(spec):
    """What --embedding=SPEC does to a matrix, by the tests' own means."""
    scheme, group = spec.split(":")
    bits = int(scheme.removeprefix("int"))
    group = group if group == "row" else int(group.removeprefix("g"))
    return lambda weights: integer.quantise(weights, bits, group)


@pytest.mark.parametrize("name", synthetic.EMBEDDED)
def test_stored(name, model_directory, compile_model, logits_of, measure):
    """What the checkpoint stores; then int8 activations, in the head as in the linears."""
    directory = model_directory(name)
    windows = windowsOf(name, directory)
    model = reference.loadModel(directory)
    artifact = compile_model(directory, "--activations=f32")
    floats = checkFloats(artifact, model, windows, logits_of, measure)
    artifact = compile_model(directory, "--activations=i8", "--kv-cache=f32")
    linears = "modules_to_not_convert" not in synthetic.EMBEDDED[name]["stored"]
    rounded = {"linears": linears, "head": True}
    checkIntegers(name, artifact, model, windows, logits_of, measure, floats, **rounded)


@pytest.mark.parametrize("name, spec, linears", CASES)
def test_quantised(name, spec, linears, model_directory, compile_model, logits_of, measure):
    """By the compiler, against the test's own quantiser, with and without quantised linears."""
    directory = model_directory(name)
    windows = windowsOf(name, directory)
    quantise = quantiser(linears) if linears else None
    model = reference.loadModel(directory, quantise, tableQuantiser(spec))
    flags = (FAST, f"--embedding={spec}", *([f"--quantize={linears}"] if linears else []))
    artifact = compile_model(directory, *flags, "--activations=f32")
    floats = checkFloats(artifact, model, windows, logits_of, measure)
    artifact = compile_model(directory, *flags, "--activations=i8", "--kv-cache=f32")
    rounded = {"linears": bool(linears), "head": True}
    checkIntegers(name, artifact, model, windows, logits_of, measure, floats, **rounded)


@pytest.mark.parametrize("activations", ["f32", "i8"])
@pytest.mark.parametrize(
    "name, spec", [(ODD, "int8:g20"), (UNTIED, "int4:g32"), ("tinystories", "int8:g64")]
)
def test_bitwise_equal(name, spec, activations, model_directory, compile_model, logits_of):
    directory = model_directory(name)
    flags = (f"--embedding={spec}", "--quantize=ternary:g64", f"--activations={activations}")
    artifact = compile_model(directory, *flags)
    checkBits(artifact, windowsOf(name, directory)[0][:150], logits_of)


def test_portable_code(model_directory, compile_model, logits_of):
    """Integer sums do not depend on the instructions; 8-bit head, groups of no whole vector."""
    directory = model_directory(ODD)
    flags = ("--embedding=int8:g20", "--activations=i8", "--kv-cache=f32")
    ids = windowsOf(ODD, directory)[0][:40]
    native = logits_of(compile_model(directory, *flags), ids)
    baseline = logits_of(compile_model(directory, *flags, "--mcpu=x86-64"), ids)
    # Whose last bits differ for want of a fused multiply-add, and with them some roundings.
    assert numpy.median(reference.errors(baseline, native)) <= 1e-9


def manifestOf(artifact):
    return json.loads(runGood("tbq-inspect", "--json", artifact).stdout)


@pytest.mark.parametrize(
    "spec, scheme, group, bits",
    [("int8:g32", "int8", 32, 8 + 0.5), ("int4:row", "int4", 0, 4 + 0.25)],
)
def test_manifest(spec, scheme, group, bits, model_directory, compile_model):
    """Scheme, group and true bits; a tied table is stored once, and a token reads all of it; of an
    untied one a row, and all of the head."""
    words, hidden = 320, 64
    size = words * hidden * bits / 8
    read = {}
    stored = {"tied-f32": ["model.embed_tokens"], UNTIED: ["lm_head", "model.embed_tokens"]}
    for name, tables in stored.items():
        directory = model_directory(name)
        for flags in ((), (f"--embedding={spec}",)):
            manifest = manifestOf(compile_model(directory, *flags))
            layers = {layer["name"]: layer for layer in manifest["layers"]}
            assert sorted(layer for layer in layers if ".layers." not in layer) == tables
            read[name, bool(flags)] = manifest["bytes_per_token"]
        for table in tables:
            layer = layers[table]
            assert layer["scheme"] == scheme and layer["group"] == group
            assert layer["bits_per_weight"] == bits and not layer["shift"]
            assert layer["bytes"] == size
    assert read["tied-f32", False] - read["tied-f32", True] == words * hidden * 4 - size
    row = hidden * (2 - bits / 8)
    assert read[UNTIED, False] - read[UNTIED, True] == words * hidden * 2 - size + row
    artifact = compile_model(model_directory(UNTIED), f"--embedding={spec}")
    text = runGood("tbq-inspect", artifact).stdout
    assert f"{scheme} {f'g{group}' if group else 'row'}" in text and f"{bits:.3f} bits" in text


def test_float_is_the_default(model_directory, compile_model, logits_of):
    directory = model_directory("tied-f32")
    expected = logits_of(compile_model(directory), range(40))
    found = logits_of(compile_model(directory, "--embedding=float"), range(40))
    assert found.tobytes() == expected.tobytes()


def test_quantiser():
    """The tests' own, by hand: half to even, the largest weight's sign, zeros, both storages."""
    row = numpy.array([[-127.0, 0.5, 1.5, 100.25, 0, 0, 0, 0]])
    codes, scale = integer.fit(row, 8, 4)
    assert codes.tolist() == [[-127, 0, 2, 100, 0, 0, 0, 0]] and scale.tolist() == [[1, 0]]
    row = numpy.array([[8.0, -8, 7.5, 0.5, -1.5]])
    codes, scale = integer.fit(row, 4, "row")
    assert codes.tolist() == [[-8, 7, -8, 0, 2]] and scale.tolist() == [[-1]]
    for bits in (8, 4):
        found = integer.readTable(integer.store(codes, bits), scale, 5, "row")
        assert found.tolist() == [[8, -7, 8, 0, -2]]
    assert integer.store(codes, 4).tolist() == [[0 | 15 << 4, 0 | 8 << 4, 10]]
