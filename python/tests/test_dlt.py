# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""DLT against the worked numbers of the project's methods page (group of 8)."""

import pytest
import torch

from tbq.quant import dlt

W = torch.tensor([[0.9, -0.3, 0.05, -1.2, 0.4, 0.0, -0.45, 0.7]])
G = torch.tensor([[1, -2, 3, 0.5, -1, 2, 1, -0.5]])
T = torch.tensor([[1.0, 0, 0, -1, 1, 0, -1, 1]])


def close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a, torch.tensor(b), rtol=0, atol=tolerance)


def test_codes_and_twn_scale():
    assert torch.equal(dlt.ternary_codes(W, 8), T)
    close(dlt.twn_scale(W, T, 8), [[0.73]])


def test_least_squares():
    scale, shift = dlt.least_squares(W, T, 8)
    close(scale, [[0.746154]])
    close(shift, [[-0.080769]])


def test_least_squares_of_equal_codes_is_the_mean():
    w = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.5, 0.5]])
    scale, shift = dlt.least_squares(w, dlt.ternary_codes(w, 4), 4)
    close(scale, [[0.0], [0.0]])
    close(shift, [[0.0], [0.5]])


@pytest.mark.parametrize("gradient,expected", [
    ("identity", [[1, -2, 3, 0.5, -1, 2, 1, -0.5]]),
    ("ttq", [[0.73, -2, 3, 0.365, -0.73, 2, 0.73, -0.365]]),
    ("clipped", [[0.0, -2, 3, 0, -1, 2, 1, -0.5]]),
])
def test_forward_and_gradients(gradient, expected):
    weight = W.clone().requires_grad_()
    scale = torch.tensor([[0.73]], requires_grad=True)
    shift = torch.tensor([[0.1]], requires_grad=True)
    d = dlt.dlt(weight, scale, shift, 8, gradient)
    # f16 moves 0.73 by 2e-4 and 0.1 by 2e-5.
    close(d.detach(), [[0.83, 0.1, 0.1, -0.63, 0.83, 0.1, -0.63, 0.83]], 3e-4)
    d.backward(G)
    close(scale.grad, [[-2.0]])
    close(shift.grad, [[4.0]])
    close(weight.grad, expected)


def test_scales_enter_rounded_to_f16():
    scale, shift = torch.tensor([[0.1]]), torch.tensor([[0.3]])
    d = dlt.dlt(W, scale, shift, 8)
    assert d[0, 1].item() == torch.tensor(0.3).half().float().item()
    assert d[0, 0].item() == (torch.tensor(0.1).half().float()
                              + torch.tensor(0.3).half().float()).item()


def test_last_group_is_shorter_and_not_padded():
    torch.manual_seed(0)
    w = torch.randn(3, 22)
    codes = dlt.ternary_codes(w, 8)
    scale, shift = dlt.least_squares(w, codes, 8)
    tail = w[:, 16:]
    assert torch.equal(codes[:, 16:], dlt.ternary_codes(tail, 6))
    tail_scale, tail_shift = dlt.least_squares(tail, codes[:, 16:], 6)
    torch.testing.assert_close(scale[:, 2:], tail_scale)
    torch.testing.assert_close(shift[:, 2:], tail_shift)
    weight = w.clone().requires_grad_()
    parameter = shift.clone().requires_grad_()
    dlt.dlt(weight, scale, parameter, 8).sum().backward()
    assert torch.equal(parameter.grad, torch.tensor([[8.0, 8.0, 6.0]] * 3))
    assert torch.equal(weight.grad, torch.ones_like(w))


def test_wrong_arguments_are_refused():
    one = torch.ones(1, 1)
    with pytest.raises(ValueError, match="gradient"):
        dlt.dlt(W, one, one, 8, "identitty")
    with pytest.raises(TypeError, match="float32"):
        dlt.dlt(W.half(), one, one, 8)
