# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""One step's losses and gradients against autograd over full logits."""

import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("transformers")

from some_llama import some_ids, some_llama  # noqa: E402
from tbq.data.mixture import Batch  # noqa: E402
from tbq.decoder import Decoder  # noqa: E402
from tbq.quant.policy import Policy  # noqa: E402
from tbq.quant.student import quantize_model  # noqa: E402
from tbq.train.step import (NAMES, Lesson, compute_gradients,  # noqa: E402
                            labels_of)

WEIGHTS = {"off": 2.0, "kd": 1.0, "ce": 0.5, "l2": 0.25, "dad": 0.0}


def some_pair(tied):
    teacher, model = some_llama(tied), some_llama(tied)
    quantize_model(model, Policy.uniform("dlt:g16"), "int8:g16")
    return Decoder(teacher.requires_grad_(False)), Decoder(model)


def batch_of(ids):
    return Batch(ids, torch.ones_like(ids, dtype=torch.bool),
                 torch.zeros(len(ids)))


def expected_losses(teacher, student, ids, layers):
    """By the formulas, with every logit of the batch."""
    with torch.no_grad():
        taught, taught_outputs = teacher.hidden(ids)
        p = F.softmax(taught @ teacher.head().T, -1)
    hidden, outputs = student.hidden(ids)
    log_q = F.log_softmax(hidden @ student.head().T, -1)
    pairs = [(outputs[l], taught_outputs[l]) for l in layers]
    return {
        "kd": (p * (p.log() - log_q)).sum(-1).mean(),
        "ce": F.nll_loss(log_q[:, :-1].flatten(0, 1), ids[:, 1:].flatten()),
        "off": sum(1 - F.cosine_similarity(s, t, dim=-1).mean()
                   for s, t in pairs) / len(pairs),
        "l2": sum((s - t).square().mean() / t.square().mean()
                  for s, t in pairs) / len(pairs)}


@pytest.mark.parametrize("micro", [4, 2, 1])
@pytest.mark.parametrize("tied", [True, False])
def test_losses_and_gradients_are_those_of_the_formulas(tied, micro):
    teacher, student = some_pair(tied)
    ids, layers = some_ids(batch=4), [0, 2]
    lesson = Lesson(WEIGHTS, torch.float32, layers=layers, chunk=7)
    values = compute_gradients(student, teacher, ids, labels_of(batch_of(ids)),
                               micro, lesson, 0.5)
    ours = {n: p.grad for n, p in student.named_parameters().items()}
    student.model.zero_grad()
    # A mean over passes of means over equal passes; only l2 is a quotient.
    parts = [expected_losses(teacher, student, part, layers)
             for part in ids.split(micro)]
    exact = {name: sum(part[name] for part in parts) / len(parts)
             for name in parts[0]}
    total = (exact["kd"] + 0.5 * exact["ce"]
             + 0.5 * (2 * exact["off"] + 0.25 * exact["l2"]))
    total.backward()
    for name, value in zip(NAMES, values.tolist()):
        want = total if name == "loss" else exact.get(name, torch.tensor(0.0))
        assert value == pytest.approx(want.item(), rel=1e-5), name
    for name, parameter in student.named_parameters().items():
        torch.testing.assert_close(
            ours[name], parameter.grad, rtol=1e-4, atol=1e-6,
            msg=lambda text, name=name: f"{name}: {text}")


def test_without_a_loss_on_logits_only_features_teach():
    teacher, student = some_pair(True)
    ids = some_ids()
    lesson = Lesson({**dict.fromkeys(WEIGHTS, 0.0), "off": 1.0}, torch.float32)
    values = compute_gradients(student, teacher, ids, labels_of(batch_of(ids)),
                               2, lesson, 1.0)
    assert values[NAMES.index("kd")] == 0 < values[NAMES.index("off")]
    norm = student.named_parameters()["model.norm.weight"]
    table = student.named_parameters()["model.embed_tokens.weight"]
    assert norm.grad is None and table.grad.abs().sum() > 0


def test_labels_follow_and_skip_what_the_mask_leaves_out():
    ids = torch.tensor([[5, 6, 7, 8]])
    labelled = torch.tensor([[True, True, False, True]])
    labels = labels_of(Batch(ids, labelled, torch.zeros(1)))
    assert labels.tolist() == [[6, -100, 8, -100]]
