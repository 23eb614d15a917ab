"""deploy/guides/backup.md, followed: a fleet whose Redis and PostgreSQL were destroyed, and restored."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import call
from tests.deploy.redis_servers import ProductionRedis
from tests.embedded_servers import VALKEY
from tests.fleet import Fleet, wait_until
from tests.ledger.postgres import PostgresServer, postgres_server, programs
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.ledger.redis_marks import MarkStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]

DATABASE = "siem"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Give a PostgreSQL whose database a test may destroy."""
    with postgres_server() as running:
        yield running


@pytest.fixture
def database(server: PostgresServer) -> Iterator[str]:
    """Give the URL of its database."""
    with server.database(DATABASE) as url:
        yield url


@pytest.fixture
def production(tmp_path: Path) -> Iterator[ProductionRedis]:
    """Give a Redis with deploy/redis."""
    with ProductionRedis(VALKEY, tmp_path / "redis") as running:
        yield running


def _postgres(server: PostgresServer, program: str, *arguments: str | Path) -> None:
    command = [programs() / program, "-h", server.socket_folder, "-U", "postgres", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _dump_redis(production: ProductionRedis, copy: Path) -> None:
    with production.client("admin") as admin:
        admin.bgsave()
        wait_until(lambda: not admin.info("persistence")["rdb_bgsave_in_progress"], "the snapshot is made")
        assert admin.info("persistence")["rdb_last_bgsave_status"] == "ok"
    shutil.copy(production.directory / "dump.rdb", copy)


def _restore_redis(production: ProductionRedis, copy: Path) -> None:
    production.kill()
    shutil.rmtree(production.directory / "appendonlydir")
    shutil.copy(copy, production.directory / "dump.rdb")
    production.restart("--appendonly", "no")
    with production.client("admin") as admin:
        admin.config_set("appendonly", "yes")
        wait_until(lambda: not admin.info("persistence")["aof_rewrite_in_progress"], "the file is written")
        admin.shutdown(save=True)
    production.restart()


def _restore_postgres(server: PostgresServer, copy: Path) -> None:
    _postgres(server, "psql", "-c", f"DROP DATABASE {DATABASE} WITH (FORCE)", "postgres")
    _postgres(server, "psql", "-c", f"CREATE DATABASE {DATABASE}", "postgres")
    _postgres(server, "pg_restore", "--exit-on-error", "--no-owner", f"--dbname={DATABASE}", copy)


def _stop(fleet: Fleet) -> None:
    for role in tuple(fleet.processes):
        fleet.kill(role)
    fleet.engine.dispose()


def test_what_waited_is_delivered_after_each_restore(
    server: PostgresServer, database: str, production: ProductionRedis, tmp_path: Path
) -> None:
    """Of the database, then of Redis. Nothing of before the backup is missing; what is, is reported."""
    redis_copy, postgres_copy = tmp_path / "siem.rdb", tmp_path / "siem.dump"
    with (
        HecReceiver() as splunk,
        HecReceiver(scripts.busy()) as ill,
        Fleet(tmp_path / "fleet", redis_url=production.url("siem"), database_url=database) as fleet,
    ):
        fleet.integrate(splunk.url, "splunk", tenant_id="one")
        fleet.integrate(splunk.url, "waiting", tenant_id="two", paused=True)
        fleet.integrate(ill.url, "ill", tenant_id="three", max_retries=0, redrive=False)
        fleet.start()
        tenants = ("one", "two", "three")
        fleet.publish(denial(f"before-{name}", tenant_id=name) for name in tenants)
        fleet.settled(1)
        wait_until(lambda: fleet.dead("int_ill"), "the dead letter is recorded")
        _dump_redis(production, redis_copy)
        _postgres(server, "pg_dump", "--format=custom", f"--file={postgres_copy}", DATABASE)
        # Afterwards: an integration that the backup does not know, and an event for it.
        fleet.integrate(splunk.url, "late", tenant_id="four", paused=True)
        fleet.publish([denial("after-four", tenant_id="four")])
        wait_until(lambda: _waits(fleet, "late"), "it waits")
        _stop(fleet)
        _restore_postgres(server, postgres_copy)
        checks = call(fleet.environment, "redis", "check", "--json").json["items"]
        fleet.start()
        orphans = wait_until(lambda: _orphans(fleet), "the orphan is noticed")
        adopted = call(fleet.environment, "integrations", "orphans", "adopt", "late", "--json")
        resumed = call(fleet.environment, "integrations", "resume", "late")
        wait_until(lambda: "after-four" in splunk.accepted_ids, "what waited for the orphan is delivered")

        assert {one["standing"] for one in checks} == {"ok"}
        assert [one["name"] for one in orphans] == ["late"]
        assert (adopted.code, resumed.code) == (0, 0), (adopted.err, resumed.err)

        # What came behind the last mark is known to no one: a loss of that alone is not reported.
        marked = _mark(fleet)
        wait_until(lambda: _mark(fleet) > marked, "a recorder has marked Redis since")
        _stop(fleet)
        _restore_redis(production, redis_copy)
        fleet.start()
        [loss] = wait_until(lambda: _losses(fleet), "the loss is reported")
        call(fleet.environment, "redis", "acknowledge", loss["id"], "--note", "published again")
        resumed = call(fleet.environment, "integrations", "resume", "waiting")
        ill.script = scripts.ok()
        replay = "dead-letters replay --integration ill --yes --wait"
        replayed = call(fleet.environment, *replay.split())
        wait_until(lambda: "before-two" in splunk.accepted_ids, "what waited at the backup is delivered")

        assert (resumed.code, replayed.code) == (0, 0), (resumed.err, replayed.err)
        assert ill.accepted_ids == ["before-three"]
        assert _losses(fleet) == []
        assert production.refused() == set()


def test_both_stores_are_restored_together(
    server: PostgresServer, database: str, production: ProductionRedis, tmp_path: Path
) -> None:
    """What waited at the backup is delivered; what was published since is in neither, and not reported."""
    redis_copy, postgres_copy = tmp_path / "siem.rdb", tmp_path / "siem.dump"
    with (
        HecReceiver() as splunk,
        Fleet(tmp_path / "fleet", redis_url=production.url("siem"), database_url=database) as fleet,
    ):
        fleet.integrate(splunk.url, "splunk", tenant_id="one")
        fleet.integrate(splunk.url, "waiting", tenant_id="two", paused=True)
        fleet.start()
        fleet.publish([denial("before-one", tenant_id="one"), denial("before-two", tenant_id="two")])
        fleet.settled(1)
        wait_until(lambda: _waits(fleet, "waiting"), "it waits")
        _dump_redis(production, redis_copy)
        _postgres(server, "pg_dump", "--format=custom", f"--file={postgres_copy}", DATABASE)
        fleet.publish([denial("after-one", tenant_id="one"), denial("after-two", tenant_id="two")])
        fleet.settled(2)
        _stop(fleet)
        _restore_postgres(server, postgres_copy)
        _restore_redis(production, redis_copy)
        checks = call(fleet.environment, "redis", "check", "--json").json["items"]
        fleet.start()
        resumed = call(fleet.environment, "integrations", "resume", "waiting")
        again = fleet.publish([denial("after-one", tenant_id="one"), denial("after-two", tenant_id="two")])
        rows = {row.event_id for row in fleet.settled(2)} | {
            row.event_id for row in fleet.settled(2, "int_waiting")
        }

        assert {one["standing"] for one in checks} == {"ok"}
        assert resumed.code == 0, resumed.err
        assert rows == {"before-one", "before-two", *again}
        assert (_orphans(fleet), _losses(fleet)) == ([], [])
        assert sorted(splunk.accepted_ids) == sorted(["after-one", *rows])


def _waits(fleet: Fleet, name: str) -> bool:
    return bool(fleet.client.hget(f"siem:state:int_{name}", "backlog_events") == b"1")


def _mark(fleet: Fleet) -> int:
    mark = MarkStore(fleet.engine).latest()
    return mark.number if mark else 0


def _orphans(fleet: Fleet) -> list[dict[str, str]]:
    found: list[dict[str, str]] = call(fleet.environment, "integrations", "orphans", "list", "--json").report[
        "items"
    ]
    return found


def _losses(fleet: Fleet) -> list[dict[str, str]]:
    found: list[dict[str, str]] = call(fleet.environment, "redis", "losses", "--json").report["items"]
    return found
