"""The process `siem api`, and the keys that the command line makes for it."""

import logging
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cli.running import SIEM, call
from tests.fleet import Fleet, wait_until
from tests.warm_start import Process, start
from worker.api.process import api_process
from worker.broker.heartbeat import roles_alive
from worker.model.availability import Dependencies
from worker.model.errors import BrokerUnavailable, LedgerUnavailable


@pytest.fixture
def served(bare_fleet: Fleet, tmp_path: Path) -> Iterator[tuple[str, Process, Path]]:
    """Give the address of `siem api`, its process, and its log."""
    log = tmp_path / "api.log"
    with log.open("wb") as file, Path(os.devnull).open("rb") as nothing:
        environment = {**bare_fleet.environment, "SIEM_API_PORT": "0"}
        process = start([SIEM, "api"], environment, (nothing, file, file))
    try:
        found = wait_until(lambda: re.search(r"listening at (\S+)", log.read_text()), "it listens")
        yield found[1], process, log
    finally:
        process.kill()
        process.wait()


def test_it_serves_and_ends_in_good_order(served: tuple[str, Process, Path], bare_fleet: Fleet) -> None:
    """A key that the command line made opens it; SIGTERM ends it with 0, and its log holds no key."""
    url, process, log = served
    made = call(bare_fleet.environment, "api-keys", "create", "--name", "me", "--json").json
    headers = {"Authorization": f"Bearer {made['api_key']}"}
    answer = httpx.get(f"{url}/api/v1/event-types", headers=headers, trust_env=False)
    wait_until(lambda: "api" in roles_alive(bare_fleet.client), "it gives a sign of life")
    os.kill(process.pid, signal.SIGTERM)

    assert answer.status_code == 200
    assert process.wait(120) == 0
    assert made["api_key"] not in log.read_text()
    assert "Traceback" not in log.read_text()
    assert "api" not in roles_alive(bare_fleet.client)


def test_it_says_whether_it_can_serve_itself(served: tuple[str, Process, Path]) -> None:
    """For a balancer: that no router and no worker runs is no reason to send its requests elsewhere."""
    url, _, _ = served
    fleet = httpx.get(f"{url}/readyz", trust_env=False)
    process = httpx.get(f"{url}/readyz/process", trust_env=False)

    assert fleet.status_code == 503
    assert (process.status_code, process.json()) == (200, {"ready": True, "reason": None})


def test_it_cannot_serve_with_neither_redis_nor_the_database() -> None:
    """With one of them it does a part of its work; while it ends it takes nothing new."""
    dependencies = Dependencies(logging.getLogger(__name__))
    process = api_process(dependencies)
    process.works()
    states = [process.not_ready()]
    dependencies.lost("request", LedgerUnavailable("away"), 0.0)
    dependencies.redis.back("watch")
    states.append(process.not_ready())
    dependencies.redis.lost("watch", BrokerUnavailable("away"))
    states.append(process.not_ready())
    dependencies.database.back("request")
    states.append(process.not_ready())
    process.ends()
    states.append(process.not_ready())

    without = "Redis does not answer, or refuses what is asked"
    assert states == [None, None, without, None, "it is shutting down"]


def test_a_port_in_use_is_named(served: tuple[str, Process, Path], bare_fleet: Fleet) -> None:
    """Who starts a second one at the same port reads which setting to change."""
    port = served[0].rpartition(":")[2]
    ran = call({**bare_fleet.environment, "SIEM_API_PORT": port}, "api")

    assert ran.code == 2
    assert f"SIEM_API_PORT: {port} is in use; give another one" in ran.err


def test_keys_are_made_listed_and_revoked(bare_fleet: Fleet) -> None:
    """The text of a key is printed once; lists show whose it is, and since when it opens nothing."""
    environment = bare_fleet.environment
    made = call(environment, "api-keys", "create", "--name", "ci", "--tenant", "cli", "--role", "read-only")
    [listed] = call(environment, "api-keys", "list", "--tenant", "cli", "--json").json["items"]
    revoked = call(environment, "api-keys", "revoke", listed["id"], "--json").json

    assert re.fullmatch(r"siem_[0-9a-f]{16}_[0-9a-f]{64}\n", made.out)
    assert f"This is key {listed['id']}, read-only of tenant cli." in made.err
    assert listed["role"] == "read-only"
    assert listed["revoked_at"] is None
    assert revoked["revoked_at"] >= listed["created_at"]
    assert made.out.strip() not in call(environment, "api-keys", "list").out


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["create", "--name", ""], 2, "name: has 0 characters; give 1 to 200"),
        (["create", "--name", "x", "--tenant", "a\tb"], 2, "tenant: has characters that cannot be printed"),
        (["create", "--name", "x", "--role", "root"], 2, "'admin', 'read-only', 'publish-only'"),
        (["revoke", "nothing"], 4, "there is no API key with the id nothing"),
    ],
)
def test_what_is_wrong_is_named(bare_fleet: Fleet, arguments: list[str], code: int, complaint: str) -> None:
    """A wrong option is reported in a line that says what would be right."""
    ran = call(bare_fleet.environment, "api-keys", *arguments)

    assert ran.code == code
    assert complaint in ran.complaint


def test_only_a_digest_rests(bare_fleet: Fleet) -> None:
    """No one who reads the database finds a key in it."""
    text = call(bare_fleet.environment, "api-keys", "create", "--name", "secret", "--json").json["api_key"]
    files = list(bare_fleet.directory.glob("ledger.sqlite3*"))

    assert files
    assert not any(text.rpartition("_")[2].encode() in path.read_bytes() for path in files)


def test_a_wrong_address_of_a_collector_ends_it(bare_fleet: Fleet) -> None:
    """Before it serves: its spans would silently be missing."""
    traced = {"SIEM_API_PORT": "0", "SIEM_TRACING": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "collector"}
    ran = call({**bare_fleet.environment, **traced}, "api")

    assert (ran.code, ran.out) == (2, "")
    assert "OTEL_EXPORTER_OTLP_ENDPOINT: is no address of a collector" in ran.err
