# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tables in 8, 4 and 16 bits, and their gradients."""

import pytest
import torch

from tbq.quant.embedding import QuantEmbedding, parse_embedding
from tbq.quant.errors import SpecError


def table(seed=0):
    w = torch.randn(7, 20, generator=torch.Generator().manual_seed(seed))
    w[1], w[2], w[3] = 0, 1e-41, -0.5
    return w


@pytest.mark.parametrize("spec", ["int8:g8", "int8:row", "int8:g20", "int4:g8",
                                  "int4:row", "int4:g4"])
def test_export_is_the_table(spec):
    w = table()
    module = QuantEmbedding(w, parse_embedding(spec))
    with torch.no_grad():
        module.weight += 0.3 * torch.randn_like(w)
    assert torch.equal(module.export().dequantize(), module.table())
    ids = torch.tensor([[3, 0], [6, 3]])
    assert torch.equal(module(ids), module.table()[ids])
    codes = module.export().codes
    assert codes.min() >= (-127 if module.bits == 8 else -8)


def test_16_bits_are_f16_values():
    module = QuantEmbedding(table(), None)
    assert torch.equal(module.table(), table().half().float())
    module.table().sum().backward()
    assert torch.equal(module.weight.grad, torch.ones(7, 20))


def test_8_bits_and_their_gradient():
    module = QuantEmbedding(torch.tensor([[0.25, -1.0, 127.0, 0.5]]),
                            parse_embedding("int8:row"))
    assert module.export().codes.tolist() == [[0, -1, 127, 0]]  # 0.5: a tie
    value = module.table()
    assert value.tolist() == [[0, -1, 127, 0]]
    value.backward(torch.tensor([[1.0, 2, 3, 4]]))
    assert module.weight.grad.tolist() == [[1, 2, 3, 4]]


def test_4_bits_learn_their_scale():
    module = QuantEmbedding(torch.tensor([[-8.0, 1.25, 7.25, 2.75]]),
                            parse_embedding("int4:row"))
    assert module.scale.tolist() == [[1.0]]
    value = module.table()
    assert value.tolist() == [[-8, 1, 7, 3]]
    value.backward(torch.tensor([[1.0, 2, 3, 4]]))
    # -8 itself, 1 - 1.25, 7 for what is cut, 3 - 2.75; -8 + 8 = 0 at the end.
    assert module.scale.grad.tolist() == [[2 * -0.25 + 3 * 7 + 4 * 0.25]]
    assert module.weight.grad.tolist() == [[1, 2, 3, 4]]


def test_first_4_bit_scale_beats_the_largest_weight():
    w = torch.randn(40, 64, generator=torch.Generator().manual_seed(1))
    module = QuantEmbedding(w, parse_embedding("int4:g64"))
    extreme = w.gather(1, w.abs().argmax(1, keepdim=True)) / -8
    plain = (w / extreme).round().clamp(-8, 7) * extreme

    def error(value):
        return (value - w).square().sum(1)

    fitted = error(module.table())
    assert (fitted <= error(plain) + 1e-3).all()
    assert fitted.sum() < 0.93 * error(plain).sum()


@pytest.mark.parametrize("text", ["int6:g8", "int8", "int8:8", "float"])
def test_other_schemes_are_refused(text):
    with pytest.raises(SpecError, match=text):
        parse_embedding(text)
