# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""RELIABILITY R13: whatever a tool is given, it ends in exit code 0, 1, 2 or 3 and by no signal.

The corpora are those of the fuzz targets; 2, a defect of ours, is not expected of any of them.
Modules that skip a stage may earn a 2: what no front end makes is refused by the stage's contract.
make check takes every SHARE-th input, make check-long all.
"""

import pathlib
import shutil

import pytest

from conftest import LONG, REPOSITORY, runTool

CORPUS = REPOSITORY / "test/fuzz/corpus"
SEPARATOR = b"\n%%\n"
SHARE = 1 if LONG else 20


def inputsOf(target):
    """Seeds always; of the rest, which the fuzzer names by hash, a share."""
    paths = sorted((CORPUS / target).iterdir())
    assert paths
    seeds = [path for path in paths if path.name.startswith("seed-")]
    return seeds + [path for path in paths if path not in seeds][::SHARE]


def partsOf(path, count):
    parts = path.read_bytes().split(SEPARATOR, count - 1)
    return parts + [b""] * (count - len(parts))


def assertEnds(name, *arguments, codes=(0, 1, 3)):
    """0, the input was fine; 1, it was not, and a line says why; 3, it could not be verified."""
    result = runTool(name, *arguments, timeout=60)
    assert result.returncode in codes, (name, arguments, result.returncode, result.stderr)
    assert result.returncode == 0 or result.stderr.strip()
    return result.returncode


def asCheckpoint(path, directory):
    config, header, data = partsOf(path, 3)
    (directory / "config.json").write_bytes(config)
    (directory / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)


def asConfig(path, directory):
    config, generation = partsOf(path, 2)
    (directory / "config.json").write_bytes(config)
    (directory / "generation_config.json").write_bytes(generation)


def asIndex(path, directory):
    shutil.move(directory / "model.safetensors", directory / "a.safetensors")
    shutil.copy(path, directory / "model.safetensors.index.json")


def asSafetensors(path, directory):
    content = path.read_bytes()
    if content.startswith(b"{"):
        header, data = partsOf(path, 2)
        content = len(header).to_bytes(8, "little") + header + data
    (directory / "model.safetensors").write_bytes(content)


def asTokenizer(path, directory):
    for name, part in zip(("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"), partsOf(path, 3)):
        (directory / name).write_bytes(part)


def asPattern(path, directory):
    (directory / "policy.txt").write_bytes(partsOf(path, 2)[0] + b" ternary:row\n")


@pytest.mark.parametrize(
    "target, put",
    [("checkpoint", asCheckpoint), ("config", asConfig), ("index", asIndex), ("pattern", asPattern),
     ("safetensors", asSafetensors), ("tokenizer-json", asTokenizer)],
)  # fmt: skip
def test_compiler(target, put, copy_of, tmp_path, measure):
    model = copy_of("tied-f32")
    paths = inputsOf(target)
    codes = []
    for number, path in enumerate(paths):
        directory = pathlib.Path(shutil.copytree(model, tmp_path / str(number)))
        put(path, directory)
        policy = [f"--policy={directory}/policy.txt"] if target == "pattern" else []
        # The tokenizer is read where the artifact is written.
        flags = ["-O0"] if target == "tokenizer-json" else ["--stop-after=graph", "--emit=mlir"]
        codes.append(assertEnds("tbqc", directory, "-o", tmp_path / "out", *flags, *policy))
        shutil.rmtree(directory)
    measure("inputs", len(codes))
    assert 1 in codes


@pytest.mark.parametrize("target", ["artifact", "manifest", "sidecar", "tables"])
def test_tools_that_take_an_artifact(target, tmp_path):
    for path in inputsOf(target):
        artifact = pathlib.Path(shutil.copy(path, tmp_path / "model.so"))
        for tool, *flags in (("tbq-run", "-p", "x", "-n", "1", "-m"), ("tbq-bench", "-p", "1", "-n", "1", "-m"),
                             ("tbq-inspect",), ("tbq-inspect", "--json")):  # fmt: skip
            assert assertEnds(tool, *flags, artifact) == 1
        (tmp_path / "ids.txt").write_text("1 2")
        assert assertEnds("tbq-logits", artifact, "--ids", tmp_path / "ids.txt", "-o", tmp_path / "out") == 1


def test_mlir(tmp_path):
    """Text, and bytes that are none, to the tools that read modules."""
    for target in ("checkpoint", "config", "pattern"):
        for path in inputsOf(target)[:20]:
            module = pathlib.Path(shutil.copy(path, tmp_path / "module.mlir"))
            assert assertEnds("tbqc", module, "--stop-after=graph", "--emit=mlir", "-o", "-") == 1


def test_mlir_cut_and_damaged(tmp_path):
    """The modules of our own tests, cut anywhere or a byte changed."""
    module = tmp_path / "module.mlir"
    for path in sorted((REPOSITORY / "test").glob("*/*.mlir"))[:: SHARE // 3 or 1]:
        text = path.read_bytes()
        for place in range(1, len(text), max(1, len(text) // (4 if not LONG else 100))):
            for content in (text[:place], text[:place] + b"<" + text[place + 1 :]):
                module.write_bytes(content)
                flags = ("--stop-after=pack", "--emit=mlir", "-o", "-")
                assertEnds("tbqc", module, *flags, codes=(0, 1, 2))


def test_prompts(model_directory, compile_model, tmp_path):
    artifact = compile_model(model_directory("tied-f32"))
    for path in inputsOf("text"):
        assertEnds("tbq-run", "-m", artifact, "-f", path, "-n", 1, "--temp", 0)
