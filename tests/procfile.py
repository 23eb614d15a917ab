"""The commands of the Procfile, as operators run them: tests start these, with the flags that stand there."""

import shlex
import sys
from pathlib import Path

from honcho.environ import parse_procfile

import worker
from worker.broker.alive import worker_role
from worker.model.destinations import DESTINATION_TYPES

#: One worker for all types of destination: the Procfile's line of one type, with the queues of all.
WORKER = "worker"

_BIN = Path(sys.executable).parent
_PATH = Path(worker.__file__).parents[1] / "Procfile"


def lines() -> dict[str, str]:
    """Return the command line of each process, by its name."""
    found: dict[str, str] = parse_procfile(_PATH.read_text()).processes
    return found


def commands() -> dict[str, list[str]]:
    """Return program and arguments of each process, by its name, and those of WORKER.

    Fails if the lines of two workers differ by more than their queue: WORKER would be none of them.
    """
    found = {name: _arguments(line) for name, line in lines().items()}
    joined = [_with_all_queues(kind, found[worker_role(kind)]) for kind in DESTINATION_TYPES]
    assert all(one == joined[0] for one in joined), "the Procfile's workers differ by more than their queue"
    return {**found, WORKER: joined[0]}


def _arguments(line: str) -> list[str]:
    program, *arguments = shlex.split(line)
    return [str(_BIN / program), *arguments]


def _with_all_queues(kind: str, command: list[str]) -> list[str]:
    place = command.index("-Q") + 1
    assert command[place] == kind, f"{worker_role(kind)} consumes {command[place]}"
    return [*command[:place], ",".join(DESTINATION_TYPES), *command[place + 1 :]]
