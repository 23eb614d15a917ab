"""Receivers that hang up on what they are sent: none of that counts as received, or unnoticed."""

import contextlib
import math
import ssl
import threading
from functools import partial
from typing import Any

import pytest
import trustme

from tests.fleet import wait_until
from tests.receivers.syslog import SyslogReceiver
from tests.receivers.syslog_behaviours import Behaviour, Visit, closes, first, on_cue, resets
from tests.transports.certificates import server_context
from tests.transports.syslog.streams import SOON, lines, messages, stream_to, trusting
from worker.model.deliveries import Assurance
from worker.model.errors import ClosedBehindBatch, ConnectionLost, TransportError
from worker.transports.syslog import pool as syslog_watch
from worker.transports.syslog import stream as syslog_stream
from worker.transports.syslog.connection import SyslogConnection


@pytest.fixture(autouse=True)
def _long_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer for an end that does come, however busy this machine is."""
    monkeypatch.setattr(syslog_stream, "_SHORTEST_MOMENT", SOON)
    monkeypatch.setattr(syslog_stream, "_LONGEST_MOMENT", SOON)


@pytest.fixture
def _no_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing behind the first batch of a connection."""
    monkeypatch.setattr(syslog_stream, "_SHORTEST_MOMENT", 0.001)
    monkeypatch.setattr(syslog_stream, "_LONGEST_MOMENT", 0.001)


