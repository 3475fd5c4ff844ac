# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Damage to a checkpoint, and what a tool must say of it: one line on stderr that names file and
field, exit code 1, and no half-written file."""

import json

from safetensors.torch import load_file, save_file

from conftest import runTool


def assertRefused(result, *words):
    """Exit code 1 and a single line that names every word."""
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert result.returncode == 1, (result.returncode, result.stderr)
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0], (word, lines[0])


def assertCompileRefused(directory, tmp_path, *words, flags=()):
    out = tmp_path / "out"
    out.mkdir()
    result = runTool("tbqc", directory, "-o", out / "model.so", *flags)
    assertRefused(result, *words)
    assert not list(out.iterdir()), "nothing may be left, not even in part"


def editJson(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def editTensors(path, edit):
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})
