# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Our quantised checkpoint with one field or tensor damaged: tbqc refuses it by name.

Exit code 1, one line on stderr that names the file and the tensor or field, and nothing written.
Where two tensors contradict each other, either may be the one that is named.
"""

import numpy
import pytest
import torch

from conftest import runGood
from damage import assertCompileRefused, editJson, editTensors

LINEAR = "model.layers.1.mlp.down_proj"  # [64, 192]; of the odd models [75, 203]
TABLE = "model.embed_tokens"
TERNARY, DUAL, ODD = "stored-ternary-g128", "stored-dual-binary-g64", "stored-odd-binary-row"
SALIENT, ODD_SALIENT = "stored-salient-g64", "stored-odd-salient-g64"
INT8, INT4, UNTIED = "stored-int8-g32", "stored-int4-g8-tied", "stored-int4-row-odd"


def config(**changes):
    """These fields of quantization_config; one that is None is left out."""

    def damage(directory):
        def edit(content):
            fields = content["quantization_config"]
            fields.update(changes)
            for name in [name for name in fields if fields[name] is None]:
                del fields[name]

        editJson(directory / "config.json", edit)

    return damage


def whole(value):
    return lambda directory: editJson(
        directory / "config.json", lambda content: content.update(quantization_config=value)
    )


def missing(full):
    return lambda directory: editTensors(
        directory / "model.safetensors", lambda tensors: tensors.pop(full)
    )


def changed(full, change):
    """The tensor becomes change(tensor); one that was not there is made of zeros."""

    def damage(directory):
        def edit(tensors):
            old = tensors.get(full, torch.zeros(64, 24, dtype=torch.uint8))
            tensors[full] = change(old.clone()).contiguous()

        editTensors(directory / "model.safetensors", edit)

    return damage


def extra(full):
    return changed(full, lambda zeros: zeros)


def put(index, value):
    def change(tensor):
        tensor[index] = value
        return tensor

    return change


def cast(dtype):
    return lambda tensor: tensor.to(dtype)


def twice(part):
    """The tied table under the head's name too, but for one part of one token."""

    def damage(directory):
        def edit(tensors):
            for copied in ("q", "scale"):
                tensors[f"lm_head.{copied}"] = tensors[f"{TABLE}.{copied}"].clone()
            tensors[f"lm_head.{part}"][319, 0] += 1

        editTensors(directory / "model.safetensors", edit)

    return damage


def signUnderMask(directory):
    def edit(tensors):
        mask, planes = tensors[f"{LINEAR}.salient_mask"], tensors[f"{LINEAR}.planes"]
        row, byte = mask.nonzero()[0].tolist()
        planes[0, row, byte] |= mask[row, byte]

    editTensors(directory / "model.safetensors", edit)


def otherRow(mask):
    """One salient weight fewer in row 0 and one more in row 1; as many in all."""
    bits = numpy.unpackbits(mask.numpy(), axis=1, bitorder="little")
    bits[0, bits[0].argmax()] = 0
    bits[1, bits[1].argmin()] = 1
    return torch.from_numpy(numpy.packbits(bits, axis=1, bitorder="little"))


def decreasing(offsets):
    offsets[5], offsets[6] = offsets[6].item() + 1, offsets[5].item()
    return offsets


def override(pattern, **fields):
    return config(layers={pattern: fields})


def inLinear(part, damage):
    return damage, "model.safetensors", f"{LINEAR}.{part}"


def inTable(part, damage):
    return damage, "model.safetensors", f"{TABLE}.{part}"


def inConfig(field, damage):
    return damage, "config.json", f"quantization_config.{field}"


