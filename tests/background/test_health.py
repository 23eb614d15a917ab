"""How integrations and the fleet fare, asked of a real Redis and a real ledger."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine

from tests.broker.sending import append, subscribe
from tests.ledger.entries import outcome
from tests.ledger.letters import delete, disable, live
from worker.background.health import HealthService, thresholds_of
from worker.broker import keys
from worker.broker.connection import redis_client
from worker.broker.redis_stats import RedisStats
from worker.ledger.engine import ledger_id, open_ledger
from worker.ledger.migrations.runner import upgrade_tables
from worker.ledger.recording import record_entries
from worker.model.deliveries import Status
from worker.model.errors import BrokerUnavailable, NotFoundError
from worker.model.fleet_health import FleetHealth
from worker.model.health import State
from worker.settings import Settings

MINUTE = 60_000
ROLES = ["router", "recorder", "worker-splunk_hec", "worker-syslog_cef", "worker-webhook"]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Give a ledger with two integrations of Splunk that Redis knows as well."""
    made = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    upgrade_tables(made)
    live(made, "int_a", "int_b")
    yield made
    made.dispose()


@pytest.fixture
def health(client: redis.Redis, engine: Engine) -> HealthService:
    """Give what answers, with the default thresholds."""
    subscribe(client, "int_a", "int_b")
    return HealthService(engine, client, Settings())


def alive(client: redis.Redis, *roles: str) -> None:
    """Let a process of each role give a sign of life."""
    for role in roles:
        client.set(f"siem:alive:{role}:host:1", 1)


def parts(fleet: FleetHealth) -> dict[str, tuple[bool, str]]:
    """Return the parts by their names."""
    return {part.name: (part.ok, part.words) for part in fleet.parts}


def test_redis_and_the_ledger_make_one_picture(
    client: redis.Redis, engine: Engine, health: HealthService
) -> None:
    """What waits comes from one, what became of the rest from the other."""
    now = RedisStats(client).now_ms()
    record_entries(
        engine,
        [
            ("1-0", [outcome([f"e{number}" for number in range(8)], settled_ms=now - MINUTE)]),
            ("2-0", [outcome(["e8", "e9"], Status.RETRYING, settled_ms=now - MINUTE)]),
        ],
        [],
    )
    append(client, "int_a", [["e10", "e11", "e12"]])
    found = health.of("int_a")

    assert found.state is State.HEALTHY
    assert found.error_rate == 0.0
    assert found.retry_rate == 0.2
    assert found.backlog_events == 3
    assert found.last_success_ms == now - MINUTE
    assert found.last_error is not None
    assert found.last_error.error == "the server is busy"
    assert found.oldest_event_ms == 2_000  # as the test's events say
    assert found.waiting_seconds is not None
    assert found.waiting_seconds < 60


def test_failures_of_an_outage_that_is_over_count_no_more(
    client: redis.Redis, engine: Engine, health: HealthService
) -> None:
    """Once its breaker has closed, an integration need not wait for the window to pass."""
    now = RedisStats(client).now_ms()
    record_entries(engine, [("1-0", [outcome(["e1", "e2", "e3"], Status.DEAD, settled_ms=now)])], [])
    ill = health.of("int_a")
    client.hset(keys.state_key("int_a"), "closed_at", now + 1)
    well = health.of("int_a")

    assert (ill.state, ill.error_rate) == (State.FAILING, 1.0)
    assert (well.state, well.error_rate) == (State.HEALTHY, None)


@pytest.mark.parametrize(
    ("since", "words"),
    [("5000000000000000", "9999-12-31 23:59:59Z"), ("-9000000000000000", "0001-01-01 00:00:00Z")],
)
def test_a_time_that_no_calendar_has_hides_nobody(
    client: redis.Redis, health: HealthService, since: str, words: str
) -> None:
    """Whatever wrote it into Redis: the integration is shown, and so are all others."""
    client.hset(
        keys.state_key("int_a"),
        mapping={"breaker": "open", "opened_by": "destination_down", "opened_at": since, "probe_at": since},
    )
    found = {one.integration_id: one for one in health.all(None)}

    assert found["int_a"].state is State.FAILING
    assert f"circuit breaker open since {words}" in found["int_a"].reason
    assert found["int_b"].state is State.IDLE


def test_all_are_told_by_tenant(engine: Engine, health: HealthService) -> None:
    """Those that were deleted are not; those that are disabled are."""
    live(engine, "int_c", "int_d", tenant="other")
    disable(engine, "int_a")
    delete(engine, "int_d")

    assert [(one.integration_id, one.state) for one in health.all(None)] == [
        ("int_a", State.DISABLED),
        ("int_b", State.IDLE),
        ("int_c", State.IDLE),
    ]
    assert [one.integration_id for one in health.all("other")] == ["int_c"]
    assert health.all("unknown") == []


def test_what_is_not_there_has_no_health(engine: Engine, health: HealthService) -> None:
    """Never made, or deleted."""
    delete(engine, "int_b")

    for integration_id in ("int_b", "int_never", ""):
        with pytest.raises(NotFoundError, match="there is no integration"):
            health.of(integration_id)


