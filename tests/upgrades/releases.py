"""The release before this one, as it is: its code from the repository's history, its Procfile, its packages.

`previous_release` holds the commit; SIEM_UPGRADE_FROM in the environment names another that is to be tried in
its place, such as one between two releases. Its code is unpacked into a folder, and its programs run with
this checkout's virtual environment where both lock the same packages, else with one of their own.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import worker
from tests.procfile import commands

TOP = Path(worker.__file__).parents[1]
COMMIT = (
    os.environ.get("SIEM_UPGRADE_FROM") or (Path(__file__).parent / "previous_release").read_text().strip()
)
_LOCK = "deploy/requirements.lock"
_GIT, _BASH = (shutil.which(name) or name for name in ("git", "bash"))


@dataclass(frozen=True, slots=True)
class Release:
    """The code of a release, at `top`, and the folder of the programs that run it."""

    name: str
    top: Path
    programs: Path

    @property
    def version(self) -> str:
        """The version that its code says it is: that of 0.1.0 stands in pyproject.toml."""
        files = (self.top / "worker" / "__init__.py", self.top / "pyproject.toml")
        text = "\n".join(one.read_text() for one in files)
        return str(re.findall(r'^(?:__)?version(?:__)? = "([^"]+)"', text, re.MULTILINE)[0])

    @property
    def revision(self) -> str:
        """The latest step of the tables that it makes."""
        steps = (self.top / "worker" / "ledger" / "migrations" / "versions").glob("r[0-9]*.py")
        return max(path.name[1:5] for path in steps)

    @property
    def way_back(self) -> tuple[str, ...]:
        """What `siem db downgrade` of this release must be told to come back to its tables."""
        return ("--to-release", self.version) if self.version != THIS.version else (self.revision,)

    def command(self, role: str) -> list[str]:
        """Return how a process is started: its line of the release's own Procfile."""
        return commands(self.top, self.programs)[role]

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return an environment in which `worker` is this release's."""
        return {**given, "PYTHONPATH": str(self.top)}

    def siem(self, given: Mapping[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run its program `siem` to its end."""
        return subprocess.run(
            [self.programs / "siem", *arguments],
            env=self.environment(given),
            cwd=self.top,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def siem_json(self, given: Mapping[str, str], *arguments: str) -> Any:
        """Run it, and read the JSON that it prints."""
        done = self.siem(given, *arguments, "--json")
        assert done.returncode == 0, f"{self.name}: {done.stderr}"
        return json.loads(done.stdout)


THIS = Release("this", TOP, Path(sys.executable).parent)


@cache
def why_not_here() -> str | None:
    """Return why the previous release cannot be had, or None if it can. Fetches it into a shallow clone."""
    if not _git("rev-parse", "--git-dir"):
        return "not a git checkout: the code of the release before this one is not here"
    # Of a run in several processes, the first one has fetched it before it starts the others.
    may_fetch = "PYTEST_XDIST_WORKER" not in os.environ
    if _is_here() or (may_fetch and _git("fetch", "--depth", "1", "origin", COMMIT) and _is_here()):
        return None
    return f"commit {COMMIT}, the release before this one, is not in this clone and cannot be fetched"


def unpack_previous(folder: Path) -> Release:
    """Put the code of the previous release into the folder, which is empty."""
    packed = subprocess.run([_GIT, "archive", COMMIT], cwd=TOP, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    programs = THIS.programs
    if (folder / _LOCK).read_bytes() != (TOP / _LOCK).read_bytes():
        set_up = f"source deploy/venv.sh && prepare_venv {_LOCK}"
        subprocess.run([_BASH, "-euo", "pipefail", "-c", set_up], cwd=folder, check=True)
        programs = folder / ".venv" / "bin"
    return Release("previous", folder, programs)


def _is_here() -> bool:
    return _git("cat-file", "-e", f"{COMMIT}^{{commit}}")


def _git(*arguments: str) -> bool:
    """Run git; return whether it did as told. It asks nobody for a password."""
    try:
        done = subprocess.run(
            [_GIT, *arguments],
            cwd=TOP,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
            capture_output=True,
            timeout=180,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
