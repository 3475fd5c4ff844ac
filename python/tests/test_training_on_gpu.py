# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs on a GPU: a step as one captured graph, restarts, ranks. Skipped
without one."""

import math
import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("transformers")

from some_llama import some_ids, some_llama  # noqa: E402
from some_run import flags, latest, log, options, prepare  # noqa: E402
from tbq.decoder import Decoder  # noqa: E402
from tbq.quant.policy import Policy  # noqa: E402
from tbq.quant.student import quantize_model  # noqa: E402
from tbq.train.driver import train  # noqa: E402
from tbq.train.replay import EAGER_CALLS, Replay  # noqa: E402
from tbq.train.step import Lesson, compute_gradients  # noqa: E402

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(),
                                reason="needs a GPU")
LOSSES = {"off": 2.0, "kd": 1.0, "ce": 0.5, "l2": 0.25, "dad": 0.1}
ON_GPU = {"device": "cuda", "compile": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("gpu"))


@pytest.mark.parametrize("micro", [4, 2])
def test_a_replayed_step_is_the_step(micro):
    """Other rows, labels and factor in every call; weights that move."""
    model = some_llama(True)
    quantize_model(model, Policy.uniform("dlt:g16,grid=learned"), "int8:g16")
    student = Decoder(model.cuda(), compile=True)
    teacher = Decoder(some_llama(True).requires_grad_(False).cuda(),
                      compile=True)
    lesson = Lesson(LOSSES, torch.float32, chunk=32, compile=True)
    learning = list(student.named_parameters().values())

    def compute(rows, labels, factor):
        return compute_gradients(student, teacher, rows, labels, micro, lesson,
                                 factor)

    replay = Replay(compute, learning)
    for call in range(EAGER_CALLS + 3):
        rows = some_ids(batch=4, length=24, seed=call).cuda()
        labels, factor = rows.roll(-1, 1), 1 / (1 + call)
        figures = replay(rows, labels, factor).clone()
        got = [p.grad.clone() for p in learning]
        held = [p.grad for p in learning]
        for p in learning:
            p.grad = None
        wanted = compute(rows, labels, torch.tensor(factor, device="cuda"))
        torch.testing.assert_close(figures, wanted, rtol=1e-4, atol=1e-5)
        for p, gradient, own in zip(learning, got, held):
            torch.testing.assert_close(gradient, p.grad, rtol=1e-3, atol=1e-5)
            p.grad = own
        with torch.no_grad():
            for p in learning:
                p.mul_(1.01)
    assert replay.graph is not None


def test_a_run_learns_and_is_continued(folder):
    whole = options(folder, "whole", steps=40, save_every=20, keep=9, **ON_GPU)
    assert train(whole).finished
    losses = [line["loss"] for line in log(whole.out)]
    assert losses[-1] < 0.7 * losses[0]
    # The last step's rate is 0; the one before must have moved something.
    again = options(folder, "again", steps=40, save_every=20, **ON_GPU)
    os.makedirs(again.out / "state")
    os.rename(whole.out / "state/step-00000020",
              again.out / "state/step-00000020")
    (again.out / "state/latest.json").write_text(
        '{"directory": "step-00000020"}')
    assert train(again).step == 40
    difference = norm = 0.0
    for name, tensor in latest(whole.out)[1].items():
        if name.startswith("model/"):
            other = latest(again.out)[1][name]
            difference += (tensor - other).double().square().sum().item()
            norm += tensor.double().square().sum().item()
    assert math.sqrt(difference / norm) < 1e-3


def launch(ranks, run):
    """`tbq train` under torchrun."""
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone",
         f"--nproc-per-node={ranks}", "-m", "tbq", *flags(run)], check=True)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("shard", [False, True])
def test_two_gpus_learn_what_one_learns(folder, shard):
    common = {"steps": 20, "log_every": 1, "shard": shard, **ON_GPU}
    runs = [options(folder, f"{ranks}-{shard}", **common) for ranks in (1, 2)]
    for ranks, run in zip((1, 2), runs):
        launch(ranks, run)
    one, two = (log(run.out) for run in runs)
    assert len(one) == len(two) == 20
    # In bfloat16 a code that falls otherwise sets the runs apart: 3 % were seen.
    # Two processes on a CPU are held to 1e-6 (test_train_ranks.py).
    for single, double in zip(one, two):
        assert double["loss"] == pytest.approx(single["loss"], rel=0.1)
    mean = lambda lines: sum(line["loss"] for line in lines) / len(lines)
    assert mean(two) == pytest.approx(mean(one), rel=0.02)
