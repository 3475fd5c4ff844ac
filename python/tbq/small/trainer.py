# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The training loop of the small model and of its float teacher.

Input: a data folder of tbq.small.data, a ModelConfig and Options. Output: in
the run's folder, log.jsonl (one JSON object a line), run.json (what to resume)
and safetensors: the newest state (masters and Adam's moments) and the weights
with the lowest held-out story loss. Invariants: files are written to a temporary
name and renamed, nothing is pickled, and a restarted run draws the batches it
would have drawn.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from tbq.checkpoint import write_json, write_tensors
from tbq.small import data
from tbq.small.model import Model, ModelConfig, rope_table


@dataclass(frozen=True)
class Options:
    """`stories` and `stories_end`: share of rows that are stories until `turn`
    of the run and at its end, linear in between; `synthetic`: share of story
    rows drawn from the teacher's stories. The learning rate warms up, stays, and
    falls linearly to 0 from `fall` of the run on. A run ends after `steps`; with
    `seconds` set it ends then instead, and its schedule follows the clock, so
    that only a run by steps repeats exactly."""

    steps: int = 4000
    seconds: float = 0.0
    batch: int = 64
    length: int = 512
    rate: float = 3e-3
    scale_rate: float = 0.3
    decay: float = 0.1
    warmup: int = 200
    fall: float = 0.5
    stories: float = 0.1
    stories_end: float = 0.6
    turn: float = 0.5
    synthetic: float = 0.0
    seed: int = 1
    eval_every: int = 250
    save_seconds: float = 60.0
    eval_rows: int = 80
    compile: bool = True


def parameter_groups(model: Model, options: Options) -> list[dict]:
    """Matrices of blocks decay, nothing else does; scales and shifts have a
    learning rate of their own."""
    groups: dict[str, list] = {"matrix": [], "scale": [], "other": []}
    for name, parameter in model.named_parameters():
        kind = ("scale" if name.endswith((".scale", ".shift")) else
                "matrix" if name.endswith(".weight") else "other")
        groups[kind].append(parameter)
    return [
        {"params": groups["matrix"], "weight_decay": options.decay, "share": 1.0},
        {"params": groups["scale"], "weight_decay": 0.0,
         "share": options.scale_rate},
        {"params": groups["other"], "weight_decay": 0.0, "share": 1.0}]


def rate_at(step: int, progress: float, options: Options) -> float:
    """Learning rate at `step`, `progress` (0 to 1) of the run being done."""
    warm = min(1.0, (step + 1) / options.warmup)
    fallen = max(1 - progress, 0.0) / max(1 - options.fall, 1e-9)
    return options.rate * min(warm, fallen)


def story_share(progress: float, options: Options) -> float:
    late = (progress - options.turn) / max(1 - options.turn, 1e-9)
    return (options.stories
            + (options.stories_end - options.stories) * min(max(late, 0), 1))


def label_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """Cross-entropy of the next token, nats; logits [B, T, V], ids [B, T]."""
    return F.cross_entropy(logits.float().flatten(0, 1), ids.flatten())


def teacher_loss(logits: Tensor, *teachers: Tensor) -> Tensor:
    """KL(mean of the teachers' distributions || student) per token, nats, over
    the full vocabulary; all logits [B, T, V]."""
    p = sum(F.softmax(t.float(), -1) for t in teachers) / len(teachers)
    log_q = F.log_softmax(logits.float(), -1)
    return (p * (p.clamp(min=1e-30).log() - log_q)).sum(-1).mean()


def load_model(directory: Path, name: str, device: str) -> Model:
    """The model of run.json in `directory` with the tensors of `name`-*."""
    run = json.loads((directory / "run.json").read_text(encoding="utf-8"))
    model = Model(ModelConfig(**run["config"]))
    tensors: dict[str, Tensor] = {}
    files = sorted(directory.glob(f"{name}-*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{directory}: no {name}-*.safetensors")
    for file in files:
        tensors.update(load_file(file))
    model.load_state_dict({k: v.float() for k, v in tensors.items()})
    return model.to(device)


def save_weights(directory: Path, name: str, model: Model,
                 shard: int = 12_000_000) -> None:
    """Masters in float32 as `name`-0.safetensors, -1, ... of about `shard`
    bytes each."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for key, tensor in model.state_dict().items():
        if shards[-1] and size + tensor.nbytes > shard:
            shards.append({})
            size = 0
        shards[-1][key] = tensor
        size += tensor.nbytes
    for index, tensors in enumerate(shards):
        write_tensors(directory / f"{name}-{index}.safetensors", tensors)


class Trainer:
    def __init__(self, config: ModelConfig, options: Options, source: Path,
                 out: Path, device: str, teachers: list[Model] | None = None,
                 synthetic: Path | None = None):
        self.config, self.options = config, options
        self.out, self.device = out, device
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(options.seed)
        torch.set_float32_matmul_precision("high")
        self.model = Model(config).to(device)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, options), lr=options.rate,
            betas=(0.9, 0.95), fused=device == "cuda")
        self.tokens = {
            name: data.load_tokens(source / f"{name}.u16", device)
            for name in ("stories-train", "stories-held", "novels-train",
                         "novels-held")}
        self.stories = data.Stories(self.tokens["stories-train"], options.seed)
        self.synthetic = None
        if synthetic is not None:
            self.synthetic = data.Stories(
                data.load_tokens(synthetic, device), options.seed + 1, 100)
        wrap = torch.compile if options.compile else (lambda f, **_: f)
        self.run_model = wrap(self.model.run, dynamic=False)
        self.label_loss = wrap(label_loss, dynamic=False)
        self.teacher_loss = wrap(teacher_loss, dynamic=False)
        self.teachers = []
        for teacher in teachers or []:
            teacher.eval()
            inputs = (teacher.embedding().detach(), [
                [w.detach() for w in ws] for ws in teacher.block_weights()],
                *(t[:options.length] for t in rope_table(teacher.config, device)))
            self.teachers.append((wrap(teacher.run, dynamic=False), inputs))
        self.rope = tuple(t[:options.length] for t in rope_table(config, device))
        self.step, self.best, self.seconds = 0, math.inf, 0.0
        self.begin = time.time()
        self.log_file = out / "log.jsonl"

    def autocast(self):
        if self.device == "cuda":
            return torch.autocast("cuda", torch.bfloat16)
        return contextlib.nullcontext()

    def progress(self) -> float:
        """Share of the run that is done, 0 to 1."""
        o = self.options
        if o.seconds:
            return min((time.time() - self.begin) / o.seconds, 1.0)
        return self.step / o.steps

    def batch(self, step: int, progress: float) -> Tensor:
        """[batch, length + 1] ids, a function of the seed and arguments."""
        o = self.options
        generator = torch.Generator().manual_seed(o.seed * 7_919_771 + step)
        exact = story_share(progress, o) * o.batch
        stories = min(o.batch, int(exact + torch.rand(1, generator=generator)))
        made = 0
        if self.synthetic is not None:
            made = round(stories * o.synthetic)
        parts = [data.novel_rows(self.tokens["novels-train"], o.batch - stories,
                                 o.length + 1, generator),
                 self.stories.rows(step, stories - made, o.length + 1, generator)]
        if made:
            parts.append(self.synthetic.rows(step, made, o.length + 1, generator))
        return torch.cat(parts)

    def logits(self, ids: Tensor) -> Tensor:
        return self.run_model(ids, self.model.embedding(),
                              self.model.block_weights(), *self.rope)

    def train_step(self) -> Tensor:
        progress = self.progress()
        rate = rate_at(self.step, progress, self.options)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self.model.train()
        ids = self.batch(self.step, progress)
        inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
        with self.autocast():
            logits = self.logits(inputs)
            if not self.teachers:
                loss = self.label_loss(logits, targets)
            else:
                with torch.no_grad():
                    taught = [run(inputs, *fixed) for run, fixed in self.teachers]
                loss = self.teacher_loss(logits, *taught)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return loss.detach()

    @torch.no_grad()
    def held_out(self, kind: str) -> float:
        """Mean label loss over the held-out windows of `kind`, nats a token."""
        o = self.options
        self.model.eval()
        ids = data.held_rows(self.tokens[f"{kind}-held"], o.length, o.eval_rows)
        rows, total = min(o.batch, len(ids)), 0.0
        count = 0
        for at in range(0, len(ids) - rows + 1, rows):
            part = ids[at:at + rows]
            with self.autocast():
                logits = self.model.run(
                    part[:, :-1], self.model.embedding(),
                    self.model.block_weights(), *self.rope)
            total += label_loss(logits, part[:, 1:]).item() * rows
            count += rows
        return total / count

    def log(self, **values) -> None:
        line = {"step": self.step, "seconds": round(self.seconds, 1), **values}
        with self.log_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(self.out.name, json.dumps(line), flush=True)

    def save(self) -> None:
        """The state to resume from; run.json, renamed last, names it."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"adam.{index}.{key}"] = value
        file = f"state{self.step:07d}.safetensors"
        write_tensors(self.out / file, tensors)
        self.write_run(file)
        for old in self.out.glob("state*.safetensors"):
            if old.name != file:
                old.unlink()

    def write_run(self, state: str | None) -> None:
        write_json(self.out / "run.json", {
            "config": asdict(self.config), "options": asdict(self.options),
            "step": self.step, "seconds": self.seconds, "best": self.best,
            "state": state})

    def resume(self) -> bool:
        """Continues from run.json's state if there is one."""
        path = self.out / "run.json"
        run = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if not run.get("state"):
            return False
        tensors = load_file(self.out / run["state"], device=self.device)
        self.model.load_state_dict({k[6:]: v for k, v in tensors.items()
                                    if k.startswith("model.")})
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("adam."):
                _, index, name = key.split(".")
                moments.setdefault(int(index), {})[name] = value
        state = self.optimizer.state_dict()
        state["state"] = moments
        self.optimizer.load_state_dict(state)
        self.step, self.best = run["step"], run["best"]
        self.seconds = run["seconds"]
        return True

    def evaluate(self, train_loss: float) -> None:
        stories, novels = self.held_out("stories"), self.held_out("novels")
        self.log(train=round(train_loss, 4), stories=round(stories, 4),
                 novels=round(novels, 4),
                 share=round(story_share(self.progress(), self.options), 3))
        if stories < self.best:
            self.best = stories
            save_weights(self.out, "best", self.model)

    def train(self) -> None:
        o = self.options
        self.resume()
        self.write_run(None if not self.step else f"state{self.step:07d}"
                       ".safetensors")
        self.begin, saved = time.time() - self.seconds, time.time()
        losses, done = [], self.progress() >= 1
        while not done:
            losses.append(self.train_step())
            done = self.progress() >= 1
            self.seconds = time.time() - self.begin
            if self.step % o.eval_every == 0 or done:
                mean, losses = torch.stack(losses).mean().item(), []
                if not math.isfinite(mean):
                    raise FloatingPointError(f"loss {mean} at step {self.step}")
                self.evaluate(mean)
            if time.time() - saved > o.save_seconds:
                saved = time.time()
                self.save()
        self.save()
        save_weights(self.out, "final", self.model)
