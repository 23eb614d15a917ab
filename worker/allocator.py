"""Keeps freed memory for the next step, where glibc would give it back to the kernel at once.

A step of a router, a worker or a recorder takes some megabytes in blocks of some hundred kilobytes, and frees
all of them at its end. By itself glibc then keeps twice its largest block (mallopt(3), M_TRIM_THRESHOLD), so
that the next step has nearly every page faulted in again: a fifth of what a router costs.

Threads share four heaps at the most, so that a process keeps 64 MB at the most. By itself glibc makes eight
for each core, and each would keep 16 MB; threads of Python take turns anyway.
"""

import ctypes
from contextlib import suppress

#: Bytes that the heap of a process, or of a thread, keeps at its end; blocks of more than the second are
#: given back when they are freed. By itself glibc goes as far as 64 and 32 MiB, as blocks of that size come.
KEPT, LARGEST = 16 << 20, 8 << 20
#: Heaps of a process at the most.
HEAPS = 4
#: The first two for a program that is started with it in its environment.
ENVIRONMENT = {"MALLOC_TRIM_THRESHOLD_": str(KEPT), "MALLOC_MMAP_THRESHOLD_": str(LARGEST)}
#: As malloc.h of glibc has them.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def keep_freed_memory() -> None:
    """Have this process keep freed memory; call it before it starts threads. Does nothing without glibc."""
    with suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM_THRESHOLD, KEPT)
        libc.mallopt(_MMAP_THRESHOLD, LARGEST)
        libc.mallopt(_ARENA_MAX, HEAPS)
