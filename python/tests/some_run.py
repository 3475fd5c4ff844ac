# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A toy teacher and token shards on disk, and options of a run over them."""

import json
import os
import socket
import traceback

import numpy as np
import torch
from safetensors.torch import load_file

from some_llama import some_llama
from tbq.data.shards import ShardWriter
from tbq.train.options import Options

# More threads than cores to run them take ten times as long over toys.
torch.set_num_threads(1)
VOCABULARY = 50
LINEARS = [*(f"self_attn.{x}_proj" for x in "qkvo"),
           *(f"mlp.{x}_proj" for x in ("gate", "up", "down"))]


def write_teacher(directory, **settings):
    model = some_llama(**settings)
    model.save_pretrained(directory)
    (directory / "tokenizer.json").write_text('{"version": "1.0"}')
    (directory / "chat_template.jinja").write_text("{{ messages }}")
    return model


def write_tokens(directory, seed=3, tokens=4000):
    """Each token mostly follows from the one before: there is something to
    learn."""
    random = np.random.default_rng(seed)
    ids = np.zeros(tokens, dtype=np.int64)
    for at in range(1, tokens):
        ids[at] = ((ids[at - 1] * 7 + 3) % VOCABULARY if random.random() < 0.8
                   else random.integers(VOCABULARY))
    writer = ShardWriter(directory, VOCABULARY)
    writer.append(ids)
    writer.close({"made": "for a test"})
    return directory


def prepare(folder, **settings):
    """folder/teacher, folder/tokens, folder/held-out."""
    write_teacher(folder / "teacher", layers=2, **settings)
    write_tokens(folder / "tokens")
    write_tokens(folder / "held-out", seed=4, tokens=1000)
    return folder


def options(folder, out="run", **changes):
    return Options(**{
        "teacher": folder / "teacher", "data": (str(folder / "tokens"),),
        "out": folder / out, "scheme": "dlt:g16", "batch": 4, "length": 16,
        "device": "cpu", "chunk": 32, "eval_every": 0, "eval_tokens": 64,
        "log_every": 5, **({} if {"tokens", "minutes"} & set(changes)
                           else {"steps": 10}), **changes})


def flags(options):
    """The command line of `options`."""
    words = ["train"]
    for name, value in vars(options).items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif isinstance(value, tuple):
            words += [flag, *value]
        elif value is not None:
            words += [flag, str(value)]
    return words


def forked(function):
    """Runs `function()` in a child process, which is exited without a word:
    1 if it raised. Returns its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        function()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def exit_code(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def on_ranks(count, function):
    """Runs function(rank) in `count` processes with torchrun's environment;
    their exit codes."""
    port = free_port()

    def run(rank):
        os.environ.update(RANK=str(rank), WORLD_SIZE=str(count),
                          LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1",
                          MASTER_PORT=str(port))
        function(rank)

    children = [forked(lambda rank=rank: run(rank)) for rank in range(count)]
    return [exit_code(child) for child in children]


def latest(run):
    """(position, tensors) of the checkpoint that a run would continue from."""
    name = json.loads((run / "state/latest.json").read_text())["directory"]
    folder = run / "state" / name
    return (json.loads((folder / "state.json").read_text()),
            load_file(folder / "tensors.safetensors"))


def log(run, kind="train"):
    lines = (run / "log.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["kind"] == kind]
