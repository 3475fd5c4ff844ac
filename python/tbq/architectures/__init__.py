# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What differs between the architectures that students can have.

    base    what an architecture must say
    llama   LlamaForCausalLM
    opt     OPTForCausalLM

A further one is a file here, with a row in ARCHITECTURES.
"""

from tbq.architectures.base import Architecture, Positions, Sizes
from tbq.architectures.llama import Llama
from tbq.architectures.opt import Opt

__all__ = ["ARCHITECTURES", "Architecture", "Positions", "Sizes", "TABLES",
           "architecture_of"]

ARCHITECTURES: dict[str, type[Architecture]] = {"llama": Llama, "opt": Opt}
# Embeddings and heads of all of them, by name.
TABLES = tuple(dict.fromkeys(name for architecture in ARCHITECTURES.values()
                             for name in architecture.TABLES))


def architecture_of(model_type: object) -> type[Architecture]:
    """ValueError, in one line, if it is none of ARCHITECTURES."""
    if model_type not in ARCHITECTURES:
        raise ValueError(f"{model_type!r} is not supported (supported: "
                         f"{', '.join(ARCHITECTURES)})")
    return ARCHITECTURES[model_type]
