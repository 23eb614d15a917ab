"""Tries the mutants: each in a copy of the checkout, against the tests that should notice it.

Prints a line for each as it ends, and a table of the areas. Exit status 0 if every mutant was noticed, or is
explained; 1 if one survived, or one that is explained was noticed; 2 if nothing can be said: a mutant no
longer applies, does not even load, or its tests fail without it.
"""

import argparse
import compileall
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from tests.mutants.catalogue import TOP, Mutant, StaleMutant, mutants

#: How long the tests of one mutant may take, in seconds: a break may well make an endless loop.
PATIENCE = 300.0
#: Of the two kinds of servers that tests ask for, one is enough here.
_CHOICE = ("-k", "not redis-6.2")
#: To load all plugins takes as long as most tests.
_PLUGINS = ("-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin", "-p", "no:cacheprovider")
_QUICKLY = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}
_TESTS_FAILED, _NOTHING_FAILED, _TIMED_OUT = "1", "0", "timeout"
_FIRST_FAILURE = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


class Fate(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    TIMED_OUT = "timed out"
    SURVIVED = "SURVIVED"
    EXPLAINED = "explained"
    NOTICED = "NOTICED although it is explained"
    BROKEN = "BROKEN"


_WELL = {Fate.KILLED, Fate.TIMED_OUT, Fate.EXPLAINED}


@dataclass(frozen=True, slots=True)
class Trial:
    """How the tests of a mutant ended: its fate, which of them noticed it first, and the seconds it took."""

    mutant: Mutant
    fate: Fate
    noticed_by: str
    seconds: float

    def __str__(self) -> str:
        """Return its line."""
        words = self.noticed_by or (self.mutant.explained if self.fate is Fate.EXPLAINED else "")
        subject = f"{self.mutant.name}: {self.mutant.breaks}"
        return f"{self.fate:9}  {self.seconds:5.1f} s  {subject}  {words}".rstrip()


class Copy:
    """A copy of the checkout, and the process that tests it; used by one thread at a time."""

    def __init__(self, folder: Path) -> None:
        """Start the process. Without bytecode: two mutants of a file may have its size, within a second."""
        self.folder = folder
        self._output = folder / "output-of-the-tests"
        self._zygote = subprocess.Popen(
            [sys.executable, TOP / "tests" / "mutants" / "zygote.py"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), **_QUICKLY},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        """End the process at the end of a `with`."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._zygote.communicate()

    def test(self, tests: Sequence[str]) -> tuple[str, str]:
        """Run these tests up to the first that fails; return the exit status of pytest, and what it said."""
        arguments = ["-q", "-x", *_PLUGINS, *_CHOICE, *tests]
        wanted = {"arguments": arguments, "output": str(self._output), "seconds": PATIENCE}
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.write(f"{json.dumps(wanted)}\n")
        self._zygote.stdin.flush()
        status = self._zygote.stdout.readline().strip()
        return status, self._output.read_text(errors="replace")


Copies = queue.SimpleQueue[Copy]


def main() -> None:
    """Run as the arguments say, and exit with what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", help="mutants or areas (default: all)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at once")
    parser.add_argument("--list", action="store_true", help="print the mutants, and try none")
    given = parser.parse_args()
    chosen = _chosen(given.names)
    if given.list:
        for mutant in chosen:
            _say(f"{mutant.area}: {mutant.name}: {mutant.breaks}")
        return
    sys.exit(_try_all(chosen, max(1, given.jobs)))


def _chosen(names: Sequence[str]) -> list[Mutant]:
    known = mutants()
    unknown = set(names) - {one.name for one in known} - {one.area for one in known}
    if unknown:
        _say(f"there is no mutant and no area {', '.join(sorted(unknown))}: see --list")
        sys.exit(2)
    return [one for one in known if not names or {one.name, one.area} & set(names)]


def _try_all(chosen: Sequence[Mutant], jobs: int) -> int:
    try:
        for mutant in chosen:
            mutant.applied((TOP / mutant.file).read_text())
    except StaleMutant as error:
        _say(f"STALE  {error}")
        return 2
    with tempfile.TemporaryDirectory(prefix="siem-mutants-") as name:
        first = _copy(Path(name) / "0")
        others = [Path(shutil.copytree(first, Path(name) / str(number))) for number in range(1, jobs)]
        copies: Copies = queue.SimpleQueue()
        with ExitStack() as ending:
            for folder in (first, *others):
                copies.put(ending.enter_context(Copy(folder)))
            pool = ending.enter_context(ThreadPoolExecutor(jobs))
            if not _passes_unbroken(pool, copies, chosen):
                return 2
            trials = [
                _told(event_step) for event_step in pool.map(lambda mutant: _try(copies, mutant), chosen)
            ]
    return _conclude(trials)


def _copy(to: Path) -> Path:
    """Copy what git knows of the checkout, changes and new files included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - git is found as everywhere
        cwd=TOP,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (source := TOP / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, to / name)
    # Nothing is written while mutants are tried, and to compile all of it takes longer than most tests.
    compileall.compile_dir(to, quiet=2, workers=0)
    return to


def _passes_unbroken(pool: ThreadPoolExecutor, copies: "Copies", chosen: Sequence[Mutant]) -> bool:
    """Run all of their tests without a break: what fails then would prove nothing."""

    def run(test: str) -> str:
        copy = copies.get()
        try:
            status, said = copy.test([test])
        finally:
            copies.put(copy)
        return (
            "" if status == _NOTHING_FAILED else f"{said}\n{test} fails without any mutant: it proves nothing"
        )

    failed = list(filter(None, pool.map(run, sorted({test for one in chosen for test in one.tests}))))
    for words in failed:
        _say(words)
    return not failed


def _try(copies: "Copies", mutant: Mutant) -> Trial:
    copy, began = copies.get(), time.monotonic()
    path = copy.folder / mutant.file
    sound = path.read_text()
    try:
        path.write_text(mutant.applied(sound))
        fate, noticed_by = _fate(copy, mutant)
    finally:
        path.write_text(sound)
        copies.put(copy)
    return Trial(mutant, fate, noticed_by, time.monotonic() - began)


def _fate(copy: Copy, mutant: Mutant) -> tuple[Fate, str]:
    status, said = copy.test(mutant.tests)
    if status == _TIMED_OUT:
        return Fate.TIMED_OUT, ""
    if status == _NOTHING_FAILED:
        return (Fate.EXPLAINED if mutant.explained else Fate.SURVIVED), ""
    if status != _TESTS_FAILED:
        return Fate.BROKEN, said[-2000:]
    found = _FIRST_FAILURE.search(said)
    return (Fate.NOTICED if mutant.explained else Fate.KILLED), found[1] if found else ""


def _told(event_step: Trial) -> Trial:
    _say(str(event_step))
    return event_step


def _conclude(trials: Sequence[Trial]) -> int:
    counts = Counter((event_step.mutant.area, event_step.fate) for event_step in trials)
    _say("")
    for area in sorted({event_step.mutant.area for event_step in trials}):
        replay_result = [
            f"{counts[area, fate]} {fate.partition(' although')[0]}" for fate in Fate if counts[area, fate]
        ]
        _say(f"{area:12}  {', '.join(replay_result)}")
    if any(event_step.fate is Fate.BROKEN for event_step in trials):
        return 2
    return 0 if all(event_step.fate in _WELL for event_step in trials) else 1


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
