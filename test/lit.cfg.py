# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The compiler's lit tests: one folder a stage, one file a pass."""
import os

import lit.formats
from lit.llvm import llvm_config

config.name = "TBQ"
config.test_format = lit.formats.ShTest(not llvm_config.use_lit_shell)
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs", "unit", "Run", "fuzz"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = config.tbq_obj_root + "/test"
llvm_config.with_environment("PATH", config.tbq_obj_root + "/bin", append_path=True)
llvm_config.with_environment("PATH", config.llvm_tools_dir, append_path=True)
llvm_config.use_default_substitutions()
# For tests that set a PATH of their own.
config.substitutions.append(("%bin", config.tbq_obj_root + "/bin"))
