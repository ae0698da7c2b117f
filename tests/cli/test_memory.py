import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's memory is kept")

_CLEARED = """
import resource
from looksharp.cli.memory import keep_memory
keep_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
import torch
def fill():
    for _ in range(10):
        torch.ones(16_000_000)  # 64 MB, freed at once
fill()
before = faults()
fill()
print(faults() - before)
"""


def _cleared(environment):
    done = subprocess.run([sys.executable, "-c", _CLEARED], check=True, capture_output=True, text=True, env=environment)
    return int(done.stdout)


def test_a_freed_block_is_used_again_and_not_cleared_by_the_system():
    kept = _cleared({name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")})
    given_back = _cleared({**os.environ, "MALLOC_ARENA_MAX": "2"})  # the user chooses: nothing is changed
    assert given_back > 100  # ten blocks, in pages of 4 KiB or of 2 MiB
    assert kept < given_back / 10
