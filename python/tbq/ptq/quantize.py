# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A whole float model quantised after training.

Input: a transformers model in float32, a policy, and token ids to calibrate on
where the method or a saliency asks for them. Output: the QuantizedCheckpoint.
Invariant: layers are done in order, each calibrated on the outputs of those
before it as quantised; the model is left with the weights that the checkpoint
stands for. What stays float keeps its values exactly.

A tied table is both looked up and multiplied: it is quantised first, by the
Hessian of the float model's last hidden states, so that every layer sees its
rows as they will be. A head of its own is quantised last.
"""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor, nn

from tbq.checkpoint import Linear, QuantizedCheckpoint, QuantizedEmbedding
from tbq.checkpoint.settings import EmbeddingScheme
from tbq.decoder import Decoder
from tbq.ptq.calibrate import Calibration, layer_linears
from tbq.ptq.hessian import HessianError, output_error
from tbq.ptq.options import Options
from tbq.ptq.weights import quantize_linear, quantize_table
from tbq.quant.configuration import Settings, quantization_config
from tbq.quant.errors import SpecError
from tbq.quant.policy import Policy
from tbq.quant.spec import Spec
from tbq.quant.student import checkpoint_config, decoder_linears

Report = Callable[[int, int, dict[str, float]], None]


def settings_of(linear: Linear, spec: Spec) -> Settings:
    """scheme, group_size and shift of `linear` in quantization_config."""
    shifted = getattr(linear, "shift", None) is not None
    return {"scheme": spec.quantizer.SCHEME, "group_size": spec.group,
            "shift": shifted}


def compact(tensor: Tensor) -> Tensor:
    """On the CPU, in the first of bf16, f16 and f32 that holds its values."""
    tensor = tensor.detach().cpu()
    for dtype in (torch.bfloat16, torch.float16):
        narrow = tensor.to(dtype)
        if torch.equal(narrow.float(), tensor.float()):
            return narrow.clone()
    return tensor.float().clone()


class PostTraining:
    """Quantises `model`, float32 on the CPU, in place."""

    def __init__(self, model: nn.Module, specs: dict[str, Spec | None],
                 embedding: EmbeddingScheme | None, ids: Tensor | None,
                 options: Options):
        self.model, self.specs, self.embedding = model, specs, embedding
        self.ids, self.options = ids, options
        self.decoder = Decoder(model)
        self.linears: dict[str, Linear] = {}
        self.tables: dict[str, QuantizedEmbedding] = {}

    def _calibration(self) -> Calibration | None:
        if self.ids is None:
            return None
        o = self.options
        return Calibration(self.decoder, self.ids, o.device, o.kept, o.chunk)

    def _table(self, name: str, hessian: Tensor | None) -> None:
        if self.embedding is None:
            return
        weight = self.model.get_submodule(name).weight
        try:
            table = quantize_table(
                weight.detach().to(self.options.device), self.embedding,
                hessian, self.options)
        except (HessianError, SpecError) as error:
            raise SpecError(f"{name}: {error}") from error
        self.tables[name] = table
        with torch.no_grad():
            weight.copy_(table.dequantize())

    def _final_hessian(self, calibration: Calibration) -> Tensor:
        modules = self.decoder.architecture.after(self.model)
        for module in modules:
            module.to(self.options.device)
        hessian = calibration.head().matrix()
        for module in modules:
            module.cpu()
        return hessian

    def _first_table(self) -> None:
        """The embedding; a tied one by a pass of the float model."""
        hessian = None
        sweeps = self.embedding and self.options.method == "hessian"
        if self.decoder.tied and sweeps and self.ids is not None:
            calibration = self._calibration()
            for index, layer in enumerate(self.decoder.blocks):
                layer.to(self.options.device)
                calibration.advance(index)
                layer.cpu()
            hessian = self._final_hessian(calibration)
        self._table(self.decoder.architecture.TABLES[0], hessian)

    def _layer(self, index: int,
               calibration: Calibration | None) -> dict[str, float]:
        """The relative output error of each linear, if it is known."""
        layer = self.decoder.blocks[index].to(self.options.device)
        hessians = calibration.observe(index) if calibration else {}
        errors = {}
        for part, linear in layer_linears(layer).items():
            name = f"{self.decoder.architecture.LAYERS}.{index}.{part}"
            spec = self.specs[name]
            if spec is None:
                continue
            weight = linear.weight.detach()
            try:
                hessian = hessians[part].matrix() if calibration else None
                result = quantize_linear(weight, spec, hessian, self.options)
            except (HessianError, SpecError) as error:
                raise SpecError(f"{name}: {error}") from error
            self.linears[name] = result
            value = result.dequantize().to(weight)
            if calibration:
                errors[part] = output_error(weight, value, hessian)
            weight.copy_(value)
        if calibration:
            calibration.advance(index)
        layer.cpu()
        return errors

    def run(self, report: Report) -> None:
        """report(layer, layers, errors by linear) after each layer."""
        self._first_table()
        calibration, layers = self._calibration(), len(self.decoder.blocks)
        for index in range(layers):
            report(index, layers, self._layer(index, calibration))
        if not self.decoder.tied:
            hessian = None
            if calibration and self.embedding:
                hessian = self._final_hessian(calibration)
            self._table(self.decoder.architecture.TABLES[1], hessian)

    def checkpoint(self, config: dict, activations: str) -> QuantizedCheckpoint:
        """config: the float model's config.json."""
        settings = {name: spec and settings_of(self.linears[name], spec)
                    for name, spec in self.specs.items()}
        stored = {f"{name}.weight" for name in (*self.linears, *self.tables)}
        floats = {name: compact(tensor)
                  for name, tensor in self.model.named_parameters()
                  if name not in stored}
        return QuantizedCheckpoint(
            checkpoint_config(config, quantization_config(
                settings, self.embedding, activations,
                self.decoder.architecture.TABLES)),
            self.linears, floats, self.tables)


def check_request(policy: Policy, specs: dict[str, Spec | None],
                  embedding: EmbeddingScheme | None, calibrated: bool,
                  method: str) -> None:
    """Refuses what would do nothing or cannot be done."""
    if embedding is None and not any(specs.values()):
        raise SpecError(f"{policy.default}: no linear and no embedding is to "
                        "be quantised")
    if method == "hessian" and not calibrated:
        raise SpecError("method hessian: asks for text to calibrate on")


def quantize_after_training(
        model: nn.Module, policy: Policy, embedding: EmbeddingScheme | None,
        config: dict, activations: str, ids: Tensor | None, options: Options,
        report: Report = lambda layer, layers, errors: None
        ) -> QuantizedCheckpoint:
    """model: float32, quantised in place; ids: [samples, length] to calibrate
    on, or None."""
    specs = policy.specs(decoder_linears(model))
    check_request(policy, specs, embedding, ids is not None, options.method)
    work = PostTraining(model, specs, embedding, ids, options)
    work.run(report)
    return work.checkpoint(config, activations)
