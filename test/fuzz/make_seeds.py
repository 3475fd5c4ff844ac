# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes the seeds that the corpora of the fuzz targets began with: small valid inputs.

Run as: PYTHONPATH=python:python/tests python test/fuzz/make_seeds.py
Input:  python/tests/some_checkpoint.py, the chat templates of test/unit, build/bin/tbqc.
Output: test/fuzz/corpus/TARGET/seed-*; what fuzzing added stays.
"""

import json
import pathlib
import struct
import subprocess
import tempfile

import some_checkpoint
import torch
from safetensors.torch import save
from tbq import checkpoint as ck

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CORPUS = REPOSITORY / "test/fuzz/corpus"
SEPARATOR = b"\n%%\n"


def write(target, name, *parts):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    parts = [part.encode() if isinstance(part, str) else part for part in parts]
    (folder / f"seed-{name}").write_bytes(SEPARATOR.join(parts))


def checkpoints():
    """name -> settings and whether salient weights have zeros (None: there are none)."""
    config = some_checkpoint.config
    int8, int4 = ({"bits": bits, "group_size": group} for bits, group in ((8, 4), (4, "row")))
    yield "ternary", config(), None
    yield "ternary-row", config(group_size="row", shift=False), None
    yield "binary", config("binary", embedding=int8), None
    yield "dual", config("dual-binary", tied=False, embedding=int4), None
    yield "salient", config("binary"), False
    yield "salient-zero", config("binary", ffn=11), True


def writeCheckpoints():
    for name, settings, with_zero in checkpoints():
        with tempfile.TemporaryDirectory() as folder:
            directory = pathlib.Path(folder) / "model"
            ck.write_checkpoint(directory, some_checkpoint.checkpoint(settings, with_zero))
            config = (directory / "config.json").read_bytes()
            data = (directory / "model.safetensors").read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        write("safetensors", name, data)
        write("safetensors", f"{name}-header", data[8 : 8 + size].strip(), data[8 + size :])
        write("checkpoint", name, config, data[8 : 8 + size], data[8 + size :])
        write("config", name, config, json.dumps({"eos_token_id": [1, 2], "top_p": 0.9}))


def writeOpt():
    """Norms behind the parts, a projected embedding and no biases, so that it is small."""
    config = {"architectures": ["OPTForCausalLM"], "model_type": "opt", "activation_function": "gelu", "hidden_size": 4,
              "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 6, "vocab_size": 8,
              "max_position_embeddings": 4, "word_embed_proj_dim": 2, "do_layer_norm_before": False,
              "enable_bias": False, "_remove_final_layer_norm": False, "layer_norm_elementwise_affine": True}
    shapes = {"embed_tokens": [8, 2], "embed_positions": [6, 4], "project_in": [4, 2], "project_out": [2, 4],
              "layers.0.fc1": [6, 4], "layers.0.fc2": [4, 6], "layers.0.self_attn_layer_norm": [4],
              "layers.0.final_layer_norm": [4], **{f"layers.0.self_attn.{x}_proj": [4, 4] for x in ("q", "k", "v", "out")}}
    tensors = {f"model.decoder.{name}.weight": torch.ones(shape, dtype=torch.float16) for name, shape in shapes.items()}
    tensors |= {f"model.decoder.layers.0.{norm}.bias": torch.zeros(4, dtype=torch.float16)
                for norm in ("self_attn_layer_norm", "final_layer_norm")}
    data = save(tensors)
    size = struct.unpack("<Q", data[:8])[0]
    write("config", "opt", json.dumps(config))
    write("checkpoint", "opt", json.dumps(config), data[8 : 8 + size], data[8 + size :])


def writeConfigs():
    plain = some_checkpoint.config()
    del plain["quantization_config"]
    scaled = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
              "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    write("config", "llama3", json.dumps({**plain, "rope_scaling": scaled}))
    write("config", "parameters", json.dumps({**plain, "rope_parameters": {**scaled, "rope_theta": 5e5}}))
    write("config", "linear", json.dumps({**plain, "rope_scaling": {"type": "linear", "factor": 2}}),
          json.dumps({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "do_sample": True,
                      "temperature": 0.6, "top_k": 50, "min_p": 0.1, "repetition_penalty": 1.1}))
    layers = {r"model\.layers\.0\.mlp\..*": {"scheme": "binary", "group_size": "row"}}
    overrides = some_checkpoint.config(layers=layers, modules_to_not_convert=["q_proj"])
    write("config", "overrides", json.dumps(overrides))
    write("index", "good", json.dumps({"metadata": {"total_size": 4},
                                       "weight_map": {"one": "a.safetensors", "two": "b.safetensors"}}))
    for number, shard in enumerate(("../a.safetensors", "/etc/passwd", "c.safetensors")):
        write("index", f"bad{number}", json.dumps({"weight_map": {"one": shard}}))
    for number, pattern in enumerate((r"model\.layers\.[0-9]+\.mlp\..*", "(a+)+b", r"(?<x>a|b)\k<x>{2,3}")):
        write("pattern", str(number), pattern, "model.layers.0.mlp.up_proj")


def byteLevelCharacters():
    """GPT-2's characters for the 256 bytes."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = iter(range(256, 512))
    return [chr(byte if byte in kept else next(other)) for byte in range(256)]


def added(number, content, special=True):
    return {"id": number, "content": content, "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": not special, "special": special}


