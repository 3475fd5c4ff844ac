# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Trains a quantised student of a float teacher. By concept:

    options      every flag of a run, checked
    schedule     rates and weights by step
    models       the teacher and its student
    optimizer    which parameters learn how fast; clipping
    step         one step's losses and gradients
    evaluate     held-out figures
    distributed  processes: gradients averaged, or parameters sharded
    state        checkpoints of a run, and resuming from them
    log          lines, curves, progress
    export       what a run leaves: the quantised checkpoint and its record
    driver       the loop
"""
