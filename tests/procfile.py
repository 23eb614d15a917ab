"""The commands of the Procfile, as operators run them: tests start these, with the flags that stand there."""

import shlex
import sys
from pathlib import Path

from honcho.environ import parse_procfile

import worker
from worker.integrations import destination_types
from worker.model.fleet_health import worker_role

#: One worker for all types of destination: the Procfile's line of one type, with the queues of all.
WORKER = "worker"

_BIN = Path(sys.executable).parent
_TOP = Path(worker.__file__).parents[1]


def lines(top: Path = _TOP) -> dict[str, str]:
    """Return the command line of each process, by its name, of the checkout at `top`."""
    found: dict[str, str] = parse_procfile((top / "Procfile").read_text()).processes
    return found


def commands(top: Path = _TOP, programs: Path = _BIN) -> dict[str, list[str]]:
    """Return program and arguments of each process, by its name, and those of WORKER.

    Takes the Procfile of the checkout at `top`, and programs from this folder. Fails if the lines of two
    workers differ by more than their queue: WORKER would be none of them.
    """
    found = {name: _arguments(line, programs) for name, line in lines(top).items()}
    joined = [_with_all_queues(kind, found[worker_role(kind)]) for kind in destination_types()]
    assert all(one == joined[0] for one in joined), "the Procfile's workers differ by more than their queue"
    return {**found, WORKER: joined[0]}


def _arguments(line: str, programs: Path) -> list[str]:
    program, *arguments = shlex.split(line)
    return [str(programs / program), *arguments]


def _with_all_queues(kind: str, command: list[str]) -> list[str]:
    place = command.index("-Q") + 1
    assert command[place] == kind, f"{worker_role(kind)} consumes {command[place]}"
    return [*command[:place], ",".join(destination_types()), *command[place + 1 :]]
