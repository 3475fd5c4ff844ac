# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Trains the small model: `python -m tbq.train_small COMMAND ...`.

prepare   corpora -> tokenizer.json and token files
train     token files (and a teacher's run, and its stories) -> a run's folder
generate  a run's folder -> stories its model writes, as a token file
export    a run's folder -> our quantised checkpoint
sample    a run's folder -> text on stdout

models/tinytales-7m/README.md gives the commands that made that model.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import fields
from pathlib import Path

import torch
from tokenizers import Tokenizer

from tbq.small import data, export, trainer
from tbq.small.model import ModelConfig, generate


def flags(parser: argparse.ArgumentParser, kind: type, skip: set[str]) -> None:
    """One flag a field of dataclass `kind`, with its default."""
    for field in fields(kind):
        if field.name in skip:
            continue
        name = "--" + field.name.replace("_", "-")
        required = not isinstance(field.default, (int, float, str, bool))
        if isinstance(field.default, bool):
            parser.add_argument(name, action=argparse.BooleanOptionalAction,
                                default=field.default)
        else:
            parser.add_argument(
                name, required=required,
                type=int if required else type(field.default),
                default=None if required else field.default)


def picked(kind: type, arguments: argparse.Namespace, **known):
    values = vars(arguments)
    return kind(**known, **{f.name: values[f.name] for f in fields(kind)
                            if f.name in values and f.name not in known})


def train(a: argparse.Namespace) -> None:
    config = picked(ModelConfig, a, vocab=data.read_facts(a.data)["vocab"])
    teachers = [trainer.load_model(t, "best", a.device) for t in a.teacher]
    trainer.Trainer(config, picked(trainer.Options, a), a.data, a.out, a.device,
                    teachers, a.made).train()


def write_stories(a: argparse.Namespace) -> None:
    """Whole stories only: a row that did not reach EOS is dropped."""
    model = trainer.load_model(a.run, "best", a.device)
    generator = torch.Generator(a.device).manual_seed(a.seed)
    begin, made = time.time(), 0
    with a.out.open("wb") as file:
        while made < a.tokens and time.time() - begin < a.seconds:
            prompt = torch.full((a.batch, 1), data.BOS, device=a.device)
            with torch.autocast(a.device, torch.bfloat16):
                ids = generate(model, prompt, a.longest, a.temperature,
                               data.EOS, a.top_p, generator)
            ended = (ids == data.EOS).int().cumsum(1)
            keep = (ended.cumsum(1) <= 1) & (ended[:, -1:] > 0)
            flat = ids[keep].to(torch.int32).cpu().numpy().astype("<u2")
            flat.tofile(file)
            made += len(flat)
            print(f"{made} tokens in {time.time() - begin:.1f} s", flush=True)


def sample(a: argparse.Namespace) -> None:
    model = trainer.load_model(a.run, a.weights, a.device)
    tokenizer = Tokenizer.from_file(str(a.data / "tokenizer.json"))
    generator = torch.Generator(a.device).manual_seed(a.seed)
    for prompt in a.prompt:
        ids = torch.tensor([tokenizer.encode(prompt).ids], device=a.device)
        ids = generate(model, ids, a.tokens, a.temperature, data.EOS, a.top_p,
                       generator)
        print(f"--- {prompt!r}\n{tokenizer.decode(ids[0].tolist())}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tbq.train_small", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    c = commands.add_parser("prepare")
    c.add_argument("--corpora", type=Path, required=True)
    c.add_argument("--out", type=Path, required=True)
    c.add_argument("--vocab", type=int, default=3072)
    c.add_argument("--context", type=int, default=ModelConfig.context)
    c.set_defaults(run_command=lambda a: print(
        data.prepare(a.corpora, a.out, a.vocab, a.context)))

    c = commands.add_parser("train")
    c.add_argument("--data", type=Path, required=True)
    c.add_argument("--out", type=Path, required=True)
    c.add_argument("--teacher", type=Path, nargs="+", default=[],
                   help="runs to learn from, averaged")
    c.add_argument("--made", type=Path, help="stories a teacher wrote")
    c.add_argument("--device", default=device)
    flags(c, ModelConfig, {"vocab"})
    flags(c, trainer.Options, set())
    c.set_defaults(run_command=train)

    c = commands.add_parser("generate")
    c.add_argument("--run", type=Path, required=True)
    c.add_argument("--out", type=Path, required=True)
    c.add_argument("--tokens", type=int, default=20_000_000)
    c.add_argument("--seconds", type=float, default=90.0)
    c.add_argument("--batch", type=int, default=3072)
    c.add_argument("--longest", type=int, default=400)
    c.add_argument("--temperature", type=float, default=0.9)
    c.add_argument("--top-p", type=float, default=1.0)
    c.add_argument("--seed", type=int, default=1)
    c.add_argument("--device", default=device)
    c.set_defaults(run_command=write_stories)

    c = commands.add_parser("export")
    c.add_argument("--run", type=Path, required=True)
    c.add_argument("--data", type=Path, required=True)
    c.add_argument("--out", type=Path, required=True)
    c.add_argument("--weights", default="best")
    c.set_defaults(run_command=lambda a: export.export(
        trainer.load_model(a.run, a.weights, "cpu"), a.data, a.out))

    c = commands.add_parser("sample")
    c.add_argument("--run", type=Path, required=True)
    c.add_argument("--data", type=Path, required=True)
    c.add_argument("--weights", default="best")
    c.add_argument("--prompt", nargs="+", default=["Once upon a time"])
    c.add_argument("--tokens", type=int, default=250)
    c.add_argument("--temperature", type=float, default=0.7)
    c.add_argument("--top-p", type=float, default=0.95)
    c.add_argument("--seed", type=int, default=1)
    c.add_argument("--device", default=device)
    c.set_defaults(run_command=sample)

    arguments = parser.parse_args()
    arguments.run_command(arguments)


if __name__ == "__main__":
    main()
