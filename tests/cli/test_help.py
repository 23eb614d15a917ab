"""The program explains itself, and at once."""

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from tests.cli.running import call, run
from worker.cli import COMMANDS, siem

#: What takes its time to import, and has no place in help.
SLOW = {"sqlalchemy", "alembic", "celery", "redis", "cryptography", "pydantic", "requests", "rich"}


def test_help_imports_nothing_slow() -> None:
    """`siem --help` answers as fast as Python starts."""
    code = "import sys, worker.cli as c; c.siem(['--help'], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    # Above the last line stands the help itself, which may name a module.
    assert SLOW & set(done.stdout.decode().splitlines()[-1].split()) == set()


def test_a_command_imports_no_sdk_of_opentelemetry() -> None:
    """redis-py would, and take a tenth of the start; whoever wants it later has it."""
    code = (
        "import sys, worker.cli as c; c.siem(['status', '--help'], standalone_mode=False);"
        "print(*sys.modules); import opentelemetry.sdk.metrics"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)

    imported = done.stdout.splitlines()[-1].split()
    assert "redis.client" in imported
    assert [name for name in imported if name.startswith("opentelemetry.sdk")] == []


def test_every_command_and_option_is_explained() -> None:
    """No command without help, no option without a sentence."""
    unexplained = [
        f"{path} {option.opts[0]}"
        for path, found in _commands()
        for option in found.params
        if isinstance(option, click.Option) and not option.help
    ]

    assert unexplained == []
    assert [path for path, found in _commands() if not found.help] == []


def test_help_needs_no_valid_setting() -> None:
    """Who set a variable wrong can still read how to set it right."""
    ran = call({"SIEM_SLOTS": "many"}, "integrations", "--help")

    assert ran.code == 0
    assert "create" in ran.out


def test_without_a_command_it_shows_help() -> None:
    """A newcomer types `siem` and sees what there is; it did nothing, and says so by its exit code."""
    ran = run({})

    assert ran.code == 2
    assert all(command.name in ran.err for command in COMMANDS)


def test_it_knows_its_version() -> None:
    """The version can be quoted in a report."""
    ran = run({}, "--version")

    assert ran.code == 0
    assert ran.out.startswith("siem, version ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], ["nonsense", "`siem --help`"]),
        (["publish"], ["FILE", "`siem publish --help`"]),
        (["publish", "no-such-file"], ["no-such-file", "does not exist"]),
        (["publish", "-", "--jason"], ["--jason"]),
        (["publish", "/"], ["directory"]),
        (["publish", "\x1b[31m"], [r"\x1b[31m"]),
    ],
)
def test_what_is_typed_wrong_is_named(arguments: list[str], words: list[str]) -> None:
    """One line tells what is wrong and where to read on; exit code 2."""
    ran = call({}, *arguments)

    assert ran.code == 2
    assert [word for word in words if word not in ran.complaint] == []


def test_what_is_required_and_missing_is_named() -> None:
    """Without anything behind it, a command that needs something names it; none goes on without."""
    needy = {
        path: needed
        for path, found in _commands()
        if (needed := [parameter for parameter in found.params if parameter.required])
    }
    assert needy
    for path, needed in needy.items():
        ran = call({}, *path.split())

        assert ran.refuses("Missing "), (path, ran)
        assert any(name in ran.err for name in (needed[0].human_readable_name, *needed[0].opts)), (path, ran)


def _commands(group: click.Group = siem, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield each command and those below it, with their paths."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{above}{name}", command
        if isinstance(command, click.Group):
            yield from _commands(command, f"{above}{name} ")
