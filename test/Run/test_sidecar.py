# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Weights beside the artifact: the same model, and no mismatched pair runs."""

import json
import os
import re
import resource
import shutil
import signal
import struct

import numpy
import pytest

from conftest import runGood, runTool

NAME = "odd-biased-linear-rope"
FLAGS = ("--quantize=ternary:g128", "--activations=i8")
LOGITS = ("tbq-logits", "--tokens", "1", "--hash")
HEADER = 4096


@pytest.fixture(scope="module")
def pair(model_directory, tmp_path_factory):
    """An artifact and its sidecar, for a test to copy."""
    artifact = tmp_path_factory.mktemp("sidecar") / "model.so"
    runGood("tbqc", model_directory(NAME), "-o", artifact, "--weights=sidecar", *FLAGS)
    return artifact


@pytest.fixture
def copied(pair, tmp_path):
    for name in ("model.so", "model.so.weights"):
        shutil.copy(pair.parent / name, tmp_path / name)
    return tmp_path / "model.so"


def weightsOf(artifact):
    return artifact.with_name(artifact.name + ".weights")


def test_logits_are_those_of_embedded_weights(pair, model_directory, compile_model, logits_of):
    embedded = compile_model(model_directory(NAME), *FLAGS)
    ids = [1 + 7 * i % 300 for i in range(40)]
    for chunk in (1, 64):
        assert numpy.array_equal(logits_of(pair, ids, chunk), logits_of(embedded, ids, chunk))
    # The artifact itself is small, and both carry the same hashes.
    assert pair.stat().st_size + weightsOf(pair).stat().st_size < embedded.stat().st_size + 8192
    manifests = [json.loads(runGood("tbq-inspect", "--json", a).stdout) for a in (pair, embedded)]
    assert manifests[0]["weights"].pop("sidecar") == "model.so.weights"
    assert manifests[0]["weights"] == manifests[1]["weights"]


def test_every_tool_works(copied):
    runGood("tbq-inspect", "--verify", copied)
    runGood("tbq-run", "-m", copied, "-p", "a", "-n", 4, "--temp", 0)
    runGood(*LOGITS, "--verify", copied)
    flags = ("-p", 4, "-n", 2, "-r", 1, "-t", 1, "--limit-seconds", 0.01)
    assert "tg2" in runGood("tbq-bench", "-m", copied, *flags).stdout


def test_runs_from_its_own_folder(copied):
    """A path without a folder is a file of this one."""
    runGood("tbq-inspect", "--verify", "model.so", folder=copied.parent)
    runGood(*LOGITS, "model.so", folder=copied.parent)


def damageHeader(path):
    image = bytearray(path.read_bytes())
    image[100] ^= 1
    path.write_bytes(image)


