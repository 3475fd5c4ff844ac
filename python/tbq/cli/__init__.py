# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A file a command: add_command(commands) declares it and sets `run`."""
