"""A destination that is gone: from the worker's settle over the ledger back to Redis, and the way back."""

import logging
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from cryptography.fernet import Fernet

from tests.broker.sending import POLICY, TIMING, append, claim
from tests.logged import event_names
from worker.broker import keys
from worker.broker.backlog import Backlog
from worker.broker.outcomes import Outcomes
from worker.broker.snapshot import Snapshot, publish_integrations
from worker.integrations.integration import parse_integration
from worker.ledger.deliveries import find_deliveries
from worker.ledger.engine import open_ledger
from worker.ledger.integrations import IntegrationStore
from worker.ledger.migrations.runner import upgrade_tables
from worker.ledger.recording import probe, record_entries
from worker.ledger.results import Recorded
from worker.model.batches import DeliveryAttempt
from worker.model.deliveries import DeliveryResult, Failure, Verdict
from worker.model.errors import BrokerUnavailable
from worker.model.failures import FailureCode
from worker.model.settlement import settle_results
from worker.pipeline.recorder import Recorder
from worker.vault.vault import Vault

WORDS = "HTTP 410: Gone"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[IntegrationStore]:
    """Give a store with one integration that is enabled."""
    engine = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    upgrade_tables(engine)
    store = IntegrationStore(engine, Vault([Fernet.generate_key().decode()]))
    destination = {"type": "webhook", "url": "https://endpoint.example.com/"}
    store.create(parse_integration({"id": "int_a", "name": "Hook EU", "destination": destination}))
    yield store
    engine.dispose()


class Copy:
    """The copy of the integrations in Redis, which counts how often it was brought up to date."""

    def __init__(self, client: redis.Redis, store: IntegrationStore) -> None:
        """Bring it up to date for the first time."""
        self.client = client
        self.store = store
        self.times = 0
        self.reconcile()
        self.times = 0

    def reconcile(self) -> bool:
        """Do what a recorder does."""
        self.times += 1
        return publish_integrations(self.client, self.store.records(), slots=4)

    @property
    def is_wanted(self) -> bool:
        """Whether a router collects events for the integration."""
        return Snapshot(self.client).subscriptions()["int_a"].wants("policy.deny", "default")

    @property
    def is_held(self) -> bool:
        """Whether workers leave alone what waits for it."""
        return self.client.hget(keys.state_key("int_a"), "held") == b"1"


@pytest.fixture
def copy(client: redis.Redis, store: IntegrationStore) -> Copy:
    """Give an up-to-date copy."""
    return Copy(client, store)


def recorder_of(copy: Copy, *, stumbles: bool = False) -> Recorder:
    """Make a recorder that has compared the integrations just now, so that it need not for five seconds.

    If it stumbles, its ledger fails in an unforeseen way at the first record of all.
    """
    failures = [ValueError()] if stumbles else []

    def write(*entries: Any) -> Recorded:
        if failures:
            raise failures.pop()
        return record_entries(copy.store.engine, *entries)

    outcomes = Outcomes(copy.client, "recorder-1", claim_idle=30)
    recorder = Recorder(outcomes, write, partial(probe, copy.store.engine), copy.reconcile, linger=0)
    recorder.step(threading.Event())
    copy.times = 0
    return recorder


def settle_gone(client: redis.Redis) -> None:
    """Be the worker whose destination says of the first of two events that it is gone for good."""
    append(client, "int_a", [["e1", "e2"]])
    backlog = Backlog(client, TIMING)
    batch = claim(backlog, "int_a").batch
    attempt = DeliveryAttempt(batch)
    attempt.count([0])
    gone = Failure(FailureCode.ENDPOINT_GONE, WORDS, "switch it on again once the endpoint is back", 410)
    results = [
        DeliveryResult([0], Verdict.REFUSED, 5, gone, None, 410),
        DeliveryResult([1], Verdict.RETRY, 5, gone),
    ]
    backlog.settle(batch, settle_results(attempt, results, POLICY))


def test_the_ledger_learns_and_redis_follows_at_once(copy: Copy, caplog: pytest.LogCaptureFixture) -> None:
    """One step of the recorder switches it off in the ledger and stops the routing, without waiting."""
    recorder = recorder_of(copy)
    settle_gone(copy.client)
    wanted_before, held_before = copy.is_wanted, copy.is_held
    with caplog.at_level(logging.WARNING):
        recorder.step(threading.Event())

    assert (wanted_before, held_before) == (True, True)
    assert (copy.is_wanted, copy.is_held) == (False, True)
    assert copy.times == 1
    assert copy.store.disabled_by_destination()["int_a"].reason == WORDS
    assert {row.event_id: str(row.status) for row in find_deliveries(copy.store.engine)} == {
        "e1": "dead",
        "e2": "retrying",
    }
    [line] = [entry.getMessage() for entry in caplog.records]
    assert "Hook EU" in line
    assert "`siem integrations enable int_a`" in line
    assert WORDS not in line


def test_until_the_recorder_has_seen_it_nobody_lets_go(copy: Copy) -> None:
    """A reconcile between the worker's settle and the recorder's record leaves the hold in place."""
    recorder = recorder_of(copy)
    settle_gone(copy.client)
    copy.reconcile()

    assert copy.is_held
    recorder.step(threading.Event())
    assert (copy.is_wanted, copy.is_held) == (False, True)


def test_switched_on_again_all_goes_on(copy: Copy) -> None:
    """What waited is claimed again, and new events are collected."""
    recorder = recorder_of(copy)
    settle_gone(copy.client)
    recorder.step(threading.Event())
    copy.store.set_enabled("int_a", True)
    copy.reconcile()

    assert (copy.is_wanted, copy.is_held) == (True, False)


def test_disabled_and_on_before_redis_heard_of_it(copy: Copy) -> None:
    """A person was quicker than the copy: the document is what Redis has, and the hold ends all the same."""
    settle_gone(copy.client)
    outcomes = Outcomes(copy.client, "recorder-1", claim_idle=30)
    engine = copy.store.engine
    silent = Recorder(
        outcomes, partial(record_entries, engine), partial(probe, engine), lambda: False, linger=0
    )
    for _ in range(2):
        silent.step(threading.Event())
    assert copy.store.disabled_by_destination()
    copy.store.set_enabled("int_a", True)
    copy.reconcile()

    assert (copy.is_wanted, copy.is_held) == (True, False)


def test_redis_away_at_that_moment_hears_of_it_later(
    client: redis.Redis, copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry cannot be finished: recorded again it switches nothing, but Redis is updated at once."""
    recorder = recorder_of(copy)
    settle_gone(client)
    with monkeypatch.context() as patched:
        patched.setattr(Outcomes, "finish", _refuse)
        with pytest.raises(BrokerUnavailable):
            recorder.step(threading.Event())
    assert copy.times == 0
    recorder.step(threading.Event())

    assert copy.times == 1
    assert not copy.is_wanted


def test_entry_by_entry_it_is_disabled_as_well(copy: Copy, caplog: pytest.LogCaptureFixture) -> None:
    """When entries cannot be recorded together, the one that is well has its full effect."""
    recorder = recorder_of(copy, stumbles=True)
    settle_gone(copy.client)
    recorder.step(threading.Event())

    assert (copy.times, copy.is_wanted) == (1, False)
    assert event_names(caplog) == ["recorder.batch_refused", "integration.disabled_gone"]
    assert [entry.levelname for entry in caplog.records] == ["ERROR", "WARNING"]


def _refuse(*_: object) -> None:
    raise BrokerUnavailable
