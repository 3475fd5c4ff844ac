# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The loop of a training run.

Input: Options. Output: RUN/model (the quantised checkpoint), RUN/log.jsonl,
RUN/curves.png, RUN/state. Invariant: a step is a function of the student, its
moments and the step's number alone; a run that was stopped, killed or
interrupted and is started again continues from its last checkpoint and, on one
process on a CPU, ends as it would have, bit for bit.

The device is waited for only where figures are written: every `log_every`
steps, at evaluations and checkpoints.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tbq.decoder import Decoder
from tbq.distill.features import channel_rms
from tbq.quant.policy import Policy
from tbq.train.distributed import World, shard_blocks, whole
from tbq.train.evaluate import Evaluator
from tbq.train.export import command_line, export_student, versions
from tbq.train.levels import take_levels
from tbq.train.log import Log, duration
from tbq.train.models import (check_alike, fingerprint, is_quantized,
                              load_student, load_teacher, read_config)
from tbq.train.optimizer import (clip, freeze, make_optimizer,
                                 set_rate)
from tbq.train.options import Options, parse_layers
from tbq.train.replay import Replay
from tbq.train.schedule import rate_at, steps_in, tail_at
from tbq.train.sources import open_mixture, open_shards
from tbq.train.state import (Position, RunState, is_run,
                             take_parameters)
from tbq.train.step import NAMES, Lesson, compute_gradients, labels_of

# Steps of a budget in minutes that are timed, after those that compile.
UNTIMED, TIMED = 3, 20
RECOMPILES = 64


class TrainingError(RuntimeError):
    """The run cannot go on; one line."""


@dataclass(frozen=True)
class Outcome:
    """finished: False where a signal stopped the run; step: steps done."""

    finished: bool
    step: int


