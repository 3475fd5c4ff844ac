# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Hugging Face transformers in float32: what every artifact is compared with.

Input:  a checkpoint's directory, float or ours, and optionally quantisers for its linears and for
        its embedding and head.
Output: a model of transformers whose weights are the dequantised ones; its logits and greedy tokens.
Holds:  every tensor of the checkpoint is used, and every parameter comes from it.
"""

import json
import re

import numpy
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

import binary
import integer
import salient
import ternary

LINEAR = re.compile(r"layers\.\d+\.(\w+\.\w+_proj|fc[12])\.weight$")
TABLES = ("model.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight")
SALIENT = ("mask", "values", "offsets", "scale", "zero")
PARTS = ("codes", "planes", "scale", "shift", "q", *(f"salient_{part}" for part in SALIENT))


def readTensors(directory):
    tensors = {}
    for file in sorted(directory.glob("*.safetensors")):
        tensors.update(load_file(file))
    return tensors


def groupSizeOf(name, quantization):
    """The group size of a linear: its own by `layers`, or the model's."""
    own = [
        changes["group_size"]
        for pattern, changes in quantization.get("layers", {}).items()
        if "group_size" in changes and re.fullmatch(pattern, name)
    ]
    return [quantization["group_size"], *own][-1]


def readModule(name, parts, columns, quantization):
    """The float32 matrix of one module: what is stored under it says how it is to be read."""
    if "q" in parts:
        group = quantization["embedding"]["group_size"]
        return integer.readTable(parts["q"], parts["scale"], columns, group)
    group = groupSizeOf(name, quantization)
    rest = (parts["scale"], parts.get("shift"), columns, group)
    if "codes" in parts:
        return ternary.readLinear(parts["codes"], *rest)
    matrix = binary.readLinear(parts["planes"], *rest)
    if "salient_mask" in parts:
        salient.overwrite(matrix, *(parts.get(f"salient_{part}") for part in SALIENT))
    return matrix


def dequantise(tensors, model, quantization):
    """Replaces the parts of every quantised module by NAME.weight."""
    result, modules = {}, {}
    for name, tensor in tensors.items():
        module, _, part = name.rpartition(".")
        if part in PARTS:
            modules.setdefault(module, {})[part] = tensor.numpy()
        else:
            result[name] = tensor
    for name, parts in modules.items():
        columns = model.get_submodule(name).weight.shape[1]
        matrix = readModule(name, parts, columns, quantization)
        result[f"{name}.weight"] = torch.from_numpy(matrix)
    return result


def loadModel(directory, quantise=None, quantiseTable=None):
    """The checkpoint in float32; quantise maps a linear's float32 [N, K] to another, quantiseTable
    that of the embedding and the head."""
    settings = json.loads((directory / "config.json").read_text())
    quantization = settings.pop("quantization_config", None)
    config = AutoConfig.for_model(**settings)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    tensors = readTensors(directory)
    if quantization:
        tensors = dequantise(tensors, model, quantization)
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    if quantise:
        for name, tensor in tensors.items():
            if LINEAR.search(name):
                tensors[name] = torch.from_numpy(quantise(tensor.numpy()))
    if quantiseTable:
        for name in TABLES:
            if name in tensors:
                tensors[name] = torch.from_numpy(quantiseTable(tensors[name].numpy()))
    if config.tie_word_embeddings:
        # A tied checkpoint stores the matrix once, under either name.
        stored = [tensors[name] for name in TABLES if name in tensors]
        tensors.update({name: stored[0] for name in TABLES if name in model.state_dict()})
    model.load_state_dict(tensors, strict=True)
    return model.float().eval()


@torch.no_grad()
def logitsOf(model, ids):
    """float32 [ids, vocab]."""
    return model(torch.tensor([ids])).logits[0].numpy()


def greedyChoices(model, prompt, tokens, banned=()):
    """The token that the model takes after the prompt, and after each but the last of `tokens`.

    Where this is `tokens` itself, greedy generation gives `tokens`: each is the choice after the
    ones before it. A banned token (an end that is to be ignored) is never taken.
    """
    logits = logitsOf(model, [*prompt, *tokens[:-1]])[len(prompt) - 1 :]
    logits[:, list(banned)] = -numpy.inf
    return logits.argmax(axis=1).tolist()


STEPS = {"i8": 127, "i16": 32639}


def roundActivations(model, linears=True, head=False, activations="i8"):
    """From now on the inputs of the layers' linears, and of the head, are integers: so many steps
    to a token's largest."""
    steps = STEPS[activations]

    def toSteps(linear, inputs):
        largest = inputs[0].abs().amax(-1, keepdim=True).clamp(min=1e-5)
        return ((inputs[0] * (steps / largest)).round() * (largest / steps),)

    for name, module in model.named_modules():
        if (linears and LINEAR.search(f"{name}.weight")) or (head and name == "lm_head"):
            module.register_forward_pre_hook(toSteps)


def errors(found, expected):
    """Normalised square error of each position, in float64."""
    found, expected = found.astype(numpy.float64), expected.astype(numpy.float64)
    return ((found - expected) ** 2).sum(1) / (expected**2).sum(1)


def nmse(found, expected):
    """Normalised mean square error, in float64."""
    found, expected = found.astype(numpy.float64), expected.astype(numpy.float64)
    return ((found - expected) ** 2).sum() / (expected**2).sum()


def divergence(found, expected):
    """Mean over positions of KL(expected || found) in nats."""
    p = torch.from_numpy(expected).double().log_softmax(-1)
    q = torch.from_numpy(found).double().log_softmax(-1)
    return float((p.exp() * (p - q)).sum(-1).mean())
