"""Every change of state is sent once, in its time, on `siem:health` and to the webhook."""

import itertools
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.fleet import wait_until
from tests.logged import fields_of
from tests.receivers.scripts import after_interim
from tests.receivers.webhook import WebhookReceiver, answers, takes
from worker.background.health_monitor import HealthMonitor, Post, StateDebouncer, webhook
from worker.broker import keys
from worker.broker.health_events import HealthEvents
from worker.broker.locks import LeaderLock
from worker.model.health import Breaker, IntegrationHealth, State
from worker.model.log_events import HEALTH_WEBHOOK_FAILED, INTEGRATION_HEALTH_CHANGED
from worker.settings import Settings

STEADY = 15.0
_names = itertools.count()


#: All that there is to say of an integration beside its state.
_NOTHING: dict[str, Any] = dict.fromkeys(
    (
        "last_success_ms",
        "last_error",
        "error_rate",
        "retry_rate",
        "latency",
        "oldest_event_ms",
        "waiting_seconds",
    )
) | {"backlog_events": 0, "parked_events": 0}


class Clock:
    """A clock that a test sets forward."""

    def __init__(self) -> None:
        """Begin at some moment."""
        self.now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


class World:
    """Integrations that fare as the test says, a clock, and everything that was announced."""

    def __init__(self, client: redis.Redis) -> None:
        """Listen, and begin without integrations."""
        self.client = client
        self.clock = Clock()
        self.states: dict[str, tuple[State, bool]] = {}
        self._ear: Any = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        self._ear.subscribe(keys.HEALTH)
        self._ear.get_message(timeout=5)

    def watch(self, post: Post | None = None, turn: LeaderLock | None = None) -> HealthMonitor:
        """Make a watch, as another process would, whose turn it is."""
        turn = turn or LeaderLock(self.client, f"turn-{next(_names)}", 60)
        steadiness = StateDebouncer(STEADY, self.clock)
        return HealthMonitor(self.judge_all, HealthEvents(self.client), turn, steadiness, post, interval=0.05)

    def judge_all(self) -> list[IntegrationHealth]:
        """Say how all fare."""
        return [
            IntegrationHealth(
                *(one, "default", f"name of {one}", "webhook", state, f"why {one} is {state}"),
                **_NOTHING,
                breaker=Breaker("http_503", 0) if breaker else None,
            )
            for one, (state, breaker) in self.states.items()
        ]

    def becomes(self, state: State, integration_id: str = "int_a", *, breaker: bool = False) -> None:
        """Let an integration fare so."""
        self.states[integration_id] = (state, breaker)

    def heard(self) -> list[dict[str, Any]]:
        """Return what was announced since this was asked last."""
        mark_sent = []
        while message := self._ear.get_message(timeout=0.05):
            mark_sent.append(json.loads(message["data"]))
        return mark_sent

    def kept(self) -> dict[str, str]:
        """Return the state of each that a late subscriber reads."""
        found: Any = self.client.hgetall(keys.HEALTH_STATES)
        return {one.decode(): json.loads(found[one])["state"] for one in found}

    def close(self) -> None:
        """Listen no more."""
        self._ear.close()


@pytest.fixture
def world(client: redis.Redis) -> Iterator[World]:
    """Give a world with one integration that is well, and known to be so."""
    made = World(client)
    made.becomes(State.HEALTHY)
    _settle(made.watch(), made)
    yield made
    made.close()


def _settle(watch: HealthMonitor, world: World) -> None:
    """Let all states have held for long enough."""
    watch.step()
    world.clock.now += STEADY
    watch.step()


def states(mark_sent: list[dict[str, Any]]) -> list[tuple[str, str | None, str]]:
    """Return whose state changed, from what, to what."""
    return [(one["integration_id"], one["previous"], one["state"]) for one in mark_sent]


def test_what_is_not_known_is_not_announced(world: World) -> None:
    """Subscribers keep what they heard last; release 0.1.0 could not read that state."""
    watch = world.watch()
    world.becomes(State.UNKNOWN)
    _settle(watch, world)
    assert (world.heard(), world.kept()) == ([], {"int_a": "healthy"})

    world.becomes(State.FAILING)
    _settle(watch, world)
    assert [one["state"] for one in world.heard()] == ["failing"]


