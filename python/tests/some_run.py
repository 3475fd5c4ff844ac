# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A toy teacher and token shards on disk, and options of a run over them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from some_llama import some_llama
from tbq.data.shards import ShardWriter
from tbq.train.options import Options

VOCABULARY = 50
PYTHON = Path(__file__).resolve().parents[1]


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


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(PYTHON), "OMP_NUM_THREADS": "1",
            **more}


def command(options, ranks=1):
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks),
                "--master-addr", "127.0.0.1", "--master-port", str(free_port()),
                ] if ranks > 1 else []
    return [sys.executable, *launcher, "-m", "tbq", *flags(options)]


def free_port():
    import socket
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(options, ranks=1):
    return subprocess.Popen(command(options, ranks), env=environment(),
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True)


def finish(process, code=0):
    output, _ = process.communicate(timeout=120)
    assert process.returncode == code, output
    return output


def latest(run):
    """(position, tensors) of the checkpoint that a run would continue from."""
    name = json.loads((run / "state/latest.json").read_text())["directory"]
    folder = run / "state" / name
    return (json.loads((folder / "state.json").read_text()),
            load_file(folder / "tensors.safetensors"))


def log(run, kind="train"):
    lines = (run / "log.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["kind"] == kind]
