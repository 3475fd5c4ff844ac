# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What OPT has beyond the tests that all models share (test_models, test_verify and others take the
forms of opt.py too): a step reads one row of the positions, what was quantised can be saved, and
with TBQ_LONG=1 the published shapes against transformers.
"""

import json

import numpy
import pytest
import torch
from safetensors.torch import load_file

import opt
import reference
import synthetic
from conftest import LONG, runGood, runTool
from test_models import BOUND, quantiser
from test_save_quantized import save


def test_a_step_reads_one_row_of_positions(model_directory, compile_model):
    """All float32, and the tied table all of it: it is the head."""
    directory = model_directory("opt")
    artifact = compile_model(directory, "--activations=f32")
    manifest = json.loads(runGood("tbq-inspect", "--json", artifact).stdout)
    assert manifest["model"]["architecture"] == "opt"
    tensors = load_file(directory / "model.safetensors")
    positions = tensors.pop("model.decoder.embed_positions.weight")
    tensors.pop("lm_head.weight", None)
    floats = sum(tensor.numel() for tensor in tensors.values()) + positions.shape[1]
    assert manifest["bytes_per_token"] == 4 * floats
    assert not any("embed_positions" in layer["name"] for layer in manifest["layers"])


def test_what_is_quantised_can_be_saved(model_directory, tmp_path):
    """And compiled again to the same; the projections stay float."""
    flags = ("--quantize=ternary:g64", "--embedding=int4:g8", "--activations=i8")
    saved, first, again = save(model_directory("opt-post-f16"), tmp_path, *flags)
    assert first == again
    tensors = load_file(saved / "model.safetensors")
    floats = {name for name in tensors if name.endswith(".weight") and tensors[name].ndim == 2}
    parts = ("embed_positions", "project_in", "project_out")
    assert floats == {f"model.decoder.{part}.weight" for part in parts}


def test_the_last_position(model_directory, compile_model, logits_of):
    """A context as long as the table, whose last row is of the last token."""
    directory = model_directory("opt-gelu-bf16")
    artifact = compile_model(directory, "--activations=f32")
    ids = numpy.random.default_rng(0).integers(0, 320, 512).tolist()
    found = logits_of(artifact, ids)
    assert reference.nmse(found[-8:], reference.logitsOf(reference.loadModel(directory), ids)[-8:]) <= BOUND
    result = runTool("tbqc", directory, "-o", artifact.with_name("longer.so"), "--context=513")
    assert result.returncode == 1 and "the model has 512 positions" in result.stderr


@pytest.mark.skipif(not LONG, reason="TBQ_LONG is not 1")
@pytest.mark.parametrize("shape", opt.SHAPES)
def test_published_shape(shape, tmp_path, logits_of, measure):
    """Random weights in float16; as they are, and in ternary by the test's own quantiser."""
    directory = tmp_path / "model"
    settings = {**opt.SHAPES[shape], "vocab_size": 50272, "max_position_embeddings": 2048}
    synthetic.makeCheckpoint(directory, opt=True, dtype=torch.float16, **settings)
    ids = numpy.random.default_rng(1).integers(0, 50272, 48).tolist()
    for flags, quantise in (((), None), (("--quantize=ternary:g128",), quantiser("ternary:g128"))):
        artifact = tmp_path / "model.so"
        runGood("tbqc", directory, "-o", artifact, "--activations=f32", *flags, timeout=900)
        model = reference.loadModel(directory, quantise)
        found, expected = logits_of(artifact, ids), reference.logitsOf(model, ids)
        error = reference.nmse(found, expected)
        measure("NMSE " + (flags[0] if flags else "float"), error)
        assert error <= BOUND
        assert (found.argmax(1) == expected.argmax(1)).all()
