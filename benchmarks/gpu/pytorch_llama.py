# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times PyTorch's steps of a llama's shape in bfloat16 on an NVIDIA GPU: what an artifact of make_model.py's same
size and vocabulary is measured beside.

Input:  a size of make_model.py; tokens of the prompt, several with commas; tokens to decode; the vocabulary,
        512 tokens if none is named: without the head, as it were.
Output: tokens a second of each prompt, eager and compiled with CUDA graphs, and of decoding, both in a CUDA graph;
        as JSON too with --json.
Holds:  linears of one input are one product, attention is F.scaled_dot_product_attention's, keys and
        values go to a cache; a decoded token is the largest logit's, chosen on the device, of a head that is the
        embedding; weights and tokens are random. The median of REPETITIONS runs, after three.
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

    def forward(self, x, cosines, sines, cache, position=None, seen=None):
        """`position`, `seen`: of a single token, and the positions that it attends; else a prompt's rows."""
        rows = F.linear(F.rms_norm(x, x.shape[-1:], self.attentionNorm, EPSILON), self.qkv)
        ofKeys = self.kvHeads * self.headDim
        query, key, value = rows.split([rows.shape[-1] - 2 * ofKeys, ofKeys, ofKeys], -1)
        query, key = (rotate(self.split(*each), cosines, sines) for each in ((query, self.heads), (key, self.kvHeads)))
        value = self.split(value, self.kvHeads)
        if position is None:
            cache[0, :, :, : key.shape[2]] = key
            cache[1, :, :, : key.shape[2]] = value
            values = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        else:
            cache[0].index_copy_(2, position, key)
            cache[1].index_copy_(2, position, value)
            values = F.scaled_dot_product_attention(query, *cache, attn_mask=seen, enable_gqa=True)
        x = x + F.linear(values.transpose(1, 2).reshape(x.shape), self.out)
        gate, up = F.linear(F.rms_norm(x, x.shape[-1:], self.mlpNorm, EPSILON), self.gateUp).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, self.down)


def rotate(heads, cosines, sines):
    low, high = heads.chunk(2, -1)
    return heads * cosines + torch.cat((-high, low), -1) * sines


class Model(torch.nn.Module):
    """Layers behind an embedding, which is the head too."""

    def __init__(self, size, positions, vocabulary):
        super().__init__()
        self.embedding = torch.nn.Parameter(torch.randn(vocabulary, size["hidden"]), requires_grad=False)
        self.norm = torch.nn.Parameter(torch.randn(size["hidden"]), requires_grad=False)
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

    def decode(self, token, position):
        """The token behind `token`, which stands at `position`: tensors of (1, 1) and (1,)."""
        x = self.embedding[token]
        seen = torch.arange(self.cache.shape[-2], device=token.device)[None] <= position
        for layer, cache in zip(self.layers, self.cache):
            x = layer(x, self.cosines[position], self.sines[position], cache, position, seen)
        return F.linear(F.rms_norm(x, x.shape[-1:], self.norm, EPSILON), self.embedding).argmax(-1)


def tokensPerSecond(run, tokens):
    """Of a `run` that takes `tokens` of them."""
    for _ in range(3):
        run()
    seconds = []
    for _ in range(REPETITIONS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        seconds.append(begin.elapsed_time(end) / 1000)
    return tokens / statistics.median(seconds)


def inGraph(decode, tokens):
    """Decodes `tokens` tokens from position 0 on, each a CUDA graph that leaves its token for the next."""
    token, position = torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # what compiles does so here
            decode(token, position)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        token.copy_(decode(token, position))
        position.add_(1)

    def run():
        position.zero_()
        for _ in range(tokens):
            graph.replay()

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("size", choices=[name for name, size in SIZES.items() if architectureOf(size) == "llama"])
    parser.add_argument("--tokens", default="512,2048", help="of prompts")
    parser.add_argument("--decode", type=int, default=128, help="tokens to decode")
    parser.add_argument("--vocabulary", type=int, default=512)
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures, too")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("pytorch_llama: error: PyTorch finds no NVIDIA GPU")
    counts = [int(count) for count in arguments.tokens.split(",")]
    found = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "size": arguments.size,
             "vocabulary": arguments.vocabulary, "speeds": []}  # fmt: skip
    with torch.inference_mode(), torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        model = Model(SIZES[arguments.size], max(*counts, arguments.decode), arguments.vocabulary)

        def add(how, test, speed):
            print(f"| {arguments.size} | {how} | {test} | {round(speed)} tokens/s |", flush=True)
            found["speeds"].append({"how": how, "test": test, "tokens_per_second": round(speed)})

        compiled = torch.compile(model, mode="reduce-overhead", dynamic=False)
        for count in counts:
            ids = torch.randint(512, (1, count))
            for how, run in (("eager", model), ("compiled", compiled)):
                add(how, f"pp{count}", tokensPerSecond(lambda run=run, ids=ids: run(ids), count))
        # Of as many positions as it decodes: what is masked is read too.
        model.cache = model.cache[..., : arguments.decode, :].contiguous()
        for how, decode in (("eager", model.decode), ("compiled", torch.compile(model.decode, dynamic=False))):
            run = inGraph(decode, arguments.decode)
            add(f"{how} in a graph", f"tg{arguments.decode}", tokensPerSecond(run, arguments.decode))
    print(f"{found['gpu']}, PyTorch {found['torch']}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
