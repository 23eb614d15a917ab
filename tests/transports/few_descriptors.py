"""A process that has opened all the files that it may, but for a few."""

import gc
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: Of this process, at most, while they are few; and none but those that a process begins with.
_MOST, _FIRST = 400, 3


@contextmanager
def few_descriptors(left: int) -> Iterator[None]:
    """Leave so many descriptors within the block; with none, whatever another thread closes meanwhile."""
    gc.collect()  # what is closed meanwhile would be one more
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST, hard))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(1))
        for _ in range(left):
            os.close(taken.pop())
        if not left:
            resource.setrlimit(resource.RLIMIT_NOFILE, (_FIRST, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)
