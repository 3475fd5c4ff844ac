# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The decoder against transformers' own forward pass."""

import pytest
import torch
from torch import nn

pytest.importorskip("transformers")

from some_llama import some_ids, some_llama  # noqa: E402
from some_opt import AFTER, BEFORE, some_opt  # noqa: E402
from tbq import decoder as decoders  # noqa: E402
from tbq.decoder import Decoder  # noqa: E402

LLAMA3 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 4.0,
          "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16}


LLAMAS = [{"tied": True}, {"tied": False},
          {"attention_bias": True, "mlp_bias": True},
          {"rope_parameters": LLAMA3}, {"head_dim": 12}]
OPTS = [BEFORE, AFTER, {"tied": False, **AFTER},
        {"activation_function": "gelu"}, {"enable_bias": False},
        {"layer_norm_elementwise_affine": False},
        {"_remove_final_layer_norm": True}]
FORMS = [(some_llama, {"tied": True}), (some_llama, {"tied": False}),
         (some_opt, BEFORE), (some_opt, AFTER)]


@pytest.mark.parametrize("make, settings", [
    *((some_llama, settings) for settings in LLAMAS),
    *((some_opt, settings) for settings in OPTS)])
def test_logits_are_those_of_transformers(make, settings):
    model, ids = make(**settings), some_ids()
    with torch.no_grad():
        torch.testing.assert_close(Decoder(model).logits(ids),
                                   model(ids).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make, settings", FORMS)
def test_outputs_of_blocks_are_the_hidden_states(make, settings):
    model, ids = make(**settings), some_ids()
    with torch.no_grad():
        hidden, outputs = Decoder(model).hidden(ids)
        states = model(ids, output_hidden_states=True).hidden_states
    assert len(outputs) == len(states) - 1 == 3
    for ours, theirs in zip(outputs[:-1], states[1:-1]):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    # The last of transformers' is what the head multiplies.
    torch.testing.assert_close(hidden, states[-1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make, settings", FORMS)
def test_gradients_are_those_of_transformers(make, settings):
    # Without OPT's token of padding, whose row transformers does not teach.
    model, ids = make(**settings), some_ids().clamp(min=2)
    weights = torch.randn(2, 12, 50)
    gradients = []
    for forward in (Decoder(model).logits, lambda x: model(x).logits):
        model.zero_grad()
        (forward(ids) * weights).sum().backward()
        gradients.append({name: parameter.grad for name, parameter
                          in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-4,
                                   atol=1e-4, msg=name)


class Doubled(nn.Module):
    """Stands for a quantised embedding: what is looked up is not its weight."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight.clone())

    def table(self):
        return 2 * self.weight


def test_a_quantised_embedding_is_looked_up_and_is_the_tied_head():
    model, ids = some_llama(), some_ids()
    expected = some_llama()
    with torch.no_grad():
        expected.get_input_embeddings().weight.mul_(2)
        model.model.embed_tokens = Doubled(model.model.embed_tokens.weight)
        torch.testing.assert_close(Decoder(model).logits(ids),
                                   expected(ids).logits, rtol=1e-5, atol=1e-5)


def test_compute_is_of_the_type_asked_for_with_float32_weights():
    model, ids = some_llama(), some_ids()
    hidden, outputs = Decoder(model).hidden(ids, dtype=torch.bfloat16)
    assert {x.dtype for x in (hidden, *outputs)} == {torch.bfloat16}
    exact, _ = Decoder(model).hidden(ids)
    assert (hidden - exact).norm() < 0.03 * exact.norm()
    hidden.float().sum().backward()
    assert all(p.grad.dtype == torch.float32 for n, p in
               model.named_parameters())


def test_a_later_token_changes_nothing_before_it():
    model, ids = some_llama(), some_ids()
    other = ids.clone()
    other[:, 8:] = (ids[:, 8:] + 1) % 50
    with torch.no_grad():
        a, b = Decoder(model).logits(ids), Decoder(model).logits(other)
    assert torch.equal(a[:, :8], b[:, :8]) and not torch.equal(a[:, 8], b[:, 8])


def test_layers_of_one_structure_are_compiled_once(monkeypatch):
    compiled = []

    def count(graph, inputs):
        compiled.append(graph)
        return graph.forward

    real = torch.compile
    monkeypatch.setattr(decoders.torch, "compile", lambda function, **settings:
                        real(function, backend=count, **settings))
    model, ids = some_llama(layers=6), some_ids()
    with torch.no_grad():
        ours = Decoder(model, compile=True).logits(ids)
    assert len(compiled) == 1
    with torch.no_grad():
        torch.testing.assert_close(ours, Decoder(model).logits(ids))


def test_another_architecture_is_refused_by_name():
    transformers = pytest.importorskip("transformers")
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        n_layer=1, n_embd=8, n_head=2, vocab_size=10, n_positions=8))
    with pytest.raises(ValueError, match="'gpt2' is not supported"):
        Decoder(model)
