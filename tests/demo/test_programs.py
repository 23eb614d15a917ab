"""What all receivers of the demonstration have in common, each started as a program."""

import signal
import socket
from pathlib import Path

import pytest

from tests.demo.running import Start, launch, starter
from worker.samples import sample_lines

PROGRAMS = {
    "splunk": ("splunk_receiver",),
    "syslog by TCP": ("syslog_receiver",),
    "syslog by UDP": ("syslog_receiver", "--udp"),
    "webhook": ("webhook_receiver",),
}
every_program = pytest.mark.parametrize(
    ("program", "options"), [(one, rest) for one, *rest in PROGRAMS.values()], ids=PROGRAMS
)
over_http = pytest.mark.parametrize("program", ["splunk_receiver", "webhook_receiver"])


@pytest.fixture
def begin(tmp_path: Path, program: str) -> Start:
    """Return what starts the program with options."""
    return starter(program, tmp_path / "port")


@every_program
def test_it_ends_cleanly_with_connections_open(begin: Start, options: list[str]) -> None:
    """On SIGTERM the program hangs up and exits with 0 and without a word."""
    with (
        begin(*options) as receiver,
        socket.create_connection(("127.0.0.1", receiver.counts_port), timeout=10) as client,
    ):
        receiver.counts()
        receiver.process.send_signal(signal.SIGTERM)
        printed = receiver.process.communicate(timeout=10)[1]

        assert client.recv(1) == b""
        assert (receiver.process.returncode, printed) == (0, "")


@every_program
def test_a_taken_port_is_explained(begin: Start, tmp_path: Path, program: str, options: list[str]) -> None:
    """The error names the option, the port and the way out; an old port file is gone."""
    stale = tmp_path / "stale"
    stale.write_text("1\n2\n")
    with (
        begin(*options) as receiver,
        launch(stale, *options, "--port", str(receiver.port), program=program) as second,
    ):
        printed = second.communicate(timeout=20)[1]

        assert second.returncode == 1
        assert f"--port: {receiver.port} is taken by another program" in printed
        assert not stale.exists()


@over_http
def test_refusing_needs_reading(tmp_path: Path, program: str) -> None:
    """Options that contradict each other are refused at once."""
    with launch(tmp_path / "port", "--count-only", "--refuse", "0.1", program=program) as process:
        printed = process.communicate(timeout=20)[1]

        assert process.returncode == 2
        assert "--refuse" in printed


@over_http
def test_a_flaky_receiver_is_busy(begin: Start, program: str) -> None:
    """With a share of 1 every request is answered 503, as Splunk does with code 9, and nothing is taken."""
    with begin("--flaky", "1") as receiver:
        answer = receiver.post(b'{"event":%b}' % next(sample_lines(1)))
        counts = receiver.counts()

        assert answer.status_code == 503
        assert program != "splunk_receiver" or answer.json()["code"] == 9
        assert counts["unavailable"] == 1
        assert counts["events"] == 0
