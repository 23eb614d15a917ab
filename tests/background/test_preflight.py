"""`siem preflight` asks real servers, finds what is wrong with each, and ends although one hangs."""

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from tests.conftest import SERVERS
from tests.embedded_servers import RunningServer, start_server
from tests.fleet import wait_until
from tests.sentinel_servers import WatchedServers
from worker.background.preflight import Preflight, inspect_installation
from worker.broker.connection import redis_client
from worker.broker.heartbeat import API, Heartbeat
from worker.broker.key_holders import key_facts, key_holders
from worker.broker.locks import take_over
from worker.integrations.integration import parse_integration
from worker.ledger.engine import open_ledger
from worker.ledger.integrations import IntegrationStore
from worker.ledger.migrations.runner import upgrade_tables
from worker.ledger.schema import metadata
from worker.ledger.server_facts import RIGHTS
from worker.model.limits import Quotas
from worker.settings import Settings
from worker.vault.vault import Vault, new_key

KEY = new_key()
THREADS = 8


@pytest.fixture(params=SERVERS)
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    """Give a server of each kind that the test may configure."""
    with start_server(SERVERS[request.param], tmp_path / "server", password="of-default") as running:
        yield running


@pytest.fixture
def ledger_url(postgres_url: str) -> str:
    """Give a database with the tables of this release."""
    engine = open_ledger(postgres_url)
    upgrade_tables(engine)
    engine.dispose()
    return postgres_url


def inspected(redis_url: str, database_url: str, longest: float = 60.0, **more: object) -> Preflight:
    """Make every check of an installation with these settings."""
    values: Mapping[str, object] = {
        "redis_url": redis_url,
        "database_url": database_url,
        "secret_keys": KEY,
        "api_trusted_proxies": "10.0.0.1/32",
        "metrics_token": "token",
        **more,
    }
    config = Settings(**values)  # type: ignore[arg-type]  # pydantic reads them
    return inspect_installation(
        config, lambda: open_ledger(config.ledger_address()), threads=THREADS, longest=longest
    )


def faults(found: Preflight) -> dict[str, str]:
    """Return the checks that are not ok."""
    return {one.name: one.status.value for one in found.checks if one.status != "ok"}


def reason(found: Preflight, name: str) -> str:
    """Return why a check came out as it did."""
    return next(one.reason for one in found.checks if one.name == name)


def as_user(server: RunningServer, rules: str) -> str:
    """Make a user with these rules, and return the URL that signs it in."""
    with server.client() as client:
        client.execute_command(f"ACL SETUSER siem reset on >pass {rules}")
    return server.url.replace(":of-default@", "siem:pass@")


def _fleet_rules() -> list[str]:
    """Return what deploy/redis/users.acl allows the fleet, less its password."""
    text = (Path(__file__).parents[2] / "deploy" / "redis" / "users.acl").read_text()
    line = next(one for one in text.splitlines() if one.startswith("user siem "))
    return [word for word in line.split()[2:] if not word.startswith("#")]


def as_role(database_url: str, *grants: str) -> str:
    """Make a role with these rights, and return the URL that signs it in."""
    granted = (f"GRANT {grant} TO fleet" for grant in grants)
    as_owner(database_url, "DROP ROLE IF EXISTS fleet", "CREATE ROLE fleet LOGIN", *granted)
    return make_url(database_url).set(username="fleet").render_as_string(hide_password=False)


def drop_role(database_url: str) -> None:
    """Remove the role again: roles are of the whole server."""
    as_owner(database_url, "DROP OWNED BY fleet", "DROP ROLE fleet")


def as_owner(database_url: str, *statements: str) -> None:
    """Run statements as the owner of the tables."""
    url = make_url(database_url)
    with psycopg.connect(
        host=str(url.query["host"]), user="postgres", dbname=url.database, autocommit=True
    ) as owner:
        for statement in statements:
            owner.execute(statement.encode())


