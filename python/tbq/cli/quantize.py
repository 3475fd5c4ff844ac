# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`tbq quantize`: a float model as a quantised checkpoint, without training."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tbq.cli.size import size

ACTIVATIONS = ("i16", "i8", "f32")


class _Progress:
    """A line a layer on stderr: on a terminal the next one replaces it."""

    def __init__(self):
        self.start, self.live = time.monotonic(), sys.stderr.isatty()

    def __call__(self, layer: int, layers: int,
                 errors: dict[str, float]) -> None:
        spent = time.monotonic() - self.start
        left = spent / (layer + 1) * (layers - layer - 1)
        line = f"layer {layer + 1} of {layers}"
        if errors:
            worst = max(errors, key=errors.get)
            mean = sum(errors.values()) / len(errors)
            line += (f": relative output error {mean:.4f} in the mean, "
                     f"{errors[worst]:.4f} of {worst}")
        end = "\n" if not self.live or layer + 1 == layers else "\r"
        print(f"{line}; {left:.0f} s left   ", end=end, file=sys.stderr,
              flush=True)


def _check_out(source: Path, out: Path) -> None:
    from tbq.checkpoint import CheckpointError
    if out.exists() and not out.is_dir():
        raise CheckpointError(out, "file", "exists and is not a directory")
    if out.resolve() == source.resolve():
        raise CheckpointError(out, "file", "is the model itself")


def _run(arguments: argparse.Namespace) -> None:
    # Only here: --help and a wrong flag need no transformers.
    import torch

    from tbq.checkpoint import write_checkpoint
    from tbq.ptq.options import Options
    from tbq.ptq.quantize import quantize_after_training
    from tbq.ptq.text import calibration_rows
    from tbq.quant.policy import Policy
    from tbq.train.export import copy_tokenizer
    from tbq.train.models import load_model, read_config
    source, out = arguments.model, arguments.out
    _check_out(source, out)
    scheme = str(arguments.scheme)
    policy = (Policy.read(arguments.policy, scheme) if arguments.policy
              else Policy.uniform(scheme))
    config = read_config(source)
    model = load_model(source, torch.float32, torch.device("cpu"))
    ids = None
    if arguments.calibration:
        ids = calibration_rows(arguments.calibration, source,
                               model.config.vocab_size, arguments.samples,
                               arguments.length)
        print(f"calibrating on {len(ids)} sequences of {arguments.length} "
              "tokens", file=sys.stderr)
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    options = Options(
        arguments.method, arguments.damping, arguments.block,
        torch.device(device), getattr(torch, arguments.hidden_type),
        arguments.chunk)
    checkpoint = quantize_after_training(
        model, policy, arguments.embedding, config, arguments.activations, ids,
        options, _Progress())
    out.mkdir(parents=True, exist_ok=True)
    copy_tokenizer(source, out)
    write_checkpoint(out, checkpoint, arguments.max_shard_size)
    print(f"{out}: {len(checkpoint.linears)} linears quantised")


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def _damping(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number in [0, 1]")
    return value


def _parsed(parse):
    """An argparse type of a reader that raises SpecError."""
    def read(text: str):
        from tbq.quant.errors import SpecError
        try:
            return parse(text)
        except SpecError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    return read


def _scheme(text: str):
    from tbq.quant.spec import Spec
    return Spec.parse(text)


def _embedding(text: str):
    from tbq.quant.embedding import parse_embedding
    return parse_embedding(text)


def add_command(commands) -> None:
    command = commands.add_parser(
        "quantize", help="quantise a float model without training it",
        description="Writes a quantised checkpoint of a float model.",
        epilog="SPEC: dlt, twn, absmean, seq, binary or fdb, then :gN (N "
        "columns share coefficients) or :row, then perhaps ,OPTION=VALUE; "
        "docs/training.md has the options. \"float\" leaves a linear alone.")
    add = command.add_argument
    add("model", type=Path, metavar="MODEL_DIR")
    add("-o", "--out", type=Path, required=True, metavar="OUT")
    add("--scheme", type=_parsed(_scheme), required=True, metavar="SPEC",
        help="of every linear that the policy says nothing of")
    add("--policy", type=Path, metavar="FILE", help="lines of PATTERN SPEC, "
        "the first whose pattern is a linear's whole name")
    add("--embedding", type=_parsed(_embedding), metavar="SPEC",
        help="int8 or int4, :gN or :row, of embedding and head (default: as "
        "they are)")
    add("--method", choices=("nearest", "hessian"), default="nearest",
        help="each weight to its nearest level, or columns in turn, errors "
        "made good in those that follow (default: nearest)")
    add("--calibration", type=Path, metavar="PATH", help="text file or token "
        "shards, for --method=hessian and saliency=hessian")
    add("--samples", type=_positive, default=128, metavar="N",
        help="sequences of it (default: 128)")
    add("--length", type=_positive, default=512, metavar="N",
        help="tokens of each (default: 512)")
    add("--damping", type=_damping, default=0.01, metavar="R", help="share of "
        "the Hessian's mean diagonal added to it (default: 0.01)")
    add("--block", type=_positive, default=128, metavar="N", help="columns "
        "whose updates are put together; any gives the same (default: 128)")
    add("--chunk", type=_positive, default=8, metavar="N",
        help="sequences computed at a time (default: 8)")
    add("--hidden-type", choices=("float32", "bfloat16"), default="float32",
        help="of the activations kept between layers (default: float32)")
    add("--device", choices=("auto", "cuda", "cpu"), default="auto")
    add("--activations", choices=ACTIVATIONS, default="i16", help="what the "
        "compiler makes of the linears' inputs by default (default: i16)")
    add("--max-shard-size", type=size, metavar="SIZE", help="write shards of "
        "at most SIZE (200KB, 50MB, 5GB) and their index (default: one file)")
    command.set_defaults(run=_run)
