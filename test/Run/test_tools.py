# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What users' hands know of the tools: help, versions, seeds, prompts, machine-readable output."""

import csv
import json
import pathlib

import pytest

from conftest import runGood, runTool

TOOLS = [
    "tbqc", "tbq-run", "tbq-bench", "tbq-ppl", "tbq-inspect", "tbq-logits", "tbq-verify",
]  # fmt: skip
NAME = "tied-f32"

FLAGS = {
    "tbqc": ["-o", "--mcpu", "--mtriple", "--mattr", "--activations", "--quantize", "--embedding",
             "--context", "--prefill-chunk", "--kv-cache", "--stop-after", "--emit", "--save-temps",
             "--dump-tensors", "--shape-only"],
    "tbq-run": ["-m", "-p", "-f", "-n", "-c", "-t", "--seed", "--temp", "--top-k", "--top-p",
                "--min-p", "--repeat-penalty", "--ignore-eos", "-cnv", "-sys", "--json",
                "--show-timings", "--no-display-prompt", "--huge-pages"],
    "tbq-bench": ["-m", "-p", "-n", "-d", "-r", "-t", "-o", "--huge-pages"],
    "tbq-ppl": ["-m", "-f", "-c", "--chunks", "-t", "--kl-divergence", "--json"],
    "tbq-inspect": ["--json"],
    "tbq-verify": ["-m", "--tokens", "-t", "--rtol", "--atol", "--json", "--logits", "--checkpoint"],
}  # fmt: skip


@pytest.fixture
def artifact(model_directory, compile_model):
    return compile_model(model_directory(NAME))


def generate(artifact, *flags):
    return runGood("tbq-run", "-m", artifact, "-n", 30, *flags).stdout


@pytest.mark.parametrize("tool", FLAGS)
def test_help_lists_every_flag(tool):
    text = runGood(tool, "--help").stdout
    for flag in FLAGS[tool]:
        assert flag in text


@pytest.mark.parametrize("tool", TOOLS)
def test_version(tool):
    assert "0.1.0" in runGood(tool, "--version").stdout


@pytest.mark.parametrize("tool", TOOLS)
def test_unknown_flag(tool):
    result = runTool(tool, "--no-such-flag")
    assert result.returncode == 1
    assert "--no-such-flag" in result.stderr and not result.stdout


@pytest.mark.parametrize("tool", TOOLS[1:])
def test_misspelt_flag_that_is_required(tool):
    """The flag that was given is named, not the one that is missing for it."""
    result = runTool(tool, "--modell", "model.so")
    assert result.returncode == 1
    assert "unknown flag '--modell'; did you mean '--model'?" in result.stderr


def test_seed(artifact):
    """The same seed gives the same text, whatever the workers and the pages; another seed another."""
    flags = ("-p", "License", "--temp", 1, "--ignore-eos")
    first = generate(artifact, *flags, "-s", 1)
    assert first == generate(artifact, *flags, "--seed", 1, "-t", 2)
    assert first == generate(artifact, *flags, "--seed", 1, "--huge-pages")
    assert first != generate(artifact, *flags, "-s", 2)


def test_prompt_from_a_file(artifact, tmp_path):
    (tmp_path / "prompt.txt").write_text("License")
    greedy = ("--temp", 0, "--ignore-eos")
    expected = generate(artifact, "-p", "License", *greedy)
    assert generate(artifact, "-f", tmp_path / "prompt.txt", *greedy) == expected
    assert expected.startswith("License")
    shown = generate(artifact, "-p", "License", "--no-display-prompt", *greedy)
    assert expected.removeprefix("License").strip() == shown.strip()


def test_prompt_longer_than_the_context(model_directory, compile_model):
    small = compile_model(model_directory(NAME), "--context=16")
    result = runTool("tbq-run", "-m", small, "-p", "License " * 40, "-n", 1)
    assert result.returncode == 1 and "16" in result.stderr


def test_json_of_run(artifact):
    output = generate(artifact, "-p", "License", "--temp", 0, "--ignore-eos", "--json")
    assert isinstance(json.loads(output), dict)


def test_json_of_bench(artifact):
    quick = ("--limit-seconds", 0.01)
    output = runGood(
        "tbq-bench", "-m", artifact, "-p", 32, "-n", 8, "-r", 2, "-t", "1,2", "-o", "json", *quick
    )
    rows = json.loads(output.stdout)
    assert len(rows) == 4, "pp32 and tg8, on one and on two workers"
    flags = ("-p", 32, "-n", 8, "-r", 1, "-t", 1, *quick)
    table = runGood("tbq-bench", "-m", artifact, *flags).stdout
    assert "pp32" in table and "tg8" in table


def test_limits_of_bench(artifact, model_directory, compile_model):
    """Prefill is held against the peak of the instruction it uses; of floats there is none."""
    flags = ("-p", 32, "-n", 8, "-r", 1, "-t", 1, "--limit-seconds", 0.01)
    prefill, decode = json.loads(runGood("tbq-bench", "-m", artifact, *flags, "-o", "json").stdout)
    config = json.loads((model_directory(NAME) / "config.json").read_text())
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    keys = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    weights = config["num_hidden_layers"] * hidden * (2 * hidden + 2 * keys + 3 * ffn)
    assert prefill["operations_per_token"] == 2 * weights
    assert decode["operations_per_token"] == 2 * (weights + config["vocab_size"] * hidden)
    assert "limit_share" in decode and "peak_share" not in prefill
    quantized = compile_model(model_directory(NAME), "--quantize=ternary:g32", "--activations=i8")
    lines = runGood("tbq-bench", "-m", quantized, *flags, "-o", "csv").stdout.splitlines()
    names, prefill, decode = csv.reader(lines)
    prefill, decode = dict(zip(names, prefill)), dict(zip(names, decode))
    assert len(names) == len(prefill) == len(decode) == 13
    if "avx512_vnni" in pathlib.Path("/proc/cpuinfo").read_text():
        assert 0 < float(prefill["peak_share"]) < 1 and not prefill["limit_share"]
    assert 0 < float(decode["limit_share"]) and not decode["peak_share"]


def test_depth_of_bench(artifact):
    """Behind a depth a step reads its keys and values too; more than the context is refused."""
    flags = ("-m", artifact, "-p", 0, "-r", 1, "-t", 1, "--limit-seconds", 0.01, "-o", "json")
    (shallow,) = json.loads(runGood("tbq-bench", *flags, "-n", 4).stdout)
    (deep,) = json.loads(runGood("tbq-bench", *flags, "-n", 4, "-d", 40).stdout)
    assert (shallow["test"], deep["test"]) == ("tg4", "tg4 @ d40")
    cache = shallow["bytes_per_token"] - shallow["model"]["bytes_per_token"]
    assert deep["bytes_per_token"] == shallow["bytes_per_token"] + cache * 40 / 2.5
    result = runTool("tbq-bench", *flags, "-n", 4, "-d", 100000)
    assert result.returncode == 1
    assert "4 tokens behind 100000 are more than the model's context of" in result.stderr


def test_context_end_is_no_error(model_directory, compile_model):
    """Generation stops where the cache is full."""
    small = compile_model(model_directory(NAME), "--context=16")
    result = runTool(
        "tbq-run", "-m", small, "-p", "License", "-n", 100, "--temp", 0, "--ignore-eos"
    )
    assert result.returncode == 0 and result.stdout
