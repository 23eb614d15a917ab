"""A disk of a few megabytes, for those who want it full: a file system in memory.

Mounting takes a privilege that not every machine gives; where it is missing, the test that asks for it is
skipped.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount an empty disk of that size at this folder, which everybody may write to."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={megabytes}m,mode=777"
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        pytest.skip("this machine has no mount")
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", options, "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine lets nobody here mount a disk")
    try:
        yield folder
    finally:
        # A server that has just been told to end may hold a file for a moment.
        subprocess.run([umount, "-l", folder], check=True)


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