def test_a_fit_installation_passes(own: RunningServer, ledger_url: str) -> None:
    """A user of Redis and a role of the database that may do what the fleet does, and no more."""
    with own.client() as client:
        client.config_set("maxmemory", "100mb")
    url = as_user(own, " ".join(_fleet_rules()))
    role = as_role(
        ledger_url, *(f"SELECT{''.join(f', {one}' for one in r)} ON {t}" for t, r in RIGHTS.items())
    )
    found = inspected(url, role)
    drop_role(ledger_url)
    with own.client() as client:
        left = client.keys("siem:*")

    assert found.unasked == []
    # Redis 6.2 does not count what is added to a stream.
    assert set(faults(found)) <= {"redis removals"}
    assert left == []


def test_what_redis_forbids_is_named(own: RunningServer, ledger_url: str) -> None:
    """Commands, and the keys and channels that have another name."""
    lacking = inspected(as_user(own, "~siem:* resetchannels &siem:* +@all -xadd -eval -hset"), ledger_url)
    channels = inspected(as_user(own, "~siem:* resetchannels +@all"), ledger_url)
    narrow = inspected(as_user(own, "~siem:events +@all"), ledger_url)

    assert reason(lacking, "redis rights") == "this user may not: HSET, XADD, EVAL"
    assert reason(channels, "redis rights") == (
        "this user may not: PUBLISH siem:replicated, SUBSCRIBE siem:celery:/0.celery.pidbox"
    )
    assert faults(narrow)["redis rights"] == "failed"
    assert "EXISTS siem:integrations" in reason(narrow, "redis rights")
    assert narrow.unasked == []


def test_each_fault_of_a_server_is_found(own: RunningServer, ledger_url: str) -> None:
    """The checks of `siem redis check` are here, and those that only production asks for."""
    with own.client() as client:
        client.config_set("timeout", "300")
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", "100mb")
        client.config_set("appendonly", "no")
        client.execute_command("ACL SETUSER default nopass")
    found = faults(inspected(own.url.replace(":of-default@", ""), ledger_url))

    expected = {
        "redis eviction": "failed",
        "redis persistence": "failed",
        "redis timeout": "warning",
        "redis login": "warning",
        "database role": "warning",
    }
    assert found | expected == found, found


@pytest.mark.slow
def test_behind_sentinels_the_replicas_are_counted(tmp_path: Path, ledger_url: str) -> None:
    """And what a failover may lose is limited, or a warning says that it is not."""
    with WatchedServers(tmp_path / "watched") as watched:
        found = inspected(watched.url, ledger_url)
        with watched.master.client() as client:
            client.config_set("min-replicas-to-write", "0")
        without = faults(inspected(watched.url, ledger_url))

    assert "redis durability" not in faults(found)
    assert without["redis durability"] == "warning"
    assert reason(found, "redis replicas") == "2 replicas are connected"
    assert reason(found, "redis login").startswith("the fleet signs in as the user `default`")


def test_a_redis_of_another_ledger_is_refused(own: RunningServer, ledger_url: str) -> None:
    """And one whose ledger cannot be asked is not known."""
    client = redis_client(own.url)
    take_over(client, "another-ledger")
    client.close()

    assert faults(inspected(own.url, ledger_url))["redis ledger"] == "failed"
    away = "postgresql+psycopg://siem@127.0.0.1:1/siem"
    assert faults(inspected(own.url, away))["redis ledger"] == "unknown"


def test_before_the_first_start_the_tables_are_missing(own: RunningServer, postgres_url: str) -> None:
    """That is a failure with the command that corrects it, and everything else is asked."""
    found = inspected(own.url, postgres_url)
    schema = next(one for one in found.checks if one.name == "schema")

    assert (schema.status, schema.reason) == ("failed", "the ledger has no tables yet")
    assert schema.hint.startswith("run `siem db upgrade`")
    assert faults(found)["secrets"] == "unknown"
    assert "no process of the fleet runs yet" in reason(found, "processes")


