# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times PyTorch's prefill of a llama's shape in bfloat16 on an NVIDIA GPU, without its head: what an artifact of
make_model.py's same size with --vocabulary 512 is measured beside.

Input:  a size of make_model.py; tokens of the prompt, several with commas.
Output: tokens a second, for each number of tokens: eager, and compiled with CUDA graphs; as JSON too with --json.
Holds:  linears of one input are one product, attention is F.scaled_dot_product_attention's, keys and
        values go to a cache; weights and tokens are random. The median of REPETITIONS runs, after three.
"""

import argparse
import json
import pathlib
import statistics
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from make_model import SIZES, architectureOf  # noqa: E402

REPETITIONS = 10
THETA, EPSILON = 500000.0, 1e-5


class Layer(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        hidden, self.heads, self.kvHeads = size["hidden"], size["heads"], size["kv_heads"]
        self.headDim = hidden // self.heads
        rows = (self.heads + 2 * self.kvHeads) * self.headDim
        shapes = {"qkv": (rows, hidden), "out": (hidden, hidden), "gateUp": (2 * size["ffn"], hidden),
                  "down": (hidden, size["ffn"]), "attentionNorm": (hidden,), "mlpNorm": (hidden,)}  # fmt: skip
        for name, shape in shapes.items():
            setattr(self, name, torch.nn.Parameter(torch.randn(shape) * 0.02, requires_grad=False))

    def split(self, rows, heads):
        return rows.view(1, -1, heads, self.headDim).transpose(1, 2)

    def forward(self, x, cosines, sines, cache):
        rows = F.linear(F.rms_norm(x, x.shape[-1:], self.attentionNorm, EPSILON), self.qkv)
        ofKeys = self.kvHeads * self.headDim
        query, key, value = rows.split([rows.shape[-1] - 2 * ofKeys, ofKeys, ofKeys], -1)
        query, key = (rotate(self.split(*each), cosines, sines) for each in ((query, self.heads), (key, self.kvHeads)))
        value = self.split(value, self.kvHeads)
        cache[0, :, :, : key.shape[2]] = key
        cache[1, :, :, : key.shape[2]] = value
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        x = x + F.linear(seen.transpose(1, 2).reshape(x.shape), self.out)
        gate, up = F.linear(F.rms_norm(x, x.shape[-1:], self.mlpNorm, EPSILON), self.gateUp).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, self.down)


def rotate(heads, cosines, sines):
    low, high = heads.chunk(2, -1)
    return heads * cosines + torch.cat((-high, low), -1) * sines


class Model(torch.nn.Module):
    """Layers behind an embedding of as many tokens as an artifact without its head has."""

    def __init__(self, size, positions):
        super().__init__()
        self.embedding = torch.nn.Parameter(torch.randn(512, size["hidden"]), requires_grad=False)
        self.layers = torch.nn.ModuleList(Layer(size) for _ in range(size["layers"]))
        headDim = size["hidden"] // size["heads"]
        angles = torch.outer(torch.arange(positions), THETA ** -(torch.arange(0, headDim, 2) / headDim))
        angles = torch.cat((angles, angles), -1)
        self.register_buffer("cosines", angles.cos())
        self.register_buffer("sines", angles.sin())
        shape = size["layers"], 2, 1, size["kv_heads"], positions, headDim
        self.register_buffer("cache", torch.zeros(shape))

    def forward(self, ids):
        x, count = self.embedding[ids], ids.shape[1]
        for layer, cache in zip(self.layers, self.cache):
            x = layer(x, self.cosines[:count], self.sines[:count], cache)
        return x[:, -1]


def tokensPerSecond(run, ids):
    for _ in range(3):
        run(ids)
    seconds = []
    for _ in range(REPETITIONS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run(ids)
        end.record()
        end.synchronize()
        seconds.append(begin.elapsed_time(end) / 1000)
    return ids.shape[1] / statistics.median(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("size", choices=[name for name, size in SIZES.items() if architectureOf(size) == "llama"])
    parser.add_argument("--tokens", default="512,2048")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures, too")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("pytorch_prefill: error: PyTorch finds no NVIDIA GPU")
    counts = [int(count) for count in arguments.tokens.split(",")]
    found = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "size": arguments.size, "speeds": []}
    with torch.inference_mode(), torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        model = Model(SIZES[arguments.size], max(counts))
        compiled = torch.compile(model, mode="reduce-overhead", dynamic=False)
        for count in counts:
            ids = torch.randint(512, (1, count))
            for name, run in (("eager", model), ("compiled", compiled)):
                speed = round(tokensPerSecond(run, ids))
                print(f"| {arguments.size} | {name} | pp{count} | {speed} tokens/s |", flush=True)
                found["speeds"].append({"how": name, "tokens": count, "tokens_per_second": speed})
    print(f"{found['gpu']}, PyTorch {found['torch']}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
