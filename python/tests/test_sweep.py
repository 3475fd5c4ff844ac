# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The sweep against a plain float64 one, and what it is for: a smaller error
of the output."""

import pytest
import torch

from tbq.checkpoint.settings import EmbeddingScheme
from tbq.ptq.grids import TableGrid, grid_of
from tbq.ptq.hessian import (Hessian, HessianError, factorize, output_error)
from tbq.ptq.sweep import sweep
from tbq.quant.embedding import QuantEmbedding
from tbq.quant.spec import Spec

LINEARS = ["dlt:{}", "dlt:{},shift=false", "dlt:{},init=twn", "twn:{}",
           "absmean:{}", "seq:{}", "binary:{}", "binary:{},mean=false",
           "binary:{},salient=0.2", "binary:{},salient=0.1,saliency=hessian",
           "binary:{},salient=0.2,compat=true", "fdb:{}",
           "fdb:{},init=alternate"]
TABLES = ["int8:{}", "int4:{}"]
K = 44


def problem(rows=12, columns=K, tokens=400, dtype=torch.float64):
    """Correlated inputs, one of which is always 0, and a weight."""
    g = torch.Generator().manual_seed(3)
    mix = torch.randn(columns, columns, generator=g, dtype=dtype)
    x = torch.randn(tokens, columns, generator=g, dtype=dtype) @ (
        mix + 2 * torch.eye(columns, dtype=dtype))
    x[:, 5] = 0
    w = 0.1 * torch.randn(rows, columns, generator=g, dtype=dtype)
    return w, x, x.T @ x / tokens


def scheme_of(text, group):
    text, size = text.format(group), "row" if group == "row" else int(group[1:])
    if text.startswith("int"):
        return EmbeddingScheme(int(text[3]), size)
    return Spec.parse(text)


def grid_for(w, scheme, factor):
    if isinstance(scheme, EmbeddingScheme):
        return TableGrid(w, scheme)
    return grid_of(w, scheme, factor.saliency(w))


def nearest_of(w, scheme, factor):
    """Round to nearest, float32."""
    if isinstance(scheme, EmbeddingScheme):
        return QuantEmbedding(w.float(), scheme).export()
    w, importance = w.float(), factor.saliency(w).float()
    return scheme.quantizer.create(w, scheme, importance).export(w)


def plain(w, hessian, grid, damping=0.01):
    """GPTQ as it is written: each column's error is spread over all columns
    that follow by the inverse Hessian of those that are left, which shrinks
    by one step of Gaussian elimination."""
    w, h = w.clone(), hessian.clone()
    for d in range(len(h)):
        if h[d, d] == 0:
            h[d, d] = 1
            w[:, d] = 0
    inverse = torch.linalg.inv(
        h + damping * h.diagonal().mean() * torch.eye(len(h), dtype=h.dtype))
    values = torch.empty_like(w)
    for i in range(w.shape[1]):
        if i % grid.group == 0:
            coefficients = grid.fit(w[:, i:i + grid.group], i)
        _, values[:, i] = grid.round(w[:, i].clone(), coefficients, i)
        error = (w[:, i] - values[:, i]) / inverse[i, i]
        w -= torch.outer(error, inverse[i])
        pivot = inverse[i, i]
        inverse = inverse - torch.outer(inverse[:, i], inverse[i]) / pivot
    return values


@pytest.mark.parametrize("text", LINEARS + TABLES)
@pytest.mark.parametrize("group", ["g8", "g16", "row"])
@pytest.mark.parametrize("block", [8, 20, 128])
def test_is_the_plain_sweep(text, group, block):
    w, _, hessian = problem()
    factor, scheme = factorize(hessian), scheme_of(text, group)
    grid = grid_for(w, scheme, factor)
    swept = sweep(w, factor, grid, block)
    torch.testing.assert_close(swept.values, plain(w, hessian, grid),
                               rtol=0, atol=1e-12)


@pytest.mark.parametrize("text", LINEARS + TABLES)
@pytest.mark.parametrize("group", ["g16", "row"])
def test_beats_round_to_nearest(text, group):
    w, x, hessian = problem()
    factor, scheme = factorize(hessian), scheme_of(text, group)
    w32 = w.float()
    grid = grid_for(w32, scheme, factor)
    swept = sweep(w32, factor, grid)
    linear = grid.linear(swept.digits, swept.coefficients)
    assert torch.equal(linear.dequantize(), swept.values)
    error = output_error(w32, swept.values, hessian)
    y, q = x @ w.T, x @ swept.values.double().T
    assert error == pytest.approx(((y - q).square().sum()
                                   / y.square().sum()).item(), rel=1e-4)
    rounded = nearest_of(w, scheme, factor).dequantize()
    assert error < 0.9 * output_error(w32, rounded, hessian)


def test_dead_inputs_take_no_part():
    """What is multiplied by 0 neither gets nor gives an error."""
    w, _, hessian = problem()
    factor = factorize(hessian)
    assert factor.dead.nonzero().tolist() == [[5]]
    other = w.clone()
    other[:, 5] = 100
    scheme = Spec.parse("twn:g8")
    a, b = (sweep(m, factor, grid_of(m, scheme, None)).values
            for m in (w, other))
    assert torch.equal(a, b)
    assert not a[:, 5].any()


def test_saliency_divides_by_the_factors_diagonal():
    w, _, hessian = problem()
    factor = factorize(hessian, 0.05)
    h = hessian.clone()
    h[5, 5] = 1
    h += 0.05 * h.diagonal().mean() * torch.eye(K, dtype=h.dtype)
    upper = factor.upper
    torch.testing.assert_close(upper.T @ upper, torch.linalg.inv(h))
    assert not upper.tril(-1).any()
    torch.testing.assert_close(factor.saliency(w),
                               w ** 2 / upper.diagonal() ** 2)


def test_hessian_does_not_depend_on_the_pieces():
    _, x, hessian = problem(dtype=torch.float64)
    x = x.float()
    whole, pieces = Hessian(K, x), Hessian(K, x)
    whole.add(x)
    for piece in x.split(7):
        pieces.add(piece[None])
    torch.testing.assert_close(whole.matrix(), pieces.matrix(), rtol=1e-5,
                               atol=1e-5)
    torch.testing.assert_close(whole.matrix(), hessian, rtol=1e-5, atol=1e-4)


def test_what_cannot_be_factorised_is_refused():
    _, _, hessian = problem()
    with pytest.raises(HessianError, match="not finite"):
        factorize(hessian * torch.nan)
    ones = torch.ones(4, 4, dtype=torch.float64)
    with pytest.raises(HessianError, match="raise the damping"):
        factorize(ones, 0.0)
    with pytest.raises(HessianError, match="no activation"):
        Hessian(4, ones).matrix()
