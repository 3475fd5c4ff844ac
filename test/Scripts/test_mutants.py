# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The mutants of scripts/mutants.py fit the sources, and scripts/mutate.py says where one does not."""

import pathlib
import shutil
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
FILE = "lib/CPU/LowerStep.cpp"
SITE = "epsilon.convertToFloat()"
OTHERS = "".join(f"build {tool}: phony\n" for tool in ("tbq-opt", "tbq-logits", "tbq-run", "tbq-runtime-test"))


@pytest.fixture
def sources(tmp_path):
    """A copy of what mutate.py reads."""
    for folder in ("scripts", "lib", "runtime"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / folder, tmp_path / folder, ignore=ignored)
    return tmp_path


def mutate(root, *arguments):
    command = [sys.executable, "-B", root / "scripts/mutate.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_no_site_is_stale():
    result = mutate(REPOSITORY, "--check")
    assert (result.returncode, result.stdout.split(", ")[1]) == (0, "0 stale\n"), result.stdout


@pytest.mark.parametrize("replacement", ["0.0f", f"{SITE} + {SITE}"], ids=["gone", "twice"])
@pytest.mark.parametrize("arguments", [("--check",), ("--only", "silu")], ids=["check", "try"])
def test_a_stale_site_is_named(replacement, arguments, sources):
    """Where a site is stale nothing is tried: a mutant may have been left in the tree."""
    path = sources / FILE
    path.write_text(path.read_text().replace(SITE, replacement))
    result = mutate(sources, *arguments)
    assert result.returncode == 1
    assert f"{FILE}: the text of mutant 'epsilon' does not occur once\n" in result.stdout


def test_a_file_that_is_gone(sources):
    (sources / FILE).unlink()
    result = mutate(sources, "--check")
    assert result.returncode == 1
    assert f"{FILE}: the text of mutant 'silu' does not occur once\n" in result.stdout


def test_a_draw_is_that_of_its_seed(sources):
    drawn = [mutate(sources, "--list", "--draw", "30", "--seed", seed).stdout for seed in "112"]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0].splitlines()) == len(set(drawn[0].splitlines())) == 30


def test_an_unknown_mutant(sources):
    result = mutate(sources, "--only", "none")
    assert (result.returncode, result.stderr) == (1, "mutate.py: no mutant 'none'\n")


@pytest.fixture
def project(sources):
    """A build that always succeeds, and tests that fail where the epsilon is gone."""
    (sources / "build/venv/bin").mkdir(parents=True)
    (sources / "build/build.ninja").write_text("build tbqc: phony\n" + OTHERS)
    python = sources / "build/venv/bin/python"
    python.write_text(f"#!/bin/sh\ngrep -q '{SITE}' {FILE} || {{ echo FAILED test_norm - 1; exit 1; }}\n")
    python.chmod(0o755)
    test = sources / "build/test"
    test.mkdir()
    (test / "lit.cfg.py").write_text(
        "import lit.formats\nconfig.name = 'TBQ'\nconfig.suffixes = ['.test']\n"
        "config.test_format = lit.formats.ShTest()\nconfig.test_source_root = config.test_exec_root = "
        f"{str(test)!r}\n"
    )
    (test / "CPU").mkdir()
    (test / "CPU/silu.test").write_text(f"RUN: grep 'v.divf(gate' {sources / FILE}\n")
    return sources


def test_caught_and_survived(project):
    """By lit, by pytest, and by neither; the tree is as it was."""
    before = (project / FILE).read_bytes()
    result = mutate(project, "--only", "silu", "--only", "epsilon", "--only", "bf16")
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("silu ") and lines[0].endswith("caught by TBQ :: CPU/silu.test")
    assert lines[1].startswith("epsilon ") and lines[1].endswith("caught by test_norm")
    assert lines[2].startswith("bf16 ") and lines[2].endswith("SURVIVED")
    assert lines[-1] == "3 mutants, 1 not caught: bf16"
    assert (project / FILE).read_bytes() == before
    assert mutate(project, "--only", "silu").returncode == 0
    assert mutate(project, "--only", "silu", "--results").returncode == 1
    assert mutate(project, "--only", "epsilon", "--results").returncode == 0


def test_tests_that_fail_anyway(project):
    (project / "build/test/CPU/silu.test").write_text("RUN: false\n")
    result = mutate(project, "--only", "silu")
    assert result.returncode == 1
    assert result.stderr == "mutate.py: without any mutant: TBQ :: CPU/silu.test\n"
    assert mutate(project, "--only", "silu", "--sure").returncode == 0


def test_a_mutant_that_does_not_build(project):
    rule = f"rule check\n  command = grep -q '{SITE}' ../{FILE}\nbuild tbqc: check\n"
    (project / "build/build.ninja").write_text(rule + OTHERS)
    result = mutate(project, "--only", "epsilon")
    assert result.returncode == 1
    assert "does not build" in result.stdout
