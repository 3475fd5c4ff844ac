# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The lean decoding step against transformers' whole sequences."""

import pytest
import torch

from some_llama import some_ids, some_llama
from tbq.data import decoder_step
from tbq.data.cache_attention import PlainAttention, room_for
from tbq.data.decoder_step import DecoderStep

LENGTH = 20


def hidden_states(model, ids, **options):
    """[B, T, d] by steps."""
    step = DecoderStep(model, ids.shape[0], 24, torch.float32, **options)
    result = []
    for at in range(ids.shape[1]):
        result.append(step(ids[:, at]))
        step.position.add_(1)
    return step, torch.stack(result, 1)


@pytest.mark.parametrize("settings", [
    {"tied": True}, {"tied": False},
    {"attention_bias": True, "mlp_bias": True},
    {"rope_parameters": {"rope_type": "linear", "factor": 4.0,
                         "rope_theta": 500.0}}])
def test_steps_are_transformers_own(settings):
    model, ids = some_llama(**settings), some_ids(3, LENGTH)
    step, hidden = hidden_states(model, ids)
    with torch.no_grad():
        wanted = model(ids).logits
    torch.testing.assert_close(hidden @ step.head.T, wanted, rtol=0, atol=1e-5)
    assert (step.head is step.table) == settings.get("tied", True)


def test_the_reference_knows_wrong_caches(monkeypatch):
    """Reading one position too few is seen at 1e-5."""
    def attend(self, queries, keys, values, whole=PlainAttention.__call__):
        self.position.sub_(1)
        result = whole(self, queries, keys, values)
        self.position.add_(1)
        return result

    model, ids = some_llama(), some_ids(3, 9)
    step, _ = hidden_states(model, ids[:, :-1])
    monkeypatch.setattr(PlainAttention, "__call__", attend)
    hidden = step(ids[:, -1])
    with torch.no_grad():
        wanted = model(ids).logits[:, -1]
    assert (hidden @ step.head.T - wanted).abs().max() > 1e-3


def test_reset_forgets():
    model, ids = some_llama(), some_ids(2, LENGTH)
    step, first = hidden_states(model, some_ids(2, LENGTH, seed=5))
    step.reset()
    for at in range(4):
        hidden = step(ids[:, at])
        step.position.add_(1)
    _, fresh = hidden_states(model, ids[:, :4])
    assert torch.equal(hidden, fresh[:, -1])
    assert not torch.equal(hidden, first[:, 3])


def test_compiled_parts_are_the_same(monkeypatch):
    # Traced, not generated: the code generator is slow to start here.
    seen = []

    def traced(function):
        torch._dynamo.reset()
        seen.append(function)
        return torch.compile(function, dynamic=False, fullgraph=True,
                             backend="aot_eager")
    monkeypatch.setattr(decoder_step, "compiled", traced)
    # Its kernel is a GPU's.
    monkeypatch.setattr(decoder_step, "BlockAttention",
                        lambda position, scale, group, room:
                        PlainAttention(position, scale))
    model, ids = some_llama(), some_ids(2, LENGTH)
    _, wanted = hidden_states(model, ids)
    torch._dynamo.utils.counters.clear()
    _, hidden = hidden_states(model, ids, compile=True)
    torch.testing.assert_close(hidden, wanted, rtol=0, atol=1e-6)
    assert len(seen) == 2
    # One form each, for all layers and every position.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2


def test_a_cache_has_whole_blocks():
    assert [room_for(length) for length in (1, 64, 65, 511)] == [
        64, 64, 128, 512]


def test_cache_bytes():
    step = DecoderStep(some_llama(), 3, 24, torch.bfloat16)
    # layers, keys and values, sequences, key heads, head size, bytes
    assert step.cache_bytes() == 3 * 2 * 3 * 2 * 8 * 2


def test_other_architectures_are_refused():
    model = some_llama()
    model.config.hidden_act = "gelu"
    with pytest.raises(ValueError, match="'llama' with 'gelu' is not"):
        DecoderStep(model, 1, 8, torch.float32)
