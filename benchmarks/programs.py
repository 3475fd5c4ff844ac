# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The programs of a row, ours and the peers': what each needs made first, and one run of it.

Input:  a row of table.yaml; the folder of our tools; a peer's llama-bench.
Output: of a run, a dictionary a test: test ("pp128", "tg64"), threads, samples in tokens/s, and
        what the program says of bytes, operations and limits.
Holds:  what is made is made again only where what it is made from is newer.
"""

import contextlib
import json
import pathlib
import subprocess
import sys

import make_gguf
import make_model

# Bits a weight of what heads and embeddings are stored in.
HEAD_BITS = {"q6_K": 6.5625, "q8_0": 8.5, "q4_0": 4.5, "f16": 16.0}


def call(*command):
    """The program's stdout; its last words, where it fails."""
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if result.returncode != 0:
        last = (result.stderr.strip() or "no message").splitlines()[-1]
        raise SystemExit(f"bench: {' '.join(map(str, command))}: exit code {result.returncode}: {last}")
    return result.stdout


def isOld(path, *sources):
    return not path.exists() or any(s.stat().st_mtime > path.stat().st_mtime for s in sources)


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def testFlags(row):
    return [
        "-p", ",".join(map(str, row["prompts"])), "-n", ",".join(map(str, row["generated"])),
        "-r", row["repetitions"], "-o", "json",
    ]  # fmt: skip


def fileName(*parts):
    return "-".join(parts).replace(" ", "-").replace(",", "")


class Models:
    """The directories and float16 files of shapes, made in a folder when first asked for."""

    def __init__(self, folder):
        self.folder = folder

    def directoryOf(self, row):
        if "model" in row:
            return pathlib.Path(row["model"])
        directory = self.folder / row["shape"]
        if not (directory / "model.safetensors.index.json").exists():
            say(f"making {directory}")
            with contextlib.redirect_stdout(sys.stderr):
                make_model.makeModel(row["shape"], directory)
        return directory

    def ggufOf(self, row):
        if "gguf" in row:
            return pathlib.Path(row["gguf"])
        path = self.folder / f"{row['shape']}-F16.gguf"
        if not path.exists():
            say(f"making {path}")
            unfinished = path.with_suffix(".unfinished")
            make_gguf.makeGguf(self.directoryOf(row), unfinished)
            unfinished.rename(path)
        return path


class Ours:
    """An artifact of tbqc's, measured by tbq-bench."""

    ours = True

    def __init__(self, name, flags, row, tools, limitSeconds):
        self.name, self.flags, self.row, self.tools = f"tbq {name}", flags, row, tools
        self.limitSeconds = limitSeconds

    def prepare(self, models, table):
        source = models.directoryOf(self.row)
        self.artifact = models.folder / f"{fileName(self.row['name'], self.name)}.so"
        if isOld(self.artifact, self.tools / "tbqc", table):
            say(f"tbqc {source} {' '.join(self.flags)}")
            call(self.tools / "tbqc", source, *self.flags, "-o", self.artifact)

    def describe(self):
        return {"name": self.name, "flags": self.flags, "program": str(self.tools / "tbq-bench")}

    def run(self, threads):
        limit = f"--limit-seconds={self.limitSeconds}"
        command = (self.tools / "tbq-bench", "-m", self.artifact, "-t", threads, limit)
        rows = json.loads(call(*command, *testFlags(self.row)))
        kept = (
            "test", "samples", "bytes_per_token", "operations_per_token", "limit_gb_per_second",
            "peak_tera_operations_per_second", "uses_tiles", "machine", "git",
        )  # fmt: skip
        for found in rows:
            model = found["model"]
            cache = found.get("bytes_per_token", 0) - model["bytes_per_token"]
            yield {key: found[key] for key in kept if key in found} | {"cache_bytes": cache}


class Peer:
    """A GGUF file of a peer's own quantiser, measured by its llama-bench."""

    ours = False

    def __init__(self, peer, bench, row):
        format, head = peer["format"], peer.get("head", "")
        self.name = " ".join(filter(None, (peer["peer"], format, head and f"head {head}")))
        self.format, self.head, self.bench, self.row = format, head, bench, row
        self.peer = peer["peer"]

    def prepare(self, models, table):
        source = models.ggufOf(self.row)
        if not self.head:
            self.file = source
            return
        self.file = models.folder / f"{fileName(self.row['name'], self.name)}.gguf"
        quantize = self.bench.with_name("llama-quantize")
        if isOld(self.file, source, quantize):
            say(f"{quantize} {source} {self.format}, head {self.head}")
            types = [f"--{part}-type" for part in ("token-embedding", "output-tensor")]
            heads = [word for flag in types for word in (flag, self.head)]
            unfinished = self.file.with_suffix(".unfinished")
            call(quantize, "--allow-requantize", *heads, source, unfinished, self.format)
            unfinished.rename(self.file)

    def describe(self):
        return {"name": self.name, "program": str(self.bench), "commit": getattr(self, "commit", "")}

    def bytesOfTable(self):
        """Of the embedding, where it is not the head: a decode step reads one row of it."""
        if "shape" not in self.row:
            return 0
        size = make_model.SIZES[self.row["shape"]]
        return make_model.vocabularyOf(size) * size["hidden"] * HEAD_BITS[self.head] / 8

    def run(self, threads):
        command = (self.bench, "-m", self.file, "-t", threads)
        for found in json.loads(call(*command, *testFlags(self.row))):
            self.commit = found["build_commit"]
            decode = found["n_gen"] > 0
            test = f"tg{found['n_gen']}" if decode else f"pp{found['n_prompt']}"
            result = {"test": test, "samples": found["samples_ts"]}
            if decode:
                result["bytes_per_token"] = found["model_size"] - self.bytesOfTable()
            yield result
