# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A quantised checkpoint damaged in one place: refused, by file and field."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import some_checkpoint as some
from some_checkpoint import UP
from tbq import checkpoint as ck
from tbq.checkpoint.files import StoredTensors
from tbq.checkpoint.settings import EmbeddingScheme
from tbq.checkpoint.tensors import read_embedding

TERNARY = some.config(), None
SALIENT = some.config("binary"), True
DUAL = some.config("dual-binary"), None
EMBEDDING = some.config(embedding={"bits": 4, "group_size": 4}), None
INFINITY, NAN = float("inf"), float("nan")


def with_config(**changes):
    def damage(directory):
        path = directory / "config.json"
        values = json.loads(path.read_text())
        values["quantization_config"].update(changes)
        path.write_text(json.dumps(values))

    return damage


def with_model(**changes):
    def damage(directory):
        path = directory / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


def with_tensor(part, change, module=UP):
    """change: None to leave it out, or what makes the new one of the old."""

    def damage(directory):
        path = directory / "model.safetensors"
        tensors = load_file(path)
        old = tensors.pop(f"{module}.{part}", None)
        if change:
            tensors[f"{module}.{part}"] = change(old).contiguous()
        save_file(tensors, path)

    return damage


def with_copies(**shifts):
    """The tied table stored twice, the copy's parts moved by so many rows."""

    def damage(directory):
        path = directory / "model.safetensors"
        tensors = load_file(path)
        for part in ("q", "scale"):
            tensor = tensors[f"model.embed_tokens.{part}"]
            tensors[f"lm_head.{part}"] = tensor.roll(shifts.get(part, 0), 0)
        save_file(tensors, path)

    return damage


def put(index, value):
    def change(tensor):
        tensor[index] = value
        return tensor

    return change


def with_file(name, text):
    return lambda directory: (directory / name).write_text(text)


def extra(old):
    assert old is None
    return torch.ones(2, 3)


