# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every quantizer: what it exports is what its forward pass computes, and
both are the written formulas."""

import pytest
import torch

from tbq.quant import dual_binary, salient, ternary_fit
from tbq.quant.errors import SpecError
from tbq.quant.groups import _round_f16_by_bits, round_f16, split_groups
from tbq.quant.spec import Spec

# The vectors of one group of 8 and the gradient that comes back.
W = torch.tensor([[0.9, -0.3, 0.05, -1.2, 0.4, 0.0, -0.45, 0.7]])
G = torch.tensor([[1, -2, 3, 0.5, -1, 2, 1, -0.5]])

SPECS = [
    "dlt:{},grid=threshold", "dlt:{},shift=false,init=twn",
    "dlt:{},grid=learned", "dlt:{},grid=learned,shift=false,gradient=clipped",
    "dlt:{},init=alternate,gradient=ttq", "twn:{}", "absmean:{}", "seq:{}",
    "binary:{}", "binary:{},mean=false", "binary:{},compat=true,salient=0.1",
    "binary:{},salient=0.3", "binary:{},salient=0.1,mean=false,gradient=code",
    "binary:{},salient=0.2,gradient=identity,saliency=hessian", "fdb:{}",
    "fdb:{},weights=trained,init=alternate"]


def create(text, weight, importance=None):
    spec = Spec.parse(text)
    return spec.quantizer.create(weight, spec, importance)


def weights(columns, seed=0):
    """Rows: random, zeros, constant, denormal, one large, half zeros, tiny."""
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(9, columns, generator=generator) * 0.1
    w[1], w[2], w[3] = 0, 0.03, 1e-41 * w[3]
    w[4] = 0
    w[4, columns // 2] = -7
    w[5, ::2], w[6], w[7] = 0, w[6] * 1e-7, -0.02
    return w


def close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a.detach(), torch.as_tensor(b), rtol=0,
                               atol=tolerance)


@pytest.mark.parametrize("text", SPECS)
@pytest.mark.parametrize("group,columns", [("g8", 32), ("g8", 30), ("row", 30),
                                           ("g64", 30), ("g16", 17)])
def test_export_is_the_forward_pass(text, group, columns):
    w = weights(columns)
    quantizer = create(text.format(group), w, w.square())
    with torch.no_grad():
        for parameter in quantizer.parameters():
            # As training may leave them: off, and some out of their range.
            parameter.mul_(1 + 0.3 * torch.randn_like(parameter))
            parameter[..., 0].neg_()
    # The latent moves too, while what is salient stays as it was.
    latent = w + 0.01 * torch.randn_like(w) * (w != 0)
    value = quantizer(latent)
    linear = quantizer.export(latent)
    assert value.isfinite().all()
    assert torch.equal(linear.dequantize(), value.detach())
    stored = linear.tensors()
    groups = 1 if group == "row" else -(-columns // int(group[1:]))
    assert stored["scale"].shape[-1] == groups
    assert ("shift" in stored) == quantizer.settings()["shift"]
    assert all(tensor.device.type == "cpu" for tensor in stored.values())


def test_f16_rounding_by_bits_is_the_cast():
    every = torch.arange(65536, dtype=torch.int32).to(torch.int16)
    every = every.view(torch.float16).float()
    middle = (every[1:] + every[:-1]) / 2  # ties, some of them
    x = torch.cat([every, middle, torch.nextafter(middle, every[1:]),
                   torch.nextafter(middle, every[:-1]),
                   torch.randint(-2**31, 2**31 - 1, (100_000,)).to(
                       torch.int32).view(torch.float32)])
    a, b = round_f16(x), _round_f16_by_bits(x)
    assert torch.equal(a.isnan(), b.isnan())
    assert torch.equal(a.nan_to_num(), b.nan_to_num())


def test_learned_grid_is_lsq():
    """The project's vector at scale 0.8, 1.25 times as large so that the scale,
    1, is an f16 value and 0.4 / 0.8 a tie."""
    q = create("dlt:g8,grid=learned,gradient=clipped", 1.25 * W)
    with torch.no_grad():
        q.scale.fill_(1.0), q.shift.zero_()
    w = (1.25 * W).requires_grad_()
    value = q(w)
    close(value, [[1.0, 0, 0, -1, 0, 0, -1, 1]])
    value.backward(G)
    close(q.scale.grad, [[-0.4375]])
    close(q.shift.grad, [[4.0]])
    close(w.grad, [[0.0, -2, 3, 0, -1, 2, 1, -0.5]])


def test_learned_grid_rounds_to_the_nearest_level_about_the_shift():
    w = torch.randn(1, 64, dtype=torch.float32)
    q = create("dlt:g64,grid=learned", w)
    a, c = (x.half().float().item() for x in (q.scale, q.shift))
    levels = torch.tensor([c - a, c, c + a])
    nearest = (w[0, :, None] - levels).abs().min(-1).values
    torch.testing.assert_close((q(w) - w)[0].abs(), nearest)


def test_alternations_lower_the_error():
    torch.manual_seed(0)
    w = torch.randn(50, 64)

    def error(text):
        with torch.no_grad():
            return (create(text, w)(w) - w).square().sum() / w.square().sum()

    fitted = error("dlt:g64,grid=learned")
    assert fitted < 0.98 * error("dlt:g64") < 0.98 * error("twn:g64")
    previous = torch.inf
    for times in range(1, 7):
        scale, shift = ternary_fit.alternate(w, 64, True, times)
        codes = ternary_fit.nearest_codes(w, scale, shift, 64)
        now = (scale * codes + shift - w).square().sum()
        assert now <= previous
        previous = now
    a, b = error("fdb:g64"), error("fdb:g64,init=alternate")
    assert b < 0.9 * a  # 0.17 and 0.15 of a Gaussian


def test_twn():
    q = create("twn:g8", W)
    w = W.clone().requires_grad_()
    value = q(w)
    close(value, [[0.73, 0, 0, -0.73, 0.73, 0, -0.73, 0.73]], 3e-4)
    value.backward(G)
    close(w.grad, G)


def test_absmean():
    q = create("absmean:g8", W)  # mean |W| = 0.5: switches at 0.25
    value = q(W)
    close(value, [[0.5, -0.5, 0, -0.5, 0.5, 0, -0.5, 0.5]])


def test_seq():
    q = create("seq:g8", W)
    close(q.a, [[1.2]])
    with torch.no_grad():
        q.a.fill_(1.1)
    w = W.clone().requires_grad_()
    value = q(w)
    a = 2 * 1.1 / 3
    close(value, [[a, 0, 0, -a, a, 0, -a, a]], 3e-4)
    close(q.export(W).scale.float(), [[a]], 3e-4)
    value.backward(G)
    close(q.a.grad, [[-1.742424]])
    close(w.grad, [[1.0, -2, 3, 0, -1, 2, 1, -0.5]])


PB = torch.tensor([[0.9, -0.3, 0.05, -1.2], [0.4, 0.02, -0.45, 0.7]])


def test_salient_weights_of_pb_llm():
    mask = salient.salient_mask(PB.abs(), 4, 0.25)
    assert mask.tolist() == [[False] * 3 + [True], [False] * 4]
    rows = salient.row_codes(PB)
    close(rows.scale, [0.00823529, 1.15 / 255], 4e-6)
    assert rows.zero.tolist() == [146 - 128, 100 - 128]
    close(rows.value()[0, 3], -1.202353, 5e-4)
    close(rows.value(), PB, 0.0045)


@pytest.mark.parametrize("compat,rows", [
    ("false", [[0.216667 + 0.455556, 0.216667 - 0.455556,
                0.216667 - 0.455556, -1.202353], [0.55, -0.215, -0.215, 0.55]]),
    ("true", [[0.53125, -0.20625, -0.20625, -1.202353],
              [0.55, -0.215, -0.215, 0.55]])])
def test_pb_llm(compat, rows):
    q = create(f"binary:g4,salient=0.25,compat={compat}", PB)
    w = PB.clone().requires_grad_()
    value = q(w)
    close(value, rows, 6e-4)
    value.backward(torch.ones_like(w))
    s0, s1 = (0.455556, 0.3825) if compat == "false" else (0.36875, 0.3825)
    close(w.grad, [[s0, s0, s0, 0], [s1] * 4], 3e-4)


@pytest.mark.parametrize("gradient,first", [("paper", 0.0), ("code", 0.6),
                                            ("identity", 2.0)])
def test_gradients_of_binary(gradient, first):
    w = torch.tensor([[1.1, -0.1]]).requires_grad_()
    q = create(f"binary:row,mean=false,gradient={gradient}", w)
    q(w).backward(torch.tensor([[2.0, 0.0]]) / (2 if gradient == "code" else 1))
    close(w.grad, [[first, 0]])


def test_salient_weights_are_frozen():
    w = weights(32)
    q = create("binary:g8,salient=0.2", w)
    assert 0.15 < q.mask.float().mean() < 0.2
    moved = w + torch.randn_like(w)
    assert torch.equal(q(w)[q.mask], q(moved)[q.mask])
    assert not torch.equal(q(w)[~q.mask], q(moved)[~q.mask])


def test_saliency_by_a_hessian():
    w = weights(32)
    order = torch.rand_like(w)
    q = create("binary:g8,salient=0.25,saliency=hessian", w, order)
    for start in range(0, 32, 8):
        block, mask = (x[:, start:start + 8] for x in (order, q.mask))
        assert block[mask].min() > block[~mask].max()
        assert int((~mask).sum()) == int(block.numel() * 0.75) + 1
    with pytest.raises(SpecError, match="important"):
        create("binary:g8,salient=0.25,saliency=hessian", w)


def test_fdb():
    """The project's vector in units of s = 0.6, so that scales are f16 values
    and -0.5 is a tie; so is 0.9 = 1.5 s, but for float64's last bit."""
    w = torch.tensor([[1.5 + 1e-6, -0.5, 1 / 12, -2, 2 / 3, 0, -0.75, 7 / 6]])
    q = create("fdb:g8", w)
    assert q.scale[:, 0, 0].tolist() == [2, -1]
    value = q(w)
    assert value.tolist() == [[2, -1, 0, -1, 1, 0, -1, 1]]
    value.backward(G)
    close(q.scale.grad[:, 0, 0], [-0.5, -2.0])
    with torch.no_grad():
        q.scale[0], q.scale[1] = 1.1, -0.5
    close(q(W), [[1.1, -0.5, 0, -0.5, 0.6, 0, -0.5, 0.6]], 6e-4)
    assert not q.trains_weight
    q = create("fdb:g8,weights=trained", W)
    assert q.trains_weight
    w = W.clone().requires_grad_()
    q(w).backward(G)
    close(w.grad, G)


