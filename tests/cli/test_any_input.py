"""No input ends in a traceback: every command, with nothing, with half, with too much and with nonsense."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.cli.running import call
from tests.fleet import Fleet
from worker.cli import siem
from worker.settings import Settings

#: Thousands of command lines.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: With valid input these run until they are ended, so they are given none.
_ENDLESS = frozenset({("up",), ("route",), ("record",), ("api",), ("flower",)})
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


def create_known(fleet: Fleet) -> None:
    """Create an integration named `known`, unless it is there."""
    if "known" not in {one.name for one in fleet.store.list()}:
        call(fleet.environment, "integrations", "create", "--name=known", "--url=syslog://127.0.0.1:9")


def _require_words(environment: dict[str, str], *typed: str, **setting: str) -> None:
    ran = call(environment | setting, *typed, stdin=b"{}\n[1]\nx\n\xff\n")
    assert ran.code in _CODES, (typed, setting, ran)
    assert "Traceback" not in ran.err, (typed, setting, ran)
    if ran.code == 2:
        assert ran.err.strip(), (typed, setting)


def test_no_command_line_ends_in_a_traceback(fleet: Fleet) -> None:
    """Nothing, each part of what is needed, too much, and each option with nonsense."""
    for path, command in _ALL.items():
        create_known(fleet)
        for case in dict.fromkeys(_cases(path, command)):
            _require_words(fleet.environment, *path, *case)


def test_nothing_that_is_missing_ends_in_a_traceback(tmp_path: Path) -> None:
    """Neither a data directory with nothing in it, nor a server that is not there."""
    for environment in (
        {"SIEM_DATA_DIR": str(tmp_path)},
        {"SIEM_DATA_DIR": str(tmp_path), "SIEM_REDIS_URL": "redis://127.0.0.1:1/0"},
        {"SIEM_DATA_DIR": "/proc/none", "SIEM_DATABASE_URL": "nonsense"},
    ):
        for path in _ALL.keys() - _ENDLESS:
            for case in ((), _NEEDED.get(path, ("known",))):
                _require_words(environment, *path, *case)


def test_no_setting_ends_in_a_traceback(fleet: Fleet) -> None:
    """A setting is read by every command: `siem status` stands for all."""
    create_known(fleet)
    for field in Settings.model_fields:
        for value in _NONSENSE:
            _require_words(fleet.environment, "status", **{f"SIEM_{field.upper()}": value})
