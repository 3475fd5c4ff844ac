# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""RELIABILITY R8: what a model directory names outside itself is not opened, by the system's record."""

import json
import os
import re
import shutil
import subprocess

import pytest

from conftest import BUILD, runGood

NAME = "tied-f32"

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is absent")


def openedFiles(directory, tmp_path):
    """The compiler's exit code, and the paths it opened with success, resolved."""
    log = tmp_path / "opened.txt"
    result = subprocess.run(
        ["strace", "-f", "-y", "-e", "trace=open,openat,openat2", "-o", log, BUILD / "bin/tbqc",
         directory, "--stop-after=import", "--emit=mlir", "-o", tmp_path / "out.mlir"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return result.returncode, re.findall(r"= \d+<([^>]*)>", log.read_text())


def attacks(model, secret):
    """Ways to have a directory speak of the file `secret`; each changes `model`."""
    single = model / "model.safetensors"
    inside = model / "inside.safetensors"

    def shard(name):
        def attack():
            single.rename(inside)
            header = inside.read_bytes()
            size = int.from_bytes(header[:8], "little")
            names = [key for key in json.loads(header[8 : 8 + size]) if key != "__metadata__"]
            index = {"weight_map": {key: name for key in names}}
            (model / "model.safetensors.index.json").write_text(json.dumps(index))

        return attack

    def link(name, target):
        def attack():
            (model / name).unlink(missing_ok=True)
            (model / name).symlink_to(target)

        return attack

    relative = os.path.relpath(secret, model)
    for name in (str(secret), relative, f"./{relative}", f"inside.safetensors/../{relative}", f"/{secret}",
                 f"/proc/self/cwd/{relative}", f"%2e%2e/{secret.name}", f"file://{secret}",
                 f"inside.safetensors\0/../{relative}", relative.replace("/", "\\")):  # fmt: skip
        yield f"shard {name!r}", shard(name)
    for name in ("model.safetensors", "config.json", "generation_config.json", "tokenizer.json"):
        yield f"link {name}", link(name, secret)
        yield f"relative link {name}", link(name, relative)
    yield "link into blobs", link("model.safetensors", "../../blobs/secret")


def test_nothing_outside_is_opened(model_directory, tmp_path):
    secret = tmp_path / "elsewhere" / "secret.safetensors"
    secret.parent.mkdir()
    shutil.copy(model_directory(NAME) / "model.safetensors", secret)
    count = len(list(attacks(tmp_path, secret)))
    assert count >= 14
    for number in range(count):
        model = tmp_path / f"model{number}"
        shutil.copytree(model_directory(NAME), model)
        name, attack = list(attacks(model, secret))[number]
        attack()
        code, opened = openedFiles(model, tmp_path)
        # The tokenizer and the defaults of generation are not needed for import.
        assert code == 1 or "tokenizer" in name, name
        assert any(path.startswith(str(model)) for path in opened), name
        assert not any("secret" in path for path in opened), (name, opened)


def test_hub_cache_loads(model_directory, tmp_path):
    """The layout of a Hugging Face cache: links into its own blobs."""
    repository = tmp_path / "models--org--name"
    snapshot = repository / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for number, file in enumerate(sorted(model_directory(NAME).iterdir())):
        shutil.copy(file, repository / "blobs" / f"{number:040x}")
        (snapshot / file.name).symlink_to(f"../../blobs/{number:040x}")
    code, opened = openedFiles(snapshot, tmp_path)
    assert code == 0
    assert any(path.startswith(str(repository / "blobs")) for path in opened)
    for suffix, directory in (("hub", snapshot), ("plain", model_directory(NAME))):
        runGood("tbqc", directory, "-o", tmp_path / f"{suffix}.so")
