# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`tbq evaluate`: how near a model is to its teacher, how well it predicts
texts, what it answers. All in float32; a quantised checkpoint by the weights
that it stands for."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class _Reading:
    """What tbq.train.evaluate asks of a trainer's options."""

    eval_tokens: int
    length: int = 512
    chunk: int = 4096
    rows: int = 16

    def rows_of_rank(self, ranks: int) -> tuple[int, int]:
        return self.rows, self.rows


def _text(argument: str) -> tuple[str, Path]:
    name, equals, path = argument.partition("=")
    if not equals:
        name, path = Path(argument).stem, argument
    return name, Path(path)


def _run(arguments: argparse.Namespace) -> None:
    # Only here: --help and a wrong flag need no torch.
    import torch

    from tbq.data.shards import TokenShards
    from tbq.data.template import ChatTemplate
    from tbq.data.tokenizer import load_tokenizer
    from tbq.decoder import Decoder
    from tbq.train.answers import greedy_answers
    from tbq.train.distributed import World
    from tbq.train.evaluate import Evaluator, perplexity
    from tbq.train.models import load_dequantized
    world = World(arguments.device)
    model = Decoder(load_dequantized(arguments.model, world.device))
    result: dict[str, object] = {}
    if arguments.held_out:
        teacher = Decoder(load_dequantized(arguments.teacher, world.device))
        held_out = TokenShards(arguments.held_out)
        reading = _Reading(min(arguments.tokens, held_out.tokens))
        result |= Evaluator(teacher, held_out, reading, world,
                            torch.float32)(model)
    for name, path in arguments.text:
        tokens = load_tokenizer(arguments.model).encode(
            path.read_text(encoding="utf-8"), add_special_tokens=False).ids
        found = perplexity(model, torch.tensor(tokens), dtype=torch.float32)
        result.setdefault("perplexity", {})[name] = {
            "value": found.value, "error": found.error,
            "tokens": found.tokens}
    if arguments.question:
        answers = greedy_answers(
            model, load_tokenizer(arguments.model),
            ChatTemplate(arguments.model), arguments.question,
            arguments.most, torch.float32)
        result["answers"] = [{"question": a.question, "answer": a.text,
                              "ended": a.ended, "repeated": a.repeated}
                             for a in answers]
    print(json.dumps(result, indent=2, ensure_ascii=False))


def _checked(command: argparse.ArgumentParser):
    def run(arguments: argparse.Namespace) -> None:
        if bool(arguments.teacher) != bool(arguments.held_out):
            command.error("--teacher and --held-out go together")
        if not (arguments.held_out or arguments.text or arguments.question):
            command.error("give --held-out, --text or --question")
        _run(arguments)
    return run


def add_command(commands) -> None:
    command = commands.add_parser(
        "evaluate", allow_abbrev=False,
        help="measure a float or quantised model; prints JSON")
    command.add_argument("model", type=Path, metavar="DIR")
    command.add_argument("--teacher", type=Path, metavar="DIR")
    command.add_argument("--held-out", type=Path, metavar="DIR",
                         help="token shards: KL(teacher || model), nats, and "
                         "agreement, on the tokens that were sampled")
    command.add_argument("--tokens", type=int, default=1 << 20, metavar="N",
                         help="held-out tokens read (default 1048576)")
    command.add_argument("--text", type=_text, nargs="+", default=[],
                         metavar="NAME=FILE", help="perplexity of windows of "
                         "512, the second half scored")
    command.add_argument("--question", nargs="+", default=[],
                         help="answered greedily, by the chat template")
    command.add_argument("--most", type=int, default=100, metavar="N",
                         help="tokens of an answer (default 100)")
    command.add_argument("--device", choices=("auto", "cuda", "cpu"),
                         default="auto")
    command.set_defaults(run=_checked(command))
