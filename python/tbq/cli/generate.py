# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`tbq generate`: text of the teacher's own, as token shards.

Under torchrun (RANK, LOCAL_RANK, WORLD_SIZE) each worker writes its part with
its own randomness; they do not talk to each other."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tbq.data.errors import DataError

DEFAULT_MIX = ("chat:0.3:0.8", "chat:0.3:1", "start:0.4:1")


def _load(directory: Path, device: str, dtype):
    import transformers
    transformers.utils.logging.disable_progress_bar()
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            directory, dtype=dtype, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(directory, "teacher", str(error)) from error
    if model.config.model_type != "llama":
        raise DataError(directory, "model_type", f"{model.config.model_type!r} "
                        "is not supported (supported: llama)")
    return model.to(device).eval()


def _facts(arguments: argparse.Namespace, kinds, rank: int) -> dict:
    from tbq.data.tokenizer import file_hash
    return {
        "kind": "generated",
        "teacher": {path.name: file_hash(path) for path in
                    sorted(arguments.teacher.glob("*.safetensors"))},
        "tokenizer": file_hash(arguments.teacher / "tokenizer.json"),
        "mix": [{"kind": k.name, "share": k.share,
                 "temperature": k.temperature} for k in kinds],
        "text": arguments.text.name if arguments.text else None,
        "seed": arguments.seed, "rank": rank, "batch": arguments.batch}


def _run(arguments: argparse.Namespace) -> None:
    # Only here: other commands do not need these libraries.
    import torch

    from tbq.data.generate import TextGenerator, copy_bandwidth, generate
    from tbq.data.shards import ShardWriter, TokenShards
    from tbq.data.starts import Kind, StartSource
    kinds = [Kind.parse(text) for text in arguments.mix]
    rank, ranks = (int(os.environ.get(name, default)) for name, default in
                   (("RANK", 0), ("WORLD_SIZE", 1)))
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    fast = device == "cuda"
    dtype = torch.bfloat16 if fast else torch.float32
    text = TokenShards(arguments.text) if arguments.text else None
    starts = StartSource(arguments.teacher, kinds, text)
    if arguments.length <= starts.longest():
        raise DataError("--length", str(arguments.length), "is no longer than "
                        f"a start can be ({starts.longest()} tokens)")
    model = _load(arguments.teacher, device, dtype)
    vocabulary = model.config.vocab_size
    if text and text.vocabulary != vocabulary:
        raise DataError(arguments.text, "vocabulary", f"{text.vocabulary}, but "
                        f"the teacher's is {vocabulary}")
    mine = len(range(rank, arguments.sequences, ranks))
    batch = min(arguments.batch, max(mine, 1))
    writer = ShardWriter(arguments.out, vocabulary, arguments.length, "sampled",
                         rank, ranks)
    generator = TextGenerator(model, starts.turns, batch, arguments.length,
                              dtype, fast)
    bandwidth = copy_bandwidth(device)
    least = generator.least_bytes() / bandwidth

    def report(made: int, seconds: float) -> None:
        left = (mine - made + batch - 1) // batch * seconds
        print(f"rank {rank}: {made} of {mine} sequences, "
              f"{batch * arguments.length / seconds:,.0f} tokens/s, "
              f"{1e3 * seconds / (arguments.length - 1):.2f} ms a step; moving "
              f"cache, weights and logits at {bandwidth / 1e9:,.0f} GB/s is "
              f"{least / seconds:.0%} of it; {left:.0f} s left",
              file=sys.stderr, flush=True)

    facts = generate(generator, starts, mine, arguments.seed, rank, writer,
                     report)
    written = writer.close({**_facts(arguments, kinds, rank), **facts})
    print(f"{writer.directory}: {written['tokens']} tokens, "
          f"{facts['sampled_share']:.1%} of them the teacher's choice")


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def add_command(commands) -> None:
    command = commands.add_parser(
        "generate", help="let a float llama write its own training text, on a "
        "GPU at speed; under torchrun on several")
    command.add_argument("teacher", type=Path, metavar="DIR")
    command.add_argument("--out", type=Path, required=True, metavar="DIR")
    command.add_argument("--sequences", type=_positive, required=True,
                         metavar="N", help="of all workers")
    command.add_argument("--length", type=_positive, default=512, metavar="N",
                         help="tokens of a sequence (default 512)")
    command.add_argument(
        "--mix", nargs="+", default=DEFAULT_MIX, metavar="KIND:SHARE:TEMP",
        help="kinds of sequences (chat, continue, start), shares in proportion "
        f"and temperatures (default {' '.join(DEFAULT_MIX)})")
    command.add_argument("--text", type=Path, metavar="DIR", help="token "
                         "shards of real text, for `continue`")
    command.add_argument("--batch", type=_positive, default=3072, metavar="N",
                         help="sequences at a time (default 3072)")
    command.add_argument("--seed", type=int, default=1, metavar="N")
    command.add_argument("--device", choices=("auto", "cuda", "cpu"),
                         default="auto")
    command.set_defaults(run=_run)
