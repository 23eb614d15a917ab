"""No input ends in a traceback: every command, with nothing, with half, with too much and with nonsense."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import click
import pytest

from tests.cli.running import Ran, call
from tests.fleet import Fleet
from worker.cli import siem
from worker.settings import Settings

pytestmark = pytest.mark.slow

#: With valid input these run until they are ended, so they are given none.
_ENDLESS = frozenset({("up",), ("route",), ("record",), ("api",)})
_WATCHES = frozenset({"watched", "wait"})
#: What is typed as the value of an argument or option.
_NONSENSE = (
    "",
    "-",
    "0",
    "-1",
    "x" * 5000,
    "\udcff",
    "9" * 20,
    "\u202e\x1b[31m",
    "nobody",
    "a=b",
    "A: b",
    "known",
)
#: What each command needs so that a single further option decides.
_NEEDED: dict[tuple[str, ...], tuple[str, ...]] = {
    ("integrations", "create"): (
        "--name=new",
        "--url=https://siem.example.com/services/collector",
        "--token=t",
    ),
    ("integrations", "update"): ("known", "--url=https://siem.example.com/services/collector"),
    ("db", "downgrade"): ("--dry-run", "0001"),
}
_CODES = frozenset({0, 1, 2, 3, 4})


def _commands(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        elif command is not None:
            yield (*path, name), command


_ALL = dict(_commands(siem))


def _cases(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[str, ...]]:
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    options = [one for one in command.params if isinstance(one, click.Option) and one.name not in _WATCHES]
    needed = _NEEDED.get(path, ("known",) * len(arguments))
    yield ("--no-such-option",)
    if path in _ENDLESS:
        yield ("too", "much")
        return
    yield ()
    yield (*needed, "too", "much", "of", "it")
    for value in _NONSENSE:
        for place in range(len(arguments)):
            yield (*("known" for _ in range(place)), value)
    for left_out in range(len(needed)):
        yield (*needed[:left_out], *needed[left_out + 1 :])
    yield (*needed, *(one.opts[-1] for one in options if one.is_flag))
    for option in options:
        yield (*needed, option.opts[-1])
        if not option.is_flag:
            yield from ((*needed, f"{option.opts[-1]}={value}") for value in _NONSENSE)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Give a fleet without processes: the commands change what is in it as they like."""
    with Fleet(tmp_path_factory.mktemp("any-input")) as fleet:
        yield fleet


@pytest.fixture
def known(fleet: Fleet) -> Fleet:
    """See to it that an integration named `known` is there."""
    if "known" not in {one.name for one in fleet.store.list()}:
        call(fleet.environment, "integrations", "create", "--name=known", "--url=syslog://127.0.0.1:9")
    return fleet


def _ends_in_words(ran: Ran, typed: tuple[str, ...]) -> None:
    assert ran.code in _CODES, (typed, ran)
    assert "Traceback" not in ran.err, (typed, ran)
    if ran.code == 2:
        assert ran.err.strip(), typed


def _typed(environment: dict[str, str], *arguments: str) -> Ran:
    with patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{}\n[1]\nx\n\xff\n"))):
        return call(environment, *arguments)


@pytest.mark.parametrize("path", _ALL, ids=" ".join)
def test_no_command_line_ends_in_a_traceback(known: Fleet, path: tuple[str, ...]) -> None:
    """Nothing, each part of what is needed, too much, and each option with nonsense."""
    for case in dict.fromkeys(_cases(path, _ALL[path])):
        _ends_in_words(_typed(known.environment, *path, *case), (*path, *case))


@pytest.mark.parametrize("path", [path for path in _ALL if path not in _ENDLESS], ids=" ".join)
def test_nothing_that_is_missing_ends_in_a_traceback(tmp_path: Path, path: tuple[str, ...]) -> None:
    """Neither a data directory with nothing in it, nor a server that is not there."""
    for environment in (
        {"SIEM_DATA_DIR": str(tmp_path)},
        {"SIEM_DATA_DIR": str(tmp_path), "SIEM_REDIS_URL": "redis://127.0.0.1:1/0"},
        {"SIEM_DATA_DIR": "/proc/none", "SIEM_DATABASE_URL": "nonsense"},
    ):
        for case in ((), _NEEDED.get(path, ("known",))):
            _ends_in_words(_typed(environment, *path, *case), (*path, *case))


@pytest.mark.parametrize("field", Settings.model_fields)
def test_no_setting_ends_in_a_traceback(known: Fleet, field: str) -> None:
    """A setting is read by every command: `siem status` stands for all."""
    for value in _NONSENSE:
        changed = {**known.environment, f"SIEM_{field.upper()}": value}
        _ends_in_words(_typed(changed, "status"), (field, value))
