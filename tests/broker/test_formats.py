"""Which forms of entries may be written: what all living processes read, unless they are held back."""

from typing import Any

import pytest
import redis

from worker.broker import formats, keys
from worker.broker.fleet import LivingProcess, ProcessReport
from worker.broker.formats import Format, FormatsNotice, KnownFormats, formats_of, hold_formats
from worker.broker.heartbeat import Heartbeat, process_facts

BOTH = [one.value for one in Format]


def process(*, facts: dict[str, Any] | None) -> LivingProcess:
    """Give a process that reports these facts; with None, one that reports nothing."""
    return LivingProcess("router", "host:1:a", None, None if facts is None else ProcessReport(facts=facts))


@pytest.mark.parametrize(
    ("facts", "known"),
    [
        ([], set()),
        ([{"formats": BOTH}], set(BOTH)),
        ([{"formats": BOTH}, {"formats": BOTH[:1]}], set(BOTH[:1])),
        ([{"formats": BOTH}, {}], set()),
        ([{"formats": BOTH}, None], set()),
        ([{"formats": BOTH}, {"formats": 7}], set()),
        ([{"formats": [*BOTH, "later", 7]}, {"formats": ["later", None]}], {"later"}),
    ],
)
def test_all_must_read_a_form(facts: list[dict[str, Any] | None], known: set[str]) -> None:
    """A process of an earlier release says nothing, and damage is as good."""
    assert formats_of([process(facts=one) for one in facts]) == known


def test_each_process_says_what_it_reads() -> None:
    """By its heartbeats."""
    assert process_facts()[formats.FACT] == list(formats.READABLE)


def test_a_writer_follows_the_fleet(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes a new form once all read it, and the earlier one as soon as one does not, or on demand."""
    now = 0.0
    monkeypatch.setattr(formats, "EVERY", 0)
    known = KnownFormats(client, lambda: now)
    notice = FormatsNotice(client)
    beat(client, monkeypatch, "router", BOTH)
    assert not known.has(Format.FRAMES)

    notice.renew()
    assert not known.has(Format.FRAMES)  # it has asked a moment ago
    now += formats.REMEMBERED
    assert known.has(Format.FRAMES)
    assert 0 < client.ttl(keys.FORMATS) <= formats.LASTS

    beat(client, monkeypatch, "worker-webhook", BOTH[1:])
    notice.renew()
    now += formats.REMEMBERED
    assert [known.has(one) for one in Format] == [False, *[True] * len(BOTH[1:])]

    hold_formats(client, held=True)
    notice.renew()
    now += formats.REMEMBERED
    assert not known.has(Format.SHARED_CHUNKS)

    hold_formats(client, held=False)
    notice.renew()
    now += formats.REMEMBERED
    assert known.has(Format.SHARED_CHUNKS)


def test_without_redis_a_writer_writes_the_earlier_form() -> None:
    """What it writes then fails or not; that is not decided here."""
    assert not KnownFormats(redis.Redis(port=1)).has(Format.FRAMES)


def beat(client: redis.Redis, monkeypatch: pytest.MonkeyPatch, role: str, reads: list[str]) -> None:
    """Give one heartbeat of a process that reads these forms."""
    monkeypatch.setattr("worker.broker.heartbeat.process_identity", lambda: f"host:{role}:1")
    monkeypatch.setattr(formats, "READABLE", tuple(map(Format, reads)))
    Heartbeat(client, role)._beat()  # noqa: SLF001 - one beat, without the thread that gives them
