# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A GPU that is none: the step's LLVM IR, compiled for this machine, its threads as fibers
(gpu/Emulator.cpp) that call gpu/Intrinsics.cpp, behind a driver that the runtime opens as it opens
NVIDIA's (gpu/FakeDriver.c).
"""

import re
import subprocess

from conftest import LLVM, REPOSITORY, runGood

SOURCES = REPOSITORY / "test/Run/gpu"
WARNINGS = ("-Wall", "-Wextra", "-Werror")


def buildDriver(folder, emulates):
    """The driver; one that does not emulate launches nothing."""
    library, objects = folder / "libdriver.so", [folder / "driver.o"]
    common = ("-O2", "-fPIC", *WARNINGS, "-I", REPOSITORY)
    subprocess.run([LLVM / "clang", *common, "-c", SOURCES / "FakeDriver.c", "-o", objects[0]], check=True)
    if emulates:
        objects += [SOURCES / "Emulator.cpp", SOURCES / "Intrinsics.cpp"]
    subprocess.run([LLVM / "clang++", *common, "-std=c++17", "-shared", *objects, "-o", library, "-ldl"], check=True)
    return library


def withoutCasts(text):
    """`addrspacecast (ptr X to ptr)` as X, whose parentheses may be nested."""
    word = "addrspacecast (ptr "
    while (begin := text.find(word)) >= 0:
        end, depth = begin + len(word), 1
        while depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        inner = text[begin + len(word) : end - 1].removesuffix(" to ptr")
        text = text[:begin] + inner + text[end:]
    return text


def withVectors(text):
    """Functions that give four floats as functions of a vector: only that is something of C's, too."""
    four = "{ float, float, float, float }"

    def rewrite(match):
        name, call = match.groups()
        own = f"%four.{name}"
        lines, whole = [f"{own} = {call.replace(four, '<4 x float>')}"], "poison"
        for i in range(4):
            lines.append(f"{own}.{i} = extractelement <4 x float> {own}, i32 {i}")
            to = f"%{name}" if i == 3 else f"{own}.to.{i}"
            lines.append(f"{to} = insertvalue {four} {whole}, float {own}.{i}, {i}")
            whole = to
        return "\n".join(lines)

    text = re.sub(rf"^ *%([\w.]+) = ((?:tail )?call {four} @nvvm_.*)$", rewrite, text, flags=re.M)
    return text.replace(f"declare {four} @nvvm_", "declare <4 x float> @nvvm_")


def withoutAssembly(text):
    """PTX as a call of what its first line, a comment, names: a function of the emulator, and numbers that
    come before the operands."""
    declared = {}

    def rewrite(match):
        result, name, numbers, operands = match.groups()
        declared[name] = result
        return f"call {result} (...) @{name}({', '.join(filter(None, (numbers.strip(), operands)))})"

    text = re.sub(r'call (void|i32|\{[^}]*\}) asm sideeffect "// (\w+)([^"\\]*)\\0A[^"]*", "[^"]*"\(([^)]*)\)', rewrite, text)
    return text + "".join(f"declare {result} @{name}(...)\n" for name, result in declared.items())


def forThisMachine(text):
    """The kernels as functions of any processor, NVVM's intrinsics as functions of the emulator."""
    text = re.sub(r"^target (triple|datalayout).*\n", "", text, flags=re.M)
    text = text.replace("ptx_kernel ", "").replace(" immarg", "")
    text = re.sub(r"@llvm\.nvvm\.([A-Za-z0-9_.]+)",
                  lambda match: "@nvvm_" + match.group(1).replace(".", "_"), text)
    text = re.sub(r'"(target-cpu|target-features|nvvm\.[a-z]+)"(="[^"]*")?', "", text)
    text = re.sub(r'syncscope\("[a-z]+"\) ', "", text)
    text = re.sub(r"addrspace\([0-9]\) ?", "", text)
    text = re.sub(r"= addrspacecast ptr ([@%][\w.]+) to ptr", r"= getelementptr i8, ptr \1, i64 0", text)
    # What a launch brings: as much as any kernel may ask for.
    text = re.sub(r"@tbq_shared_worker = external (local_unnamed_addr )?global \[0 x i8\]",
                  "@tbq_shared_worker = global [232448 x i8] zeroinitializer, align 128", text)
    return withoutAssembly(withVectors(withoutCasts(text)))


def compileStep(directory, flags, driver, step):
    """The kernels of what `tbqc DIRECTORY FLAGS` makes, for the driver to launch."""
    text = runGood("tbqc", directory, "-o", "-", "--emit=llvm", "-O1", *flags).stdout
    source = step.with_suffix(".ll")
    source.write_text(forThisMachine(text))
    subprocess.run([LLVM / "clang", "-O1", "-fPIC", "-shared", "-Wno-override-module", source, driver, "-o", step],
                   check=True)
