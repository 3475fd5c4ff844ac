# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What salient weights are worth: each linear's output error, binary with none, 0.1 and 0.3 salient.

Input:  a float model's directory and a text; build/venv and the tests' own quantisers (test/Run).
Output: for each fraction the worst and the median over the linears of ||(W - W_q) x||^2 / ||W x||^2
        on the float model's activations x, and KL(float || quantised) of the whole model in nats;
        then every linear whose error does not fall from each fraction to the next.
Holds:  both norms are over the same tokens of the float model.

    build/venv/bin/python benchmarks/salient_error.py MODEL_DIR [--group=128|row] [--tokens=512]
"""

import argparse
import pathlib
import sys

import numpy
import torch
from transformers import AutoTokenizer

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "test/Run"))

import binary  # noqa: E402
import reference  # noqa: E402
import salient  # noqa: E402

FRACTIONS = (0, 0.1, 0.3)


def quantiser(group, fraction):
    if fraction:
        return lambda weights: salient.quantise(weights, group, fraction)
    return lambda weights: binary.quantise(weights, "binary", group)


def linearsOf(model):
    """The linears of the blocks, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if reference.LINEAR.search(f"{name}.weight")
    }


def inputsOf(model, linears, ids):
    """The float32 activations [ids, K] that go into each linear, and the model's logits."""
    inputs = {}

    def hook(name):
        def note(_, arguments):
            inputs[name] = arguments[0][0]

        return note

    hooks = [module.register_forward_pre_hook(hook(name)) for name, module in linears.items()]
    logits = reference.logitsOf(model, ids)
    for handle in hooks:
        handle.remove()
    return inputs, logits


def energyOf(inputs, matrix):
    """||matrix x||^2 over the tokens, summed in float64."""
    return float((inputs @ matrix.T).double().square().sum())


@torch.no_grad()
def measure(directory, ids, group):
    """errors[fraction][linear], and the KL of the whole model by fraction."""
    model = reference.loadModel(directory)
    linears = linearsOf(model)
    inputs, expected = inputsOf(model, linears, ids)
    weights = {name: module.weight.clone() for name, module in linears.items()}
    energies = {name: energyOf(inputs[name], weights[name]) for name in linears}
    errors, divergences = {}, {}
    for fraction in FRACTIONS:
        quantise = quantiser(group, fraction)
        errors[fraction] = {}
        for name, module in linears.items():
            module.weight.copy_(torch.from_numpy(quantise(weights[name].numpy())))
            lost = energyOf(inputs[name], weights[name] - module.weight)
            errors[fraction][name] = lost / energies[name]
        divergences[fraction] = reference.divergence(reference.logitsOf(model, ids), expected)
    return errors, divergences


def exceptionsOf(errors):
    """The linears whose error does not fall with every step to a larger fraction."""
    return {
        name: [errors[fraction][name] for fraction in FRACTIONS]
        for name in errors[0]
        if not errors[0][name] > errors[0.1][name] > errors[0.3][name]
    }


def report(errors, divergences):
    print("| salient | worst linear | its error | median error | KL of the model |")
    print("| --- | --- | --- | --- | --- |")
    for fraction in FRACTIONS:
        worst = max(errors[fraction], key=errors[fraction].get)
        median = numpy.median(list(errors[fraction].values()))
        print(
            f"| {fraction} | {worst} | {errors[fraction][worst]:.4f} | {median:.4f} "
            f"| {divergences[fraction]:.3f} |"
        )
    exceptions = exceptionsOf(errors)
    print(f"\n{len(errors[0])} linears, {len(exceptions)} whose error does not fall at every step")
    for name, values in exceptions.items():
        print(f"  {name}: " + ", ".join(f"{value:.4f}" for value in values))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=pathlib.Path, metavar="MODEL_DIR")
    parser.add_argument("--group", default="128", help="columns, or row (default: 128)")
    parser.add_argument("--tokens", type=int, default=512, help="default: 512")
    parser.add_argument("--text", type=pathlib.Path, default=REPOSITORY / "LICENSE")
    arguments = parser.parse_args()
    group = arguments.group if arguments.group == "row" else int(arguments.group)
    tokenizer = AutoTokenizer.from_pretrained(arguments.directory)
    text = arguments.text.read_text(encoding="utf-8")
    ids = tokenizer(text[: 20 * arguments.tokens])["input_ids"][: arguments.tokens]
    print(f"{arguments.directory.name}, group {group}, {len(ids)} tokens of {arguments.text.name}\n")
    report(*measure(arguments.directory, ids, group))


if __name__ == "__main__":
    main()