def byteLevel():
    vocab = {character: i for i, character in enumerate(byteLevelCharacters())}
    vocab |= {"he": 256, "hello": 257, "<|end|>": 258}
    pieces = [{"type": "Split", "pattern": {"Regex": r"\p{L}+|\s+(?!\S)|\d{1,3}"},
               "behavior": "Isolated", "invert": False},
              {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]
    return {"version": "1.0", "added_tokens": [added(258, "<|end|>")], "normalizer": {"type": "NFC"},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": pieces}, "post_processor": None,
            "decoder": {"type": "ByteLevel"},
            "model": {"type": "BPE", "vocab": vocab, "merges": ["h e"], "ignore_merges": True}}


def sentencePiece():
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    vocab |= {"▁": 259, "a": 260, "b": 261, "▁a": 262, "ab": 263}
    special = {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}
    single = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    text = lambda value: {"String": value}  # noqa: E731
    return {"version": "1.0", "added_tokens": [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")],
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": text(" "), "content": "▁"}]},
            "pre_tokenizer": None,
            "post_processor": {"type": "TemplateProcessing", "single": single, "special_tokens": special},
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": text("▁"), "content": " "}, {"type": "ByteFallback"},
                {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
                      "vocab": vocab, "merges": [["▁", "a"], ["a", "b"]]}}


def smallest():
    """No byte tokens: what a text lacks is unknown."""
    vocab = {"<unk>": 0, "a": 1, "b": 2, "ab": 3, "▁": 4}
    return {"version": "1.0", "added_tokens": [added(0, "<unk>"), added(5, "c d", special=False)],
            "normalizer": {"type": "Lowercase"},
            "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True},
            "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True},
            "model": {"type": "BPE", "unk_token": "<unk>", "vocab": vocab, "merges": ["a b"]}}


def writeTokenizers():
    templates = REPOSITORY / "test/unit/Tokenizer/templates"
    config = json.dumps({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": None})
    documents = {"byte-level": byteLevel(), "sentence-piece": sentencePiece(), "smallest": smallest()}
    for name, document in documents.items():
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        own = config if name == "sentence-piece" else json.dumps({"chat_template": "{{ x }}"})
        write("tokenizer-json", name, text, own, (templates / "chatml.jinja").read_bytes())
    text = json.dumps(smallest(), ensure_ascii=False)
    for template in sorted(templates.glob("*.jinja")):
        if "escaped" not in template.name:
            write("tokenizer-json", f"template-{template.stem}", text, "{}", template.read_bytes())
    for number, prompt in enumerate(("hello world", " a\tb\r\n  <|end|>x", "aa\u0301\U0001f600<s>▁", b"\xff\xe2\x96 \xed\xa0\x80")):
        write("text", str(number), prompt)
    return documents


def sections(path):
    """The artifact's sections of the three names, as bytes."""
    found = {}
    for name in ("manifest", "tokenizer"):
        with tempfile.NamedTemporaryFile() as out:
            subprocess.run(["llvm-objcopy-22", "-O", "binary", f"--only-section=.tbq.{name}",
                            "--set-section-flags", f".tbq.{name}=alloc", path, out.name], check=True)
            found[name] = pathlib.Path(out.name).read_bytes()
    return found


def writeArtifacts(documents):
    """Manifests, tables and sidecars of models that tbqc compiles."""
    chatml = REPOSITORY / "test/unit/Tokenizer/templates/chatml.jinja"
    for name, document in documents.items():
        with tempfile.TemporaryDirectory() as folder:
            directory = pathlib.Path(folder) / "model"
            settings = some_checkpoint.config(group_size=16)
            ck.write_checkpoint(directory, some_checkpoint.checkpoint(settings))
            (directory / "tokenizer.json").write_text(json.dumps(document))
            (directory / "chat_template.jinja").write_bytes(chatml.read_bytes())
            out = pathlib.Path(folder) / "m.so"
            flags = ["--weights=sidecar"] if name == "smallest" else []
            subprocess.run([REPOSITORY / "build/bin/tbqc", directory, "-o", out, *flags], check=True)
            found = sections(out)
            write("tables", name, "hello <s> ab c d\u00e9", found["tokenizer"])
            write("manifest", name, found["manifest"])
            if flags:
                write("sidecar", name, (pathlib.Path(folder) / "m.so.weights").read_bytes()[:64])


def smallElf():
    """A shared object of three sections of 16 bytes and its trailer, hashes left to the target."""
    names = b"\0.tbq.manifest\0.tbq.tokenizer\0.tbq.weights\0.shstrtab\0"
    bodies = [b"{}".ljust(16), b"TBQTOKEN".ljust(16), bytes(16), names]
    offset, headers = 64, [bytes(64)]
    for name, body in zip((b".tbq.manifest", b".tbq.tokenizer", b".tbq.weights", b".shstrtab"), bodies):
        kind = 3 if name == b".shstrtab" else 1
        headers.append(struct.pack("<IIQQQQIIQQ", names.index(name), kind, 2, 0, offset, len(body), 0, 0, 1, 0))
        offset += len(body)
    ident = b"\x7fELF\2\1\1".ljust(16, b"\0")
    header = ident + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, offset, 0, 64, 0, 0, 64, len(headers), 4)
    image = header + b"".join(bodies) + b"".join(headers)
    trailer = struct.pack("<8sIIQ6Q64x", b"TBQMODEL", 1, 136, len(image), 64, 16, 80, 16, 0, 0)
    return image + trailer


writeCheckpoints()
writeConfigs()
writeOpt()
writeArtifacts(writeTokenizers())
write("artifact", "small", smallElf())