def test_a_fleet_that_works_is_ready(client: redis.Redis, health: HealthService) -> None:
    """A worker of a type that no integration has is not missed."""
    alive(client, "router", "recorder", "worker-splunk_hec")
    client.lpush("siem:celery:splunk_hec", b"order")
    fleet = health.fleet()

    assert fleet.ok
    assert parts(fleet) == {
        "redis": (True, "it answers"),
        "redis-config": (True, fleet.parts[1].words),
        "redis-losses": (True, "nothing is missing, as far as it is not acknowledged"),
        "database": (True, "it answers, and its tables are those of this release"),
        "router": (True, "1 running; 0 events to be routed wait"),
        "recorder": (True, "1 running; 0 batches to be recorded wait"),
        "worker-splunk_hec": (True, "1 running; 1 work orders wait in its queue"),
        "worker-syslog_cef": (True, "none runs; 0 work orders wait in its queue; no integration needs one"),
        "worker-webhook": (True, "none runs; 0 work orders wait in its queue; no integration needs one"),
        "clocks": (True, "every process has the time of Redis"),
        "retention": (True, "what is old enough is deleted"),
        "events": (True, "no invalid one in the last 5 min"),
    }


def test_a_redis_that_does_not_suit_makes_the_fleet_unready(
    client: redis.Redis, engine: Engine, health: HealthService
) -> None:
    """Where accepted events may be mixed with another ledger's; whose Redis it is, is shown either way."""
    alive(client, "router", "recorder", "worker-splunk_hec")
    client.set(keys.LEDGER, ledger_id(engine))
    ours = parts(health.fleet())["redis-config"]
    client.set(keys.LEDGER, "another-ledger")
    theirs = health.fleet()

    assert (ours[0], "it belongs to this ledger" in ours[1]) == (True, True)
    assert [part.name for part in theirs.parts if not part.ok] == ["redis-config"]
    assert "another-ledger" in parts(theirs)["redis-config"][1]


@pytest.mark.parametrize("missing", ["router", "recorder", "worker-splunk_hec"])
def test_a_missing_part_is_named(client: redis.Redis, health: HealthService, missing: str) -> None:
    """Each part for itself."""
    alive(client, *({"router", "recorder", "worker-splunk_hec"} - {missing}))
    fleet = health.fleet()

    assert not fleet.ok
    assert [part.name for part in fleet.parts if not part.ok] == [missing]
    assert parts(fleet)[missing][1].startswith("none runs; ")


@pytest.mark.parametrize(("stream", "part"), [(keys.EVENTS, "router"), (keys.OUTCOMES, "recorder")])
def test_a_part_that_lags_is_named(
    client: redis.Redis, health: HealthService, stream: str, part: str
) -> None:
    """A router or recorder that runs, and leaves an entry for long, does not do its work."""
    alive(client, *ROLES)
    client.xadd(stream, {"event": b"{}"}, id=f"{RedisStats(client).now_ms() - 75_000}-0")
    fleet = health.fleet()

    assert [one.name for one in fleet.parts if not one.ok] == [part]
    assert ", the oldest for 75 s" in parts(fleet)[part][1]


def test_what_could_not_be_recorded_is_not_ok(client: redis.Redis, health: HealthService) -> None:
    """A single entry that was set aside keeps the fleet from being ready, until it is dealt with."""
    alive(client, *ROLES)
    client.xadd(keys.UNRECORDABLE, {"raw": b""})
    fleet = health.fleet()

    assert [one.name for one in fleet.parts if not one.ok] == ["recorder"]
    assert "1 could not be recorded: see `siem unrecordable list`" in parts(fleet)["recorder"][1]


def test_without_redis_the_rest_is_shown(engine: Engine) -> None:
    """Nothing is raised: it is the one who asks that has to know."""
    fleet = HealthService(engine, redis_client("redis://127.0.0.1:1/0"), Settings()).fleet()

    assert not fleet.ok
    assert "Redis does not answer" in parts(fleet)["redis"][1]
    assert parts(fleet)["database"][0]
    assert [name for name in parts(fleet) if name in ROLES] == ROLES
    assert {parts(fleet)[role] for role in ROLES} == {(False, "not known without Redis")}
    with pytest.raises(BrokerUnavailable):
        HealthService(engine, redis_client("redis://127.0.0.1:1/0"), Settings()).all(None)


def test_without_tables_the_rest_is_told(client: redis.Redis, tmp_path: Path) -> None:
    """Without the integrations, a worker of each type is wanted."""
    alive(client, "router", "recorder", "worker-splunk_hec", "worker-webhook")
    empty = open_ledger(f"sqlite:///{tmp_path / 'empty.sqlite3'}")
    fleet = HealthService(empty, client, Settings()).fleet()
    empty.dispose()

    assert [one.name for one in fleet.parts if not one.ok] == [
        "redis-losses",
        "database",
        "worker-syslog_cef",
    ]
    assert "siem db upgrade" in parts(fleet)["database"][1]


def test_a_lease_is_no_silence() -> None:
    """Who sends for as long as a lease allows is not silent, whatever the setting says."""
    impatient = Settings(health_silence=1.0, lease=50.0)

    assert thresholds_of(impatient).silence == 50.0
    assert thresholds_of(Settings()).silence == 120.0
