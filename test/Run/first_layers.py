# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The first layers of a model, as a checkpoint of their own: its shapes and its weights, less depth.

Input:  a float checkpoint's directory, the one to make, and how many layers it keeps.
Output: that directory, with embedding, final norm and head as they are; weights in one file.
"""

import json
import re
import shutil

from safetensors.torch import save_file

import reference


def cut(source, directory, count):
    directory.mkdir()
    for path in source.glob("*.json"):
        shutil.copy(path, directory)
    config = json.loads((source / "config.json").read_text())
    config["num_hidden_layers"] = count
    (directory / "config.json").write_text(json.dumps(config))
    tensors = {}
    for name, tensor in reference.readTensors(source).items():
        layer = re.match(r"model\.layers\.(\d+)\.", name)
        if not layer or int(layer[1]) < count:
            tensors[name] = tensor
    save_file(tensors, directory / "model.safetensors")