NAN, INFINITY = float("nan"), float("inf")
CONFIG = {
    "not-an-object": (whole(["tbq"]), "config.json", "quantization_config"),
    "absent": (whole(None), "model.safetensors", "model.layers.0."),
    "other-method": inConfig("quant_method", config(quant_method="gptq")),
    "no-method": inConfig("quant_method", config(quant_method=None)),
    "method-of-another-type": inConfig("quant_method", config(quant_method=3)),
    "unknown-scheme": inConfig("scheme", config(scheme="octal")),
    "no-scheme": inConfig("scheme", config(scheme=None)),
    "scheme-of-another-type": inConfig("scheme", config(scheme=["ternary"])),
    "group-of-none": inConfig("group_size", config(group_size=0)),
    "negative-group": inConfig("group_size", config(group_size=-128)),
    "group-in-words": inConfig("group_size", config(group_size="column")),
    "group-of-a-fraction": inConfig("group_size", config(group_size=127.5)),
    "group-of-a-truth": inConfig("group_size", config(group_size=True)),
    "huge-group": inConfig("group_size", config(group_size=2**40)),
    "no-group": inConfig("group_size", config(group_size=None)),
    "shift-in-words": inConfig("shift", config(shift="yes")),
    "shift-of-a-number": inConfig("shift", config(shift=1)),
    "no-shift-said": inConfig("shift", config(shift=None)),
    "unknown-activations": inConfig("activations", config(activations="i4")),
    "activations-of-another-type": inConfig("activations", config(activations=8)),
    "unknown-field": inConfig("bits", config(bits=2)),
    "layers-a-list": inConfig("layers", config(layers=[".*"])),
    "bad-pattern": inConfig("layers", override("layers.(", scheme="binary")),
    "override-of-another-type": inConfig("layers", config(layers={".*": "binary"})),
    "override-of-unknown-field": inConfig("layers", override(".*", activations="i8")),
    "override-of-unknown-scheme": inConfig("layers", override(".*", scheme="octal")),
    "override-of-bad-group": inConfig("layers", override(".*", group_size=0)),
    "override-of-bad-shift": inConfig("layers", override(".*", shift="yes")),
    "override-with-shift": inConfig(
        "layers", override(".*", scheme="dual-binary", group_size=64, shift=True)
    ),
    "overrides-disagree": inConfig(
        "layers",
        config(layers={".*1.mlp.down_proj": {"shift": False}, ".*down_proj": {"group_size": 128}}),
    ),
    "override-unlike-the-tensors": inLinear("scale", override(".*1.*down_proj", group_size=64)),
    "override-of-scheme-alone": inLinear("planes", override(".*1.*down_proj", scheme="binary")),
    "modules-in-words": inConfig("modules_to_not_convert", config(modules_to_not_convert="head")),
    "modules-of-numbers": inConfig("modules_to_not_convert", config(modules_to_not_convert=[1])),
    "module-without-a-name": inConfig("modules_to_not_convert", config(modules_to_not_convert=[""])),
    "float-module-in-codes": inLinear("weight", config(modules_to_not_convert=["1.mlp.down_proj"])),
    "embedding-a-number": inConfig("embedding", config(embedding=8)),
    "embedding-of-5-bits": inConfig("embedding.bits", config(embedding={"bits": 5, "group_size": 32})),
    "embedding-bits-in-words": inConfig("embedding.bits", config(embedding={"bits": "8", "group_size": 32})),
    "embedding-without-bits": inConfig("embedding.bits", config(embedding={"group_size": 32})),
    "embedding-without-group": inConfig("embedding.group_size", config(embedding={"bits": 8})),
    "embedding-of-bad-group": inConfig("embedding.group_size", config(embedding={"bits": 8, "group_size": 0})),
    "embedding-of-unknown-field": inConfig(
        "embedding.shift", config(embedding={"bits": 8, "group_size": 32, "shift": True})
    ),
}  # fmt: skip
TERNARY_TENSORS = {
    "no-codes": inLinear("codes", missing(f"{LINEAR}.codes")),
    "codes-of-another-type": inLinear("codes", changed(f"{LINEAR}.codes", cast(torch.int8))),
    "too-few-rows": inLinear("codes", changed(f"{LINEAR}.codes", lambda t: t[:-1])),
    "too-few-codes": inLinear("codes", changed(f"{LINEAR}.codes", lambda t: t[:, :-1])),
    "codes-in-one-row": inLinear("codes", changed(f"{LINEAR}.codes", torch.Tensor.flatten)),
    "first-code-3": inLinear("codes", changed(f"{LINEAR}.codes", put((0, 0), 0b11))),
    "last-code-3": inLinear("codes", changed(f"{LINEAR}.codes", put((63, 47), 0b11000000))),
    "no-scale": inLinear("scale", missing(f"{LINEAR}.scale")),
    "float-scale": inLinear("scale", changed(f"{LINEAR}.scale", torch.Tensor.float)),
    "bfloat-scale": inLinear("scale", changed(f"{LINEAR}.scale", torch.Tensor.bfloat16)),
    "scale-of-a-row": inLinear("scale", changed(f"{LINEAR}.scale", lambda t: t[:, :1])),
    "scale-nan": inLinear("scale", changed(f"{LINEAR}.scale", put((63, 1), NAN))),
    "scale-infinite": inLinear("scale", changed(f"{LINEAR}.scale", put((0, 0), INFINITY))),
    "no-shift": inLinear("shift", missing(f"{LINEAR}.shift")),
    "shift-not-said": inLinear("shift", override(".*1.*down_proj", shift=False)),
    "shift-of-a-row": inLinear("shift", changed(f"{LINEAR}.shift", lambda t: t[:, :1])),
    "shift-nan": inLinear("shift", changed(f"{LINEAR}.shift", put((1, 1), NAN))),
    "shift-infinite": inLinear("shift", changed(f"{LINEAR}.shift", put((63, 0), -INFINITY))),
    "planes-too": inLinear("planes", extra(f"{LINEAR}.planes")),
    "weight-too": inLinear("weight", extra(f"{LINEAR}.weight")),
    "q-too": inLinear("q", extra(f"{LINEAR}.q")),
    "bias-unsaid": inLinear("bias", extra(f"{LINEAR}.bias")),
    "unknown-tensor": inLinear("zeros", extra(f"{LINEAR}.zeros")),
    "salient-mask-of-ternary": inLinear("salient_mask", extra(f"{LINEAR}.salient_mask")),
    "salient-scale-of-ternary": inLinear("salient_scale", extra(f"{LINEAR}.salient_scale")),
    "a-layer-too-many": (extra("model.layers.3.mlp.up_proj.codes"), "model.layers.3.mlp.up_proj.codes"),
    "no-embedding": (missing(f"{TABLE}.weight"), f"{TABLE}.weight"),
    "embedding-in-q": (changed(f"{TABLE}.q", cast(torch.int8)), f"{TABLE}.q"),
    "no-norm": (missing("model.norm.weight"), "model.safetensors", "model.norm.weight"),
}  # fmt: skip
DUAL_TENSORS = {
    "dual-with-shift": inConfig("shift", config(shift=True)),
    "no-planes": inLinear("planes", missing(f"{LINEAR}.planes")),
    "one-plane": inLinear("planes", changed(f"{LINEAR}.planes", lambda t: t[:1])),
    "planes-of-another-type": inLinear("planes", changed(f"{LINEAR}.planes", cast(torch.int8))),
    "planes-of-fewer-bytes": inLinear("planes", changed(f"{LINEAR}.planes", lambda t: t[..., :-1])),
    "planes-side-by-side": inLinear("planes", changed(f"{LINEAR}.planes", lambda t: t.flatten(0, 1))),
    "one-scale": inLinear("scale", changed(f"{LINEAR}.scale", lambda t: t[0])),
    "second-scale-infinite": inLinear("scale", changed(f"{LINEAR}.scale", put((1, 63, 2), INFINITY))),
    "shift-too": inLinear("shift", extra(f"{LINEAR}.shift")),
    "codes-too": inLinear("codes", extra(f"{LINEAR}.codes")),
    "salient-mask-of-dual": inLinear("salient_mask", extra(f"{LINEAR}.salient_mask")),
}  # fmt: skip
ODD_TENSORS = {
    "bit-past-the-row": inLinear("planes", changed(f"{LINEAR}.planes", put((0, 74, 25), 8))),
}
SALIENT_TENSORS = {
    "no-mask": inLinear("salient_", missing(f"{LINEAR}.salient_mask")),
    "mask-of-another-type": inLinear("salient_mask", changed(f"{LINEAR}.salient_mask", cast(torch.int8))),
    "mask-of-fewer-rows": inLinear("salient_mask", changed(f"{LINEAR}.salient_mask", lambda t: t[:-1])),
    "mask-of-fewer-bytes": inLinear("salient_mask", changed(f"{LINEAR}.salient_mask", lambda t: t[:, :-1])),
    "mask-a-byte-a-weight": inLinear(
        "salient_mask", changed(f"{LINEAR}.salient_mask", lambda t: t.repeat(1, 8))
    ),
    "mask-of-another-row": inLinear("", changed(f"{LINEAR}.salient_mask", otherRow)),
    "mask-of-none": inLinear("salient_", changed(f"{LINEAR}.salient_mask", torch.zeros_like)),
    "sign-under-the-mask": inLinear("", signUnderMask),
    "no-values": inLinear("salient_values", missing(f"{LINEAR}.salient_values")),
    "unsigned-values": inLinear("salient_values", changed(f"{LINEAR}.salient_values", cast(torch.uint8))),
    "a-value-too-few": inLinear("salient_", changed(f"{LINEAR}.salient_values", lambda t: t[:-1])),
    "a-value-too-many": inLinear("salient_", changed(f"{LINEAR}.salient_values", lambda t: torch.cat([t, t[:1]]))),
    "values-in-rows": inLinear("salient_values", changed(f"{LINEAR}.salient_values", lambda t: t[None])),
    "no-offsets": inLinear("salient_offsets", missing(f"{LINEAR}.salient_offsets")),
    "long-offsets": inLinear("salient_offsets", changed(f"{LINEAR}.salient_offsets", torch.Tensor.long)),
    "offsets-without-an-end": inLinear("salient_offsets", changed(f"{LINEAR}.salient_offsets", lambda t: t[:-1])),
    "offsets-from-1": inLinear("salient_", changed(f"{LINEAR}.salient_offsets", put(0, 1))),
    "negative-offset": inLinear("salient_", changed(f"{LINEAR}.salient_offsets", put(1, -1))),
    "huge-offset": inLinear("salient_", changed(f"{LINEAR}.salient_offsets", put(5, 2**31 - 1))),
    "decreasing-offsets": inLinear("salient_", changed(f"{LINEAR}.salient_offsets", decreasing)),
    "offsets-end-early": inLinear("salient_", changed(f"{LINEAR}.salient_offsets", lambda t: put(-1, t[-1] - 1)(t))),
    "offsets-end-late": inLinear("salient_", changed(f"{LINEAR}.salient_offsets", lambda t: put(-1, t[-1] + 1)(t))),
    "offsets-unlike-the-mask": inLinear("salient_", changed(f"{LINEAR}.salient_offsets", lambda t: put(3, t[3] - 1)(t))),
    "no-salient-scale": inLinear("salient_scale", missing(f"{LINEAR}.salient_scale")),
    "float-salient-scale": inLinear("salient_scale", changed(f"{LINEAR}.salient_scale", torch.Tensor.float)),
    "salient-scale-of-groups": inLinear("salient_scale", changed(f"{LINEAR}.salient_scale", lambda t: t[:, None])),
    "salient-scale-nan": inLinear("salient_scale", changed(f"{LINEAR}.salient_scale", put(63, NAN))),
    "salient-scale-infinite": inLinear("salient_scale", changed(f"{LINEAR}.salient_scale", put(0, -INFINITY))),
    "zero-of-another-type": inLinear("salient_zero", changed(f"{LINEAR}.salient_zero", cast(torch.int8))),
    "zero-of-fewer-rows": inLinear("salient_zero", changed(f"{LINEAR}.salient_zero", lambda t: t[:-1])),
    "zero-too-large": inLinear("salient_zero", changed(f"{LINEAR}.salient_zero", put(63, 128))),
    "zero-too-small": inLinear("salient_zero", changed(f"{LINEAR}.salient_zero", put(0, -129))),
    "unknown-salient-tensor": inLinear("salient_group", extra(f"{LINEAR}.salient_group")),
    "salient-float-linear": inLinear("", config(modules_to_not_convert=["1.mlp.down_proj"])),
    "salient-dual-linear": inLinear("", override(".*1.mlp.down_proj", scheme="dual-binary")),
}  # fmt: skip
ODD_SALIENT_TENSORS = {
    "mask-past-the-row": inLinear(
        "salient_mask", changed(f"{LINEAR}.salient_mask", lambda t: put((74, 25), t[74, 25] | 8)(t))
    ),
}
INT8_TENSORS = {
    "no-q": inTable("q", missing(f"{TABLE}.q")),
    "unsigned-q": inTable("q", changed(f"{TABLE}.q", cast(torch.uint8))),
    "q-of-fewer-tokens": inTable("q", changed(f"{TABLE}.q", lambda t: t[:-1])),
    "q-of-fewer-columns": inTable("q", changed(f"{TABLE}.q", lambda t: t[:, :-1])),
    "q-of-4-bits-said": inTable("q", config(embedding={"bits": 4, "group_size": 32})),
    "q-of-bits-unsaid": inTable("", config(embedding=None)),
    "no-table-scale": inTable("scale", missing(f"{TABLE}.scale")),
    "float-table-scale": inTable("scale", changed(f"{TABLE}.scale", torch.Tensor.float)),
    "table-scale-of-rows": inTable("scale", config(embedding={"bits": 8, "group_size": "row"})),
    "table-scale-nan": inTable("scale", changed(f"{TABLE}.scale", put((319, 1), NAN))),
    "table-scale-infinite": inTable("scale", changed(f"{TABLE}.scale", put((0, 0), INFINITY))),
    "table-weight-too": inTable("weight", extra(f"{TABLE}.weight")),
    "head-of-other-codes": (twice("q"), "model.safetensors", "lm_head.q"),
    "head-of-other-scales": (twice("scale"), "model.safetensors", "lm_head.scale"),
    "half-a-head": (changed("lm_head.q", cast(torch.int8)), "model.safetensors", "lm_head."),
    "table-shift": inTable("shift", extra(f"{TABLE}.shift")),
}  # fmt: skip
INT4_TENSORS = {
    "signed-nibbles": inTable("q", changed(f"{TABLE}.q", cast(torch.int8))),
    "nibbles-of-fewer-bytes": inTable("q", changed(f"{TABLE}.q", lambda t: t[:, :-1])),
    "a-byte-a-nibble": inTable("q", changed(f"{TABLE}.q", lambda t: t.repeat(1, 2))),
    "q-of-8-bits-said": inTable("q", config(embedding={"bits": 8, "group_size": 32})),
}  # fmt: skip
UNTIED_TENSORS = {
    "nibble-past-the-row": inTable("q", changed(f"{TABLE}.q", lambda t: put((330, 34), t[330, 34] | 0x10)(t))),
    "no-head": (missing("lm_head.q"), "model.safetensors", "lm_head.q"),
    "no-head-scale": (missing("lm_head.scale"), "model.safetensors", "lm_head.scale"),
    "head-scale-nan": (changed("lm_head.scale", put((319, 0), NAN)), "lm_head.scale"),
}  # fmt: skip
CASES = {
    TERNARY: {**CONFIG, **TERNARY_TENSORS},
    DUAL: DUAL_TENSORS,
    ODD: ODD_TENSORS,
    SALIENT: SALIENT_TENSORS,
    ODD_SALIENT: ODD_SALIENT_TENSORS,
    INT8: INT8_TENSORS,
    INT4: INT4_TENSORS,
    UNTIED: UNTIED_TENSORS,
}


@pytest.mark.parametrize("model", CASES)
def test_it_was_good(model, model_directory, tmp_path):
    """Before the damage the checkpoint compiles, so that each case has one cause."""
    runGood("tbqc", model_directory(model), "-o", tmp_path / "model.so")


@pytest.mark.parametrize("model, case", [(model, case) for model in CASES for case in CASES[model]])
def test_damage_is_named(model, case, copy_of, tmp_path):
    damage, *words = CASES[model][case]
    directory = copy_of(model)
    damage(directory)
    assertCompileRefused(directory, tmp_path, str(directory), *words)
