# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""tbq-verify: compiled operations equal the interpreter's on the step's own values, for every
scheme, kind of activations and number of workers; a damaged weight is found and named; and the
interpreter's logits are transformers' in float64.
"""

import json
import shutil

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file

import reference
import synthetic
from conftest import LONG, runGood, runTool

SHOWN = "--dump-tensors"
EXACT = {"embedding", "add_positions", "rope", "activation relu", "append_cache", "select_rows", "quantize_activations",
         "packed_linear integer"}  # fmt: skip
MIXED = ("--quantize=ternary:g64", "--embedding=int8:g64")
SALIENT = ("--quantize=binary:g64,salient=0.1", "--embedding=int4:g24")
# The others are compared with transformers in every run.
OFTEN = [
    ("tied-f32", (), "f32"),
    ("odd-biased-linear-rope", SALIENT, "i8"),
    ("stored-ternary-g128", (), "f32"),
    ("stored-odd-salient-g64", (), "i8"),
    ("stored-dual-binary-g64", (), "i8"),
    ("stored-int8-g20-untied", (), "i8"),
    ("stored-int4-row-odd", (), "f32"),
    ("tinystories", MIXED, "i16"),
    ("odd-biased-linear-rope", SALIENT, "i16"),
    ("opt", MIXED, "i8"),
    ("opt-post-f16", SALIENT, "i16"),
    ("opt-stored-gelu-dual", (), "f32"),
    ("wide-untied", ("--quantize=ternary:row", "--embedding=int8:row"), "i16"),
    ("tinytales", (), "i8"),
]
ALL = [(name, (), mode) for name in synthetic.VARIANTS for mode in ("f32", "i8", "i16")]
CASES = [*OFTEN, *(case for case in ALL if LONG and case not in OFTEN)]
KINDS = {
    "llama": {"rms_norm", "rope", "gated_activation"},
    "opt": {"layer_norm", "add_positions"},
}
LAYER = "model.layers.1.mlp.up_proj"


def verify(artifact, source, *flags, **options):
    """The report and, for each operation, its deviations."""
    return json.loads(runGood("tbq-verify", "-m", artifact, source, "--json", *flags, **options).stdout)


@pytest.mark.parametrize("name, flags, activations", CASES)
def test_operations(name, flags, activations, model_directory, compile_model, measure):
    directory = model_directory(name)
    artifact = compile_model(directory, SHOWN, f"--activations={activations}", *flags)
    reports = [verify(artifact, directory, "-t", workers) for workers in (1, 3)]
    assert reports[0] == reports[1]
    operations = reports[0]["operations"]
    config = json.loads((directory / "config.json").read_text())
    kinds = {operation["kind"] for operation in operations}
    assert kinds >= {"embedding", "append_cache", "attention", *KINDS[config["model_type"]]}
    assert sum(operation["kind"] == "attention" for operation in operations) == config["num_hidden_layers"]
    for operation in operations:
        assert operation["exact"] == (operation["kind"] in EXACT), operation
        assert not operation["broken"] and operation["values"] > 0, operation
        assert operation["runs"] == reports[0]["steps"] == 4
        if operation["exact"]:
            assert operation["differing"] == 0
    quantised = "stored" in name or name == "tinytales" or bool(flags)
    assert ("packed_linear integer" in kinds) == (activations != "f32" and quantised)
    logits = reports[0]["logits"]
    measure("NMSE", logits["nmse"])
    if activations == "f32":
        assert logits["nmse"] <= logits["bound"] == 1e-6


@pytest.mark.skipif(not LONG, reason="TBQ_LONG is not 1")
@pytest.mark.parametrize("flags", [(), (*MIXED, "--activations=i8"), (*SALIENT, "--activations=i8")])
def test_smollm2(flags, model_directory, compile_model):
    directory = model_directory("smollm2")
    report = verify(compile_model(directory, SHOWN, "--context=256", *flags), directory, "-t", 2)
    assert len(report["operations"]) > 400




@pytest.mark.parametrize("name, tensor", [("tied-f32", "weight"), ("stored-ternary-g128", "scale")])
@pytest.mark.parametrize("activations", ["f32", "i8"])
def test_damage_is_found_and_named(name, tensor, activations, copy_of, model_directory, compile_model):
    """One coefficient, or one row, of one tensor differs from what was compiled."""
    damaged = copy_of(name)
    (file,) = damaged.glob("*.safetensors")
    tensors = load_file(file)
    tensors[f"{LAYER}.{tensor}"][5] *= 1.01
    save_file(tensors, file)
    artifact = compile_model(damaged, SHOWN, f"--activations={activations}")
    result = runTool("tbq-verify", "-m", artifact, model_directory(name))
    assert result.returncode == 3
    named = result.stderr.splitlines()[0]
    assert named.startswith(f"tbq-verify: {LAYER}: packed_linear ")
    operations = [line for line in result.stderr.splitlines() if "logits" not in line]
    assert operations == [named]  # every other one is right on what it was given
    assert runTool("tbq-verify", "-m", artifact, damaged).returncode == 0


def test_a_wrong_layer_norm_is_found(copy_of, model_directory, compile_model, tmp_path):
    """One weight or bias of a thousandth more, or an epsilon a tenth larger, which shows where variances are small."""
    directory, layer = model_directory("opt"), "model.decoder.layers.1.final_layer_norm"
    artifact = compile_model(directory, SHOWN, "--activations=f32")
    other = copy_of("opt")
    (file,) = other.glob("*.safetensors")
    for part in ("weight", "bias"):
        tensors = load_file(directory / file.name)
        tensors[f"{layer}.{part}"][5] *= 1.001
        save_file(tensors, file)
        found = runTool("tbq-verify", "-m", artifact, other).stderr.splitlines()
        assert [line for line in found if "logits" not in line] == found[:1]
        assert found[0].startswith(f"tbq-verify: {layer}: layer_norm: relative deviation "), part
    module = tmp_path / "model.mlir"
    runGood("tbqc", directory, "--activations=f32", "--stop-after=import", "-o", module)
    text, epsilon = module.read_text(), "epsilon 9.99999974E-6"
    assert epsilon in text
    module.write_text(text.replace(epsilon, "epsilon 1.1E-5"))
    found = runTool("tbq-verify", "-m", artifact, module, "--checkpoint", directory).stderr.splitlines()
    assert found[0].startswith("tbq-verify: tbq.layer_norm: layer_norm: relative deviation ")


def test_bounds_can_be_set(model_directory, compile_model):
    directory = model_directory("tied-f32")
    artifact = compile_model(directory, SHOWN)
    result = runTool("tbq-verify", "-m", artifact, directory, "--rtol", 1e-9, "--atol", 0)
    assert result.returncode == 3
    assert "model.layers.0.input_layernorm: rms_norm: relative deviation" in result.stderr
    runGood("tbq-verify", "-m", artifact, directory, "--rtol", 0, "--atol", 1)


def test_an_ordinary_artifact_has_its_logits_compared(model_directory, compile_model, copy_of):
    directory = model_directory("tied-f32")
    artifact = compile_model(directory, "--quantize=ternary:g64", "--activations=f32")
    text = runGood("tbq-verify", "-m", artifact, directory).stdout
    assert "only logits are compared" in text and "rms_norm" not in text
    other = copy_of("tied-f32")
    (file,) = other.glob("*.safetensors")
    tensors = load_file(file)
    tensors["model.norm.weight"] *= 2
    save_file(tensors, file)
    result = runTool("tbq-verify", "-m", artifact, other)
    assert result.returncode == 3
    assert result.stderr.startswith("tbq-verify: logits: NMSE ")


def test_the_table(model_directory, compile_model):
    directory = model_directory("stored-ternary-g128")
    text = runGood("tbq-verify", "-m", compile_model(directory, SHOWN, "--activations=i8"), directory).stdout
    lines = {line[:22].strip(): line[22:].split() for line in text.splitlines()}
    assert lines["packed_linear integer"][:5] == ["21", "84", "46080", "0", "equal"]
    assert lines["rms_norm"][:3] == ["7", "28", "10752"] and lines["rms_norm"][4] == "1.0e-06"
    assert "logits of 24 tokens in 4 steps" in text


def test_policy_and_module_text(model_directory, compile_model, tmp_path):
    """What was asked of the graph stage is in the manifest; a module needs its checkpoint."""
    directory = model_directory("tied-f32")
    policy = tmp_path / "policy"
    policy.write_text("model\\.layers\\.0\\..* binary:g64,salient=0.1\n.*down_proj dual-binary:g64\n")
    artifact = compile_model(directory, SHOWN, f"--policy={policy}", "--activations=i8")
    assert verify(artifact, directory)["operations"]
    for stage in ("import", "graph"):
        module = tmp_path / f"{stage}.mlir"
        runGood("tbqc", directory, f"--policy={policy}", "--activations=i8", f"--stop-after={stage}", "-o", module)
        assert verify(artifact, module, "--checkpoint", directory)["operations"]


def test_logits_are_those_of_transformers_in_float64(model_directory, compile_model, tmp_path, measure):
    for name in ("odd-biased-linear-rope", "stored-ternary-g128", "stored-int4-row-odd"):
        directory = model_directory(name)
        ids = [int(i) for i in numpy.random.default_rng(1).integers(0, 300, 40)]
        (tmp_path / "ids").write_text(" ".join(map(str, ids)))
        artifact = compile_model(directory, SHOWN, "--activations=f32")
        runGood("tbq-verify", "-m", artifact, directory, "--tokens", tmp_path / "ids", "--logits", tmp_path / "logits")
        found = numpy.fromfile(tmp_path / "logits").reshape(len(ids), -1)
        model = reference.loadModel(directory).double()
        with torch.no_grad():
            expected = model(torch.tensor([ids])).logits[0].numpy()
        error = reference.nmse(found, expected)
        measure(f"NMSE of {name}", error)
        assert error <= 1e-12


def test_what_is_refused(model_directory, compile_model, tmp_path):
    directory = model_directory("tied-f32")
    artifact = compile_model(directory, SHOWN)

    def refused(*arguments):
        result = runTool("tbq-verify", *arguments)
        assert result.returncode == 1 and result.stderr.count("\n") == 1
        return result.stderr

    tokens = tmp_path / "tokens"
    for text, message in [("", "has no tokens"), ("1 x", "token 1: must be a number (got x)"),
                          ("1 99999", "--tokens: 99999 is not in [0, "),
                          ("1 " * 5000, "more than the model's context")]:  # fmt: skip
        tokens.write_text(text)
        assert message in refused("-m", artifact, directory, "--tokens", tokens)
    assert "No such file" in refused("-m", artifact, directory, "--tokens", tmp_path / "none")
    assert "No such file" in refused("-m", tmp_path / "none.so", directory)
    assert "config.json" in refused("-m", artifact, tmp_path)
    assert str(tmp_path / "x/y") in refused("-m", artifact, directory, "--logits", tmp_path / "x/y")
    other = model_directory("odd-biased-linear-rope")
    message = "model.embed_tokens: the step runs 'embedding' in layer -1, which is not this 'embedding'"
    assert message in refused("-m", artifact, other)
    plain = compile_model(directory)
    assert "has 331 logits, the artifact 320" in refused("-m", plain, other)
