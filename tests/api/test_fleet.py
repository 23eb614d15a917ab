"""/healthz, /readyz and /metrics: without an API key, and without anything private."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.api.conftest import ADMIN, OURS, Api, running
from tests.api.settled import settle
from tests.fleet import Fleet, wait_until
from worker.api import integration_metric_definitions as of_integrations
from worker.api import ledger_metrics, metric_definitions
from worker.api.metric_definitions import METRICS
from worker.api.metric_registry import MetricDefinition
from worker.broker import keys
from worker.broker.conflicts import Conflict, ConflictKind
from worker.broker.hand_over import append
from worker.broker.health_events import HealthEvents
from worker.broker.ingress import RoutedChunk
from worker.ledger.redis_losses import LossStore
from worker.model.deliveries import Status
from worker.model.events import QueuedEvent
from worker.model.health import State, StateChange
from worker.model.redis_marks import Loss, LossKind
from worker.model.sources import Source

TOKEN = "of prometheus"


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Api]:
    """Give an API with a fleet of its own, of which nothing runs."""
    with Fleet(tmp_path) as fleet, running(fleet) as served:
        yield served


def _ask(api: Api, path: str, token: str | None = None) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return api.http.get(api.url + path, headers=headers)


def _parts(answer: Any) -> dict[str, Any]:
    return {part["name"]: part for part in answer.json()["parts"]}


def _figures(api: Api) -> dict[str, float]:
    """Scrape again; return the samples by their names and labels."""
    api.http.get(api.url + "/metrics")
    text = _fresh(api)
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if not line.startswith("#")
    }


def _fresh(api: Api) -> str:
    """Scrape until the process looks again: what it tells is a second old at the most."""
    client, before = api.fleet.client, _looks(api)
    wait_until(lambda: _ask(api, "/metrics") and _looks(api) > before, "it looks again")
    client.ping()
    return str(_ask(api, "/metrics").text)


def _looks(api: Api) -> int:
    """Count how often the counters were asked for; nothing else asks for them."""
    found: Any = api.fleet.client.info("commandstats")
    return int(found.get("cmdstat_xlen", {"calls": 0})["calls"])


def test_the_process_lives_whatever_is_away(alone: Api) -> None:
    """Nothing but the process itself is asked."""
    alone.fleet.server.kill()
    answer = _ask(alone, "/healthz")

    assert (answer.status_code, answer.json()) == (200, {"ok": True})


def test_a_fleet_of_which_nothing_runs_is_not_ready(alone: Api) -> None:
    """Each part says what is wrong with it."""
    answer = _ask(alone, "/readyz")
    parts = _parts(answer)

    assert answer.status_code == 503
    assert answer.json()["ok"] is False
    assert {name for name, part in parts.items() if part["ok"]} >= {"redis", "database"}
    assert not parts["router"]["ok"]
    assert "none runs" in parts["router"]["detail"]
    assert "0 work orders wait in its queue" in parts["worker-webhook"]["detail"]


def test_a_fleet_that_runs_is_ready(alone: Api) -> None:
    """200 as soon as a router and a recorder run, and no integration needs more."""
    alone.fleet.start("router", "recorder")
    answer = wait_until(lambda: _ready(_ask(alone, "/readyz")), "the fleet is ready")

    assert all(part["ok"] for part in answer.json()["parts"])


def test_what_is_away_is_named_without_its_address(alone: Api) -> None:
    """Who reaches the API does not learn where Redis is."""
    alone.fleet.server.kill()
    answer = _ask(alone, "/readyz")
    redis = _parts(answer)["redis"]

    assert answer.status_code == 503
    assert redis == {"name": "redis", "ok": False, "detail": "Redis does not answer"}
    assert str(alone.fleet.server.port) not in answer.text


def test_without_redis_the_state_of_processes_is_unknown(alone: Api) -> None:
    """Whether they run is not known, and no part of readiness claims to know it."""
    alone.fleet.server.kill()
    parts = _parts(_ask(alone, "/readyz"))
    roles = ("router", "recorder", "worker-splunk_hec", "worker-syslog_cef", "worker-webhook")

    assert {parts[name]["detail"] for name in roles} == {"not known without Redis"}


def test_conflicts_between_redis_and_the_ledger_are_reported(alone: Api) -> None:
    """As a figure, and by a part that is not ok."""
    conflict = Conflict(ConflictKind.UNKNOWN, "late", OURS, "webhook", 1, 1)
    alone.fleet.client.hset(keys.CONFLICTS, "int_late", msgspec.json.encode(conflict))
    parts = _parts(_ask(alone, "/readyz"))
    figures = _figures(alone)

    assert parts["integrations"]["ok"] is False
    assert "not known to the ledger" in parts["integrations"]["detail"]
    assert figures['siem_integration_conflicts{kind="unknown"}'] == 1
    assert figures['siem_integration_conflicts{kind="older"}'] == 0


def test_metrics_cover_each_integration(alone: Api) -> None:
    """Its backlog, its oldest event, what became of the others, and its state; by id, never by name."""
    home = alone.create(name="a name that is nobody's business")["id"]
    mark = f'{{integration="{home}",tenant="{OURS}",type="webhook"}}'
    before = _figures(alone)
    now_ms = _now_ms(alone)
    settle(alone, home, Status.DELIVERED, "a", "b", at_ms=now_ms)
    settle(alone, home, Status.RETRYING, "c", at_ms=now_ms)
    settle(alone, home, Status.DEAD, "d", at_ms=now_ms)
    pipeline = alone.fleet.client.pipeline()
    append(
        pipeline,
        [RoutedChunk([home], urgent=True, events=[QueuedEvent("e", "policy.deny", 1, now_ms, b"{}")] * 3)],
    )
    pipeline.execute()
    alone.fleet.client.hset(keys.state_key(home), mapping={"breaker": "open", "opened_at": now_ms})
    change = StateChange(home, OURS, "n", "webhook", State.FAILING, None, "it fails", "2026-11-23T00:00:00Z")
    HealthEvents(alone.fleet.client).keep([change])
    after = _figures(alone)

    assert after["siem_redis_up"] == after["siem_database_up"] == 1
    assert before[f"siem_integration_delivered_total{mark}"] == 0
    assert after[f"siem_integration_delivered_total{mark}"] == 2
    assert after[f"siem_integration_retried_total{mark}"] == 1
    assert after[f"siem_integration_dead_total{mark}"] == 1
    assert after[f"siem_integration_backlog_events{mark}"] == 3
    assert after[f"siem_integration_oldest_event_seconds{mark}"] >= 0
    assert after[f"siem_integration_breaker_open{mark}"] == 1
    assert after[f"siem_integration_parked_events{mark}"] == 0
    assert after["siem_integration_state" + mark.replace(",tenant", ',state="failing",tenant')] == 1
    assert "nobody" not in _ask(alone, "/metrics").text


def test_metrics_cover_the_fleet(alone: Api) -> None:
    """What waits between its processes, and how many there are of each."""
    alone.fleet.client.xadd(keys.EVENTS, {"event": "{}"})
    alone.fleet.client.set(keys.alive("router", "there:1"), 1)
    alone.fleet.client.lpush(f"{keys.CELERY_PREFIX}webhook", "order")
    alone.fleet.client.hset(keys.COUNTERS, mapping={"published": 7})
    found = _figures(alone)

    assert found["siem_ingress_entries"] == 1
    assert found["siem_recorder_entries"] == 0
    assert found['siem_processes{role="router"}'] == 1
    assert found['siem_queue_orders{queue="webhook"}'] == 1
    assert found["siem_events_published_total"] == 7
    assert found['siem_redis_config_ok{check="persistence"}'] == 1
    assert found['siem_redis_config_unknown{check="persistence"}'] == 0


def test_metrics_show_that_redis_does_not_suit(alone: Api) -> None:
    """A gauge for each check; the ledger's own is among them."""
    alone.fleet.client.config_set("appendonly", "no")
    alone.fleet.client.set(keys.LEDGER, "another")
    found = _figures(alone)
    bad = {name for name, value in found.items() if name.startswith("siem_redis_config_ok") and not value}

    assert bad == {f'siem_redis_config_ok{{check="{name}"}}' for name in ("persistence", "ledger")}


