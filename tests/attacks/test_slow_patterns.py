"""What others send must not hold an interpreter: a pattern's cost grows as its text does, and no faster."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.model.test_events import encoded, spliced
from worker.model.errors import InvalidEvent
from worker.model.event_salvage import salvage
from worker.model.events import MAX_EVENT_BYTES, accept_event
from worker.model.flows import flow_of
from worker.model.printable import in_one_line

#: Seconds of computing, not of the clock: a deadline that a busy machine does not bring nearer.
_DEADLINE = 3.0
_NEARLY_ALL = MAX_EVENT_BYTES - 1000


@contextmanager
def deadline() -> Iterator[None]:
    """Raise TimeoutError within what computes longer; `re` looks for signals while it searches."""

    def end(*_: object) -> None:
        raise TimeoutError(f"more than {_DEADLINE} s of computing")

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, _DEADLINE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize(
    "raw",
    [
        spliced(r'"x":"\u0041' + r"\"" * (_NEARLY_ALL // 2))[:-1],
        spliced('"x":"' + r"\ud83d\"" * (_NEARLY_ALL // 8))[:-1],
        encoded(type=" - at `$." + "a" * _NEARLY_ALL),
        encoded(type=" - at `$.a." + "a" * _NEARLY_ALL),
    ],
    ids=["unended", "unended with halves", "place", "inner place"],
)
def test_no_event_takes_long_to_refuse(raw: bytes) -> None:
    """Also while its tenant is looked for; every other event of the process waits meanwhile."""
    with deadline(), pytest.raises(InvalidEvent):
        accept_event(raw)
    with deadline():
        salvage(raw)
        flow_of(raw)


def test_no_text_takes_long_to_clean() -> None:
    """Neither one full of blanks, which a reader puts into a path, nor one full of line breaks."""
    with deadline():
        assert in_one_line("x" + "\t" * _NEARLY_ALL + "x") == "x" + r"\t" * _NEARLY_ALL + "x"
        assert in_one_line("x" + " \n\t" * _NEARLY_ALL + "x") == "x x"
