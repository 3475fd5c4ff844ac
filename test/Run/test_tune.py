# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tables of CPU families: none changes what is computed."""

import json

import pytest

from conftest import REPOSITORY, runGood
from test_models import windowsOf

TABLES = REPOSITORY / "lib/Tuning/tables"
# Numbers as unlike the shipped ones as they get, of blocks, tiles and what is left over.
ODD = {
    "decode": {"far_bytes": 0, "near_bytes": 64, "cache_bytes": 0, "unrolled_steps": 1},
    "prefill": {
        "chunk_tokens": 48, "token_tile": 2, "row_tiles": 3, "block_tokens": 16, "unrolled_quads": 3,
        "unrolled_tokens": 16,
    },
}  # fmt: skip
WIDE = {
    "decode": {"far_bytes": 65536, "near_bytes": 0, "cache_bytes": 64, "unrolled_steps": 64},
    "prefill": {
        "chunk_tokens": 20, "token_tile": 4, "row_tiles": 4, "block_tokens": 1024, "unrolled_quads": 16,
        "unrolled_tokens": 1,
    },
}  # fmt: skip


def instructionsHere():
    """The best this machine has, as the shipped tables name it."""
    said = runGood("tbqc", "--print-targets").stdout
    needed = set(said.split("needs of a native artifact:")[1].split())
    for name, feature in {"amx": "amx-int8", "vnni": "avx512vnni", "avx2": "avx2", "dotprod": "dotprod"}.items():
        if feature in needed:
            return name
    return "plain"


@pytest.mark.parametrize("spec", ["ternary:g64", "binary:g64,salient=0.1"])
@pytest.mark.parametrize("changes", [ODD, WIDE], ids=["odd", "wide"])
def test_same_bits(spec, changes, model_directory, compile_model, logits_of, tmp_path):
    """Whatever a table says, and whichever instructions."""
    directory = model_directory("tinystories")
    flags = (f"--quantize={spec}", "--embedding=int8:g64", "--activations=i8")
    ids = windowsOf("tinystories", directory)[0][:70]
    expected = logits_of(compile_model(directory, *flags), ids).tobytes()
    here = instructionsHere()
    for name in {here, "vnni" if here == "amx" else here}:
        table = json.loads((TABLES / f"{name}.json").read_text())
        for section, numbers in changes.items():
            table[section] |= numbers
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(table))
        artifact = compile_model(directory, *flags, f"--tuning={path}")
        assert logits_of(artifact, ids, workers=2).tobytes() == expected, name
