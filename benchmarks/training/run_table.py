# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs the rows of table.yaml, one after the other, and measures each result.

Input:  the table, a float teacher, token shards to learn from and held-out ones, texts.
Output: OUT/results.jsonl, a line a run: row, stage, options, KL(teacher || student) and agreement on
        the held-out positions, perplexity on each text, bits a weight, seconds a step, memory.
Holds:  a run whose line is there is not done again, so that a stopped table goes on; processes with
        the same OUT (one for each GPU, say) take the next run that none of them has in hand, by a
        lock that a killed one gives up; a final run takes the rate that was best in the sweep of
        its row, or of the row that its `rate_of` names, once that is complete; second seeds come
        last. Students are measured in float32; bits are counted in what was exported.

    PYTHONPATH=python python benchmarks/training/run_table.py --stage sweep final --teacher DIR
        --data DIR --held-out DIR --text wikitext2=FILE --out DIR [--only REGEX] [--minutes M]
"""

import argparse
import fcntl
import gc
import json
import os
import pathlib
import re
import shutil
import time

import torch
import yaml

from tbq.data.shards import TokenShards
from tbq.data.tokenizer import load_tokenizer
from tbq.decoder import Decoder
from tbq.quant.policy import Policy
from tbq.train.distributed import World
from tbq.train.driver import Driver, TrainingError
from tbq.train.evaluate import Evaluator, perplexity
from tbq.train.models import load_teacher
from tbq.train.options import Options

TABLE = pathlib.Path(__file__).with_name("table.yaml")


def runs_of(table, stage, results):
    """(row, name, options) of every run of a stage that can be begun: a final run waits for its row's sweep."""
    if stage == "teacher":
        yield "teacher", "teacher", {"length": table["shared"]["length"]}
        return
    if stage == "quantized":
        for row, options in table["quantized"].items():
            yield row, f"{row}!", {"length": table["shared"]["length"], **options}
        return
    later = []
    for row, own in table["rows"].items():
        settings = dict(own)
        rates = settings.pop("rates", table["sweep"]["rates"])
        seeds = settings.pop("seeds", table["final"]["seeds"])
        swept = settings.pop("rate_of", row)
        options = {**table["shared"], **settings}
        if stage == "sweep":
            for rate in rates if swept == row else ():
                yield row, f"{row}@{rate:g}", {**options, **table["sweep"]["options"], "rate": rate}
            continue
        rates = table["rows"][swept].get("rates", table["sweep"]["rates"])
        sweep = {r["run"]: r for r in results if r["row"] == swept and r["stage"] == "sweep"}
        sweep = [sweep.get(f"{swept}@{rate:g}") for rate in rates]
        finite = [r for r in sweep if r and r["kl"] is not None]
        if None in sweep or not finite:
            continue
        rate = min(finite, key=lambda r: r["kl"])["options"]["rate"]
        runs = [(row, f"{row}#{seed}", {**options, **table["final"]["options"], "rate": rate, "seed": seed})
                for seed in seeds]
        yield from runs[:1]
        later += runs[1:]
    yield from later


class Results:
    """The lines of OUT/results.jsonl, and the runs that a process has in hand: locked files in OUT/taken."""

    def __init__(self, out):
        self.path, self.taken = out / "results.jsonl", out / "taken"
        self.taken.mkdir(parents=True, exist_ok=True)

    def read(self):
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def add(self, line):
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            os.fsync(file.fileno())

    def next(self, table, stage, only):
        """(row, run, options, lock) of the first run of a stage that is neither done nor taken, else None."""
        for row, run, options in runs_of(table, stage, self.read()):
            if not re.search(only, row):
                continue
            lock = (self.taken / run).open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if run not in {result["run"] for result in self.read()}:
                return row, run, options, lock
        return None


def bits_per_weight(directory, teacher):
    """Of the blocks' linears and of the whole model, from the bytes on disk of the tensors."""
    sizes = {name.removesuffix(".weight"): parameter.numel() for name, parameter in teacher.named_parameters().items()}
    linears = weights = stored = 0
    for path in directory.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        header.pop("__metadata__", None)
        quantized = {name.rpartition(".")[0] for name in header if not name.endswith(".weight")}
        for name, tensor in header.items():
            begin, end = tensor["data_offsets"]
            stored += end - begin
            linears += (end - begin) * (name.rpartition(".")[0] in quantized and ".layers." in name)
        weights += sum(sizes[name] for name in quantized if ".layers." in name)
    return {"bits_of_linears": 8 * linears / weights, "bits_of_model": 8 * stored / sum(sizes.values())}