def test_a_change_is_announced_once_and_kept(world: World) -> None:
    """With all that a subscriber needs; a late one reads it in the hash."""
    watch = world.watch()
    world.becomes(State.DEGRADED)
    _settle(watch, world)
    _settle(watch, world)
    [mark_sent] = world.heard()

    assert mark_sent.pop("at").endswith("Z")
    assert mark_sent == {
        "integration_id": "int_a",
        "tenant_id": "default",
        "name": "name of int_a",
        "type": "webhook",
        "state": "degraded",
        "previous": "healthy",
        "reason": "why int_a is degraded",
    }
    assert world.kept() == {"int_a": "degraded"}


def test_only_what_needs_attention_is_logged_as_a_warning(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """That an integration is well again must not set off an alert on warnings."""
    caplog.set_level(logging.INFO)
    watch = world.watch()
    for state in (State.DEGRADED, State.FAILING, State.HEALTHY, State.PAUSED, State.IDLE):
        world.becomes(state)
        _settle(watch, world)

    changes = zip(caplog.records, fields_of(caplog, INTEGRATION_HEALTH_CHANGED), strict=True)
    assert [(record.levelname, one["integration"], one["name"], one["state"]) for record, one in changes] == [
        ("WARNING", "int_a", "name of int_a", "degraded"),
        ("WARNING", "int_a", "name of int_a", "failing"),
        ("INFO", "int_a", "name of int_a", "healthy"),
        ("INFO", "int_a", "name of int_a", "paused"),
        ("INFO", "int_a", "name of int_a", "idle"),
    ]
    assert "why int_a" not in caplog.text  # those words may be a destination's, which may repeat an event


def test_a_state_must_hold_before_it_is_announced(world: World) -> None:
    """What comes and goes is not reported; each coming counts again."""
    watch = world.watch()
    for state in (State.DEGRADED, State.HEALTHY, State.DEGRADED, State.FAILING):
        world.becomes(state)
        watch.step()
        world.clock.now += STEADY - 1
        watch.step()
    before = world.heard()
    world.clock.now += 1
    watch.step()

    assert before == []
    assert states(world.heard()) == [("int_a", "healthy", "failing")]


def test_an_open_breaker_is_announced_at_once(world: World) -> None:
    """It is not opened for a hiccup."""
    world.becomes(State.FAILING, breaker=True)
    world.watch().step()

    assert states(world.heard()) == [("int_a", "healthy", "failing")]


def test_another_process_does_not_repeat_it(world: World) -> None:
    """What was sent stands in Redis."""
    world.becomes(State.FAILING, breaker=True)
    world.watch().step()
    first = world.heard()
    _settle(world.watch(), world)

    assert len(first) == 1
    assert world.heard() == []


def test_who_is_new_and_well_is_not_announced(world: World) -> None:
    """It is kept; who is new and not well is announced."""
    world.becomes(State.IDLE, "int_idle")
    world.becomes(State.PAUSED, "int_paused")
    _settle(world.watch(), world)

    assert states(world.heard()) == [("int_paused", None, "paused")]
    assert world.kept() == {"int_a": "healthy", "int_idle": "idle", "int_paused": "paused"}


def test_who_is_gone_is_forgotten(world: World) -> None:
    """A deleted integration has no state."""
    world.becomes(State.IDLE, "int_b")
    _settle(world.watch(), world)
    del world.states["int_a"]
    world.watch().step()

    assert world.kept() == {"int_b": "idle"}


def test_only_one_watches(world: World) -> None:
    """The others rest until it is their turn."""
    mine, theirs = (LeaderLock(world.client, "turn", 60) for _ in range(2))
    assert theirs.is_mine()
    world.becomes(State.FAILING, breaker=True)
    world.watch(turn=mine).step()
    before = world.heard()
    theirs.pass_on()
    world.watch(turn=mine).step()

    assert before == []
    assert len(world.heard()) == 1


def running(watch: HealthMonitor, stopping: threading.Event) -> threading.Thread:
    """Run the watch in a thread of its own."""
    thread = threading.Thread(target=watch.run, args=[stopping])
    thread.start()
    return thread


def post_to(url: str) -> Post:
    """Make what posts to this webhook."""
    post = webhook(Settings.model_validate({"health_webhook_url": url, "allowed_networks": "127.0.0.0/8"}))
    assert post is not None
    return post


@pytest.mark.slow
def test_the_webhook_is_told_the_latest_and_nobody_waits_for_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """While it is ill, subscribers get it all the same; once well, it hears how things are now."""
    caplog.set_level(logging.WARNING)
    stopping = threading.Event()
    with WebhookReceiver(answers(503)) as receiver:
        thread = running(world.watch(post_to(receiver.url + "?key=private")), stopping)
        try:
            world.becomes(State.FAILING, breaker=True)
            wait_until(lambda: len(receiver.posts) >= 2, "it is tried again")
            world.becomes(State.FAILING, "int_b", breaker=True)
            world.becomes(State.DEGRADED)
            world.clock.now += STEADY
            wait_until(lambda: world.kept().get("int_b") == "failing", "the second is announced")
            world.clock.now += STEADY
            wait_until(lambda: world.kept()["int_a"] == "degraded", "the third is announced")
            seen = len(receiver.posts)
            receiver.script = takes()
            wait_until(lambda: not world.client.exists(keys.HEALTH_UNSENT), "all is sent")
            mark_sent = [json.loads(one.body) for one in receiver.posts]
        finally:
            stopping.set()
            thread.join()

    latest = {one["integration_id"]: one["state"] for one in mark_sent[seen:]}
    assert latest == {"int_a": "degraded", "int_b": "failing"}
    assert mark_sent[-1]["reason"].startswith("why int_")
    assert len(world.heard()) == 3
    assert fields_of(caplog, HEALTH_WEBHOOK_FAILED) == [{"error": "it answers HTTP 503"}]


def test_the_webhook_may_say_first_that_it_is_at_work() -> None:
    """Interim answers are read past: only the final one counts (RFC 9110, 15.2)."""
    with WebhookReceiver(after_interim("102 Processing", "103 Early Hints", of=takes(204))) as receiver:
        assert post_to(receiver.url)(b"{}") is None


def test_what_the_webhook_was_not_told_survives_a_restart(world: World) -> None:
    """The next process sends it."""
    world.becomes(State.FAILING, breaker=True)
    world.watch(post_to("http://127.0.0.1:1/private")).step()
    stopping = threading.Event()
    with WebhookReceiver() as receiver:
        thread = running(world.watch(post_to(receiver.url)), stopping)
        try:
            wait_until(lambda: receiver.posts, "it is sent")
        finally:
            stopping.set()
            thread.join()

    assert json.loads(receiver.posts[0].body)["state"] == "failing"


def test_something_newer_is_not_struck_off(client: redis.Redis) -> None:
    """What changed while it was being sent stays to be sent."""
    client.hset(keys.HEALTH_UNSENT, "int_a", b"new")
    announcements = HealthEvents(client)
    announcements.mark_sent("int_a", b"old")
    left = announcements.unsent()
    announcements.mark_sent("int_a", b"new")

    assert left == {"int_a": b"new"}
    assert announcements.unsent() == {}


def test_a_webhook_that_cannot_be_reached_says_why_without_its_path() -> None:
    """The path may be its secret."""
    refused = post_to("http://127.0.0.1:1/private")(b"{}")
    closed = webhook(Settings.model_validate({"health_webhook_url": "http://10.0.0.1/private"}))

    assert refused is not None
    assert "127.0.0.1:1" in refused
    assert "private" not in refused
    assert closed is not None
    assert "SIEM_ALLOWED_NETWORKS" in (closed(b"{}") or "")
    assert webhook(Settings()) is None


def test_what_stands_in_redis_and_cannot_be_read_was_never_told(world: World) -> None:
    """It is sent again rather than never."""
    world.client.hset(keys.HEALTH_STATES, "int_a", b"{}")
    world.becomes(State.DEGRADED)
    _settle(world.watch(), world)

    assert states(world.heard()) == [("int_a", None, "degraded")]
