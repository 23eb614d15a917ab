"""The scripts that compose.yaml mounts into images of others, as they adapt nginx and PostgreSQL."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.ledger.postgres import PostgresServer, postgres_server, programs

DEPLOY = Path(__file__).parents[2] / "deploy"


def run(script: str, places: dict[str, Path], **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a script with other files in the places where a container has its own."""
    text = (DEPLOY / script).read_text()
    for inside, outside in places.items():
        assert inside in text
        text = text.replace(inside, str(outside))
    own = {**os.environ, **environment}
    return subprocess.run(
        ["/bin/sh", "-c", text],
        env=own,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Give an empty PostgreSQL, as in a new volume."""
    with postgres_server() as running:
        yield running


def test_postgres_gets_its_roles_with_their_passwords(server: PostgresServer, tmp_path: Path) -> None:
    """Those of roles.sql; the fleet's and the owner's passwords are the ones of the secrets."""
    for role in ("siem", "siem_owner"):
        (tmp_path / f"postgres_password_{role}").write_text(f"secret-of-{role}")
    places = {"/run/secrets": tmp_path, "/etc/siem/roles.sql": DEPLOY / "postgres" / "roles.sql"}
    path = f"{programs()}:{os.environ['PATH']}"
    done = run("compose-postgres", places, PGHOST=str(server.socket_folder), PATH=path)
    with psycopg.connect(host=str(server.socket_folder), user="postgres", dbname="siem") as connection:
        found = connection.execute("SELECT rolname FROM pg_authid WHERE rolpassword IS NOT NULL")
        roles = {row[0] for row in found}

    assert done.returncode == 0, done.stderr
    assert roles == {"siem", "siem_owner"}
    assert "secret-of" not in done.stdout + done.stderr


def test_nginx_finds_the_services(tmp_path: Path) -> None:
    """Instead of addresses of one host; its name is that of SIEM_HOST, and its logs go to the container's."""
    (tmp_path / "nginx").write_text("#!/bin/sh\n")
    (tmp_path / "nginx").chmod(0o755)
    made = tmp_path / "siem.conf"
    places = {"/etc/siem/nginx.conf": DEPLOY / "nginx" / "siem.conf", "/etc/nginx/conf.d/siem.conf": made}
    # Its loop, which looks for other addresses, ends at once: there are no such hosts here.
    places["while sleep 5"] = Path("while false")
    done = run("compose-nginx", places, SIEM_HOST="siem.test", PATH=f"{tmp_path}:{os.environ['PATH']}")
    text = made.read_text()

    assert done.returncode == 0, done.stderr
    assert "127.0.0.1:" not in text
    assert "server api:8080" in text
    assert "flower:5555" in text
    assert "server_name siem.test;" in text
    assert "/dev/stdout" in text
    assert "siem.example.com" not in text
