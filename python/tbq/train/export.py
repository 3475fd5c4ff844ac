# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a run leaves: the quantised checkpoint and the record of its making.

Input: the trained student and the teacher's directory. Output: RUN/model, a
checkpoint that tbqc compiles, with the teacher's tokenizer and generation
settings and training.json. Invariant: the checkpoint holds what the student's
eager float32 forward pass multiplies by.
"""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

import torch
from torch import nn

from tbq.checkpoint import write_checkpoint, write_json
from tbq.checkpoint.files import read_json
from tbq.quant.student import export_checkpoint

RECORD = "training.json"
# All that says how text becomes tokens and when generation ends.
_COPIED = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model",
           "special_tokens_map.json", "added_tokens.json",
           "chat_template.jinja", "vocab.json", "merges.txt",
           "generation_config.json")


def versions() -> dict[str, str]:
    import transformers
    found = {"python": platform.python_version(), "torch": torch.__version__,
             "transformers": transformers.__version__}
    if torch.cuda.is_available():
        found |= {"cuda": str(torch.version.cuda),
                  "device": torch.cuda.get_device_name()}
    return found


def command_line() -> list[str]:
    """The command as it was given, the program by its plain name."""
    return ["python", "-m", "tbq", *sys.argv[1:]]


def copy_tokenizer(source: Path, destination: Path) -> None:
    for name in _COPIED:
        if (source / name).exists():
            shutil.copyfile(source / name, destination / name)


def export_student(directory: Path, model: nn.Module, teacher: Path,
                   activations: str, max_shard_size: int | None,
                   record: dict) -> None:
    """Writes the checkpoint to `directory`; its config.json comes last."""
    checkpoint = export_checkpoint(model, read_json(teacher / "config.json"),
                                   activations)
    directory.mkdir(parents=True, exist_ok=True)
    copy_tokenizer(teacher, directory)
    write_json(directory / RECORD, record)
    write_checkpoint(directory, checkpoint, max_shard_size)
