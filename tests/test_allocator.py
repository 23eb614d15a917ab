"""Freed memory is kept: page faults are counted, in a process of its own."""

import os
import subprocess
import sys

import pytest

from worker.allocator import ENVIRONMENT, HEAPS, KEPT

_STEPS = """
import resource, sys
from worker.allocator import keep_freed_memory

def step():
    blocks = [bytes(360_000) for _ in range(20)]

if sys.argv[1:]:
    keep_freed_memory()
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
_THREADS = """
import os, sys, threading
from worker.allocator import keep_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def steps():
    for _ in range(5):
        together.wait()
        blocks = [bytes(360_000) for _ in range(20)]
        together.wait()
        del blocks

if sys.argv[1:]:
    keep_freed_memory()
before, together = resident(), threading.Barrier(32)
threads = [threading.Thread(target=steps) for _ in range(32)]
for one in threads:
    one.start()
for one in threads:
    one.join()
print(resident() - before)
"""
#: Ten steps of 7 MB have 17 000 pages.
_FEW = 2_000


def _faults(*arguments: str, environment: dict[str, str] | None = None) -> int:
    return _printed(_STEPS, *arguments, environment=environment)


def _printed(program: str, *arguments: str, environment: dict[str, str] | None = None) -> int:
    given = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(
        command, env=given | (environment or {}), capture_output=True, check=True, text=True
    )
    return int(done.stdout)


@pytest.fixture(scope="module", autouse=True)
def _glibc() -> None:
    """Elsewhere nothing is done."""
    if _faults() < _FEW:
        pytest.skip("this allocator keeps freed memory by itself")


def test_what_a_step_has_freed_the_next_one_has() -> None:
    """Pages are faulted in once, not in each step."""
    assert _faults("keep") < _FEW


def test_many_threads_keep_no_more_than_a_few_heaps() -> None:
    """Each of 32 has freed 7 MB, several times."""
    assert _printed(_THREADS, "keep") < HEAPS * KEPT


def test_a_program_can_be_started_so() -> None:
    """As the embedded server is."""
    assert _faults(environment=ENVIRONMENT) < _FEW