MODULE = "is not a tensor of this module, which config.json says is"
CONFIG = "config.json: quantization_config"
CASES = [
    (TERNARY, with_config(scheme="int4"), f"{CONFIG}.scheme: 'int4'"),
    (TERNARY, with_config(quant_method="gptq"), f"{CONFIG}.quant_method: 'gptq'"),
    (TERNARY, with_config(group_size=0), f"{CONFIG}.group_size: 0 is not"),
    (TERNARY, with_config(group_size=True), f"{CONFIG}.group_size: True is not"),
    (TERNARY, with_config(group_size="all"), f"{CONFIG}.group_size: 'all' is"),
    (TERNARY, with_config(shift="yes"), f"{CONFIG}.shift: 'yes'"),
    (TERNARY, with_config(shift=1), f"{CONFIG}.shift: 1 is not"),
    (TERNARY, with_config(activations="i4"), f"{CONFIG}.activations: 'i4'"),
    (TERNARY, with_config(bits=2), f"{CONFIG}.bits: unknown field"),
    (TERNARY, with_config(layers=[]), f"{CONFIG}.layers: is not an object"),
    (TERNARY, with_config(layers={"a(": {}}), rf"{CONFIG}.layers.a\(: "),
    (TERNARY, with_config(layers={"a": 1}), f"{CONFIG}.layers.a: is not an obj"),
    (TERNARY, with_config(layers={"a": {"bits": 1}}),
     f"{CONFIG}.layers.a.bits: unknown field"),
    (TERNARY, with_config(layers={"a": {"scheme": "int4"}}),
     f"{CONFIG}.layers.a.scheme: 'int4'"),
    (TERNARY, with_config(layers={"a": {"scheme": "dual-binary", "shift": True}}),
     f"{CONFIG}.layers.a.shift: dual-binary has no shift"),
    (TERNARY, with_config(layers={
        ".*up_proj": {"group_size": 2}, ".*mlp.*": {"shift": False}}),
     rf"{CONFIG}.layers: both '.\*up_proj' and '.\*mlp.\*' match {UP} and differ"),
    (TERNARY, with_config(modules_to_not_convert="lm_head"),
     f"{CONFIG}.modules_to_not_convert: is not a list"),
    (TERNARY, with_config(modules_to_not_convert=[""]),
     f"{CONFIG}.modules_to_not_convert: is not a list"),
    (TERNARY, with_config(modules_to_not_convert=["up_proj"]),
     f"{UP}.codes: {MODULE} float"),
    (TERNARY, with_config(embedding=8), f"{CONFIG}.embedding: is not an object"),
    (TERNARY, with_config(embedding={"bits": 5, "group_size": 4}),
     f"{CONFIG}.embedding.bits: 5 is not supported"),
    (TERNARY, with_config(embedding={"bits": 8.0, "group_size": 4}),
     f"{CONFIG}.embedding.bits: 8.0 is not supported"),
    (TERNARY, with_config(embedding={"bits": 8}),
     f"{CONFIG}.embedding.group_size: None is not"),
    (TERNARY, with_config(embedding={"bits": 8, "group_size": 4}),
     "model.embed_tokens.scale: missing"),
    (TERNARY, with_model(quantization_config=None), f"{CONFIG}: is not an object"),
    (TERNARY, with_model(model_type="gpt2"), "config.json: model_type: 'gpt2'"),
    (TERNARY, with_model(hidden_size="6"), "config.json: hidden_size: '6' is not"),
    (TERNARY, with_model(num_hidden_layers=2), "layers.1.self_attn.q_proj.scale: m"),
    (TERNARY, with_file("config.json", "["), "config.json: file: "),
    (TERNARY, with_file("config.json", "[]"), "config.json: file: not a JSON obj"),
    (TERNARY, with_file("config.json", "{}"), f"{CONFIG}: missing"),
    (TERNARY, with_file("model.safetensors", "short"), "model.safetensors: file: "),
    (TERNARY, with_tensor("shift", None), f"{UP}.shift: missing"),
    (TERNARY, with_tensor("scale", lambda t: t[:, :1]),
     rf"{UP}.scale: torch.float16 \[10, 1\], expected torch.float16 \[10, 2\]"),
    (TERNARY, with_tensor("scale", torch.Tensor.float), f"{UP}.scale: torch.float32"),
    (TERNARY, with_tensor("scale", put((3, 1), NAN)), f"{UP}.scale: holds an inf"),
    (TERNARY, with_tensor("shift", put((3, 1), -INFINITY)), f"{UP}.shift: holds an"),
    (TERNARY, with_tensor("codes", put((2, 0), 0b110000)), "codes: holds the code 3"),
    (TERNARY, with_tensor("codes", put((2, 1), 0b110000)), "codes: holds the code 3"),
    (TERNARY, with_tensor("codes", lambda t: t[:9]), rf"{UP}.codes: .* \[9, 2\]"),
    (TERNARY, with_tensor("codes", None), f"{UP}.codes: missing"),
    (TERNARY, with_tensor("weight", extra), f"{UP}.weight: {MODULE} quantised"),
    (TERNARY, with_tensor("salient_mask", extra), f"{UP}.salient_mask: {MODULE} q"),
    (TERNARY, with_tensor("q", extra, "model.norm"), f"model.norm.q: {MODULE} float"),
    (DUAL, with_config(shift=True), f"{CONFIG}.shift: dual-binary has no shift"),
    (DUAL, with_tensor("planes", lambda t: t[:1]), rf"{UP}.planes: .* \[1, 10, 1\]"),
    (DUAL, with_tensor("planes", put((1, 9, 0), 0x40)),
     f"{UP}.planes: has bits past the 6 columns"),
    (DUAL, with_tensor("scale", lambda t: t[0]), rf"{UP}.scale: .* \[10, 2\]"),
    (DUAL, with_tensor("scale", None), f"{UP}.scale: missing"),
    (DUAL, with_tensor("salient_scale", extra), f"{UP}.salient_scale: {MODULE} q"),
    (SALIENT, with_tensor("planes", put((0, 1, 0), 1)),
     f"{UP}.planes: has a bit set where a weight is salient"),
    (SALIENT, with_tensor("salient_mask", lambda t: t[:9]), rf"_mask: .* \[9, 1\]"),
    (SALIENT, with_tensor("salient_mask", put((0, 0), 0x80)),
     f"{UP}.salient_mask: has bits past the 6 columns"),
    (SALIENT, with_tensor("salient_mask", None), f"{UP}.salient_[a-z]*: {MODULE} q"),
    (SALIENT, with_tensor("salient_offsets", None), f"{UP}.salient_offsets: missing"),
    (SALIENT, with_tensor("salient_offsets", torch.Tensor.long), "offsets: torch.int64"),
    (SALIENT, with_tensor("salient_offsets", lambda t: t + 1),
     f"{UP}.salient_offsets: are not where the rows of salient_mask start"),
    (SALIENT, with_tensor("salient_values", lambda t: t[1:]), f"{UP}.salient_values: "),
    (SALIENT, with_tensor("salient_values", lambda t: t.view(torch.uint8)),
     f"{UP}.salient_values: torch.uint8"),
    (SALIENT, with_tensor("salient_scale", None), f"{UP}.salient_scale: missing"),
    (SALIENT, with_tensor("salient_scale", put(9, NAN)), "salient_scale: holds an inf"),
    (SALIENT, with_tensor("salient_zero", put(9, 128)),
     f"{UP}.salient_zero: is not in -128..127"),
    (SALIENT, with_tensor("salient_zero", lambda t: t.to(torch.int8)), "torch.int8"),
    (EMBEDDING, with_config(embedding={"bits": 8, "group_size": 4}),
     r"model.embed_tokens.q: torch.uint8 \[5, 3\], expected torch.int8 \[5, 6\]"),
    (EMBEDDING, with_tensor("scale", put((4, 1), INFINITY), "model.embed_tokens"),
     "model.embed_tokens.scale: holds an infinity"),
    (EMBEDDING, with_tensor("weight", extra, "model.embed_tokens"),
     f"model.embed_tokens.weight: {MODULE} quantised"),
    (EMBEDDING, with_tensor("q", extra, "lm_head"), "lm_head.scale: missing"),
    (EMBEDDING, with_copies(q=1), "lm_head.q: differs from model.embed_tokens.q"),
    (EMBEDDING, with_copies(scale=1), "lm_head.scale: differs from model.embed_"),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_damage_is_refused_by_name(tmp_path, case):
    model, damage, named = CASES[case]
    ck.write_checkpoint(tmp_path, some.checkpoint(*model))
    ck.read_checkpoint(tmp_path)
    damage(tmp_path)
    with pytest.raises(ck.CheckpointError, match=named) as refusal:
        ck.read_checkpoint(tmp_path)
    text = str(refusal.value)
    assert text.startswith(str(tmp_path)) and len(text.splitlines()) == 1


def test_a_filled_up_nibble_is_zero(tmp_path):
    """An odd hidden_size: the last byte of a row of 4-bit codes is half empty."""
    scheme = EmbeddingScheme(4, "row")
    tensors = {"table.q": torch.tensor([[0x21, 0x03]], dtype=torch.uint8),
               "table.scale": torch.ones(1, 1).half()}
    stored = StoredTensors(tmp_path, dict(tensors), {})
    table = read_embedding(stored, "table", scheme, 1, 3)
    assert table.codes.tolist() == [[-7, -6, -5]]
    tensors["table.q"][0, 1] = 0x13
    stored = StoredTensors(tmp_path, dict(tensors), {})
    with pytest.raises(ck.CheckpointError, match="table.q: has bits past the 3"):
        read_embedding(stored, "table", scheme, 1, 3)


def shards_with(change):
    def damage(directory):
        path = directory / "model.safetensors.index.json"
        index = json.loads(path.read_text())
        change(index)
        path.write_text(json.dumps(index))

    return damage


def rename(index):
    index["weight_map"]["model.norm.weight"] = "a/../b.safetensors"


def misplace(index):
    shards = index["weight_map"]
    shards[f"{UP}.scale"] = next(s for s in shards.values()
                                 if s != shards[f"{UP}.scale"])


@pytest.mark.parametrize("damage,named", [
    (shards_with(rename), "index.json: weight_map: 'a/../b.safetensors' is not a"),
    (shards_with(misplace), f"{UP}.scale: "),
    (shards_with(lambda i: i["weight_map"].update(x="model-00001-of-00002.safetensors")),
     "safetensors: x: missing"),
    (shards_with(lambda i: i.update(weight_map=[])), "weight_map: is not an object"),
    (lambda d: next(d.glob("model-00002-*")).unlink(), "model-00002-.*: file: "),
])
def test_damaged_shards_are_refused_by_name(tmp_path, damage, named):
    ck.write_checkpoint(tmp_path, some.checkpoint(*TERNARY), 400)
    ck.read_checkpoint(tmp_path)
    damage(tmp_path)
    with pytest.raises(ck.CheckpointError, match=named):
        ck.read_checkpoint(tmp_path)
