# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Bad input to the tools: one line on stderr that names file and field, exit code 1, and no
half-written file.

Each case damages a good checkpoint or artifact in one place.
"""

import json
import os
import pathlib
import shutil

import numpy
import pytest
import torch

from conftest import LONG, REPOSITORY, runGood, runTool
from damage import assertCompileRefused, assertRefused, editJson, editTensors

SINGLE, SHARDED, STORED = "odd-biased-linear-rope", "untied-bf16-sharded", "stored-ternary-g128"
DOWN = "model.layers.1.mlp.down_proj.weight"


def test_good_copy_compiles(copy_of, tmp_path):
    """The copies are good before they are damaged."""
    for name in (SINGLE, SHARDED):
        runGood("tbqc", copy_of(name), "-o", tmp_path / f"{name}.so")


@pytest.mark.parametrize("cut", [1, 1000, -4, -20])
def test_truncated_shard(cut, copy_of, tmp_path):
    """Cut near the end (cut > 0) or to a few bytes (cut < 0)."""
    directory = copy_of(SHARDED)
    shard = sorted(directory.glob("model-*.safetensors"))[1]
    size = shard.stat().st_size
    os.truncate(shard, size - cut if cut > 0 else -cut)
    assertCompileRefused(directory, tmp_path, shard.name)


def test_missing_shard(copy_of, tmp_path):
    directory = copy_of(SHARDED)
    shard = sorted(directory.glob("model-*.safetensors"))[1]
    shard.unlink()
    assertCompileRefused(directory, tmp_path, shard.name)


def test_shard_outside_the_model(copy_of, tmp_path):
    directory = copy_of(SHARDED)
    shard = sorted(directory.glob("model-*.safetensors"))[1]
    shutil.move(shard, tmp_path / shard.name)

    def pointOutside(index):
        for name, file in index["weight_map"].items():
            if file == shard.name:
                index["weight_map"][name] = f"../{shard.name}"

    editJson(directory / "model.safetensors.index.json", pointOutside)
    assertCompileRefused(directory, tmp_path, "model.safetensors.index.json", f"../{shard.name}")


def test_missing_tensor(copy_of, tmp_path):
    directory = copy_of(SINGLE)
    editTensors(directory / "model.safetensors", lambda tensors: tensors.pop(DOWN))
    assertCompileRefused(directory, tmp_path, DOWN)


def test_wrong_shape(copy_of, tmp_path):
    directory = copy_of(SINGLE)

    def shorten(tensors):
        tensors[DOWN] = tensors[DOWN][:, :-1].contiguous()

    editTensors(directory / "model.safetensors", shorten)
    assertCompileRefused(directory, tmp_path, "model.safetensors", DOWN, "199", "200")


def test_wrong_type(copy_of, tmp_path):
    directory = copy_of(SINGLE)

    def toIntegers(tensors):
        tensors[DOWN] = tensors[DOWN].to(torch.int32)

    editTensors(directory / "model.safetensors", toIntegers)
    assertCompileRefused(directory, tmp_path, "model.safetensors", DOWN, "I32")


CONFIG_CASES = {
    "unknown-architecture": ({"architectures": ["FalconForCausalLM"], "model_type": "falcon"}, "architectures", "FalconForCausalLM"),
    "unknown-activation": ({"hidden_act": "gelu"}, "hidden_act", "gelu"),
    "unknown-rope": ({"rope_scaling": {"type": "yarn", "factor": 2.0}}, "rope", "yarn"),
    "no-heads": ({"num_attention_heads": 0}, "num_attention_heads", "0"),
    "heads-not-divided": ({"num_key_value_heads": 2}, "num_key_value_heads", "2"),
    "negative-layers": ({"num_hidden_layers": -1}, "num_hidden_layers", "-1"),
    "huge-hidden": ({"hidden_size": 2**62}, "hidden_size", str(2**62)),
    "text-for-number": ({"vocab_size": "331"}, "vocab_size"),
    "other-quantiser": ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quant_method", "gptq"),
}  # fmt: skip


@pytest.mark.parametrize("case", CONFIG_CASES)
def test_config(case, copy_of, tmp_path):
    changes, *words = CONFIG_CASES[case]
    directory = copy_of(SINGLE)
    editJson(directory / "config.json", lambda config: config.update(changes))
    assertCompileRefused(directory, tmp_path, "config.json", *words)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_missing_file(file, copy_of, tmp_path):
    directory = copy_of(SINGLE)
    (directory / file).unlink()
    assertCompileRefused(directory, tmp_path, file)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "generation_config.json"])
def test_not_json(file, copy_of, tmp_path):
    directory = copy_of(SINGLE)
    (directory / file).write_text('{"a": [1, 2')
    assertCompileRefused(directory, tmp_path, file)


def test_unknown_tokenizer_part(copy_of, tmp_path):
    directory = copy_of(SINGLE)
    editJson(
        directory / "tokenizer.json",
        lambda content: content.update(pre_tokenizer={"type": "Metaspace2", "replacement": "_"}),
    )
    assertCompileRefused(directory, tmp_path, "tokenizer.json", "pre_tokenizer", "Metaspace2")


FLAG_CASES = {
    "unknown-flag": (["--activation=f32"], "--activation", "--activations"),
    "unknown-value": (["--activations=f23"], "f23", "f32"),
    "unknown-scheme": (["--quantize=ternery:g128"], "ternery", "ternary"),
    "bad-group": (["--quantize=ternary:g0"], "g0"),
    "unknown-cpu": (["--mcpu=znver99"], "znver99"),
    "unknown-target": (["--target=tpu"], "tpu"),
    "bad-context": (["--context=0"], "--context", "0"),
    "context-too-long": (["--context=513"], "513", "512"),
    "no-record": (["--record=/absent.json"], "/absent.json"),
    "record-is-no-object": (["--record=" + str(REPOSITORY / "LICENSE")], "LICENSE"),
    "record-of-no-artifact": (["--record=x.json", "--emit=asm"], "--record", "artifact"),
}


@pytest.mark.parametrize("case", FLAG_CASES)
def test_bad_flag(case, model_directory, tmp_path):
    flags, *words = FLAG_CASES[case]
    assertCompileRefused(model_directory(SINGLE), tmp_path, *words, flags=flags)


@pytest.mark.parametrize("flag", ["--quantize=ternary:g128", "--embedding=int8:g64"])
def test_quantise_what_is_quantised(flag, model_directory, tmp_path):
    """Both are for float checkpoints, not for one of codes."""
    words = (flag.split("=")[0], "config.json")
    assertCompileRefused(model_directory(STORED), tmp_path, *words, flags=[flag])


def test_output_in_no_folder(model_directory, tmp_path):
    result = runTool("tbqc", model_directory(SINGLE), "-o", tmp_path / "absent/model.so")
    assertRefused(result, "absent/model.so")


def test_failed_compile_keeps_the_old_artifact(copy_of, tmp_path):
    """A new artifact replaces the old one whole or not at all."""
    artifact = tmp_path / "model.so"
    directory = copy_of(SINGLE)
    runGood("tbqc", directory, "-o", artifact)
    before = artifact.read_bytes()
    editTensors(directory / "model.safetensors", lambda tensors: tensors.pop(DOWN))
    assertRefused(runTool("tbqc", directory, "-o", artifact), DOWN)
    assert artifact.read_bytes() == before


@pytest.mark.parametrize("flags", [["--tempp", "1"], ["-n", "many"], ["--top-p", "-1"]])
def test_bad_flag_to_run(flags, model_directory, compile_model):
    artifact = compile_model(model_directory(SINGLE))
    assertRefused(runTool("tbq-run", "-m", artifact, "-p", "x", *flags), flags[0])


def runDamaged(artifact):
    return runTool("tbq-run", "-m", artifact, "-p", "License", "-n", 1, "--temp", 0)


def weightsRange(image):
    """The file range of .tbq.weights, by the section headers of an ELF64 file."""
    headers = int.from_bytes(image[0x28:0x30], "little")
    count, names = (int.from_bytes(image[at : at + 2], "little") for at in (0x3C, 0x3E))

    def field(index, at, size):
        begin = headers + 64 * index + at
        return int.from_bytes(image[begin : begin + size], "little")

    strings = field(names, 0x18, 8)
    for index in range(count):
        begin = strings + field(index, 0, 4)
        if image[begin : image.index(0, begin)] == b".tbq.weights":
            return range(field(index, 0x18, 8), field(index, 0x18, 8) + field(index, 0x20, 8))
    raise AssertionError("no section .tbq.weights")


def test_damaged_artifact(model_directory, compile_model, tmp_path):
    """A flipped bit anywhere but in the weights, and any truncation, is refused before a step."""
    image = compile_model(model_directory(SINGLE)).read_bytes()
    damaged = tmp_path / "damaged.so"
    weights = weightsRange(image)
    random = numpy.random.default_rng(1)
    anywhere = random.integers(0, len(image), 1000 if LONG else 30)
    for place in (0, 5, 0x28, len(image) - 1, len(image) - 40, *anywhere):
        if place in weights:
            continue
        bad = bytearray(image)
        bad[place] ^= 1 << int(random.integers(8))
        damaged.write_bytes(bad)
        assertRefused(runDamaged(damaged), "damaged.so")
    for size in (0, 1, 63, 64, 4096, len(image) // 2, len(image) - 1):
        damaged.write_bytes(image[:size])
        assertRefused(runDamaged(damaged), "damaged.so")
    damaged.write_bytes(image + b"\0")
    assertRefused(runDamaged(damaged), "damaged.so")


def test_not_an_artifact(model_directory, tmp_path):
    """A directory, a missing file, text, and a shared object that is none of ours."""
    text = tmp_path / "text.so"
    text.write_text("not an artifact\n")
    for path in (tmp_path, tmp_path / "absent.so", text):
        assertRefused(runDamaged(path), path.name)
    foreign = next(pathlib.Path("/lib").glob("*-linux-gnu/libm.so.6"))
    assertRefused(runDamaged(foreign), "libm.so.6")
    assertRefused(runTool("tbq-inspect", text), "text.so")


def test_other_architecture(model_directory, compile_model):
    machine = "x86_64" if os.uname().machine == "aarch64" else "aarch64"
    artifact = compile_model(
        model_directory(SINGLE), f"--mtriple={machine}-linux-gnu", "--mcpu=generic"
    )
    assertRefused(runDamaged(artifact), artifact.name, machine)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="names an x86-64 CPU")
def test_other_cpu(model_directory, compile_model):
    """A CPU of the same architecture that has what this one lacks: the feature is named."""
    present = pathlib.Path("/proc/cpuinfo").read_text()
    if "avx10_2" in present:
        pytest.skip("this CPU has AVX10.2")
    artifact = compile_model(model_directory(SINGLE), "--mcpu=diamondrapids")
    needed = json.loads(runGood("tbq-inspect", "--json", artifact).stdout)["target"]["features"]
    result = runDamaged(artifact)
    assertRefused(result, artifact.name)
    assert any(feature in result.stderr for feature in needed)


def test_bad_token_ids(model_directory, compile_model, tmp_path):
    """tbq-logits takes ids of the vocabulary, and no more than the context holds."""
    artifact = compile_model(model_directory(SINGLE))
    for ids, word in (["331", "331"], ["-1", "-1"], ["x", "x"], [" ".join(["1"] * 513), "512"]):
        (tmp_path / "ids.txt").write_text(ids)
        out = tmp_path / "logits.bin"
        result = runTool("tbq-logits", artifact, "--ids", tmp_path / "ids.txt", "-o", out)
        assertRefused(result, "ids.txt", word)
        assert not out.exists()
