"""A disk of a few megabytes, for those who want it full: a file system in memory.

Mounting takes a privilege that not every machine gives, root or not. Where it is missing, tests that are
marked NEEDS_SMALL_DISK are left out, and the head of the report says so.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest

NEEDS_SMALL_DISK = pytest.mark.small_disk


@cache
def can_mount() -> bool:
    """Whether this machine lets us mount a disk."""
    with (
        tempfile.TemporaryDirectory() as folder,
        suppress(OSError, subprocess.CalledProcessError),
        small_disk(Path(folder) / "disk", 1),
    ):
        return True
    return False


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount an empty disk of that size at this folder, which everybody may write to."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={megabytes}m,mode=777"
    _run("mount", "-t", "tmpfs", "-o", options, "none", str(folder))
    try:
        yield folder
    finally:
        # A server that has just been told to end may hold a file for a moment.
        _run("umount", "-l", str(folder))


def _run(program: str, *arguments: str) -> None:
    """Run a program of the system. Raises FileNotFoundError, CalledProcessError."""
    path = shutil.which(program)
    if path is None:
        raise FileNotFoundError(program)
    subprocess.run([path, *arguments], capture_output=True, check=True)


def fill(folder: Path) -> Path:
    """Write into a file until not a byte more fits; return the file, whose removal makes room again."""
    path = folder / "filler"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        for size in (1 << 16, 1 << 9, 1):
            while _takes(descriptor, size):
                pass
    finally:
        os.close(descriptor)
    return path


def _takes(descriptor: int, size: int) -> bool:
    try:
        return os.write(descriptor, b"x" * size) == size
    except OSError:
        return False
