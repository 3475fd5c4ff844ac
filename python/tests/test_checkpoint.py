# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The quantised checkpoint: bytes on disk, round trip, refusals."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from tbq import checkpoint as ck


def config(group, **quantization):
    return {"model_type": "llama", "hidden_size": 6, "intermediate_size": 10,
            "num_attention_heads": 2,
            "quantization_config": {"quant_method": "tbq", "scheme": "ternary",
                                    "group_size": group, "shift": True,
                                    **quantization}}


def linear(rows, columns, group, shift=True):
    generator = torch.Generator().manual_seed(rows * columns)
    groups = -(-columns // group)
    codes = torch.randint(-1, 2, (rows, columns), generator=generator,
                          dtype=torch.int8)
    scale = torch.rand(rows, groups, generator=generator).half()
    offset = (torch.rand(rows, groups, generator=generator) - 0.5).half()
    return ck.TernaryLinear(codes, scale, offset if shift else None, group)


def test_codes_are_packed_low_bits_first():
    codes = torch.tensor([[-1, 0, 1, 1, 0, -1]], dtype=torch.int8)
    packed = ck.pack_codes(codes)
    assert packed.tolist() == [[0b10_10_01_00, 0b0001]]
    assert torch.equal(ck.unpack_codes(packed, 6), codes)


def test_dequantized_weight_with_a_short_last_group():
    codes = torch.tensor([[1, 0, -1, 1, -1]], dtype=torch.int8)
    scale = torch.tensor([[0.5, 2.0]]).half()
    shift = torch.tensor([[0.25, -1.0]]).half()
    weight = ck.TernaryLinear(codes, scale, shift, 3).dequantize()
    assert weight.tolist() == [[0.75, 0.25, -0.25, 1.0, -3.0]]


@pytest.mark.parametrize("group,shift", [(4, True), (4, False), ("row", True)])
def test_round_trip_and_dequantized_directory(tmp_path, group, shift):
    name = "model.layers.0.mlp.down_proj"
    original = linear(3, 10, 10 if group == "row" else group, shift)
    floats = {"model.norm.weight": torch.ones(6),
              "model.embed_tokens.weight": torch.ones(2, 6).half()}
    ck.write_checkpoint(tmp_path / "q", ck.QuantizedCheckpoint(
        config(group, shift=shift), {name: original}, floats))
    (tmp_path / "q" / "tokenizer.json").write_text("{}")
    read = ck.read_checkpoint(tmp_path / "q").linears[name]
    assert torch.equal(read.codes, original.codes)
    assert torch.equal(read.dequantize(), original.dequantize())

    ran = subprocess.run([sys.executable, "-m", "tbq", "dequantize",
                          tmp_path / "q", tmp_path / "f"])
    assert ran.returncode == 0
    tensors = load_file(tmp_path / "f" / "model.safetensors")
    assert torch.equal(tensors[name + ".weight"], original.dequantize())
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    written = json.loads((tmp_path / "f" / "config.json").read_text())
    assert "quantization_config" not in written
    assert (tmp_path / "f" / "tokenizer.json").exists()


def break_config(directory, key, value):
    path = directory / "config.json"
    values = json.loads(path.read_text())
    values["quantization_config"][key] = value
    path.write_text(json.dumps(values))


def break_tensors(directory, **changes):
    path = directory / "model.safetensors"
    tensors = load_file(path)
    for part, tensor in changes.items():
        tensors.pop(f"model.layers.0.mlp.up_proj.{part}")
        if tensor is not None:
            tensors[f"model.layers.0.mlp.up_proj.{part}"] = tensor
    save_file(tensors, path)


@pytest.mark.parametrize("damage,named", [
    (lambda d: break_config(d, "scheme", "binary"), "scheme.*'binary'"),
    (lambda d: break_config(d, "quant_method", "gptq"), "quant_method.*'gptq'"),
    (lambda d: break_config(d, "group_size", 0), "group_size.*0"),
    (lambda d: break_config(d, "shift", "yes"), "shift.*'yes'"),
    (lambda d: break_tensors(d, shift=None), "up_proj.shift: missing"),
    (lambda d: break_tensors(d, scale=torch.ones(2, 3).half()),
     r"up_proj.scale: shape \[2, 3\], expected \[2, 2\]"),
    (lambda d: break_tensors(d, scale=torch.ones(2, 2)), "up_proj.scale.*float32"),
    (lambda d: break_tensors(d, codes=torch.full((2, 2), 255, dtype=torch.uint8)),
     "up_proj.codes: holds the code 3"),
    (lambda d: break_tensors(d, codes=torch.zeros(2, 3, dtype=torch.uint8)),
     "up_proj.codes: 3 bytes a row"),
    (lambda d: (d / "model.safetensors").write_bytes(b"short"),
     "model.safetensors: file"),
    (lambda d: (d / "config.json").write_text("["), "config.json: file"),
])
def test_damage_is_refused_by_name(tmp_path, damage, named):
    ck.write_checkpoint(tmp_path, ck.QuantizedCheckpoint(
        config(4), {"model.layers.0.mlp.up_proj": linear(2, 6, 4)}, {}))
    ck.read_checkpoint(tmp_path)
    damage(tmp_path)
    with pytest.raises(ck.CheckpointError, match=named):
        ck.read_checkpoint(tmp_path)