class Driver:
    """One run on this process of `world`."""

    def __init__(self, options: Options, world: World):
        self.options, self.world = options, world
        self.rows, self.micro = options.rows_of_rank(world.size)
        self.dtype = (torch.bfloat16 if world.device.type == "cuda"
                      else torch.float32)
        config = read_config(options.teacher)
        self.start = options.teacher  # whose float weights are taken
        initial = options.initial_weights
        if initial is not None and not is_run(initial):
            check_alike(initial, options.teacher)
            if not is_quantized(initial):
                self.start = initial
        layers = parse_layers(options.off_layers, config["num_hidden_layers"])
        self.policy = (
            Policy.uniform(options.scheme) if options.policy is None
            else Policy.read(options.policy, options.scheme))
        self.data = open_mixture(options, config["vocab_size"], world)
        held_out = (None if options.held_out is None else
                    open_shards(options.held_out, config["vocab_size"]))
        torch.manual_seed(options.seed)
        if options.compile:
            # A kind of linear, of tensor and of mode each compile once.
            torch._dynamo.config.recompile_limit = RECOMPILES
        self.teacher, self.student = self._models()
        self.started = self._start()
        freeze(self.student, options)
        self.learning = [p for p in self.student.named_parameters().values()
                         if p.requires_grad]
        self.optimizer = make_optimizer(self.student, options)
        self.gradients = self._gradients()
        self.lesson = Lesson(
            options.losses, self.dtype, options.temperature, options.dad_gamma,
            layers, self._channel_rms() if options.off_normalise else None,
            options.off_skip_first, options.chunk, options.compile)
        self.evaluator = (None if held_out is None else Evaluator(
            self.teacher, held_out, options, world, self.dtype))
        self.state = RunState(options.out, self.student.named_tensors(),
                              self.optimizer, self._identity(), world,
                              options.keep)
        self.held_out: dict[str, float] = {}
        self.stop_wished = False

    def _models(self) -> tuple[Decoder, Decoder]:
        options, device = self.options, self.world.device
        teacher = Decoder(load_teacher(options.teacher, self.dtype, device),
                          options.compile)
        student = Decoder(self._load_student(), options.compile)
        for buffer in student.model.buffers():
            self.world.from_first_(buffer)
        student.model.train()
        if options.shard and self.world.size > 1:
            shard_blocks(teacher, self.world)
            shard_blocks(student, self.world)
        return teacher, student

    def _start(self) -> str | None:
        """The fingerprint of what the student starts from, if that is not the
        teacher; a run's parameters and a checkpoint's levels are taken over
        here."""
        initial = self.options.initial_weights
        if initial is None:
            return None
        if is_run(initial):
            return take_parameters(initial, self.student.named_tensors())
        if is_quantized(initial):
            return take_levels(initial, self.student.named_tensors())
        return fingerprint(initial)

    def _load_student(self) -> nn.Module:
        options = self.options
        batches = -(-options.saliency_rows // options.batch)
        return load_student(self.start, self.policy, options.embedding,
                            self.world.device,
                            lambda: self.data.sample(batches))

    def _gradients(self) -> Callable[[Tensor, Tensor, float], Tensor]:
        """(rows, labels, factor of the feature losses) -> NAMES' losses; leaves
        this rank's gradients in the parameters."""
        def compute(rows: Tensor, labels: Tensor,
                    factor: Tensor | float) -> Tensor:
            return compute_gradients(self.student, self.teacher, rows, labels,
                                     self.micro, self.lesson, factor)
        sharded = self.options.shard and self.world.size > 1
        if (self.options.compile and self.world.device.type == "cuda"
                and not sharded):
            return Replay(compute, self.learning)

        def forget_and_compute(rows: Tensor, labels: Tensor,
                               factor: float) -> Tensor:
            self.optimizer.zero_grad(set_to_none=True)
            return compute(rows, labels, factor)
        return forget_and_compute

    def _identity(self) -> dict:
        rules = "".join(f"{rule.pattern} {rule.spec}\n"
                        for rule in self.policy.rules)
        return {**self.options.identity(), "policy": rules,
                "teacher": fingerprint(self.options.teacher),
                "initial_weights": self.started}

    @torch.no_grad()
    def _channel_rms(self) -> Tensor:
        """Of the teacher's outputs on batch 0: [layers, d]."""
        square = sum(
            channel_rms(self.teacher.hidden(ids, dtype=self.dtype)[1],
                        self.options.off_skip_first).square()
            for ids in self._batch(0)[0].split(self.micro))
        return self.world.mean_(square / (self.rows // self.micro)).sqrt()

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        """(ids, labels) of this rank in batch `step`, on the device."""
        batch = self.data.batch(step)
        parts = batch.ids, labels_of(batch)
        if self.world.device.type == "cuda":
            parts = tuple(part.pin_memory() for part in parts)
        return tuple(part.to(self.world.device, non_blocking=True)
                     for part in parts)

    def _step(self, step: int, steps: int, factor: float) -> Tensor:
        """One step; NAMES' losses and the two norms, [8], on the device, this
        rank's share of the losses' means. factor: of the learning rate."""
        options = self.options
        rows, labels = self._batch(step)
        losses = self.gradients(rows, labels,
                                tail_at(step, steps, options.off_decay))
        self.world.average_gradients(self.learning)
        norms = clip(self.optimizer, options.clip)
        set_rate(self.optimizer, options.rate * factor)
        self.optimizer.step()
        return torch.cat([losses / self.world.size, norms / self.world.size])

    def _synchronise(self) -> float:
        if self.world.device.type == "cuda":
            torch.cuda.synchronize(self.world.device)
        return time.monotonic()

    def _count_steps(self) -> tuple[int, float]:
        """(steps of the run, seconds that finding out took)."""
        options = self.options
        if options.steps is not None:
            return options.steps, 0.0
        if options.tokens is not None:
            each = options.batch * options.length
            return max(1, options.tokens // each), 0.0
        begin, timed = self._synchronise(), []
        for step in range(UNTIMED + TIMED):
            before = time.monotonic()
            # At rate 0 nothing moves but Adam's moments, forgotten below.
            self._step(step, UNTIMED + TIMED, 0.0)
            if step >= UNTIMED:
                timed.append(self._synchronise() - before)
        self.optimizer.state.clear()
        spent = self._synchronise() - begin
        steps = steps_in(60 * options.minutes, spent, timed)
        return self.world.word_of_first(steps), spent

    def run(self) -> Outcome:
        position = self.state.load()
        if position is None:
            steps, spent = self._count_steps()
            position = Position(0, steps, spent)
        log = None
        if self.world.first:
            log = Log(self.options.out, position.step)
            log.say(self._opening(position))
        try:
            with _Signals(self):
                outcome = self._loop(position, log)
            if outcome.finished:
                self._export(outcome.step)
        finally:
            if log is not None:
                log.close()
        return outcome

    def _opening(self, position: Position) -> str:
        o = self.options
        learning = sum(p.numel() for p in self.learning)
        return (f"{'continues at' if position.step else 'starts:'} step "
                f"{position.step} of {position.steps}, {o.batch} x {o.length} "
                f"tokens each, {learning:,} parameters, {self.world.size} x "
                f"{self.world.device.type}, {o.distill}")

    def _loop(self, position: Position, log: Log | None) -> Outcome:
        o, steps = self.options, position.steps
        begin = self._synchronise() - position.seconds
        sums, since = torch.zeros(len(NAMES) + 2, device=self.world.device), 0
        mark, outside = time.monotonic(), 0.0
        for step in range(position.step, steps):
            sums += self._step(step, steps,
                               rate_at(step, steps, o.warmup, o.schedule))
            done, since = step + 1, since + 1
            # What is saved has been looked at: nothing in it is infinite.
            figures_due = (done % o.log_every == 0 or done == steps
                           or done % o.save_every == 0
                           or self.world.size == 1 and self.stop_wished)
            if figures_due:
                means = self.world.sum_(sums).div(since).tolist()
                now = time.monotonic()
                self._check_finite(means, done)
                self._log_training(log, done, steps, means, since,
                                   now - mark - outside)
                sums.zero_()
                mark, since, outside = now, 0, 0.0
            paused = time.monotonic()
            if self._evaluation_due(done, steps):
                self._evaluate(log, done)
            stop = self._stops(figures_due)
            if done % o.save_every == 0 or done == steps or stop:
                self.state.save(Position(done, steps,
                                         self._synchronise() - begin))
            outside += time.monotonic() - paused
            if stop and done < steps:
                if log is not None:
                    log.say(f"stopped by a signal at step {done}, saved")
                return Outcome(False, done)
        if position.step == steps and self.evaluator is not None:
            self._evaluate(log, steps)  # it was killed while exporting
        return Outcome(True, steps)

    def _stops(self, together: bool) -> bool:
        """Whether some rank got a signal; ranks ask each other only where they
        wait anyway."""
        if self.world.size == 1:
            return together and self.stop_wished
        return together and self.world.any(self.stop_wished)

    def _check_finite(self, means: list[float], step: int) -> None:
        """A loss and gradients that are finite leave finite parameters."""
        if not all(map(math.isfinite, means)):
            raise TrainingError(
                f"{self.options.out}: the loss is {means[0]}, the gradient's "
                f"norms are {means[-2]} and {means[-1]}, at or before step "
                f"{step}: a lower --rate may help; the last checkpoint is kept")

    def _log_training(self, log: Log | None, done: int, steps: int,
                      means: list[float], since: int, seconds: float) -> None:
        if log is None:
            return
        o = self.options
        figures = {name: value for name, value in zip(NAMES, means)
                   if name == "loss" or o.losses[name]}
        figures |= {"norm_of_latents": means[-2],
                    "norm_of_coefficients": means[-1],
                    "rate": o.rate * rate_at(done - 1, steps, o.warmup,
                                             o.schedule)}
        speed = since * o.batch * o.length / max(seconds, 1e-9)
        log.write("train", done, figures | {
            "tokens_per_second": round(speed),
            **({"peak_gigabytes": round(
                torch.cuda.max_memory_allocated() / 1e9, 3)}
               if self.world.device.type == "cuda" else {})})
        losses = " ".join(f"{name} {figures[name]:.4f}" for name in NAMES
                          if name in figures)
        log.say(f"step {done}/{steps}  {losses}  {speed:,.0f} tokens/s  "
                f"{duration((steps - done) * seconds / since)} left")

    def _evaluation_due(self, done: int, steps: int) -> bool:
        every = self.options.eval_every
        return self.evaluator is not None and (
            done == steps or bool(every) and done % every == 0)

    def _evaluate(self, log: Log | None, done: int) -> None:
        self.held_out = self.evaluator(self.student)
        if log is not None:
            log.write("held-out", done, self.held_out)
            log.say(f"step {done}  held out: " + " ".join(
                f"{name} {value:.4f}" for name, value in self.held_out.items()))

    def _export(self, steps: int) -> None:
        o = self.options
        tensors = {name: whole(tensor) for name, tensor
                   in self.student.named_tensors().items()}
        if self.world.first:
            model = self.student.model
            if o.shard and self.world.size > 1:
                model = self._load_student()
                with torch.no_grad():
                    for name, own in Decoder(model).named_tensors().items():
                        own.copy_(tensors[name])
            record = {"options": o.to_json(), "steps": steps,
                      "tokens": steps * o.batch * o.length,
                      "ranks": self.world.size, "losses": o.losses,
                      "held_out": self.held_out, "command": command_line(),
                      "versions": versions()}
            export_student(o.out / "model", model, o.teacher, o.activations,
                           o.max_shard_size, record)
        self.world.barrier()


class _Signals:
    """While open, SIGTERM and SIGINT ask the loop to save and stop; a second
    one ends the program as it would without."""

    def __init__(self, driver: Driver):
        self.driver, self.before = driver, {}

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            self.before[number] = signal.signal(number, self._wish)
        return self

    def _wish(self, number: int, frame: object) -> None:
        self.driver.stop_wished = True
        signal.signal(number, self.before[number])

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


def train(options: Options) -> Outcome:
    """Runs or continues a run, on every rank."""
    world = World(options.device)
    try:
        return Driver(options, world).run()
    finally:
        world.close()
