# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Schemes by name: what `tbqc --policy` makes of each linear, and what it refuses."""

import json

import pytest

from conftest import runGood, runTool

NAME = "untied-bf16-sharded"
IDS = list(range(2, 40))


@pytest.fixture
def policy(tmp_path):
    def write(*lines):
        (tmp_path / "policy.txt").write_text("".join(line + "\n" for line in lines))
        return f"--policy={tmp_path / 'policy.txt'}"

    return write


def test_everything_by_one_rule(policy, model_directory, compile_model, logits_of):
    """A rule for all linears is --quantize."""
    directory = model_directory(NAME)
    expected = logits_of(compile_model(directory, "--quantize=ternary:g32"), IDS)
    found = logits_of(compile_model(directory, policy(".* ternary:g32")), IDS)
    assert found.tobytes() == expected.tobytes()


def test_first_match_wins(policy, model_directory, compile_model, logits_of):
    """Layers and parts of layers differ; what no rule matches falls to --quantize."""
    directory = model_directory(NAME)
    flags = policy(
        "# the first layer stays float",
        r"model\.layers\.0\..* float",
        r".*\.(q|k|v|o)_proj   dual-binary:row",
    )
    artifact = compile_model(directory, flags, "--quantize=binary:row")
    manifest = json.loads(runGood("tbq-inspect", "--json", artifact).stdout)
    schemes = {layer["name"]: layer["scheme"] for layer in manifest["layers"]}
    for name, scheme in schemes.items():
        if ".layers.0." in name or ".layers." not in name:
            assert scheme == "float", name
        else:
            assert scheme == ("dual-binary" if "self_attn" in name else "binary"), name
    assert set(schemes.values()) == {"float", "binary", "dual-binary"}
    expected = logits_of(artifact, IDS, chunk=64).tobytes()
    assert logits_of(artifact, IDS, chunk=1, workers=3).tobytes() == expected


@pytest.mark.parametrize(
    "lines, words",
    [
        (["lm_head binary:row"], ["lm_head", "matches no float linear"]),
        ([".* float", ".* ternary:g5"], ["line 2", "multiple of 16"]),
        ([".* octal:row"], ["line 1", "octal"]),
        (["([ float"], ["line 1", "(["]),
        ([".*"], ["line 1"]),
        (["(" * 200_000 + " float"], ["line 1", "more than the limit of 1000"]),
        (["((((x{250}){250}){250}){250}) float"], ["line 1", "too large"]),
        ([r"([a-z0-9_]+\.?)+[!?] float"], ["[!?]", "takes too long"]),
    ],
    ids=[
        "no-such-linear", "group", "scheme", "pattern", "no-spec", "deep", "repeated", "slow",
    ],
)
def test_refused(lines, words, policy, model_directory, tmp_path):
    """One line that names the file and what is wrong; nothing is written."""
    output = tmp_path / "model.so"
    result = runTool("tbqc", model_directory(NAME), policy(*lines), "-o", output)
    assert result.returncode == 1 and not output.exists()
    (line,) = result.stderr.splitlines()
    for word in ["policy.txt", *words]:
        assert word in line, (word, line)


def test_no_such_file(model_directory, tmp_path):
    result = runTool(
        "tbqc", model_directory(NAME), f"--policy={tmp_path / 'none'}", "-o", tmp_path / "model.so"
    )
    assert result.returncode == 1 and "none" in result.stderr
