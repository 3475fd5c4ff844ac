# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Several CPU processes train what one process trains."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("transformers")

import some_run  # noqa: E402
from tbq.train import driver as drivers  # noqa: E402
from tbq.train.driver import train  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return some_run.prepare(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def single(folder):
    options = some_run.options(folder, "one", steps=6, log_every=1,
                               held_out=folder / "held-out",
                               off_normalise=True, embedding="int8:g16",
                               latent_rate="rms", micro_batch=1)
    # In a child: a process that has run threads of gradients cannot fork.
    assert some_run.exit_code(some_run.forked(lambda: train(options))) == 0
    return options


@pytest.mark.parametrize("shard", [False, True], ids=["copied", "sharded"])
def test_two_ranks_train_what_one_process_does(folder, single, shard):
    options = replace(single, out=folder / f"two-{shard}", shard=shard)
    assert some_run.on_ranks(2, lambda rank: train(options)) == [0, 0]
    one, two = some_run.latest(single.out)[1], some_run.latest(options.out)[1]
    names = {name for name in one if not name.startswith("random/")}
    assert names == {name for name in two if not name.startswith("random/")}
    assert any(name.endswith("quantizer.scale") for name in names)
    for name in names:
        torch.testing.assert_close(
            two[name], one[name], rtol=0, atol=1e-6,
            msg=lambda text, name=name: f"{name}: {text}")
    for kind in ("train", "held-out"):
        ones, twos = (some_run.log(o.out, kind) for o in (single, options))
        assert len(ones) == len(twos) == (6 if kind == "train" else 1)
        for a, b in zip(ones, twos):
            for name in set(a) - {"kind", "tokens_per_second"}:
                assert a[name] == pytest.approx(b[name], rel=1e-4), name
    ones, twos = (load_file(o.out / "model/model.safetensors")
                  for o in (single, options))
    assert ones.keys() == twos.keys()
    for name in ones:
        if ones[name].dtype == torch.float16:
            torch.testing.assert_close(twos[name], ones[name], rtol=1e-3,
                                       atol=1e-6)


def test_a_run_of_two_ranks_continues_on_one(folder, single):
    options = replace(single, out=folder / "fewer", shard=True)

    def stopped(rank):
        real, done = drivers.Driver._step, [0]

        def step(self, *arguments):
            done[0] += 1
            self.stop_wished = rank == 1 and done[0] == 3
            return real(self, *arguments)

        drivers.Driver._step = step
        assert train(options).step == 3

    assert some_run.on_ranks(2, stopped) == [0, 0]
    assert some_run.exit_code(some_run.forked(lambda: train(options))) == 0
    one, two = some_run.latest(single.out)[1], some_run.latest(options.out)[1]
    for name in one:
        if not name.startswith("random/"):
            torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-6)


def test_minutes_are_one_count_on_all_ranks(folder):
    options = some_run.options(folder, "minutes", minutes=0.02)

    def run(rank):
        # Rank 1 believes that a step takes a third of the time.
        real = drivers.steps_in
        drivers.steps_in = lambda *given: real(*given) * (1 + 2 * rank)
        outcome = train(options)
        (folder / f"count-{rank}").write_text(str(outcome.step))

    assert some_run.on_ranks(2, run) == [0, 0]
    counts = {(folder / f"count-{rank}").read_text() for rank in (0, 1)}
    assert counts == {str(some_run.latest(options.out)[0]["step"])}


def rank_of(pid):
    """RANK in the environment of a process, None if it has none."""
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    return next((w[5:] for w in words if w.startswith(b"RANK=")), None)


def test_a_killed_rank_is_restarted_by_torchrun_and_the_run_ends(folder):
    options = some_run.options(folder, "restarted", steps=60, log_every=1,
                               save_every=5)
    launcher = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
         "--max-restarts", "1", "--master-addr", "127.0.0.1", "--master-port",
         str(some_run.free_port()), "-m", "tbq", *some_run.flags(options)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1",
             "PYTHONPATH": str(Path(__file__).resolve().parents[1])})
    try:
        deadline = time.monotonic() + 100
        while not (options.out / "state/latest.json").exists():
            assert time.monotonic() < deadline and launcher.poll() is None
            time.sleep(0.05)
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
        victim = next(int(pid) for pid in children.read_text().split()
                      if rank_of(pid) == b"1")
        os.kill(victim, signal.SIGKILL)
        output, _ = launcher.communicate(timeout=100)
    finally:
        # Its workers are told by it; killed, it could not.
        launcher.terminate()
        launcher.wait()
    assert launcher.returncode == 0, output
    assert "continues at step" in output
    assert some_run.latest(options.out)[0]["step"] == 60
    assert [line["step"] for line in some_run.log(options.out)] == list(
        range(1, 61))
    assert (options.out / "model/config.json").exists()
