# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whether the machine is ours alone while something is measured.

Output: how many processors others kept busy during a run.
Holds:  where several sessions measure on one machine, the lock file lets one in at a time.
"""

import contextlib
import fcntl
import os
import resource
import time

QUIET = 0.1  # processors that others may use


def busySeconds():
    """Of all processors since the machine started; stolen and waiting time is not work."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def childSeconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Others:
    """Processors that processes other than our children kept busy while the block ran."""

    def __enter__(self):
        self.begin = (time.monotonic(), busySeconds(), childSeconds())
        return self

    def __exit__(self, *_):
        elapsed = time.monotonic() - self.begin[0]
        foreign = busySeconds() - self.begin[1] - (childSeconds() - self.begin[2])
        self.processors = max(0.0, foreign / max(elapsed, 0.01))


def awaitQuiet(seconds):
    """Waits until others use next to nothing, `seconds` at most."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with Others() as others:
            time.sleep(0.2)
        if others.processors < QUIET:
            return


@contextlib.contextmanager
def exclusively(path):
    """Holds the lock of the file; no path, no lock."""
    if path is None:
        yield
        return
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
