# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A run killed at any moment leaves a whole checkpoint and continues from it.

TBQ_LONG=1 kills 200 times instead of 5.
"""

import os
import random
import signal
import time
from dataclasses import replace

import pytest
import torch

pytest.importorskip("transformers")

import some_run  # noqa: E402
from tbq.train import state as states  # noqa: E402
from tbq.train.distributed import World  # noqa: E402
from tbq.train.driver import train  # noqa: E402
from tbq.train.state import Position, RunState  # noqa: E402

KILLS = 200 if os.environ.get("TBQ_LONG") else 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return some_run.prepare(tmp_path_factory.mktemp("toy"))


def loaded_step(run):
    """The step of the checkpoint there is, 0 for none; every tensor of it is
    read and finite."""
    if not (run / "state/latest.json").exists():
        return 0
    position, tensors = some_run.latest(run)
    for name, tensor in tensors.items():
        assert tensor.float().isfinite().all(), name
        if name.startswith("adam.step/"):
            assert tensor == position["step"]
    return position["step"]


def test_killed_at_random_moments_it_ends_as_never_killed(folder):
    straight = some_run.options(folder, "straight", steps=10 * KILLS, batch=2,
                                length=8, save_every=1)
    begin = time.monotonic()
    short = replace(straight, out=folder / "short", steps=1)
    assert some_run.exit_code(some_run.forked(lambda: train(short))) == 0
    start = time.monotonic() - begin
    assert some_run.exit_code(some_run.forked(lambda: train(straight))) == 0
    killed = replace(straight, out=folder / "killed")
    generator, before = random.Random(7), 0
    for _ in range(KILLS):
        child = some_run.forked(lambda: train(killed))
        time.sleep(generator.uniform(0.0, 2.5 * start))
        os.kill(child, signal.SIGKILL)
        assert some_run.exit_code(child) in (0, -signal.SIGKILL)
        step = loaded_step(killed.out)
        assert step >= before
        before = step
    assert before > 0
    assert some_run.exit_code(some_run.forked(lambda: train(killed))) == 0
    (_, a), (_, b) = some_run.latest(straight.out), some_run.latest(killed.out)
    assert a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)
    names = {path.name for path in (killed.out / "state").iterdir()}
    assert len(names) == 3 and not any(n.endswith(".tmp") for n in names)


class Killed(BaseException):
    pass


def die_at(monkeypatch, moment):
    """The `moment`-th call that touches the disk never returns."""
    left = [moment]

    def guarded(real):
        def call(*arguments, **settings):
            left[0] -= 1
            if left[0] == 0:
                raise Killed()
            return real(*arguments, **settings)
        return call

    monkeypatch.setattr(states, "save_file", guarded(states.save_file))
    monkeypatch.setattr(states.shutil, "rmtree", guarded(states.shutil.rmtree))
    for name in ("replace", "fsync"):
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))
    for name in ("mkdir", "write_text"):
        monkeypatch.setattr(states.Path, name,
                            guarded(getattr(states.Path, name)))


def some_state(directory, value, keep=2):
    parameter = torch.nn.Parameter(torch.full((3,), float(value)))
    optimizer = torch.optim.AdamW([parameter])
    return parameter, RunState(directory, {"w": parameter}, optimizer, {"a": 1},
                               World("cpu"), keep)


def test_killed_at_every_touch_of_the_disk(tmp_path, monkeypatch):
    """After each: the older or the newer checkpoint, whole; then a save that
    succeeds although the killed one left things behind."""
    moment, died = 0, True
    while died:
        moment += 1
        run = tmp_path / str(moment)
        for step in (1, 2, 3):
            some_state(run, step)[1].save(Position(step, 9, 0.0))
        with monkeypatch.context() as patch:
            die_at(patch, moment)
            try:
                some_state(run, 4)[1].save(Position(4, 9, 0.0))
                died = False
            except Killed:
                pass
        parameter, state = some_state(run, 0)
        position = state.load()
        assert position.step in ((3, 4) if died else (4,))
        assert parameter.tolist() == [float(position.step)] * 3
        some_state(run, 5)[1].save(Position(4 if position.step == 3 else 5, 9,
                                            0.0))
        parameter, state = some_state(run, 0)
        state.load()
        assert parameter.tolist() == [5.0] * 3
        assert len(list(state.folder.iterdir())) == 3
    assert moment > 12


def test_sigterm_saves_and_a_second_run_continues(folder):
    options = some_run.options(folder, "terminated", steps=10_000, log_every=1,
                               save_every=10_000)

    def run():
        assert not train(options).finished

    child = some_run.forked(run)
    while not (options.out / "log.jsonl").exists() or not some_run.log(
            options.out):
        time.sleep(0.02)
    os.kill(child, signal.SIGTERM)
    assert some_run.exit_code(child) == 0
    step = loaded_step(options.out)
    assert 0 < step < 10_000
    assert not (options.out / "model").exists()