DAMAGES = {
    "missing": (lambda path: path.unlink(), "it holds the model's weights"),
    "empty": (lambda path: path.write_bytes(b""), "empty file"),
    "truncated": (lambda path: os.truncate(path, path.stat().st_size - 1), "cut short"),
    "header only": (lambda path: os.truncate(path, 100), "cut short"),
    "foreign": (lambda path: path.write_bytes(b"x" * 9000), "not the weights of a model"),
    "damaged header": (damageHeader, "header is damaged"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "is a directory"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_refuses(damage, copied):
    apply, message = DAMAGES[damage]
    apply(weightsOf(copied))
    for command in (LOGITS, ("tbq-inspect", "--verify")):
        result = runTool(*command, copied)
        assert result.returncode == 1 and message in result.stderr
        assert str(weightsOf(copied)) in result.stderr and result.stderr.count("\n") == 1


def test_refuses_another_models(copied, model_directory, tmp_path):
    """Of the same shape and size: only the hash differs."""
    other = tmp_path / "other.so"
    flags = ("--quantize=binary:g128", "--activations=i8")
    runGood("tbqc", model_directory(NAME), "-o", other, "--weights=sidecar", *flags)
    shutil.copy(weightsOf(other), weightsOf(copied))
    result = runTool(*LOGITS, copied)
    assert result.returncode == 1 and "are another model's" in result.stderr


def test_damaged_weights_are_found_on_request(copied):
    with weightsOf(copied).open("r+b") as file:
        file.seek(HEADER + 1000)
        byte = file.read(1)[0]
        file.seek(HEADER + 1000)
        file.write(bytes([byte ^ 1]))
    runGood("tbq-inspect", copied)
    for command in ((*LOGITS, "--verify"), ("tbq-inspect", "--verify")):
        result = runTool(*command, copied)
        assert result.returncode == 3 and str(weightsOf(copied)) in result.stderr


def writeLargeModel(directory, columns, vocabulary):
    """A layer of zeros and a vocabulary that makes it large; the disk holds none of the zeros."""
    config = json.loads((directory / "config.json").read_text())
    config |= {"vocab_size": vocabulary, "tie_word_embeddings": False, "dtype": "bfloat16"}
    (directory / "config.json").write_text(json.dumps(config))
    heads, layers, ffn = 4, config["num_hidden_layers"], config["intermediate_size"]
    keys = columns // heads * config["num_key_value_heads"]
    table = [vocabulary, columns]
    shapes = {"model.embed_tokens.weight": table, "lm_head.weight": table}
    shapes["model.norm.weight"] = [columns]
    for layer in range(layers):
        for name, shape in {
            "input_layernorm": [columns], "post_attention_layernorm": [columns],
            "self_attn.q_proj": [columns, columns], "self_attn.k_proj": [keys, columns],
            "self_attn.v_proj": [keys, columns], "self_attn.o_proj": [columns, columns],
            "mlp.gate_proj": [ffn, columns], "mlp.up_proj": [ffn, columns],
            "mlp.down_proj": [columns, ffn],
        }.items():  # fmt: skip
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * int(numpy.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with (directory / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


@pytest.fixture(scope="module")
def large(model_directory, tmp_path_factory):
    """Two matrices of 128 MiB."""
    directory = tmp_path_factory.mktemp("large") / "model"
    shutil.copytree(model_directory("tied-f32"), directory)
    writeLargeModel(directory, columns=64, vocabulary=1 << 20)
    return directory


@pytest.mark.parametrize("weights, file", [("embed", "m.so"), ("sidecar", "m.so.weights")])
def test_memory_is_as_stated(weights, file, large, tmp_path, measure):
    """Long work says before it starts what it takes, and takes no more than one weight's worth."""
    flags = ("-o", tmp_path / "m.so", f"--weights={weights}", "-v")
    lines = runGood("tbqc", large, *flags).stderr.splitlines()
    said = [line for line in lines if line.startswith("tbqc: ")]
    peak = int(re.fullmatch(r"peak memory: (\d+) MiB", lines[-1])[1])
    pattern = r"tbqc: writing (\S+) MB of weights to (\S+); peak memory at most (\d+) MiB"
    stated = re.fullmatch(pattern, said[0])
    assert stated and stated[2] == str(tmp_path / file) and float(stated[1]) > 268
    measure("peak MiB", peak)
    measure("stated MiB", int(stated[3]))
    # One weight is 128 MiB; two would show.
    assert 128 < peak <= int(stated[3]) <= peak + 64
    shares = [line.split("%")[0].split()[-1] for line in said[1:]]
    assert shares == ["25", "50", "75"]


@pytest.mark.parametrize("weights, file", [("embed", "m.so"), ("sidecar", "m.so.weights")])
def test_full_disk_is_said_before_the_long_work(weights, file, large, tmp_path):
    """A limit on the size of files stands in for a disk without room."""

    def limitFiles():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200 << 20, 200 << 20))

    (tmp_path / "m.so").write_text("older")
    flags = ("-o", tmp_path / "m.so", f"--weights={weights}")
    result = runTool("tbqc", large, *flags, preexec_fn=limitFiles)
    assert result.returncode == 1
    assert result.stderr == f"tbqc: error: {tmp_path / file}: File too large\n"
    assert [path.name for path in tmp_path.iterdir()] == ["m.so"]
    assert (tmp_path / "m.so").read_text() == "older"
