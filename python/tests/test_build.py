# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Recipes: refused, followed with stand-ins for the tools, followed for real.

The real one needs build/bin (TBQ_BUILD) and TinyStories-656K (TBQ_TEST_DATA).
"""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")
yaml = pytest.importorskip("yaml")

import some_run  # noqa: E402
from tbq.build.compare import (distance, reference_logits,  # noqa: E402
                               some_tokens)
from tbq.build.recipe import RecipeError, read_recipe  # noqa: E402
from tbq.build.steps import BuildError, Build, make_command  # noqa: E402
from tbq.data.shards import ShardWriter  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]
TBQC = REPOSITORY / os.environ.get("TBQ_BUILD", "build") / "bin/tbqc"
STORIES = (REPOSITORY / os.environ.get("TBQ_TEST_DATA", "../shared/data")
           / "models/TinyStories-656K")
GOOD = {"model": "float", "out": "out", "quantize": {"scheme": "dlt:g16"}}


def write(folder, recipe):
    path = folder / "recipe.yaml"
    path.write_text(recipe if isinstance(recipe, str)
                    else yaml.safe_dump(recipe, sort_keys=False))
    return path


@pytest.mark.parametrize("change, said", [
    ({"trian": {}}, "trian: unknown key (known: compare, compile, model, out, "
     "quantize, train)"),
    ({"quantize": {"sheme": "x"}}, "quantize.sheme: unknown key (known: "
     "activations, block,"),
    ({"compile": {"target": "x"}}, "compile.target: unknown key"),
    ({"compare": {"kl": 1}}, "compare.kl: unknown key"),
    ({"compare": {"tokens": 0}}, "compare.tokens: 0 is not positive"),
    ({"compare": {"tokens": "many"}}, "compare.tokens: 'many' is not a number"),
    ({"compare": {"max_kl": -1}}, "compare.max_kl: -1 is not a number from 0"),
    ({"compile": ["x"]}, "compile: is not a mapping of keys"),
    ({"compile": {"context": {"a": 1}}}, "compile.context: {'a': 1} is not a "
     "word, a number or a list"),
    ({"train": {}}, "train: give exactly one of train and quantize"),
    ({"model": None}, "model: is missing or not a path"),
    ({"out": 3}, "out: is missing or not a path")])
def test_a_bad_recipe_is_refused_by_its_key(tmp_path, change, said):
    with pytest.raises(RecipeError) as error:
        read_recipe(write(tmp_path, GOOD | change))
    assert str(error.value).startswith(f"{tmp_path / 'recipe.yaml'}: {said}")


@pytest.mark.parametrize("text, said", [
    ("a: [", "file: while parsing"), ("- a", "file: is not a mapping"),
    ("model: !!python/object/apply:os.getcwd []", "file: could not determine")])
def test_a_file_that_is_no_recipe_is_refused(tmp_path, text, said):
    with pytest.raises(RecipeError, match=said) as error:
        read_recipe(write(tmp_path, text))
    assert "\n" not in str(error.value)
    with pytest.raises(RecipeError, match="file: .*No such file"):
        read_recipe(tmp_path / "none.yaml")


def test_paths_are_relative_to_the_recipe(tmp_path):
    recipe = read_recipe(write(tmp_path, {
        "model": "float", "out": "out", "compile": {"context": 64, "O": 2},
        "train": {"data": ["a:0.5", "/b"], "held_out": "c", "steps": 3,
                  "compile": True, "shard": False, "ranks": 2,
                  "distill": "kd=1", "policy": None}}))
    assert recipe.model == tmp_path / "float" and recipe.out == tmp_path / "out"
    command = make_command(recipe)
    assert command[1:6] == ["-m", "torch.distributed.run", "--standalone",
                            "--nproc-per-node", "2"]
    assert command[6:] == [
        "-m", "tbq", "train", "--teacher", str(tmp_path / "float"), "--out",
        str(tmp_path / "out/run"), "--data", f"{tmp_path}/a:0.5", "/b:1",
        "--held-out", str(tmp_path / "c"), "--steps", "3", "--compile",
        "--no-shard", "--distill", "kd=1"]
    with pytest.raises(RecipeError, match="train.ranks: 0 is not a positive"):
        read_recipe(write(tmp_path, {"model": "m", "out": "o",
                                     "train": {"ranks": 0}}))


def test_every_option_of_quantize_is_a_key():
    import argparse

    from tbq.build.recipe import QUANTIZE
    from tbq.cli import quantize
    commands = argparse.ArgumentParser().add_subparsers()
    quantize.add_command(commands)
    actions = commands.choices["quantize"]._actions
    assert QUANTIZE == {a.dest for a in actions} - {"help", "model", "out"}


def test_distance_by_hand():
    p = torch.tensor([[0.5, 0.5], [0.9, 0.1]])
    q = torch.tensor([[0.25, 0.75], [0.9, 0.1]])
    found = distance(p.log(), q.log() + 3)
    expected = (0.5 * np.log(2) + 0.5 * np.log(0.5 / 0.75)) / 2
    assert found.kl == pytest.approx(expected, rel=1e-5)
    assert found.agreement == 0.5
    assert distance(p.log(), p.log()).largest == 0


TOOLS = {
    "tbqc": "Path(sys.argv[sys.argv.index('-o') + 1]).write_text("
            "' '.join(sys.argv[2:]))",
    "tbq-verify": "print(os.environ['VERIFIED']); "
                  "sys.exit(int(os.environ.get('VERIFY', 0)))",
    "tbq-logits": "shutil.copy(os.environ['LOGITS'], "
                  "sys.argv[sys.argv.index('--out') + 1])"}


@pytest.fixture
def stand_ins(tmp_path):
    """The path of a tbqc that writes its own flags, and its neighbours."""
    for name, body in TOOLS.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!{sys.executable}\nimport os, shutil, sys\n"
                        f"from pathlib import Path\n{body}\n")
        path.chmod(0o755)
    return tmp_path / "bin/tbqc"


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    """A toy float model, and what `tbq quantize` makes of it: (folder, logits
    of the latter for the tokens that a build reads)."""
    folder = tmp_path_factory.mktemp("toy")
    some_run.write_teacher(folder / "float")
    run_cli("quantize", folder / "float", "-o", folder / "q", "--scheme",
            "dlt:g16")
    return folder, reference_logits(folder / "q", some_tokens(64, 50, 1))


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(REPOSITORY / "python"),
            "OMP_NUM_THREADS": "1", **more}


def run_cli(*words, code=0, **more):
    result = subprocess.run(
        [sys.executable, "-m", "tbq", *map(str, words)], text=True, check=False,
        capture_output=True, env=environment(**more), timeout=100)
    assert result.returncode == code, result.stderr
    return result


def test_a_recipe_is_followed_and_recorded(tmp_path, quantized, stand_ins,
                                           monkeypatch):
    folder, logits = quantized
    logits.numpy().tofile(tmp_path / "logits")
    monkeypatch.setenv("LOGITS", str(tmp_path / "logits"))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "python"))
    operation = {"kind": "rms_norm", "values": 8, "exact": False}
    monkeypatch.setenv("VERIFIED", json.dumps({
        "tokens": 24, "logits": {"nmse": 1e-9}, "operations": [
            {**operation, "relative": 1e-7}, {**operation, "relative": 1e-8}]}))
    recipe = read_recipe(write(tmp_path, {
        "model": str(folder / "float"), "out": "out",
        "quantize": {"scheme": "dlt:g16"}, "compile": {"context": 64}}))
    found = Build(recipe, stand_ins).run()
    assert found.kl < 1e-9 and found.agreement == 1
    out = tmp_path / "out"
    assert sorted(p.name for p in out.iterdir()) == [
        "build.json", "checkpoint", "model.so"]
    assert re.search(r"model.so --context=64 --record=\S+record.json$",
                     (out / "model.so").read_text())
    record = json.loads((out / "build.json").read_text())
    assert record["recipe"] == (tmp_path / "recipe.yaml").read_text()
    assert record["artifact"]["sha256"] == hashlib.sha256(
        (out / "model.so").read_bytes()).hexdigest()
    assert record["comparison"]["kl"] == found.kl
    assert len(record["commands"]) == 7
    assert "--dump-tensors" in record["commands"][2]
    assert record["verification"]["operations"] == {
        "rms_norm": {"values": 16, "exact": False, "relative": 1e-7}}
    for change, code, said in (
            ({"VERIFY": "3"}, 3, "exit code 3 of"),
            ({"LOGITS": str(tmp_path / "wrong")}, 3, "above 0.001")):
        (logits + torch.randn(logits.shape)).numpy().tofile(tmp_path / "wrong")
        for name, value in change.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(BuildError, match=said) as error:
            Build(recipe, stand_ins).run()
        assert error.value.code == code and not (out / "build.json").exists()
        monkeypatch.setenv("VERIFY", "0")


def test_a_tool_that_is_missing_is_named(tmp_path, stand_ins, monkeypatch):
    recipe = read_recipe(write(tmp_path, GOOD))
    (tmp_path / "bin/tbq-logits").unlink()
    with pytest.raises(BuildError, match="bin/tbq-logits: there is no tbq-log"):
        Build(recipe, stand_ins)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(BuildError, match="tbqc: not in PATH; say where it is"):
        Build(recipe, None)


def test_a_recipe_trains_compiles_and_verifies(tmp_path):
    if not TBQC.exists():
        pytest.skip(f"{TBQC} is not built")
    if not STORIES.exists():
        pytest.skip(f"{STORIES} is not on this machine")
    writer = ShardWriter(tmp_path / "tokens", 2048)
    writer.append(np.random.default_rng(1).integers(2048, size=3000))
    writer.close({})
    write(tmp_path, {
        "model": str(STORIES), "out": "out",
        "train": {"data": ["tokens"], "held_out": "tokens", "steps": 3,
                  "batch": 2, "length": 32, "scheme": "dlt:g64",
                  "embedding": "int8:g64", "device": "cpu", "eval_tokens": 64},
        "compile": {"context": 128}})
    result = run_cli("build", tmp_path / "recipe.yaml", "--tbqc", TBQC)
    assert "same choice at" in result.stdout
    record = json.loads((tmp_path / "out/build.json").read_text())
    assert record["training"]["steps"] == 3
    assert record["comparison"]["kl"] < 1e-4
    shown = subprocess.run([TBQC.parent / "tbq-inspect", "--json",
                            tmp_path / "out/model.so"], text=True, check=True,
                           capture_output=True)
    inside = json.loads(shown.stdout)["record"]
    assert inside == {name: record[name] for name in inside}
    assert {"training", "verification", "comparison"} <= set(inside)
    linear = inside["verification"]["operations"]["packed_linear integer"]
    assert linear["exact"] and linear["values"] > 0
