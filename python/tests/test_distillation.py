# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Logit distillation against the written formulas under float64 autograd."""

import math

import pytest
import torch

from tbq.distill import logits
from tbq.distill.logits import LogitWeights, distillation_loss

M, D, E, V = 23, 12, 9, 37


def inputs(dtype=torch.float32):
    generator = torch.Generator().manual_seed(3)
    make = lambda *shape: torch.randn(*shape, generator=generator).to(dtype)
    labels = torch.randint(0, V, (M,), generator=generator)
    labels[::4] = -100
    return [make(M, D), make(V, D), make(M, E), make(V, E), labels]


def plain(student, head, teacher, teacher_head, labels, w):
    """The module's formulas as they are written, whole logits and autograd."""
    z, t = student @ head.T, w.temperature
    log_q = torch.log_softmax(z / t, -1)
    log_p = torch.log_softmax(teacher @ teacher_head.T / t, -1)
    kl = t * t * (log_p.exp() * (log_p - log_q)).sum(-1)
    entropy = [-(x.exp() * x).sum(-1) for x in (log_p, log_q)]
    weight = (entropy[0] * entropy[1]).pow(w.dad_gamma).detach()
    ce = torch.nn.functional.cross_entropy(z, labels)
    return [ce, kl.mean(), (weight * kl).mean()]


CASES = [LogitWeights(), LogitWeights(ce=1, kd=0),
         LogitWeights(ce=0.3, kd=1, temperature=2),
         LogitWeights(ce=0.5, kd=0.7, dad=0.4, dad_gamma=0.5),
         LogitWeights(kd=0, dad=1, dad_gamma=1.5, temperature=1.5)]


def compare(weights, chunk, compile=False):
    values = inputs()
    for x in values[:2]:
        x.requires_grad_()
    loss, terms = distillation_loss(*values, weights, chunk, compile)
    (3 * loss).backward()
    exact = [x.detach().double().requires_grad_() for x in values[:2]]
    wanted = plain(*exact, *(x.double() for x in values[2:4]), values[4],
                   weights)
    total = (weights.ce * wanted[0] + weights.kd * wanted[1]
             + weights.dad * wanted[2])
    (3 * total).backward()
    assert loss.item() == pytest.approx(total.item(), rel=1e-5)
    for name, value, asked in zip(("ce", "kd", "dad"), wanted,
                                  (weights.ce, True, weights.dad)):
        assert terms[name].item() == pytest.approx(
            value.item() if asked else 0, rel=1e-5)
        assert not terms[name].requires_grad
    for x, y in zip(values[:2], exact):
        error = (x.grad.double() - y.grad).abs().max()
        assert error <= 1e-6 * max(1, y.grad.abs().max())


@pytest.mark.parametrize("chunk", [1000, 7])
@pytest.mark.parametrize("weights", CASES)
def test_loss_and_gradients_equal_autograd(weights, chunk):
    compare(weights, chunk)


def test_compiled_chunks_are_one_shape(monkeypatch):
    # Traced, not generated: the code generator is slow to start here.
    traced = torch.compile(logits._chunk, dynamic=False, fullgraph=True,
                           backend="aot_eager")
    monkeypatch.setattr(logits, "_compiled", lambda: traced)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compare(CASES[3], 7, compile=True)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_chunks_are_equal_and_few():
    assert logits._even_chunks(23, 7) == (4, 6)
    assert logits._even_chunks(8192, 8192) == (1, 8192)
    assert logits._even_chunks(8193, 8192) == (2, 4097)


def test_no_tensor_of_all_logits_exists(monkeypatch):
    largest = 0
    softmax = torch.log_softmax

    def watched(x, dim):
        nonlocal largest
        largest = max(largest, x.shape[0])
        return softmax(x, dim)
    monkeypatch.setattr(torch, "log_softmax", watched)
    compare(CASES[0], 5)
    assert largest == M  # the plain formula, and only it
    largest = 0
    distillation_loss(*inputs(), CASES[3], 5)
    assert largest == 5


def gradient_of(weights):
    values = [x.double() if x.is_floating_point() else x for x in inputs()]
    values[0].requires_grad_()
    loss, _ = distillation_loss(*values, weights)
    loss.backward()
    return loss.item(), values[0].grad


def test_dad_reduces_to_distillation():
    base, gradient = gradient_of(LogitWeights(kd=1))
    # lambda 0
    loss, other = gradient_of(LogitWeights(kd=1, dad=0, dad_gamma=2))
    assert loss == base and torch.equal(other, gradient)
    # gamma 0: (1 + lambda) times
    loss, other = gradient_of(LogitWeights(kd=1, dad=0.25, dad_gamma=0))
    assert loss == pytest.approx(1.25 * base, rel=1e-12)
    torch.testing.assert_close(other, 1.25 * gradient, rtol=1e-12, atol=0)


def test_certain_distributions_have_entropy_zero_not_nan():
    """A one-hot distribution's entropy can round below 0: (-x)^gamma is NaN."""
    values = inputs()
    values[0], values[2] = 1e3 * values[0], 1e3 * values[2]
    values[0].requires_grad_()
    loss, terms = distillation_loss(*values, LogitWeights(dad=1, dad_gamma=.3))
    loss.backward()
    assert math.isfinite(terms["dad"].item())
    assert values[0].grad.isfinite().all()


def test_entropy_is_clamped(monkeypatch):
    monkeypatch.setattr(logits, "_entropy", lambda *_: torch.tensor(-1e-7))
    _, terms = distillation_loss(*inputs(), LogitWeights(dad=1, dad_gamma=.3))
    assert terms["dad"].item() == 0


def test_the_teacher_itself_loses_nothing():
    student, head, _, _, labels = inputs()
    student.requires_grad_()
    loss, _ = distillation_loss(student, head, student, head, labels,
                                LogitWeights(kd=1, dad=1))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert student.grad.abs().max() < 1e-7


def test_bfloat16_is_near_and_keeps_the_types():
    values = inputs()
    exact, _ = distillation_loss(*values)
    narrow = [x.bfloat16() if x.is_floating_point() else x for x in values]
    head = values[1].requires_grad_()  # a float32 master
    narrow[0].requires_grad_()
    loss, _ = distillation_loss(narrow[0], head, *narrow[2:])
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.02)
    assert narrow[0].grad.dtype == torch.bfloat16
    assert head.grad.dtype == torch.float32


def test_only_what_needs_a_gradient_gets_one():
    values = inputs()
    values[2].requires_grad_()
    with torch.no_grad():
        loss, _ = distillation_loss(*values)
    assert not loss.requires_grad
    values[0].requires_grad_()
    distillation_loss(*values)[0].backward()
    assert values[0].grad is not None and values[1].grad is None
    assert values[2].grad is None


def test_no_labels_is_no_label_loss():
    values = inputs()
    values[4][:] = -100
    loss, terms = distillation_loss(*values, LogitWeights(ce=1, kd=0))
    assert loss.item() == 0 and terms["ce"].item() == 0


def test_vocabularies_must_agree():
    values = inputs()
    values[3] = values[3][:-1]
    with pytest.raises(ValueError, match="37 rows, the teacher's 36"):
        distillation_loss(*values)
