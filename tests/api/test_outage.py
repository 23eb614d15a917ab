"""With PostgreSQL stopped, `siem api` publishes with all valid keys, and tells no one where things are."""

import platform
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import make_url

from tests.api.routes import doors_in
from tests.cli.running import call
from tests.fleet import Fleet, wait_until
from tests.ledger.power_switch import PowerSwitch
from worker.broker import keys

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]

EVENT = {"id": "evt_1", "type": "policy.deny", "timestamp": "2026-11-22T10:11:12.345Z"}
PATHS = ("/readyz", "/healthz", "/openapi.json", "/sign-in", "/settings/integrations", "/nothing", "/")


@pytest.fixture
def own(own_postgres_url: str, tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet whose ledger is in PostgreSQL, with its recorder."""
    with Fleet(tmp_path, database_url=own_postgres_url, SIEM_API_PORT="0") as fleet:
        yield fleet.start("recorder")


def serve(fleet: Fleet) -> str:
    """Start the API by its line of the Procfile; return its address."""
    before = len(_listening(fleet))
    fleet.spawn("api")
    return str(wait_until(lambda: _listening(fleet)[before:], "it listens")[0])


def _listening(fleet: Fleet) -> list[str]:
    path = fleet.directory / "api.log"
    return re.findall(r"listening at (\S+)", path.read_text()) if path.exists() else []


def make_key(fleet: Fleet, role: str = "admin") -> Any:
    """Make a key by the command line."""
    return call(fleet.environment, "api-keys", "create", "--name", role, "--role", role, "--json").json


def publish(url: str, key: Any) -> int:
    """Publish an event; return the status."""
    headers = {"Authorization": f"Bearer {key['api_key']}"}
    return httpx.post(f"{url}/api/v1/events", json=EVENT, headers=headers, trust_env=False).status_code


def test_keys_open_after_a_restart_without_the_database(own: Fleet, power: PowerSwitch) -> None:
    """Those that were never used as well; what was revoked does not, whether before or during the outage."""
    used, unused, revoked, late = (make_key(own, "publish-only") for _ in range(4))
    call(own.environment, "api-keys", "revoke", revoked["id"])
    before = publish(serve(own), used)
    own.terminate("api")
    power.off()
    url = serve(own)
    statuses = [publish(url, key) for key in (used, unused, late, revoked)]
    done = call(own.environment, "api-keys", "revoke", late["id"])
    wait_until(lambda: publish(url, late) == 401, "what was revoked meanwhile opens nothing any more")
    power.on()
    wait_until(lambda: "now in the ledger, too" in own.log("recorder"), "the ledger knows it, too")
    found = call(own.environment, "api-keys", "list", "--json").json["items"]
    listed = {one["id"]: one["revoked_at"] for one in found}

    assert (before, statuses) == (202, [202, 202, 202, 401])
    assert own.client.xlen(keys.EVENTS) >= 4
    assert (done.code, "in Redis" in done.out) == (0, True)
    assert (listed[late["id"]] is None, listed[used["id"]] is None) == (False, True)


def test_no_answer_says_where_anything_is(own: Fleet, power: PowerSwitch) -> None:
    """With the database away, and Redis as well; the log tells both, once each, and that they are back."""
    own.start("router")
    admin = make_key(own)
    url = serve(own)
    answers = list(asked(url, admin))
    power.off()
    answers += asked(url, admin)
    own.server.kill()
    answers += asked(url, admin)
    power.on()
    own.server.restart()
    wait_until(lambda: "the database is back" in own.log("api"), "the log tells it")
    wait_until(lambda: "Redis is back" in own.log("api"), "the log tells it")
    found = {(str(answer.request.url), secret) for answer in answers for secret in secrets_of(own, answer)}
    statuses = {answer.status_code for answer in answers}
    details = {answer.json().get("detail") for answer in problems(answers)}

    assert not found
    assert {200, 401, 503} <= statuses
    assert 500 not in statuses
    assert {"the database does not answer", "Redis does not answer (0 events were accepted)"} <= details
    folder = str(make_url(own.settings.ledger_address()).query["host"])
    assert sum("lost the database" in line for line in own.log("api").splitlines()) == 1
    assert f"the database {folder}" in own.log("api")
    assert "Traceback" not in own.log("api")


def asked(url: str, key: Any) -> list[httpx.Response]:
    """Ask at every door, with a key and without one."""
    with httpx.Client(trust_env=False, timeout=180) as http:
        answers = [http.get(url + path) for path in (*PATHS, "/metrics")]
        answers.append(http.post(f"{url}/sign-in", data={"key": key["api_key"]}))
        with_key = {"Authorization": f"Bearer {key['api_key']}"}
        answers.append(http.post(f"{url}/api/v1/events", json=EVENT, headers=with_key))
        for header in ({}, with_key):
            answers += [
                door.send(http, url, header) for door in doors_in(http.get(f"{url}/openapi.json").json())
            ]
    return answers


def problems(answers: list[httpx.Response]) -> list[httpx.Response]:
    """Return those that are problem details."""
    return [one for one in answers if one.headers.get("content-type") == "application/problem+json"]


def secrets_of(fleet: Fleet, answer: httpx.Response) -> list[str]:
    """Return what an answer tells of this installation that is private."""
    database = make_url(fleet.settings.ledger_address())
    words = {
        *(str(database.query["host"]), f"{database.database}"),
        *(str(fleet.directory), "SIEM_REDIS_URL", "SIEM_DATABASE_URL", "redis.exceptions", "psycopg"),
        *(version("mitrity-siem-worker"), _release(fleet), "Traceback", "worker/", ".py"),
    }
    # By itself only: a length or a time may hold such digits, a random token a short name of a machine.
    alone = {platform.node(), "5432", str(fleet.server.port)}
    alone |= {str(process.pid) for process in fleet.processes.values()}
    # A date and a length may be any number.
    headers = {name: said for name, said in answer.headers.items() if name not in {"date", "content-length"}}
    reported = answer.text + repr(headers)
    found = {word for word in alone if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", reported)}
    return sorted(found | {word for word in words if word in reported})


def _release(fleet: Fleet) -> str:
    try:
        found: Any = fleet.client.info("server")
    except OSError:
        return "Valkey"
    return str(found.get("valkey_version"))
