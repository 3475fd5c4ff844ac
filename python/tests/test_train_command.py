# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`tbq train` as a command: flags, errors, exit codes."""

import os
import signal
import sys
import time
from dataclasses import fields

import pytest

pytest.importorskip("transformers")

import some_run  # noqa: E402
from tbq import __main__ as program  # noqa: E402
from tbq.train import driver as drivers  # noqa: E402
from tbq.train.options import Options  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return some_run.prepare(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def run(monkeypatch, capsys):
    """run(words) -> (exit code, stderr)."""
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["tbq", *map(str, words)])
        try:
            code = program.main()
        except SystemExit as stop:
            code = stop.code
        return code, capsys.readouterr().err
    return call


def test_every_option_is_a_flag_that_arrives(folder, run, monkeypatch):
    options = some_run.options(
        folder, "flags", minutes=0.5, policy=folder / "policy", keep=7,
        held_out=folder / "held-out", embedding="int4:g8", off_normalise=True,
        data=(f"{folder}/tokens:0.25", f"{folder}/tokens:0.75"), seed=9,
        max_shard_size=5_000, decay=0.125, latent_rate="rms", shard=True)
    got = []
    monkeypatch.setattr(drivers, "train", lambda given: got.append(given)
                        or drivers.Outcome(True, 1))
    assert run(*some_run.flags(options)) == (0, "")
    assert got == [options]


@pytest.mark.parametrize("words, said", [
    (["--stepz", "3"], "unrecognized arguments: --stepz 3"),
    (["--off-skip"], "unrecognized arguments: --off-skip"),
    (["--rate", "fast"], "argument --rate: invalid float value: 'fast'"),
    (["--rate", "-1"], "--rate: -1.0 is not a positive number"),
    (["--max-shard-size", "5X"], "'5X' is not a size such as"),
    (["--distill", "kl=1"], "--distill: 'kl' is not one of"),
    (["--off-layers", "7"], "--off-layers: '7' is not within the layers 0 to 1"),
    (["--micro-batch", "3"], "--micro-batch: 4 rows of a rank are not a "),
    (["--tokens", "9"], "--steps: give exactly one of")])
def test_a_wrong_flag_is_a_wrong_command_line(folder, run, words, said):
    code, error = run(*some_run.flags(some_run.options(folder, "no")), *words)
    assert code == 2 and said in error


@pytest.mark.parametrize("flag, value, said", [
    ("--teacher", "nowhere", "nowhere: teacher: is not a directory"),
    ("--data", "nowhere:0.5", "nowhere/data.json: file: does not exist"),
    ("--held-out", "nowhere", "nowhere/data.json: file: does not exist"),
    ("--policy", "nowhere", "nowhere: file: "),
    ("--scheme", "dlt:64", "'dlt:64'"),
    ("--embedding", "int5:g8", "'int5:g8': unknown scheme 'int5'")])
def test_a_wrong_input_is_named_in_one_line(folder, run, flag, value, said):
    code, error = run(*some_run.flags(some_run.options(folder, "no")), flag,
                      value)
    assert code == 1
    assert error.startswith("error: ") and said in error
    assert error.count("\n") == 1
    assert not (folder / "no").exists()


def test_another_runs_directory_and_a_bad_loss_end_with_1(folder, run):
    words = some_run.flags(some_run.options(folder, "mine", steps=2))
    assert run(*words)[0] == 0
    code, error = run(*words, "--seed", "5")
    assert code == 1 and "seed: the run was started with 1, not 5" in error
    words = some_run.flags(some_run.options(folder, "nan", rate=1e30,
                                            clip=1e30))
    code, error = run(*words)
    assert code == 1 and "the loss is nan" in error


def test_a_signal_ends_it_with_143(folder, monkeypatch):
    options = some_run.options(folder, "signal", steps=100_000, log_every=1)
    monkeypatch.setattr(sys, "argv", ["tbq", *some_run.flags(options)])

    def stopped():
        assert program.main() == 143

    child = some_run.forked(stopped)
    while not (options.out / "log.jsonl").exists() or not some_run.log(
            options.out):
        time.sleep(0.02)
    os.kill(child, signal.SIGTERM)
    assert some_run.exit_code(child) == 0


def test_no_flag_is_taken_for_torchruns():
    """torchrun's parser sees all that follows `-m tbq`, and takes the beginning
    of one of its own flags for that flag."""
    from torch.distributed.run import get_args_parser
    theirs = get_args_parser()._option_string_actions
    for field in fields(Options):
        flag = "--" + field.name.replace("_", "-")
        assert not [name for name in theirs if name.startswith(flag)]