@pytest.fixture(params=[None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["plain", "1.2", "1.3"])
def options(request: pytest.FixtureRequest, ca: trustme.CA) -> dict[str, Any]:
    """Return the options of a receiver: in plain text, and over both versions of TLS."""
    if request.param is None:
        return {}
    context = server_context(ca.issue_cert("127.0.0.1"))
    context.minimum_version = context.maximum_version = request.param
    return {"tls": context}


@pytest.mark.parametrize("confirms", [False, True], ids=["kept", "confirmed"])
def test_one_that_reads_once_and_closes_has_received_nothing(
    ca: trustme.CA, options: dict[str, Any], *, confirms: bool
) -> None:
    """It may have kept what it read, or not: no batch counts, whatever was agreed."""
    config: dict[str, Any] = {"framing": "newline", "confirm_by_shutdown": confirms}
    config |= trusting(ca) if options else {}
    with (
        SyslogReceiver(closes(1), framing="newline", **options) as receiver,
        stream_to(receiver.url, **config) as stream,
    ):
        for number in range(10):
            with pytest.raises(ConnectionLost) as failed:
                stream.send(lines(1, start=number), SOON)
            assert failed.value.tried == 1

        assert isinstance(failed.value, ClosedBehindBatch)
        assert receiver.messages == messages(10)


ENDINGS = {"closes": closes(0), "resets": resets(0)}


@pytest.mark.usefixtures("_no_moment")
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_an_end_just_behind_a_batch_that_counted_is_reported(
    ca: trustme.CA, options: dict[str, Any], ending: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without waiting for the next batch, once."""
    monkeypatch.setattr(syslog_watch, "SUSPICIOUS", SOON)
    cue = threading.Event()
    reported: list[str] = []
    config: dict[str, Any] = {"framing": "newline"} | (trusting(ca) if options else {})
    with (
        SyslogReceiver(on_cue(cue, ending), framing="newline", **options) as receiver,
        stream_to(receiver.url, **config) as stream,
    ):
        for name in ("first", "second"):
            assert stream.send(lines(1), SOON, on_end=partial(reported.append, name)) is Assurance.SENT
        receiver.wait_for(2)
        cue.set()
        wait_until(lambda: reported, "the end is reported")
        with contextlib.suppress(TransportError):
            stream.send(lines(1), SOON)

    assert reported == ["first", "second"]


@pytest.mark.usefixtures("_no_moment")
def test_the_end_of_an_older_connection_is_about_its_last_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What went before, the receiver has taken and stayed open."""
    monkeypatch.setattr(syslog_watch, "SUSPICIOUS", SOON)
    monkeypatch.setattr(SyslogConnection, "seconds_old", 2 * SOON)
    cue = threading.Event()
    reported: list[str] = []
    with SyslogReceiver(on_cue(cue, resets(0))) as receiver, stream_to(receiver.url) as stream:
        for name in ("first", "second"):
            stream.send(lines(1), SOON, on_end=partial(reported.append, name))
        receiver.wait_for(2)
        cue.set()
        wait_until(lambda: reported, "the end is reported")

    assert reported == ["second"]


@pytest.mark.usefixtures("_no_moment")
def test_an_end_that_a_batch_meets_is_about_those_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """But not about what the same sending sent before: that sees to its own parts."""
    monkeypatch.setattr(syslog_watch, "SUSPICIOUS", SOON)
    reported: list[str] = []
    mine = object()
    with SyslogReceiver(first(1, resets(3))) as receiver, stream_to(receiver.url) as stream:
        stream.send(lines(1), SOON, on_end=partial(reported.append, "earlier"), sending=object())
        stream.send(lines(1), SOON, on_end=partial(reported.append, "mine"), sending=mine)
        receiver.wait_for(2)
        monkeypatch.setattr(stream, "_moment", SOON)
        monkeypatch.setattr(stream, "_wary_until", math.inf)
        with pytest.raises(ConnectionLost):
            stream.send(lines(1), SOON, on_end=partial(reported.append, "last"), sending=mine)

    assert reported == ["earlier"]


@pytest.mark.usefixtures("_no_moment")
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_an_end_after_a_rest_is_none_of_the_batch(ending: Behaviour, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many receivers and balancers close what is idle: that repeats nothing, and alarms no person."""
    monkeypatch.setattr(syslog_watch, "SUSPICIOUS", 0.0)
    cue, reported = threading.Event(), []
    with SyslogReceiver(on_cue(cue, ending)) as receiver, stream_to(receiver.url) as stream:
        stream.send(lines(1), SOON, on_end=lambda: reported.append("reported"))
        receiver.wait_for(1)
        cue.set()
        receiver.wait_for_ends(1)
        receiver.behaviour = on_cue(threading.Event(), ending)
        assert stream.send(lines(1, start=1), SOON) is Assurance.SENT

        assert receiver.wait_for(2) == messages(2)
    assert reported == []


@pytest.mark.usefixtures("_no_moment")
def test_what_was_reported_is_watched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first such end on, the receiver is given a moment behind each batch to hang up."""
    monkeypatch.setattr(syslog_watch, "SUSPICIOUS", SOON)
    cue, reported = threading.Event(), []
    with SyslogReceiver(on_cue(cue, closes(0))) as receiver, stream_to(receiver.url) as stream:
        stream.send(lines(1), SOON, on_end=lambda: reported.append("reported"))
        receiver.wait_for(1)
        receiver.behaviour = closes(2)
        cue.set()
        wait_until(lambda: reported, "the end is reported")
        stream.send(lines(1), SOON)
        monkeypatch.setattr(stream, "_moment", SOON)
        with pytest.raises(ClosedBehindBatch):
            stream.send(lines(1), SOON)


def late(visit: Visit) -> None:
    """Read a message, keep none of it, and hang up a while later, as a busy machine does."""
    visit.read_until(1)
    visit.receiver.over.wait(0.2)
    visit.end_in_order()


def test_an_unknown_receiver_has_longer_to_hang_up(
    monkeypatch: pytest.MonkeyPatch, ca: trustme.CA, options: dict[str, Any]
) -> None:
    """Behind our own end it would look like an answer: it waits until the receiver is known."""
    monkeypatch.setattr(syslog_stream, "_SHORTEST_MOMENT", 0.001)
    monkeypatch.setattr(syslog_stream, "_CONNECTS", 0)
    config: dict[str, Any] = {"framing": "newline", "confirm_by_shutdown": True}
    config |= trusting(ca) if options else {}
    with (
        SyslogReceiver(late, framing="newline", **options) as receiver,
        stream_to(receiver.url, **config) as stream,
        pytest.raises(ClosedBehindBatch),
    ):
        stream.send(lines(1), 4 * SOON)
