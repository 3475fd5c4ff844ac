# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""16-bit activations: whole models against transformers with activations rounded to as many steps,
and with float ones; the same bits whatever the workers, the chunk and the instructions; groups that
are packed in parts; and where they are the default.
"""

import json
import re

import numpy
import pytest

import reference
import synthetic
from conftest import LONG, runGood
from test_embedding import tableQuantiser
from test_models import checkBits, quantiser, windowsOf

ODD = "odd-biased-linear-rope"
# A scheme of the linears, of the tables, or of neither, where the checkpoint stores them.
CASES = [
    (ODD, "binary:row,salient=0.3", "int8:g20"),
    (ODD, "dual-binary:g64", "int4:g24"),
    ("tinystories", "ternary:g64", "int8:g64"),
    ("wide-untied", "ternary:row", "int8:row"),
    ("stored-int8-g20-untied", None, None),
    ("smollm2", "ternary:g64", "int8:row"),
]
SLOW = [
    (ODD, "ternary:g128", None),
    ("tinystories", "binary:g128", "int4:row"),
    ("wide-tied", "binary:row,salient=0.3", "int8:row"),
    ("tinystories", "ternary:row", None),
    ("tinystories", "dual-binary:g64", "int4:g32"),
    ("tinystories", "binary:g128,salient=0.1", None),
    ("stored-mixed-salient", None, None),
]
BITS = [
    (ODD, "dual-binary:g64", "int8:g20"),
    ("wide-tied", "ternary:row", "int8:row"),
]
SLOW_BITS = [
    (ODD, "ternary:g128", "int8:g20"),
    (ODD, "binary:row,salient=0.3", None),
    ("wide-tied", "binary:row,salient=0.3", "int8:row"),
    ("smollm2", "ternary:g64", "int8:g64"),
]
# Of the logits' NMSE to float activations; a largest activation that is a hundred times the others,
# as in SmolLM2, takes its share of the steps.
BOUND = 1e-7
BOUND_OF_SMOLLM2 = 1e-4
KV = "--kv-cache=f32"


def flagsOf(linears, tables):
    flags = [f"--quantize={linears}"] if linears else []
    return (*flags, f"--embedding={tables}") if tables else tuple(flags)


@pytest.mark.parametrize("name, linears, tables", CASES + SLOW * LONG)
def test_logits(name, linears, tables, model_directory, compile_model, logits_of, measure):
    """Near float activations, and nearer still to activations that are rounded as these are."""
    directory = model_directory(name)
    ids = windowsOf(name, directory)[0][:100]
    model = reference.loadModel(
        directory,
        quantiser(linears) if linears else None,
        tableQuantiser(tables) if tables else None,
    )
    artifact = compile_model(directory, *flagsOf(linears, tables), "--activations=i16", KV)
    found = logits_of(artifact, ids)
    floats = reference.logitsOf(model, ids)
    error = reference.nmse(found, floats)
    measure("NMSE of i16 to f32", error)
    measure("KL of i16 to f32", reference.divergence(found, floats))
    assert error <= (BOUND_OF_SMOLLM2 if name == "smollm2" else BOUND)

    linears = linears or name not in synthetic.EMBEDDED
    head = tables or name in synthetic.EMBEDDED
    reference.roundActivations(model, linears=linears, head=head, activations="i16")
    rounded = reference.logitsOf(model, ids)
    error = numpy.median(reference.errors(found, floats))
    near = numpy.median(reference.errors(found, rounded))
    measure("median error of i16", error)
    measure("median error to rounded activations", near)
    assert near < error


@pytest.mark.parametrize("name, linears, tables", BITS + SLOW_BITS * LONG)
def test_bits(name, linears, tables, model_directory, compile_model, logits_of):
    """Over workers, chunks and fibers; and plain multiplications give the sums that instructions
    for int8 digits give."""
    directory = model_directory(name)
    flags = (*flagsOf(linears, tables), "--activations=i16")
    artifact = compile_model(directory, *flags)
    ids = windowsOf(name, directory)[0][: 70 if name == "smollm2" else 100]
    checkBits(artifact, ids, logits_of)
    plain = compile_model(directory, *flags, "--mattr=-avx512vnni")
    assert logits_of(plain, ids).tobytes() == logits_of(artifact, ids).tobytes()


def manifestOf(artifact):
    return json.loads(runGood("tbq-inspect", "--json", artifact).stdout)


def test_parts_are_not_counted(model_directory, compile_model):
    """A row of 272 columns is packed in two parts: their scale is stored twice, and is one."""
    directory = model_directory("wide-tied")
    manifests = [
        manifestOf(compile_model(directory, "--embedding=int8:row", f"--activations={mode}"))
        for mode in ("i8", "i16")
    ]
    tables = [manifest["layers"][0] for manifest in manifests]
    for table in tables:
        assert table["group"] == 0 and table["bits_per_weight"] == 8 + 16 / 272
    assert tables[1]["bytes"] - tables[0]["bytes"] == 320 * 2
    assert manifests[0]["bytes_per_token"] == manifests[1]["bytes_per_token"]


def statedBy(directory, *flags):
    """Activations, of the model and of its linears, and the cache's elements."""
    text = runGood("tbqc", directory, *flags, "--stop-after=graph").stdout
    (activations,) = re.findall(r'activations = "(\w+)"', text)
    (cache,) = re.findall(r'kv_cache = "(\w+)"', text)
    return activations, set(re.findall(r"group \d+ activations +(\w+)", text)), cache


@pytest.mark.parametrize(
    "name, flags, activations, cache",
    [
        ("tied-f32", ("--quantize=ternary:g64",), "i16", "f16"),
        ("tied-f32", ("--embedding=int8:g64",), "i16", "f16"),
        ("tied-f32", ("--quantize=ternary:g64", KV), "i16", "f32"),
        ("tied-f32", ("--quantize=ternary:g64", "--activations=f32"), "f32", "f32"),
        ("stored-ternary-g128", (), "i16", "f16"),
        ("stored-int4-g8-tied", (), "i16", "f16"),
        ("tinytales", (), "i8", "f16"),  # as its config.json says
    ],
)
def test_default(name, flags, activations, cache, model_directory):
    """What nobody states: i16 where linears are quantised, and with it a cache of halves."""
    found = statedBy(model_directory(name), *flags)
    assert found == (activations, {activations}, cache)


def test_floats_are_floats(model_directory, tmp_path):
    """Options that leave every linear float quantise none."""
    directory = model_directory("tied-f32")
    (tmp_path / "floats").write_text(".* float\n")
    (tmp_path / "one").write_text(".*down_proj ternary:g64\n")
    for flags in ((), ("--embedding=float", "--quantize=float"), (f"--policy={tmp_path / 'floats'}",)):
        assert statedBy(directory, *flags) == ("f32", set(), "f32")
    assert statedBy(directory, f"--policy={tmp_path / 'one'}") == ("i16", {"i16"}, "f16")
