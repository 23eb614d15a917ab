"""A whole fleet on a Redis of deploy/redis: its users, and that of Flower, are allowed all they need."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import redis

from tests.cli.running import call
from tests.conftest import SERVERS
from tests.deploy.driving import NAMES, Destinations, operate, publish, settled, use_api
from tests.deploy.redis_servers import ProductionRedis, digest, password
from tests.fleet import Fleet, wait_until
from tests.ports import free_port
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.broker import keys

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]


@pytest.fixture(params=SERVERS)
def production(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ProductionRedis]:
    """Give a server of each kind with deploy/redis."""
    with ProductionRedis(SERVERS[request.param], tmp_path / "redis") as running:
        yield running


def test_a_fleet_runs_under_these_users(production: ProductionRedis, tmp_path: Path) -> None:
    """Events of a publisher reach all destinations; whatever an operator does, the ACL refuses nothing."""
    with Destinations() as destinations, Fleet(tmp_path / "fleet", redis_url=production.url("siem")) as fleet:
        destinations.integrate(fleet)
        fleet.start("router", "recorder", "worker", "api")
        publisher = production.url("publisher")
        ids = publish(publisher, "e1", "e2", "e3")
        with production.client("publisher") as client:
            client.xadd(keys.EVENTS, {"event": json.dumps(denial("by-xadd"))})
        settled(fleet, 4)
        with _flower(fleet, production) as flower:
            ids |= _seen(flower, publisher)
        destinations.heal()
        ids |= {"by-xadd", *operate(fleet, publisher), *use_api(fleet)}
        settled(fleet, len(ids))
        deleted = call(fleet.environment, "integrations", "delete", "endpoint", "--yes")
        wait_until(lambda: not fleet.client.exists("siem:state:int_endpoint"), "nothing of it is left")
        checks = call(fleet.environment, "redis", "check", "--json").json["items"]
        inspected = fleet.inspect("active_queues")

        assert deleted.code == 0, deleted.err
        assert destinations.lack(ids) == {name: set() for name in NAMES}
        assert {one["standing"] for one in checks} == {"ok", *(["warning"] if production.is_old else [])}
        assert len(inspected) == 1
        assert production.refused() == set()
        assert [role for role in fleet.processes if "NOPERM" in fleet.log(role)] == []


def test_a_password_is_changed_while_events_flow(production: ProductionRedis, tmp_path: Path) -> None:
    """deploy/guides/rotation.md: the user has two passwords until every process has the new one."""
    old, new = digest(password("siem")), digest("new")
    with HecReceiver() as splunk, Fleet(tmp_path / "fleet", redis_url=production.url("siem")) as fleet:
        fleet.integrate(splunk.url)
        fleet.start("router", "recorder", "worker")
        publisher = production.url("publisher")
        publish(publisher, "e1")
        _load(production, old, f"{old} {new}")
        publish(publisher, "e2")
        fleet.environment["SIEM_REDIS_URL"] = production.url("siem").replace(password("siem"), "new")
        for role in ("router", "recorder", "worker"):
            fleet.terminate(role)
            fleet.start(role)
        _load(production, f"{old} {new}", new)
        publish(publisher, "e3")
        wait_until(lambda: {"e1", "e2", "e3"} <= set(splunk.accepted_ids), "all are delivered")
        with production.client("siem") as client, pytest.raises(redis.AuthenticationError):
            client.ping()


def _load(production: ProductionRedis, old: str, new: str) -> None:
    """Replace words of users.acl, and have Redis read it."""
    text = production.users.read_text()
    assert old in text
    production.users.write_text(text.replace(old, new))
    with production.client("admin") as admin:
        admin.acl_load()


@contextmanager
def _flower(fleet: Fleet, production: ProductionRedis) -> Iterator[httpx.Client]:
    """Run Flower as its own user until the block ends; give a client of it."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "celery"), "-A", "worker", "flower", "--read-only"]
    command += [f"--port={port}", "--address=127.0.0.1", "--basic-auth=me:secret"]
    environment = fleet.environment | {"SIEM_REDIS_URL": production.url("flower")}
    with (fleet.directory / "flower.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=fleet.directory, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, auth=("me", "secret"), timeout=90, trust_env=False) as client:
            wait_until(lambda: _answers(client, "/healthcheck"), "Flower answers")
            wait_until(lambda: _queues_seen(client), "Flower has asked the worker for all")
            yield client
    finally:
        process.terminate()
        process.wait(120)


def _answers(client: httpx.Client, path: str) -> bool:
    with suppress(httpx.TransportError):
        return client.get(path).is_success
    return False


def _queues_seen(client: httpx.Client) -> bool:
    """Whether the worker's answers to remote control have come, which Flower asks for anew."""
    answer = client.get("/api/workers?refresh=1")
    return answer.is_success and all(one.get("active_queues") for one in answer.json().values() or [{}])


def _seen(flower: httpx.Client, url: str) -> set[str]:
    """Publish at this address of Redis until Flower has seen a task; name the events. See its other pages."""
    ids: set[str] = set()

    def has_seen() -> bool:
        ids.update(publish(url, f"seen-{len(ids)}"))
        return bool(flower.get("/api/tasks").json())

    wait_until(has_seen, "Flower sees a task")
    lengths = flower.get("/api/queues/length").json()["active_queues"]
    assert {one["name"] for one in lengths} >= {"splunk_hec", "syslog_cef", "webhook"}
    assert flower.get("/broker").is_success
    return ids
