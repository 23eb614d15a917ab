"""What `siem up` prints of its processes, for people and as JSON."""

import logging

import pytest

from tests.logged import fields_of
from worker.model.log_events import UP_OUTPUT
from worker.up.console import Console

RECORD = b'{"event":"process.started","message":"router started"}\n'


def test_lines_for_people_have_the_name_of_their_process(capsys: pytest.CaptureFixture[str]) -> None:
    """As honcho prints them; what is not printable is a code."""
    console = Console(["router"], quiet=False)
    console.show("router", b"started \x1b[2J\n")
    console.say("Ready.")

    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("started \\x1b[2J")
    assert "router" in first
    assert second.endswith("| Ready.")


def test_with_json_every_line_is_an_object(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A record is printed as it came, without a prefix; what is no record is logged as one."""
    caplog.set_level(logging.INFO)
    console = Console(["router"], quiet=False, as_json=True)
    console.show("router", RECORD)
    console.show("router", b"Error: SIEM_LEASE is wrong\n")
    console.show("router", b"\n")
    console.say("Ready.")
    console.complain("router stopped (exit 2): ending everything else")

    assert capsys.readouterr().out.encode() == RECORD
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "ERROR"]
    assert fields_of(caplog, UP_OUTPUT) == [
        {"role": "router", "details": "Error: SIEM_LEASE is wrong"},
        {"role": "up", "details": "Ready."},
        {"role": "up", "details": "router stopped (exit 2): ending everything else"},
    ]
