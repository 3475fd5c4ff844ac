# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Programs of others: the installed library, found by find_package and used from C."""

import json
import re
import subprocess

import pytest

from conftest import BUILD, LLVM, REPOSITORY, runGood

PROMPT = "Once upon a time"
COUNT = 120


def command(*arguments, **options):
    """Its standard output; anything but exit code 0 is the test's failure."""
    result = subprocess.run(
        list(map(str, arguments)), capture_output=True, text=True, timeout=120, **options
    )
    assert result.returncode == 0, f"{arguments}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("prefix")
    command("cmake", "--install", BUILD, "--component", "runtime", "--prefix", prefix)
    return prefix


@pytest.fixture(scope="module")
def example(installed, tmp_path_factory):
    """examples/generate.c, built against what is installed and nothing of this checkout."""
    build = tmp_path_factory.mktemp("examples")
    command(
        "cmake", "-G", "Ninja", "-S", REPOSITORY / "examples", "-B", build,
        f"-DCMAKE_PREFIX_PATH={installed}", "-DCMAKE_C_COMPILER=clang-22",
    )  # fmt: skip
    command("cmake", "--build", build)
    return build / "generate"


@pytest.fixture
def artifact(model_directory, compile_model):
    return compile_model(model_directory("tinytales"), "--activations=f32")


def neededBy(program):
    dynamic = command(LLVM / "llvm-readelf", "--needed-libs", program)
    return set(re.findall(r"\S+\.so\S*", dynamic))


def test_library_exports_its_header(installed):
    """Every function of the header, and no other symbol."""
    header = (installed / "include/tbq/tbq.h").read_text()
    declared = set(re.findall(r"\bTBQ_API[^;(]*?\b(tbq_\w+)\(", header))
    symbols = command(
        LLVM / "llvm-nm", "-D", "--defined-only", "--format=just-symbols",
        installed / "lib/libtbq.so",
    )  # fmt: skip
    assert set(symbols.split()) == declared and len(declared) > 30


@pytest.mark.parametrize("version, found", [("0.1", True), ("0.2", False), ("1.0", False)])
def test_find_package_compares_versions(installed, tmp_path, version, found):
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\nproject(user LANGUAGES C)\n"
        f"find_package(tbq {version} REQUIRED)\nmessage(STATUS found)\n"
    )
    result = subprocess.run(
        ["cmake", "-G", "Ninja", "-S", tmp_path, "-B", tmp_path / "build",
         f"-DCMAKE_PREFIX_PATH={installed}", "-DCMAKE_C_COMPILER=clang-22"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (result.returncode == 0) == found
    assert found or "0.1.0" in result.stderr


def test_example_needs_libtbq_alone(example):
    assert neededBy(example) == {"libtbq.so.0", "libc.so.6"}


def test_example_generates(example, artifact):
    """Token for token and byte for byte what tbq-run does."""
    flags = ("-m", artifact, "-p", PROMPT, "-n", COUNT, "--temp", 0)
    expected = json.loads(runGood("tbq-run", *flags, "--json").stdout)
    tokens = command(example, "--ids", artifact, PROMPT, COUNT, 0)
    assert list(map(int, tokens.split())) == expected["tokens"]
    assert len(expected["tokens"]) > COUNT // 2
    text = runGood("tbq-run", *flags, "--no-display-prompt").stdout
    assert command(example, artifact, PROMPT, COUNT, 0) == text


def test_example_stops_at_the_context(example, model_directory, compile_model):
    """The last token has no room and is shown all the same, as by tbq-run."""
    small = compile_model(model_directory("tinytales"), "--activations=f32", "--context=16")
    flags = ("-m", small, "-p", PROMPT, "-n", 100, "--temp", 0)
    expected = json.loads(runGood("tbq-run", *flags, "--json").stdout)
    assert expected["stop"] == "context"
    tokens = command(example, "--ids", small, PROMPT, 100, 0)
    assert list(map(int, tokens.split())) == expected["tokens"]


def test_example_says_what_is_wrong(example, tmp_path):
    bad = tmp_path / "bad.so"
    bad.write_text("no model")
    result = subprocess.run([example, bad, PROMPT], capture_output=True, text=True)
    assert result.returncode == 1 and not result.stdout
    assert result.stderr.startswith(f"generate: bad artifact: {bad}: ")
    assert result.stderr.count("\n") == 1