def test_ties_of_fdb_go_to_more_bits():
    q = create("fdb:g4", torch.tensor([[1.5, 0.5, -0.5, -2.0]]))
    bits = q.export(torch.tensor([[1.5, 0.5, -0.5, -2.0]])).bits
    assert bits[:, 0].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]


@pytest.mark.parametrize("scales", [(-0.3, -0.2), (0.3, 0.2), (0.3, -0.5)])
def test_levels_of_fdb_stay_in_order(scales):
    a1, a2 = dual_binary.ordered(torch.tensor(scales)[:, None, None])
    assert a2 <= 0 <= a1 + a2 <= a1
    w = torch.linspace(-1, 1, 64)[None]
    b1, b2 = dual_binary.nearest_bits(split_groups(w, 64), a1, a2)
    levels = torch.stack([a2, 0 * a1, a1 + a2, a1]).flatten()
    nearest = (w[0, :, None] - levels).abs().min(-1).values
    close((a1 * b1 + a2 * b2 - w).abs().flatten(), nearest)
    # A parameter out of range can come back: its gradient is not cut.
    q = create("fdb:g64", w)
    with torch.no_grad():
        q.scale.copy_(torch.tensor(scales)[:, None, None])
    q(w).backward(torch.ones_like(w))
    close(q.scale.grad.flatten(), torch.stack([b1.sum(), b2.sum()]))


@pytest.mark.parametrize("text,message", [
    ("binary:g8,salient=0.6", r"salient='0.6' is not a number in \[0, 0.5\]"),
    ("binary:g8,salient=nan", "not a number in"),
    ("fdb:g8,weights=free", "frozen, trained"),
    ("twn:g8,shift=true", "twn has no option 'shift' .known: none")])
def test_wrong_options_are_refused(text, message):
    with pytest.raises(SpecError, match=message):
        Spec.parse(text)


def test_no_salient_weights():
    spec = Spec.parse("binary:g8,salient=0")
    assert spec == Spec.parse("binary:g8") and str(spec) == "binary:g8"


@pytest.mark.parametrize("text", [s.format("g8") for s in SPECS])
def test_a_spec_prints_as_it_is_read(text):
    spec = Spec.parse(text)
    assert Spec.parse(str(spec)) == spec
