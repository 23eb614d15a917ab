"""What would be sent to a syslog receiver, shown without sending it."""

import socket

import pytest

from tests.destinations.batches import attempt_of, soon
from tests.destinations.senders import syslog_to
from tests.receivers.syslog import SyslogUdpReceiver
from worker.transports.guard import Guard


@pytest.mark.parametrize("framing", ["newline", "octet_counted"])
def test_the_preview_of_a_stream_is_what_is_sent(framing: str) -> None:
    """To the byte, frames and all."""
    attempt = attempt_of(3)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        syslog_to(f"syslog://127.0.0.1:{listener.getsockname()[1]}", framing=framing) as sender,
    ):
        preview = sender.preview(attempt.batch.events)
        sender.send(attempt, soon())
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(100_000) == preview


def test_the_preview_of_datagrams_shows_them_line_by_line() -> None:
    """The newlines between them are not sent."""
    attempt = attempt_of(3)
    with SyslogUdpReceiver() as receiver, syslog_to(receiver.url) as sender:
        preview = sender.preview(attempt.batch.events)
        sender.send(attempt, soon())

        assert receiver.wait_for(3) == preview.split(b"\n")


def test_a_preview_dials_nothing() -> None:
    """Not even where it could not be sent."""
    for scheme in ("syslog", "syslog+udp", "syslog+tls"):
        with syslog_to(f"{scheme}://no-such-host.invalid", guard=Guard([])) as sender:
            assert b"CEF:0|MITRITY|" in sender.preview(attempt_of(1).batch.events)