def test_every_table_of_the_ledger_is_asked_for() -> None:
    """A table that a release adds is not forgotten."""
    assert set(RIGHTS) == set(metadata.tables)


def test_rights_that_the_role_lacks_are_named(own: RunningServer, ledger_url: str) -> None:
    """Table by table, and the functions that begin and drop periods of deliveries."""
    role = as_role(ledger_url, "SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public")
    as_owner(ledger_url, "REVOKE EXECUTE ON FUNCTION siem_drop_period FROM PUBLIC")
    found = inspected(own.url, role)
    drop_role(ledger_url)

    assert faults(found)["database rights"] == "failed"
    assert "lacks DELETE on deliveries, DELETE on dead_letters" in reason(found, "database rights")
    assert reason(found, "database rights").endswith("EXECUTE on siem_drop_period(bigint)")
    assert "database role" not in faults(found)


def test_a_secret_that_no_key_opens_is_named(own: RunningServer, ledger_url: str) -> None:
    """Of every integration; and one that an older key sealed is reported."""
    engine = open_ledger(ledger_url)
    document = {
        "id": "int_1",
        "name": "hook",
        "destination": {
            "type": "webhook",
            "url": "https://endpoint.example.com/",
            "auth": {"kind": "bearer", "token": "token-of-hook"},
        },
    }
    older = new_key()
    store = IntegrationStore(engine, Vault([older]), Quotas())
    store.create(parse_integration(document))
    engine.dispose()
    lost = inspected(own.url, ledger_url)
    kept = inspected(own.url, ledger_url, secret_keys=f"{KEY},{older}")

    assert faults(lost)["secrets"] == "failed"
    assert "auth.token of hook (int_1)" in reason(lost, "secrets")
    assert faults(kept)["secrets"] == "warning"


def test_processes_with_other_keys_are_found(own: RunningServer, ledger_url: str) -> None:
    """They could not open what is sealed with the first key here."""
    client = redis_client(own.url)
    heartbeat = Heartbeat(client, API, facts=key_facts(Vault([new_key()])))
    heartbeat.start()
    try:
        wait_until(lambda: key_holders(client), "the API reports its keys")
        found = inspected(own.url, ledger_url)
    finally:
        heartbeat.stop()
        client.close()

    assert faults(found)["process keys"] == "failed"
    assert "all are of release" in reason(found, "processes")


def test_settings_that_are_no_choice_for_production(own: RunningServer, tmp_path: Path) -> None:
    """Of one host, open to all, or without a proxy; and no key is made on the way."""
    found = inspected(
        own.url,
        "",
        secret_keys="",
        data_dir=tmp_path,
        allowed_networks="0.0.0.0/0",
        api_trusted_proxies="::/0",
        metrics_token="",
    )

    expected = {
        "database address": "failed",
        "secret keys": "failed",
        "allowed networks": "failed",
        "api proxies": "failed",
        "metrics token": "warning",
        "secrets": "unknown",
    }
    assert faults(found) | expected == faults(found)
    assert not (tmp_path / "secret.key").exists()


def test_what_hangs_does_not_keep_the_rest_from_being_reported(
    server: RunningServer, ledger_url: str
) -> None:
    """A server that takes connections and never answers, in the place of each."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        redis_hangs = inspected(f"redis://127.0.0.1:{port}/0", ledger_url, longest=3.0)
        database_hangs = inspected(
            server.url, f"postgresql+psycopg://siem@127.0.0.1:{port}/siem?sslmode=disable", longest=3.0
        )

    assert redis_hangs.unasked == ["Redis"]
    assert faults(redis_hangs)["redis"] == faults(redis_hangs)["processes"] == "unknown"
    assert "schema" not in faults(redis_hangs)
    assert database_hangs.unasked == ["the database"]
    assert faults(database_hangs)["database"] == "unknown"
    assert "redis rights" not in faults(database_hangs)
