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
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from tbq.checkpoint import CheckpointError, dequantize_directory
from tbq.checkpoint.directory import read_architecture
from tbq.checkpoint.files import read_json
from tbq.decoder import Decoder
from tbq.ptq.importance import asks_for_hessian, importance_of
from tbq.quant.policy import Policy
from tbq.quant.student import decoder_linears, quantize_model

_SAMPLE = 1 << 20
# Fields of config.json that say how a model was written, not what it is.
_OF_THE_FILES = {"dtype", "torch_dtype", "transformers_version",
                 "_name_or_path"}


def read_config(directory: Path) -> dict:
    """config.json of a float model."""
    if not directory.is_dir():
        raise CheckpointError(directory, "teacher", "is not a directory")
    config = read_json(directory / "config.json")
    if "quantization_config" in config:
        raise CheckpointError(directory / "config.json", "quantization_config",
                              "the teacher must be a float model")
    return config


def is_quantized(directory: Path) -> bool:
    return "quantization_config" in read_json(directory / "config.json")


def check_alike(directory: Path, teacher: Path) -> None:
    """A model that a student starts from, float or quantised, must be the
    teacher's in all but its weights."""
    if not directory.is_dir():
        raise CheckpointError(directory, "initial weights", "is not a directory")
    own, other = read_json(directory / "config.json"), read_config(teacher)
    own.pop("quantization_config", None)
    for field in sorted({*own, *other} - _OF_THE_FILES):
        if own.get(field) != other.get(field):
            raise CheckpointError(directory / "config.json", field,
                                  f"{own.get(field)!r}, the teacher's is "
                                  f"{other.get(field)!r}")


def load_model(directory: Path, dtype: torch.dtype,
               device: torch.device) -> nn.Module:
    """A tensor that is missing or has no place is an error, not a warning."""
    import transformers
    config = read_config(directory)
    read_architecture(directory / "config.json", config)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    try:
        model, found = transformers.AutoModelForCausalLM.from_pretrained(
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
    if not is_quantized(directory):
        return load_model(directory, torch.float32, device)
    with tempfile.TemporaryDirectory() as folder:
        dequantize_directory(directory, Path(folder))
        return load_model(Path(folder), torch.float32, device)


def load_teacher(directory: Path, dtype: torch.dtype,
                 device: torch.device) -> nn.Module:
    return load_model(directory, dtype, device).requires_grad_(False)


def load_student(directory: Path, policy: Policy, embedding: str | None,
                 device: torch.device, calibration: Callable[[], Tensor]
                 ) -> nn.Module:
    """calibration: reads token ids [samples, length]; called only if a Hessian
    chooses some linear's salient weights."""
    model = load_model(directory, torch.float32, device)
    specs = policy.specs(decoder_linears(model))
    importance = None
    if any(map(asks_for_hessian, specs.values())):
        importance = importance_of(Decoder(model), specs, calibration(), device)
    quantize_model(model, policy, embedding, importance)
    return model.to(device)


def fingerprint(directory: Path, description: str = "config.json") -> str:
    """SHA-256 over the file `description` and, of each file of weights, name,
    size, first and last MiB: two models differ in it, and gigabytes are not
    read."""
    digest = hashlib.sha256((directory / description).read_bytes())
    for path in sorted(directory.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLE))
            file.seek(max(0, size - _SAMPLE))
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()
