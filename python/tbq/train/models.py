# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The teacher and its student, from one float directory.

Input: a Hugging Face directory of the float model. Output: two transformers
models on the device, the teacher frozen in the type of compute, the student
quantised with float32 masters. Invariant: the type is asked for, never taken
from the file.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import torch
from torch import nn

from tbq.checkpoint import CheckpointError, dequantize_directory
from tbq.checkpoint.files import read_json
from tbq.quant.policy import Policy
from tbq.quant.student import quantize_model

_SAMPLE = 1 << 20


def read_config(directory: Path) -> dict:
    """config.json of a float model."""
    if not directory.is_dir():
        raise CheckpointError(directory, "teacher", "is not a directory")
    config = read_json(directory / "config.json")
    if "quantization_config" in config:
        raise CheckpointError(directory / "config.json", "quantization_config",
                              "the teacher must be a float model")
    return config


def load_model(directory: Path, dtype: torch.dtype,
               device: torch.device) -> nn.Module:
    """A tensor that is missing or has no place is an error, not a warning."""
    import transformers
    config = read_config(directory)
    if config.get("model_type") != "llama":
        raise CheckpointError(directory / "config.json", "model_type",
                              f"{config.get('model_type')!r} is not supported "
                              "(supported: llama)")
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    try:
        model, found = transformers.LlamaForCausalLM.from_pretrained(
            directory, dtype=dtype, local_files_only=True,
            output_loading_info=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(directory, "model", str(error)) from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        names = sorted(map(str, found.get(kind) or ()))
        if names:
            raise CheckpointError(directory, names[0], "is among the tensors "
                                  f"that are {kind.partition('_')[0]}")
    return model.to(device).eval()


def load_dequantized(directory: Path, device: torch.device) -> nn.Module:
    """A model of either kind in float32: a quantised one by what its
    checkpoint stands for."""
    if "quantization_config" not in read_json(directory / "config.json"):
        return load_model(directory, torch.float32, device)
    with tempfile.TemporaryDirectory() as folder:
        dequantize_directory(directory, Path(folder))
        return load_model(Path(folder), torch.float32, device)


def load_teacher(directory: Path, dtype: torch.dtype,
                 device: torch.device) -> nn.Module:
    return load_model(directory, dtype, device).requires_grad_(False)


def load_student(directory: Path, policy: Policy, embedding: str | None,
                 device: torch.device) -> nn.Module:
    model = load_model(directory, torch.float32, device)
    quantize_model(model, policy, embedding)
    return model.to(device)


def fingerprint(directory: Path) -> str:
    """SHA-256 over config.json and, of each file of weights, name, size, first
    and last MiB: two teachers differ in it, and gigabytes are not read."""
    digest = hashlib.sha256((directory / "config.json").read_bytes())
    for path in sorted(directory.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLE))
            file.seek(max(0, size - _SAMPLE))
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()
