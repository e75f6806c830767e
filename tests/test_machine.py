"""Freed memory is used again."""

import subprocess
import sys

import pytest

CODE = """
import resource, sys
from cellseg.machine import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
import torch
torch.set_num_threads(1)
torch.ones(1 << 24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(1 << 24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the setting is one of Linux's C library")
def test_pages_are_asked_for_once():
    def faults(mode):
        done = subprocess.run([sys.executable, "-c", CODE, mode], capture_output=True, text=True, check=True)
        return int(done.stdout)

    # 64 MiB each, above the 32 MiB up to which the library learns by itself to keep blocks.
    assert faults("keep") < 0.6 * faults("leave")


def test_other_systems_are_left_alone(monkeypatch):
    from cellseg.machine import keep_freed_memory

    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