def test_a_loss_is_reported_until_it_is_acknowledged(alone: Api) -> None:
    """By readiness, with its number, and by two gauges."""
    losses = LossStore(alone.fleet.engine)
    before = _figures(alone)
    made = losses.report(Loss(LossKind.EMPTIED, 1000, 2000, {"int_a": 7}, {"events": 2}), "e", None)
    reported, found = _parts(_ask(alone, "/readyz"))["redis-losses"], _figures(alone)
    losses.acknowledge(made or "", "ops", "")
    after = _figures(alone)

    assert before["siem_redis_losses"] == after["siem_redis_losses"] == 0
    assert (found["siem_redis_losses"], found["siem_redis_lost_events"]) == (1, 9)
    assert (reported["ok"], "at least 9 events and deliveries" in reported["detail"]) == (False, True)


def test_metrics_are_what_prometheus_reads(alone: Api) -> None:
    """Each family once, with its kind before its samples; each line whole."""
    alone.create()
    answer = _ask(alone, "/metrics")
    lines = answer.text.splitlines()
    families = [line.split()[2] for line in lines if line.startswith("# TYPE ")]

    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert len(families) == len(set(families)) > 10
    sample = re.compile(r'[a-z_]+(\{([a-z]+="[^"\\\n]*",?)+\})? [0-9.e+-]+')
    assert [line for line in lines if not line.startswith("# ") and not sample.fullmatch(line)] == []
    assert answer.text.endswith("\n")


def _of_fleet() -> list[MetricDefinition]:
    """Return those that have a sample where nothing runs: the label of a clock's skew is a process."""
    return [
        one for one in METRICS.all if not one.per_integration and one is not metric_definitions.CLOCK_SKEW
    ]


def _sample(metric: MetricDefinition) -> str:
    """Return the name of its samples; of a histogram, of those that have no further label."""
    return f"{metric.name}_count" if metric.buckets else metric.name


