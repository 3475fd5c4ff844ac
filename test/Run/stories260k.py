# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""llama2.c's stories260K as a Hugging Face directory.

Input:  a folder with stories260K.bin (legacy format: 7 int32 of header, then float32) and
        tok512.bin (pieces and scores of a SentencePiece BPE).
Output: a directory that transformers and tbqc read: float32 weights, tied, and tokenizer.json.
Holds:  the rows of q and k are put from interleaved to half-split rope; every byte of both files
        is used. What the tokenizer does is what llama2.c's run.c does with tok512.bin: a space in
        front, a token a character or else its bytes, then always the pair with the best score.
"""

import json
import pathlib
import struct

import numpy
import torch
from safetensors.torch import save_file

SPECIAL = ["<unk>", "<s>", "</s>"]
SPACE = "\u2581"  # what stands for a space in pieces


def readPieces(path):
    """Texts and scores of the tokens, in the order of their ids."""
    data = path.read_bytes()
    at, pieces, scores = 4, [], []
    while at < len(data):
        score, length = struct.unpack_from("<fi", data, at)
        pieces.append(data[at + 8 : at + 8 + length].decode())
        scores.append(score)
        at += 8 + length
    assert at == len(data)
    # The first three are written as the text that llama2.c prints for them.
    return SPECIAL + [piece.replace(" ", SPACE) for piece in pieces[3:]], scores


def mergesOf(pieces, scores):
    """Pairs in the order in which they merge: best result first."""
    known = set(pieces[3:])
    order = sorted(range(3, len(pieces)), key=lambda token: -scores[token])
    return [
        [piece[:cut], piece[cut:]]
        for piece in (pieces[token] for token in order)
        if not piece.startswith("<0x")
        for cut in range(1, len(piece))
        if piece[:cut] in known and piece[cut:] in known
    ]


def tokenizerOf(pieces, scores):
    """tokenizer.json, as a converted Llama tokenizer looks."""
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    start = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": i, "content": SPECIAL[i], **added, "special": True} for i in range(3)
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, text],
            "pair": [start, text, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {piece: token for token, piece in enumerate(pieces)},
            "merges": mergesOf(pieces, scores),
        },
    }


def readModel(path):
    """config.json and the tensors of the legacy .bin file."""
    data = path.read_bytes()
    hidden, ffn, layers, heads, kvHeads, vocabulary, context = struct.unpack_from("<7i", data)
    assert vocabulary > 0, "a negative number says that the head is a matrix of its own"
    width = hidden // heads
    values = numpy.frombuffer(data, numpy.float32, offset=28)
    at = 0

    def take(*shape):
        nonlocal at
        count = int(numpy.prod(shape))
        at += count
        return values[at - count : at].reshape(shape)

    def halfSplit(rows):
        """[heads x width, hidden]: the pairs (0, 1), (2, 3) ... become (0, w/2), (1, w/2 + 1) ..."""
        return rows.reshape(-1, width // 2, 2, hidden).swapaxes(1, 2).reshape(rows.shape)

    tensors = {"model.embed_tokens.weight": take(vocabulary, hidden)}
    parts = [
        ("input_layernorm", (hidden,)),
        ("self_attn.q_proj", (hidden, hidden)),
        ("self_attn.k_proj", (kvHeads * width, hidden)),
        ("self_attn.v_proj", (kvHeads * width, hidden)),
        ("self_attn.o_proj", (hidden, hidden)),
        ("post_attention_layernorm", (hidden,)),
        ("mlp.gate_proj", (ffn, hidden)),
        ("mlp.down_proj", (hidden, ffn)),
        ("mlp.up_proj", (ffn, hidden)),
    ]
    for name, shape in parts:
        for layer, part in enumerate(take(layers, *shape)):
            rotated = name.endswith(("q_proj", "k_proj"))
            tensors[f"model.layers.{layer}.{name}.weight"] = halfSplit(part) if rotated else part
    tensors["model.norm.weight"] = take(hidden)
    take(2, context, width // 2)  # cosines and sines, which follow from theta
    assert at == len(values)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kvHeads,
        "vocab_size": vocabulary,
        "max_position_embeddings": context,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float32",
    }
    return config, {name: torch.from_numpy(part.copy()) for name, part in tensors.items()}


def convert(source, directory):
    source, directory = pathlib.Path(source), pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    config, tensors = readModel(source / "stories260K.bin")
    pieces, scores = readPieces(source / "tok512.bin")
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    files = {
        "config.json": config,
        "tokenizer.json": tokenizerOf(pieces, scores),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
        },
        "generation_config.json": {"bos_token_id": 1, "eos_token_id": 2},
    }
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content, indent=2), encoding="utf-8")
