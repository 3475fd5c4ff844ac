# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A transformers llama quantised in place, and its checkpoint."""

import json

import pytest
import torch
from some_llama import some_ids, some_llama

from tbq.checkpoint import (dequantize_directory, read_checkpoint,
                            write_checkpoint)
from tbq.quant.linear import QuantEmbedding, QuantLinear
from tbq.quant.policy import Policy
from tbq.quant.spec import SpecError
from tbq.quant.student import (decoder_linears, export_checkpoint,
                               quantize_model)

MIXED = r"""# the attention of layer 1, all of down_proj, one float
model\.layers\.1\.self_attn\..*  dlt:row,shift=false
.*down_proj dlt:g8,grid=learned
.*layers\.2\.mlp\.up_proj float
"""


def student(tied, embedding, policy=None):
    model = some_llama(tied=tied)
    config = json.loads(model.config.to_json_string())
    quantize_model(model, policy or Policy.uniform("dlt:g16"), embedding)
    return model, config


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("embedding", [None, "int8:g16", "int4:g8", "int4:row"])
def test_checkpoint_is_the_forward_pass(tied, embedding, tmp_path):
    import transformers

    model, config = student(tied, embedding, Policy.parse(MIXED, "dlt:g16"))
    write_checkpoint(tmp_path / "q", export_checkpoint(model, config, "i16"))
    dequantize_directory(tmp_path / "q", tmp_path / "f")
    other = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "f").eval()
    stored = other.state_dict()
    for name, module in model.named_modules():
        if isinstance(module, QuantLinear):
            assert torch.equal(module.quantized_weight(),
                               stored[f"{name}.weight"])
        elif isinstance(module, QuantEmbedding):
            assert torch.equal(module.table(), stored[f"{name}.weight"])
    with torch.no_grad():
        torch.testing.assert_close(model(some_ids()).logits,
                                   other(some_ids()).logits)


def test_settings_of_each_linear(tmp_path):
    model, config = student(True, "int8:g16", Policy.parse(MIXED, "dlt:g16"))
    checkpoint = export_checkpoint(model, config, "i8")
    assert checkpoint.config["quantization_config"] == {
        "quant_method": "tbq", "scheme": "ternary", "group_size": 16,
        "shift": True, "activations": "i8",
        "layers": {
            r"model\.layers\.1\.self_attn\.q_proj": {
                "scheme": "ternary", "group_size": "row", "shift": False},
            r"model\.layers\.1\.self_attn\.k_proj": {
                "scheme": "ternary", "group_size": "row", "shift": False},
            r"model\.layers\.1\.self_attn\.v_proj": {
                "scheme": "ternary", "group_size": "row", "shift": False},
            r"model\.layers\.1\.self_attn\.o_proj": {
                "scheme": "ternary", "group_size": "row", "shift": False},
            r"model\.layers\.[0-9]+\.mlp\.down_proj": {
                "scheme": "ternary", "group_size": 8, "shift": True}},
        "modules_to_not_convert": ["model.layers.2.mlp.up_proj"],
        "embedding": {"bits": 8, "group_size": 16}}
    write_checkpoint(tmp_path, checkpoint)
    again = read_checkpoint(tmp_path)
    assert again.linears.keys() == checkpoint.linears.keys()
    for name, linear in checkpoint.quantized().items():
        assert torch.equal(linear.dequantize(),
                           again.quantized()[name].dequantize())


def test_tied_head_is_the_embeddings_table():
    model, _ = student(True, "int4:g8")
    names = [name for name, _ in model.named_parameters()]
    assert not any(name.startswith("lm_head") for name in names)
    model(some_ids()).logits.square().sum().backward()
    table = model.model.embed_tokens
    both = table.weight.grad.clone()
    assert (both.abs().sum(1) > 0).all()  # rows that no id looks up, too
    with torch.no_grad():
        table.weight.zero_()
    assert not model.lm_head.table().any()


def test_everything_trained_is_float32_and_learns():
    model, _ = student(False, "int8:g16")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert len(decoder_linears(model)) == 21
    model(some_ids()).logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


@pytest.mark.parametrize("text,message", [
    ("tern:g16", "unknown method 'tern' .known: dlt"),
    ("dlt", "has no group"), ("dlt:16", "neither"), ("dlt:g0", "neither"),
    ("dlt:g16,shfit=true", "no option 'shfit'.*shift"),
    ("dlt:g16,shift=yes", "shift='yes' is not one of true, false"),
    ("dlt:g16,shift=true,shift=true", "twice")])
def test_wrong_specs_are_refused(text, message):
    with pytest.raises(SpecError, match=message):
        Policy.uniform(text)


def test_wrong_policies_are_refused():
    with pytest.raises(SpecError, match="p: line 2: .*unknown method"):
        Policy.parse("# one\n.* nothing:g1", file="p")
    with pytest.raises(SpecError, match="p: line 1: "):
        Policy.parse("*( dlt:g16", file="p")
    with pytest.raises(SpecError, match="line 1: 'q_proj' matches no linear"):
        quantize_model(some_llama(), Policy.parse("q_proj dlt:g16"), None)
