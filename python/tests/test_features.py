# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Feature distillation against worked numbers and float64 autograd."""

import pytest
import torch

from tbq.distill import features
from tbq.distill.features import channel_rms, feature_l2_loss, off_loss

S = torch.tensor([[[2.0, 1, 2]]])
T = torch.tensor([[[1.0, 2, 2]]])


def outputs(seed, dtype=torch.float64, layers=3):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 5, 8, generator=generator, dtype=dtype)
            for _ in range(layers)]


def plain_off(student, teacher, layers, rms, first):
    """The formula, by torch's own cosine."""
    return torch.stack([
        (1 - torch.nn.functional.cosine_similarity(
            student[i][:, first:] / rms[i], teacher[i][:, first:] / rms[i],
            dim=-1)).mean() for i in layers]).mean()


def test_worked_numbers():
    student = S.clone().requires_grad_()
    loss = off_loss([student], [T])
    assert loss.item() == pytest.approx(1 / 9, abs=1e-6)
    loss.backward()
    torch.testing.assert_close(
        -student.grad[0, 0], torch.tensor([-.08642, .123457, .024691]),
        rtol=0, atol=1e-6)


@pytest.mark.parametrize("layers,scaled,skip,compile", [
    (None, False, False, False), ([0, 2], True, False, False),
    ([1], True, True, False), ([1], True, True, True)])
def test_value_and_gradient_are_the_formulas(layers, scaled, skip, compile,
                                             monkeypatch):
    # Traced, not generated: the code generator alone takes 20 s here.
    monkeypatch.setattr(features, "_compiled", lambda function: torch.compile(
        function, dynamic=False, fullgraph=True, backend="aot_eager"))
    teacher = outputs(1)
    rms = channel_rms(teacher, skip).double()
    student = [x.requires_grad_() for x in outputs(2)]
    used = rms if scaled else None
    loss = off_loss(student, teacher, layers, used, skip, compile)
    loss.backward()
    got = [x.grad for x in student]
    again = [x.detach().requires_grad_() for x in student]
    wanted = plain_off(again, teacher, range(3) if layers is None else layers,
                       rms if scaled else torch.ones(3, 8).double(), int(skip))
    wanted.backward()
    torch.testing.assert_close(loss, wanted, rtol=0, atol=1e-12)
    for a, b in zip(got, again):
        assert (a is None) == (b.grad is None)
        if a is not None:
            torch.testing.assert_close(a, b.grad, rtol=0, atol=1e-12)


def test_cosine_does_not_see_size_and_l2_does():
    teacher = outputs(1)
    louder = [3 * x for x in teacher]
    assert off_loss(louder, teacher).item() == pytest.approx(0, abs=1e-12)
    assert feature_l2_loss(louder, teacher).item() == pytest.approx(4)
    silent = [torch.zeros_like(x) for x in teacher]
    assert feature_l2_loss(silent, teacher).item() == pytest.approx(1)
    assert off_loss(silent, teacher).item() == pytest.approx(1)


def test_a_token_of_zeros_has_a_finite_gradient():
    student = torch.zeros(1, 1, 3, requires_grad=True)
    off_loss([student], [T]).backward()
    torch.testing.assert_close(student.grad, -T / 3 / 1e-8)


def test_l2_is_normalised_by_layer():
    teacher = outputs(1)
    student = outputs(2)
    wanted = sum((s - t).square().sum() / t.square().sum()
                 for s, t in zip(student, teacher)) / 3
    assert feature_l2_loss(student, teacher).item() == pytest.approx(
        wanted.item())
    student[1], teacher[1] = 100 * student[1], 100 * teacher[1]
    assert feature_l2_loss(student, teacher).item() == pytest.approx(
        wanted.item())


def test_channel_rms_without_the_first_token():
    teacher = outputs(1)
    for x in teacher:
        x[:, 0] = 1e4
    rms = channel_rms(teacher, skip_first=True)
    assert rms.shape == (3, 8) and rms.max() < 10
    wanted = teacher[2][:, 1:, 5].square().mean().sqrt().item()
    assert rms[2, 5].item() == pytest.approx(wanted)
    assert channel_rms(teacher).min() > 1e3


def test_half_precision_is_computed_in_float32():
    student = [x.bfloat16().requires_grad_() for x in outputs(2)]
    teacher = [x.bfloat16() for x in outputs(1)]
    loss = off_loss(student, teacher)
    wanted = off_loss([x.detach().double() for x in student],
                      [x.double() for x in teacher])
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-6)
    loss.backward()
    assert student[0].grad.dtype == torch.bfloat16


def test_other_numbers_of_layers_are_refused():
    with pytest.raises(ValueError, match="3 block outputs .* 2 of"):
        off_loss(outputs(1), outputs(1)[:2])
