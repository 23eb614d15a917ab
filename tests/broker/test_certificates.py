"""When certificates end is written once an hour at the most, and needs no room."""

import pytest
import redis

from worker.broker import certificates, keys
from worker.broker.certificates import CertificateNotes, certificate_ends


def test_the_latest_end_is_known_of_each(client: redis.Redis) -> None:
    """Also after it was renewed; and none is known of one that has no TLS any more."""
    notes = CertificateNotes(client)
    for one, ends in (("a", 100.0), ("b", 200.4), ("c", 300.0), ("a", 400.0), ("c", None), ("d", None)):
        notes.note(one, ends)

    assert certificate_ends(client) == {"a": 400, "b": 200}


def test_what_was_written_is_not_written_again_soon(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection costs nothing then; what another worker wrote is corrected later."""
    notes = CertificateNotes(client)
    notes.note("a", 100.0)
    client.hset(keys.CERTIFICATES, "a", 7)
    notes.note("a", 100.0)
    soon = certificate_ends(client)
    monkeypatch.setattr(certificates, "_BELIEVED", -1.0)
    notes.note("a", 100.0)

    assert soon == {"a": 7}
    assert certificate_ends(client) == {"a": 100}


def test_a_delivery_does_not_fail_because_redis_is_away(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written with the next connection."""

    def away(*_: object) -> None:
        raise redis.ConnectionError

    notes = CertificateNotes(client)
    with monkeypatch.context() as patched:
        patched.setattr(certificates, "ask_when_full", away)
        notes.note("a", 100.0)
    before = certificate_ends(client)
    notes.note("a", 100.0)

    assert (before, certificate_ends(client)) == ({}, {"a": 100})
