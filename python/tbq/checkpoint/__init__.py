# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""TBQ's quantised checkpoint: a Hugging Face directory with packed linears.

config.json carries a `quantization_config` of quant_method "tbq";
docs/checkpoint.md says which tensors the safetensors hold. By concept:

    bits        digits to bytes and back
    linears     what a linear or embedding is, and the weight that it stands for
    settings    quantization_config: the scheme of each linear by its name
    tensors     stored tensors, checked, to linears
    files       JSON and safetensors, one file or shards
    directory   the whole: read, write, dequantise
"""

from tbq.checkpoint.bits import (pack_bits, pack_codes, pack_nibbles,
                                 unpack_bits, unpack_codes, unpack_nibbles)
from tbq.checkpoint.directory import (QuantizedCheckpoint, dequantize_directory,
                                      read_checkpoint, write_checkpoint)
from tbq.checkpoint.errors import CheckpointError
from tbq.checkpoint.files import WEIGHTS, write_json, write_tensors
from tbq.checkpoint.linears import (BinaryLinear, DualBinaryLinear, Linear,
                                    QuantizedEmbedding, Salient, TernaryLinear)

__all__ = [
    "BinaryLinear", "CheckpointError", "DualBinaryLinear", "Linear",
    "QuantizedCheckpoint", "QuantizedEmbedding", "Salient", "TernaryLinear",
    "WEIGHTS", "dequantize_directory", "pack_bits", "pack_codes",
    "pack_nibbles", "read_checkpoint", "unpack_bits", "unpack_codes",
    "unpack_nibbles", "write_checkpoint", "write_json", "write_tensors"]
