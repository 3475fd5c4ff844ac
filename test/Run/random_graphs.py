# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Random modules of the graph stage and their weights: shapes and digits no checkpoint has.

Input:  a seed, and what of its graph is cut (shrink.py finds that).
Output: a directory with graph.mlir, which has one @forward, and the checkpoint that it names its
        weights from (config.json and model.safetensors).
Holds:  the seed decides everything. Sizes come from shuffled decks of 1..130, so that seeds in a
        row cover them all, as N and as K: what a linear gives, another one takes. Values stay
        finite: a linear takes what a norm gave, and what enters the cache fits into float16.

python test/Run/random_graphs.py SEED DIRECTORY [CUT] writes one; CUT is JSON.
"""

import dataclasses
import functools
import itertools
import json
import pathlib
import random
import sys
import tempfile

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "python"))
import synthetic  # noqa: E402
from random_draws import DRAWS, LARGEST_SIZE, Draws  # noqa: E402
from tbq import checkpoint  # noqa: E402

CONTEXT = 64
TOKENS = 257  # that the tokenizer has: bytes and one more
GROUPS = (32, 64, 96, 128, 192, 256, "row")
SCHEMES = ("float", "ternary", "binary", "dual-binary")
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
MODES = ("f32", "i8", "i16")
PROCESSORS = ("native", "x86-64-v3", "x86-64")
WORKERS = (1, 2, 3, 5, 16)
SETTINGS = tuple(itertools.product(MODES, PROCESSORS, WORKERS))


def settings(seed):
    """Kind of activations, processor and workers: any 45 seeds in a row have all triples."""
    return SETTINGS[seed * 19 % len(SETTINGS)]


def chunk(seed):
    """Tokens of a prefill step, with a remainder of the 21 that tbq-verify prefills or without."""
    return random.Random(f"chunk {seed}").randint(2, 24)


def panel(seed):
    """Bytes of a tile and its activations in a panel, so few that most rows have several, or none."""
    return random.Random(f"panel {seed}").choice([0, 512, 1024, 2048])


def triples(seed):
    """Columns of a panel of digits by threes."""
    return random.Random(f"triples {seed}").choice([64, 128, 192, 512])


def threads(seed):
    """Workers that tiles of digits by threes are to be shared among, which are not always those that come; 0: any
    number."""
    return random.Random(f"threads {seed}").choice([0, 1, 1, 2, 3])


@dataclasses.dataclass(frozen=True)
class Linear:
    """What a linear of a graph is, for who counts or reports them."""

    name: str
    rows: int
    columns: int
    scheme: str
    group: int


class Writer(Draws):
    """The module's text and the checkpoint's tensors as they grow."""

    def __init__(self, seed, whole=None, cut=None):
        super().__init__(seed, whole, cut)
        self.mode, self.processor, workers = settings(seed)
        self.workers = self.decide("workers", workers, least=1)
        self.chunk = self.decide("chunk", chunk(seed), least=1)
        self.panel = self.decide("panel", panel(seed), least=0)
        self.triples = self.decide("triples", triples(seed), least=0)
        self.threads = self.decide("threads", threads(seed), least=0)
        # Sums of integers are looked up by AVX-512.
        self.looksUp = self.mode == "i8" and self.processor == "native"
        self.text, self.tensors, self.linears = [], {}, []
        self.values = itertools.count()

    def emit(self, operation, types, result):
        value = f"%{next(self.values)}"
        self.text.append(f"{value} = tbq.{operation} : ({', '.join(types)}) -> {result}")
        return value

    def weight(self, name, tensor=None, kind=None, plane=None):
        """Reads the tensor, which is stored first if given, as a value of this type."""
        if tensor is not None:
            self.tensors[name] = tensor
        value = f"%{next(self.values)}"
        which = "" if plane is None else f" plane {plane}"
        self.text.append(f'{value} = tbq.weight "{name}"{which} : {kind}')
        return value, kind

    def float(self, name, tensor):
        spelling = self.random.choice(list(DTYPES))
        shape = "x".join(map(str, tensor.shape))
        return self.weight(name, tensor.to(DTYPES[spelling]), f"tensor<{shape}x{spelling}>")

    def norm(self, name, value, size):
        self.mark(name)
        weight, kind = self.float(f"{name}.weight", 1 + 0.2 * self.noise(size))
        rows = f"tensor<?x{size}xf32>"
        with self.aside(name):
            if self.decide(f"{name}.layer_norm", self.chance(0.3)):
                # A llama's checkpoint has no place for it but under a linear.
                bias, biasKind = self.float(f"lm_head.{name}.bias", self.noise(size))
                return self.emit(
                    f"layer_norm {value}, {weight}, {bias} epsilon 9.99999974E-6 features {size}",
                    (rows, kind, biasKind), rows,
                )  # fmt: skip
        return self.emit(
            f"rms_norm {value}, {weight} epsilon 9.99999974E-6 features {size}", (rows, kind), rows
        )

    def activation(self, name, value, size):
        """relu, gelu or neither."""
        rows = f"tensor<?x{size}xf32>"
        with self.aside(f"{name}.activation"):
            function = self.random.choice(["relu", "gelu"])
            if not self.decide(f"{name}.activation", self.chance(0.3)):
                return value
        return self.emit(f"activation {value} {function}", (rows,), rows)

    def positions(self, value, size):
        """A table of positions, which may begin behind some rows, or none."""
        rows, name = f"tensor<?x{size}xf32>", "model.embed_tokens.positions"
        with self.aside(name):
            if not self.decide(name, self.chance(0.3)):
                return value
            offset = self.random.randint(0, 3)
            table, kind = self.float(name, self.noise(CONTEXT + offset, size))
        return self.emit(
            f"add_positions {value}, {table} at %position offset {offset}", (rows, kind, "index"), rows
        )

    def linear(self, name, value, columns, rows, tame=False, threes=False):
        """tame: nothing that a float16 cache could not hold; threes: digits may stand by threes."""
        self.mark(name)
        scheme = self.random.choice(SCHEMES[0 if self.chance(0.4) else 1 :])
        group = self.random.choice(GROUPS)
        if threes:
            scheme, group = "ternary", self.random.choice([g for g in GROUPS if g == "row" or g % 64 == 0])
        group = columns if group == "row" else group
        self.linears.append(Linear(name, rows, columns, scheme, 0 if scheme == "float" else group))
        if scheme == "float":
            operands = [self.float(f"{name}.weight", self.noise(rows, columns) / columns**0.5)]
            clauses = ""
        else:
            module = self.quantised(name, scheme, rows, columns, group, tame)
            operands, clauses = self.operands(name, module, rows, columns, scheme)
            clauses += f" group {min(group, columns)}"
            clauses += "" if self.mode == "f32" else f" activations {self.mode}"
        bias = ""
        if self.decide(f"{name}.bias", self.chance(0.3)):
            operands.append(self.float(f"{name}.bias", self.noise(rows)))
            bias = f" bias({operands[-1][0]})"
        head, _, tail = clauses.partition(" group ")
        clauses = head + bias + (" group " + tail if tail else "")
        types = (f"tensor<?x{columns}xf32>", *(kind for _, kind in operands))
        result = self.emit(f"linear {value}, {operands[0][0]}{clauses}", types, f"tensor<?x{rows}xf32>")
        self.text[-1] += f' loc("{name}")'
        return result

    def operands(self, name, module, rows, columns, scheme):
        """The quantised linear's tensors as values, and how the op lists them."""
        stored = module.tensors()
        self.tensors |= {f"{name}.{part}": tensor for part, tensor in stored.items()}
        digits = "codes" if scheme == "ternary" else "planes"
        kind = f"!tbq.digits<{rows}x{columns}, {scheme.replace('-', '_')}>"
        operands = [self.weight(f"{name}.{digits}", kind=kind)]
        groups = stored["scale"].shape[-1]
        coefficients = f"tensor<{rows}x{groups}xf16>"
        for plane in (0, 1) if scheme == "dual-binary" else (None,):
            operands.append(self.weight(f"{name}.scale", kind=coefficients, plane=plane))
        clauses = f" scale({', '.join(value for value, _ in operands[1:])})"
        if "shift" in stored:
            operands.append(self.weight(f"{name}.shift", kind=coefficients))
            clauses += f" shift({operands[-1][0]})"
        if "salient_mask" in stored:
            kinds = {
                "mask": f"!tbq.digits<{rows}x{columns}, salient_mask>",
                "values": f"tensor<{len(stored['salient_values'])}xi8>",
                "offsets": f"tensor<{rows + 1}xi32>",
                "scale": f"tensor<{rows}xf16>",
                "zero": f"tensor<{rows}xi16>",
            }
            parts = [
                self.weight(f"{name}.salient_{part}", kind=kind)
                for part, kind in kinds.items()
                if f"salient_{part}" in stored
            ]
            operands += parts
            clauses += f" salient({', '.join(value for value, _ in parts)})"
        return operands, clauses

    def table(self, name, rows, columns):
        """The embedding or the head: operands and clauses."""
        self.mark(name)
        bits = self.random.choice([None, 8, 4])
        if bits is None:
            return [self.float(f"{name}.weight", self.noise(rows, columns))], ""
        # Whole steps of digits: 4 columns of 8 bits, 8 of 4.
        group = self.random.choice([8, 20 if bits == 8 else 24, 32, 64, columns])
        half = 1 << (bits - 1)
        codes = torch.randint(-half, half, (rows, columns), generator=self.generator).to(torch.int8)
        scale = self.coefficients(rows, -(-columns // group), tame=True)
        module = checkpoint.QuantizedEmbedding(codes, scale, group, bits)
        self.tensors |= {f"{name}.{part}": tensor for part, tensor in module.tensors().items()}
        operands = [
            self.weight(f"{name}.q", kind=f"!tbq.digits<{rows}x{columns}, int{bits}>"),
            self.weight(f"{name}.scale", kind=f"tensor<{rows}x{scale.shape[1]}xf16>"),
        ]
        return operands, f" scale({operands[1][0]}) group {min(group, columns)}"


@dataclasses.dataclass(frozen=True)
class Shape:
    hidden: int
    heads: int
    keys: int
    width: int
    vocabulary: int
    cache: str


@functools.cache
def tokenizer():
    """Of all graphs, by file name."""
    with tempfile.TemporaryDirectory() as folder:
        synthetic.makeTokenizer(TOKENS).save_pretrained(folder)
        return {path.name: path.read_text() for path in pathlib.Path(folder).iterdir()}


def drawShape(writer):
    keys = writer.decide("keys", writer.random.choice([1, 1, 2, 3]), least=1)
    return Shape(
        hidden=writer.decide("hidden", next(writer.sizes), least=1),
        heads=keys * writer.decide("sharing", writer.random.choice([1, 2, 3]), least=1),
        keys=keys,
        width=2 * writer.decide("half_width", writer.random.randint(1, 17), least=1),
        vocabulary=TOKENS + writer.decide("more_tokens", writer.random.randint(0, LARGEST_SIZE)),
        cache="f32" if writer.mode == "f32" else writer.random.choice(["f16", "f32"]),
    )


def writeAttention(writer, shape, name, value):
    norm = writer.norm(f"{name}.input_layernorm", value, shape.hidden)
    rows = {"q": shape.heads * shape.width, "k": shape.keys * shape.width, "v": shape.keys * shape.width}
    q, k, v = (
        writer.linear(f"{name}.self_attn.{part}_proj", norm, shape.hidden, size, tame=True)
        for part, size in rows.items()
    )
    query, key = (f"tensor<?x{rows[part]}xf32>" for part in "qk")
    q, k = (
        writer.emit(f"rope {value}, %table at %position heads {heads} x {shape.width}",
                    (kind, f"tensor<{CONTEXT}x{shape.width}xf32>", "index"), kind)
        for value, heads, kind in ((q, shape.heads, query), (k, shape.keys, key))
    )  # fmt: skip
    writer.text.append(
        f"tbq.append_cache {k}, {v}, %cache[%layer] at %position tokens %count !cache : "
        f"({key}, {key}, !cache, index, index, index) -> ()"
    )
    q = writer.emit(
        f"attention {q}, %cache[%layer] at %position heads {shape.heads} "
        f"scale {shape.width**-0.5:.8e} !cache", (query, "!cache", "index", "index"), query,
    )  # fmt: skip
    return writer.linear(f"{name}.self_attn.o_proj", q, rows["q"], shape.hidden)


def writeChain(writer, shape, name, value):
    """Norms and linears, one after the other, from the hidden size through any others to it."""
    writer.mark(f"{name}.mlp")
    size = shape.hidden
    sizes = [next(writer.sizes) for _ in range(DRAWS - 1)]
    if writer.chance(0.2):  # more than one block of columns in 16 bits
        sizes.insert(1, writer.random.randint(250, 700))
    for step, rows in enumerate(sizes):
        part = f"{name}.mlp.up_proj.{step}"
        rows = writer.decide(f"{part}.rows", rows)
        if rows == 0:  # only in a cut graph
            continue
        norm = writer.norm(f"{part}.norm", value, size)
        value = writer.linear(part, norm, size, rows)
        if writer.decide(f"{part}.gate", writer.chance(0.2)):
            gate = writer.linear(f"{name}.mlp.gate_proj.{step}", norm, size, rows)
            kind = f"tensor<?x{rows}xf32>"
            value = writer.emit(f"gated_activation {gate}, {value}", (kind, kind), kind)
        value = writer.activation(part, value, rows)
        size = rows
    with writer.aside(f"{name}.mlp.threes"):
        if writer.decide(f"{name}.mlp.threes", writer.looksUp):
            value, size = writeThrees(writer, f"{name}.mlp", value, size)
    norm = writer.norm(f"{name}.mlp.down_proj.norm", value, size)
    return writer.linear(f"{name}.mlp.down_proj", norm, size, shape.hidden)


def writeThrees(writer, name, value, size):
    """Two linears, of which the second has digits by threes where a table says so."""
    columns, bands = 64 * writer.random.randint(1, 6), writer.random.randint(4, 6)
    rows = 64 * bands * (writer.random.randint(1, 3) if writer.threads else 8)
    for part, least, most in (("before", size, columns), ("threes", columns, rows)):
        part = f"{name}.up_proj.{part}"
        norm = writer.norm(f"{part}.norm", value, least)
        value = writer.linear(part, norm, least, most, threes=part.endswith("threes"))
    return value, rows


def writeLayer(writer, shape, value):
    name = "model.layers.0"
    kind = f"tensor<?x{shape.hidden}xf32>"
    writer.text += [
        f'%after = tbq.layer "{name}" number 0({value}) : {kind} {{',
        f"^bb0(%before: {kind}, %layer: index):",
    ]
    value = "%before"
    for part, write in {"attention": writeAttention, "mlp": writeChain}.items():
        if not writer.decide(part, True):
            continue
        change = write(writer, shape, name, value)
        value = writer.emit(f"add {value}, {change}", (kind, kind), kind)
    writer.text += [f"tbq.yield {value} : {kind}", "}"]
    return "%after"


def writeForward(writer, shape):
    hidden = f"tensor<?x{shape.hidden}xf32>"
    logits = f"tensor<?x{shape.vocabulary}xf32>"
    frequencies = ", ".join(f"{10000 ** (-2 * i / shape.width):.8e}" for i in range(shape.width // 2))
    writer.text.append(f"%table = tbq.rope_table [{frequencies}] : tensor<{CONTEXT}x{shape.width}xf32>")
    operands, clauses = writer.table("model.embed_tokens", shape.vocabulary, shape.hidden)
    types = ("tensor<?xi32>", *(kind for _, kind in operands))
    value = writer.emit(f"embedding %tokens, {operands[0][0]}{clauses}", types, hidden)
    value = writeLayer(writer, shape, writer.positions(value, shape.hidden))
    value = writer.emit(f"select_rows {value} from %first", (hidden, "index"), hidden)
    value = writer.norm("model.norm", value, shape.hidden)
    operands, clauses = writer.table("lm_head", shape.vocabulary, shape.hidden)
    if clauses and writer.mode != "f32":
        clauses += f" activations {writer.mode}"
    types = (hidden, *(kind for _, kind in operands))
    value = writer.emit(f"linear {value}, {operands[0][0]}{clauses}", types, logits)
    writer.text.append(f"return {value} : {logits}")
    return logits


def moduleText(writer, shape, logits):
    model = {
        "activations": f'"{writer.mode}"', "architecture": '"llama"', "context": CONTEXT, "ffn": shape.hidden,
        "head_dim": shape.width, "heads": shape.heads, "hidden": shape.hidden, "kv_cache": f'"{shape.cache}"',
        "kv_heads": shape.keys, "layers": 1, "name": '"random"', "vocab": shape.vocabulary,
    }  # fmt: skip
    attributes = ", ".join(
        f"{key} = {value}" + ("" if isinstance(value, str) else " : i64") for key, value in model.items()
    )
    return "\n".join([
        f"!cache = !tbq.cache<1 layers, {shape.keys} by {shape.width}, {CONTEXT} tokens, {shape.cache}>",
        f"module attributes {{tbq.model = {{{attributes}}}}} {{",
        "func.func @forward(%tokens: tensor<?xi32>, %cache: !cache, %position: index, %count: index, "
        f"%first: index) -> {logits} {{",
        *writer.text, "}", "}", "",
    ])  # fmt: skip


def makeGraph(seed, directory, cut=None):
    """Writes the module and its checkpoint; what it was drawn from. cut: of the decisions of a
    seed, those that are to be others."""
    whole = None
    if cut:
        whole = Writer(seed)
        writeForward(whole, drawShape(whole))
    writer = Writer(seed, whole, cut)
    shape = drawShape(writer)
    logits = writeForward(writer, shape)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "graph.mlir").write_text(moduleText(writer, shape, logits))
    checkpoint.write_tensors(directory / checkpoint.WEIGHTS, writer.tensors)
    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu",
        "hidden_size": shape.hidden, "intermediate_size": shape.hidden, "num_hidden_layers": 1,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.keys, "head_dim": shape.width,
        "vocab_size": shape.vocabulary, "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False, "rope_theta": 10000.0, "bos_token_id": 0, "eos_token_id": 0,
    }  # fmt: skip
    checkpoint.write_json(directory / "config.json", config)
    for file, text in tokenizer().items():
        (directory / file).write_text(text)
    return writer


if __name__ == "__main__":
    made = makeGraph(int(sys.argv[1]), pathlib.Path(sys.argv[2]), json.loads("".join(sys.argv[3:4]) or "{}"))
    print(made.mode, made.processor, made.workers, made.chunk, made.panel, made.triples, made.threads)