class Measures:
    """The figures of a student, all in float32, not compiled: that would take longer than it saves."""

    def __init__(self, arguments, world):
        self.arguments, self.world = arguments, world
        self.teacher = Decoder(load_teacher(arguments.teacher, torch.float32, world.device))
        self.held_out = TokenShards(arguments.held_out)
        tokenizer = load_tokenizer(arguments.teacher)
        self.texts = {
            name: torch.tensor(tokenizer.encode(path.read_text(encoding="utf-8"), add_special_tokens=False).ids)
            for name, path in arguments.text
        }

    @torch.no_grad()
    @torch.compiler.set_stance("force_eager")
    def __call__(self, student, options):
        evaluator = Evaluator(self.teacher, self.held_out, options, self.world, torch.float32)
        figures = evaluator(student)
        for name, tokens in self.texts.items():
            limit = len(tokens) if options.eval_tokens >= 512000 else 60 * 512
            found = perplexity(student, tokens[:limit], rows=64, dtype=torch.float32)
            figures[f"perplexity_{name}"], figures[f"error_{name}"] = found.value, found.error
        return figures


def train(options, measures, world):
    """The figures of one run; kl None where the loss was not finite."""
    torch._dynamo.reset()
    torch.cuda.is_available() and torch.cuda.reset_peak_memory_stats()
    driver = Driver(options, world)
    begin = time.monotonic()
    try:
        steps = driver.run().step
    except TrainingError as error:
        return {"kl": None, "error": str(error)}
    seconds = time.monotonic() - begin
    log = [json.loads(line) for line in (options.out / "log.jsonl").read_text().splitlines()]
    speeds = sorted(line["tokens_per_second"] for line in log if "tokens_per_second" in line)
    speed = speeds[len(speeds) // 2]
    return {
        **measures(driver.student, options), **bits_per_weight(options.out / "model", measures.teacher),
        "steps": steps, "seconds": seconds, "seconds_of_step": options.batch * options.length / speed,
        "tokens_per_second": speed,
        "gigabytes": torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else None,
    }


def quantize(row, settings, arguments, measures, world):
    """The figures of a model that was rounded and not trained."""
    from tbq.checkpoint import write_checkpoint
    from tbq.checkpoint.files import read_json
    from tbq.ptq.options import Options as Rounding
    from tbq.ptq.quantize import quantize_after_training
    from tbq.train.models import load_model

    model = load_model(arguments.teacher, torch.float32, torch.device("cpu"))
    data = TokenShards(pathlib.Path(arguments.data[0].partition(":")[0]))
    ids = torch.from_numpy(data.read(list(range(arguments.samples)), settings["length"])[0])
    begin = time.monotonic()
    checkpoint = quantize_after_training(
        model, Policy.uniform(settings["scheme"]), None, read_json(arguments.teacher / "config.json"), "i16",
        ids, Rounding(method=settings["method"], device=world.device))
    seconds = time.monotonic() - begin
    folder = arguments.out / "runs" / row
    folder.mkdir(parents=True, exist_ok=True)
    write_checkpoint(folder, checkpoint)
    options = Options(teacher=arguments.teacher, data=tuple(arguments.data), out=folder, steps=1,
                      length=settings["length"], eval_tokens=512000)
    return {
        **measures(Decoder(model.to(world.device)), options), **bits_per_weight(folder, measures.teacher),
        "seconds": seconds,
    }


def measure(stage, row, run, settings, arguments, measures, world):
    """The figures of one run of a stage."""
    folder = arguments.out / "runs" / run
    if stage == "quantized":
        return quantize(row, settings, arguments, measures, world)
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    common = {"teacher": arguments.teacher, "data": tuple(arguments.data), "out": folder}
    if stage == "teacher":
        return measures(measures.teacher, Options(**common, **settings, steps=1, eval_tokens=512000))
    figures = train(Options(**common, save_every=1 << 30, eval_every=0, **settings), measures, world)
    shutil.rmtree(folder / "state", ignore_errors=True)
    return figures


def named_file(text):
    name, _, path = text.partition("=")
    return name, pathlib.Path(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=pathlib.Path, default=TABLE)
    parser.add_argument("--stage", choices=["sweep", "final", "quantized", "teacher"], nargs="+", required=True)
    for name in ("--teacher", "--held-out", "--out"):
        parser.add_argument(name, type=pathlib.Path, required=True)
    parser.add_argument("--data", nargs="+", required=True, metavar="DIR[:SHARE]", help="as of tbq train")
    parser.add_argument("--text", type=named_file, nargs="+", default=[], metavar="NAME=FILE")
    parser.add_argument("--only", default="", help="regular expression over the rows' names")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no run after that")
    parser.add_argument("--samples", type=int, default=128, help="rows of the first --data to calibrate on")
    arguments = parser.parse_args()
    table = yaml.safe_load(arguments.table.read_text(encoding="utf-8"))
    results, begin, world = Results(arguments.out), time.monotonic(), World("auto")
    measures = Measures(arguments, world)
    for stage in arguments.stage:
        while (found := results.next(table, stage, arguments.only)) is not None:
            if time.monotonic() - begin > 60 * arguments.minutes:
                return
            row, run, settings, lock = found
            with lock:
                figures = measure(stage, row, run, settings, arguments, measures, world)
                results.add({"row": row, "run": run, "stage": stage, "options": settings, **figures})
            print(f"{run}: " + ", ".join(f"{k} {v:.4f}" for k, v in figures.items() if isinstance(v, float)),
                  flush=True)
            gc.collect()
            torch.cuda.is_available() and torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
