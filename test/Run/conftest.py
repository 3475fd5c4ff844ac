# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the whole-model tests share: tools, models, compiled artifacts, measurements.

TBQ_BUILD (build), TBQ_TEST_DATA (../shared/data) and TBQ_SMOLLM2
(build/models/SmolLM2-135M-Instruct) say where things are. A tool that is missing is a failure;
a model or data set that is missing is a visible skip; the synthetic models are always tested.
TBQ_LONG=1 (make check-long) widens the sweeps.
"""

import functools
import os
import pathlib
import shutil
import subprocess
import sys

import numpy
import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "python"))  # synthetic writes checkpoints with tbq

import first_layers  # noqa: E402
import stories260k  # noqa: E402
import synthetic  # noqa: E402

BUILD = REPOSITORY / os.environ.get("TBQ_BUILD", "build")
DATA = REPOSITORY / os.environ.get("TBQ_TEST_DATA", "../shared/data")
SMOLLM2 = REPOSITORY / os.environ.get("TBQ_SMOLLM2", BUILD / "models/SmolLM2-135M-Instruct")
LONG = os.environ.get("TBQ_LONG") == "1"
LLVM = pathlib.Path("/usr/lib/llvm-22/bin")


def pytest_terminal_summary(terminalreporter):
    """Numbers worth reading whether or not a bound held, whichever process noted them."""
    reports = [r for some in terminalreporter.stats.values() for r in some
               if getattr(r, "when", None) == "call"]
    lines = [f"{r.nodeid.rpartition('::')[2]}: {what} = {value:.3g}"
             for r in reports for what, value in r.user_properties]
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def measure(record_property):
    """measure("NMSE", 1e-9): noted in the test's report, shown at the end of the run."""

    def note(what, value):
        record_property(what, float(value))

    return note


def runTool(name, *arguments, folder=None, timeout=300, **options):
    """Runs build/bin/NAME; the caller looks at returncode, stdout and stderr."""
    tool = BUILD / "bin" / name
    if not tool.exists():
        pytest.fail(f"{tool} is not built")
    return subprocess.run(
        [tool, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=timeout,
        cwd=folder,
        **options,
    )


def findCudaTool(name):
    """Path of a tool of NVIDIA's toolkit, or None."""
    return shutil.which(name) or shutil.which(name, path="/usr/local/cuda/bin")


def runGood(name, *arguments, **options):
    """Like runTool, where anything but exit code 0 is the test's failure."""
    result = runTool(name, *arguments, **options)
    assert result.returncode == 0, f"{name} {arguments}: {result.returncode}\n{result.stderr}"
    return result


@functools.cache
def instructionsHere():
    """The best this machine has, as the shipped tables of CPU families name it."""
    said = runGood("tbqc", "--print-targets").stdout
    needed = set(said.split("needs of a native artifact:")[1].split())
    for name, feature in {"amx": "amx-int8", "vnni": "avx512vnni", "avx2": "avx2", "dotprod": "dotprod"}.items():
        if feature in needed:
            return name
    return "plain"


@pytest.fixture(scope="session")
def tbq_runtime():
    """The built Python package of the runtime."""
    folder = BUILD / "python"
    if not list(folder.glob("tbq_runtime/native*.so")):
        pytest.fail(f"{folder}/tbq_runtime is not built: configure with TBQ_BUILD_PYTHON=ON")
    sys.path.insert(0, str(folder))
    try:
        import tbq_runtime
    finally:
        sys.path.remove(str(folder))
    return tbq_runtime


@pytest.fixture(scope="session")
def compile_model(tmp_path_factory):
    """compile_model(directory, *flags) -> path of the artifact, compiled once a session."""
    folder = tmp_path_factory.mktemp("artifacts")
    compiled = {}

    def compileOnce(directory, *flags):
        key = (pathlib.Path(directory), flags)
        if key not in compiled:
            artifact = folder / f"model{len(compiled)}.so"
            runGood("tbqc", directory, "-o", artifact, *flags)
            compiled[key] = artifact
        return compiled[key]

    return compileOnce


@pytest.fixture(scope="session")
def logits_of(tmp_path_factory):
    """logits_of(artifact, ids, chunk=, workers=, fibers=) -> float32 [ids, vocab]; with batch=N,
    of N sequences at once, [N, ids, vocab]."""
    folder = tmp_path_factory.mktemp("logits")

    def run(artifact, ids, chunk=64, workers=1, fibers=None, batch=None):
        (folder / "ids.txt").write_text(" ".join(map(str, ids)) + "\n")
        flags = ["--fibers", fibers] if fibers else []
        flags += ["--batch", batch] if batch else ["--chunk", chunk]
        runGood(
            "tbq-logits", artifact, "--ids", folder / "ids.txt", "--workers", workers, *flags,
            "-o", folder / "logits.bin",
        )  # fmt: skip
        shape = (batch, len(ids), -1) if batch else (len(ids), -1)
        return numpy.fromfile(folder / "logits.bin", numpy.float32).reshape(shape)

    return run


SHIPPED = {"tinytales": "tinytales-7m", "talker": "smollm2-135m-ternary"}


@pytest.fixture(scope="session")
def model_directory(tmp_path_factory):
    """model_directory(name) -> a checkpoint's directory; skips if it is not on this machine."""
    folder = tmp_path_factory.mktemp("models")

    def find(name):
        if name in synthetic.VARIANTS:
            if not (folder / name).exists():
                synthetic.makeCheckpoint(folder / name, **synthetic.VARIANTS[name])
            return folder / name
        if name in SHIPPED:
            if not (REPOSITORY / "models").exists():
                pytest.skip("models/ is absent")
            return REPOSITORY / "models" / SHIPPED[name]
        if name == "stories260k":
            if not (DATA / "models/stories260K").exists():
                pytest.skip(f"{DATA / 'models/stories260K'} is absent")
            if not (folder / name).exists():
                stories260k.convert(DATA / "models/stories260K", folder / name)
            return folder / name
        if name == "smollm2-first-layers":
            if not (folder / name).exists():
                first_layers.cut(find("smollm2"), folder / name, 4)
            return folder / name
        if name == "smollm2" and not LONG:
            pytest.skip("slow: TBQ_LONG=1 runs it")
        directory = {"smollm2": SMOLLM2, "tinystories": DATA / "models/TinyStories-656K"}[name]
        if not (directory / "config.json").exists():
            pytest.skip(f"{directory} is absent")
        return directory

    return find


@pytest.fixture
def copy_of(model_directory, tmp_path):
    """copy_of(name) -> a copy of a synthetic checkpoint that a test may damage."""

    def copy(name):
        return pathlib.Path(shutil.copytree(model_directory(name), tmp_path / name))

    return copy
