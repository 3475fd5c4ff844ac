# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What NVIDIA's assembler makes of a step (`make gpu-check`). Skipped without the toolkit; needs no GPU."""

import subprocess

import pytest

from conftest import findCudaTool, runGood

# What a kernel is made for, as the GPU's assembler names it: products of a warp and of a warp group,
# copies by lanes and by the copy engine, barriers of a block's memory.
INSTRUCTIONS = {
    "sm_80": ["IMMA.16832", "HMMA.16816", "LDGSTS.E.BYPASS.128", "REDUX"],
    "sm_90a": ["IGMMA.64x64x32", "UBLKCP", "SYNCS", "HMMA.16816", "LDGSTS.E.BYPASS.128", "REDUX"],
}


@pytest.mark.skipif(not (findCudaTool("ptxas") and findCudaTool("cuobjdump")), reason="needs ptxas and cuobjdump")
@pytest.mark.parametrize("architecture", INSTRUCTIONS)
def test_machine_code(architecture, model_directory, compile_model, tmp_path):
    """The assembler keeps the instructions that the step counts on, and decode holds nothing in local memory."""
    directory = model_directory("stored-whole-stages")
    ptx, cubin = tmp_path / "step.ptx", tmp_path / "step.cubin"
    runGood("tbqc", directory, "-o", ptx, "--emit=asm", "--activations=i8", "--target=cuda",
            f"--gpu-arch={architecture}")

    def run(tool, *arguments):
        return subprocess.run([findCudaTool(tool), *arguments], capture_output=True, text=True, check=True)

    found = run("ptxas", "-v", f"-arch={architecture}", ptx, "-o", cubin).stderr
    properties = found.split("Function properties for decode")[1].split("\n")[1]
    assert properties.strip() == "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads"
    sass = run("cuobjdump", "-sass", cubin).stdout
    for instruction in INSTRUCTIONS[architecture]:
        assert instruction in sass, instruction