def test_nothing_vanishes_at_zero(alone: Api) -> None:
    """Where nothing runs and nothing waits, each figure is there, with each of its known values."""
    home = alone.create()["id"]
    found = _figures(alone)
    expected = {
        f'{_sample(one)}{{{one.label}="{value}"}}'
        for one in _of_fleet()
        for value in one.values
        if not one.others
    } | {one.name for one in _of_fleet() if not one.label}
    states = [name for name in found if name.startswith(f'siem_integration_state{{integration="{home}"')]

    assert expected - set(found) == set()
    assert found['siem_processes{role="recorder"}'] == 0
    assert len(states) == len(of_integrations.STATE.values)
    assert {one.name for one in METRICS.all if one.per_integration and not one.sparse} <= {
        name.partition("{")[0] for name in found
    }


@pytest.mark.parametrize(
    ("away", "other"), [(Source.REDIS, Source.DATABASE), (Source.DATABASE, Source.REDIS)]
)
def test_only_what_comes_from_what_is_away_is_left_out(alone: Api, away: Source, other: Source) -> None:
    """Each figure is there when its sources answer; figures that always are say whether they do."""
    alone.create()
    alone.fleet.announce()
    if away is Source.REDIS:
        alone.fleet.server.kill()
    else:
        alone.take_away_ledger()
    answer = _ask(alone, "/metrics")
    with_samples = {
        line.partition(" ")[0].partition("{")[0] for line in answer.text.splitlines() if line[0] != "#"
    }
    reported = {one.name for one in METRICS.all if _sample(one) in with_samples and not one.sparse}
    every = [one for one in METRICS.all if not one.sparse]

    assert answer.status_code == 200
    assert f"siem_{away}_up 0.0\n" in answer.text
    assert f"siem_{other}_up 1.0\n" in answer.text
    assert reported - {metric_definitions.CLOCK_SKEW.name} == {
        one.name for one in every if away not in one.sources and one is not metric_definitions.CLOCK_SKEW
    }


def test_figures_of_health_do_not_come_from_memory(alone: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are reckoned now and then, and left out at once where one of their sources is away."""
    monkeypatch.setattr(ledger_metrics, "_SHARE", 1e-9)
    home = alone.create()["id"]
    settle(alone, home, Status.DELIVERED, "one", at_ms=_now_ms(alone))
    name = f"{of_integrations.ERRORS.name}{{"
    wait_until(lambda: name in _ask(alone, "/metrics").text, "they are reckoned")
    alone.fleet.server.kill()
    wait_until(lambda: "siem_redis_up 0.0\n" in _ask(alone, "/metrics").text, "Redis is missed")

    assert name not in _ask(alone, "/metrics").text


def test_a_token_closes_what_it_opens(bare_fleet: Fleet) -> None:
    """With SIEM_METRICS_TOKEN set, figures ask for it; readiness is reported without words."""
    secret = type(bare_fleet.settings.metrics_token)(TOKEN)
    with running(bare_fleet, metrics_token=secret) as api:
        refused = [
            _ask(api, "/metrics", token).status_code for token in (None, "x", "\x7f", api.keys[OURS, ADMIN])
        ]
        silent, reported = (_parts(_ask(api, "/readyz", token)) for token in (None, TOKEN))

        assert refused == [401] * 4
        assert _ask(api, "/metrics").headers["WWW-Authenticate"] == "Bearer"
        assert _ask(api, "/metrics", TOKEN).status_code == 200
        assert {part["detail"] for part in silent.values()} == {None}
        assert reported["redis"]["detail"] == "it answers"
        assert _ask(api, "/healthz").status_code == 200


def _ready(answer: Any) -> Any:
    return answer if answer.status_code == 200 else None


def _now_ms(api: Api) -> int:
    seconds, _ = api.fleet.client.time()
    return int(seconds) * 1000


def test_clocks_and_damage_are_reported(alone: Api) -> None:
    """How far each process is from Redis, what is not pruned, what was damaged; and the fleet stays ready."""
    alone.create()
    client = alone.fleet.client
    for role in ("router", "recorder"):
        client.set(keys.alive(role, "near:1"), "1795600000 0.2")
    client.set(keys.alive("worker-webhook", "far:7"), "1795600000 400.5")
    client.hset(keys.RETENTION_REFUSED, "dead letters", "too many at once")
    client.hset(keys.COUNTERS, "unreadable", 3)
    found = _figures(alone)
    ready = _ask(alone, "/readyz")
    parts = _parts(ready)

    [far] = [name for name, value in found.items() if "clock_skew" in name and value > 400]
    assert re.fullmatch(r'siem_clock_skew_seconds\{process="worker-webhook:[0-9a-f]{8}"\}', far)
    assert found["siem_retention_refused"] == 1
    assert found["siem_events_unreadable_total"] == 3
    assert ready.status_code == 200
    assert parts["clocks"]["ok"] is False
    assert parts["retention"]["ok"] is False
    assert "too many at once" in parts["retention"]["detail"]
    assert "far" not in parts["clocks"]["detail"]
