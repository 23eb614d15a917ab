"""`siem-admin`: a command by hand, with the settings and secrets of the units, as their user."""

import subprocess
from pathlib import Path

import pytest

ADMIN = Path(__file__).parents[2] / "deploy" / "siem-admin"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """Give a host on which `siem` prints its environment, and setpriv how it was called."""
    for folder in ("etc/secrets", "opt/venv/bin", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    for path, text in (
        ("opt/venv/bin/siem", 'env\necho "siem $*"'),
        ("bin/setpriv", 'echo "setpriv $*"\nenv'),
    ):
        (tmp_path / path).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / path).chmod(0o755)
    (tmp_path / "bin" / "id").write_text("#!/bin/sh\necho 0\n")
    (tmp_path / "bin" / "id").chmod(0o755)
    (tmp_path / "etc" / "siem.env").write_text(
        "# a comment\n#SIEM_SLOTS=5\nSIEM_LEASE=61\nPATH=/x\nSIEM_ALLOWED_NETWORKS=10.0.0.0/8, $(touch y)"
    )
    for name in ("redis_url", "secret_keys", "metrics_token", "database_url", "database_owner_url"):
        (tmp_path / "etc" / "secrets" / name).write_text(f"the {name}\n")
    return tmp_path


def admin(host: Path, *arguments: str, **given: str) -> "subprocess.CompletedProcess[str]":
    """Run it."""
    environment = {
        "PATH": f"{host / 'bin'}:/usr/bin:/bin",
        "HOME": "/root",
        "SIEM_ETC": str(host / "etc"),
        "SIEM_PREFIX": str(host / "opt"),
        **given,
    }
    return subprocess.run([ADMIN, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_it_has_the_settings_of_the_units(host: Path) -> None:
    """Values are taken as they are, as systemd takes them; no secret is an argument that others can see."""
    lines = admin(host, "status", "--limit", "3").stdout.splitlines()

    user = "--reuid=siem --regid=siem --clear-groups --no-new-privs"
    assert lines[0] == f"setpriv {user} {host}/opt/venv/bin/siem status --limit 3"
    given = dict(line.split("=", 1) for line in lines if line.startswith("SIEM_"))
    assert {name: value for name, value in given.items() if name not in ("SIEM_ETC", "SIEM_PREFIX")} == {
        "SIEM_LEASE": "61",
        "SIEM_ALLOWED_NETWORKS": "10.0.0.0/8, $(touch y)",
        "SIEM_REDIS_URL": "the redis_url",
        "SIEM_SECRET_KEYS": "the secret_keys",
        "SIEM_METRICS_TOKEN": "the metrics_token",
        "SIEM_DATABASE_URL": "the database_url",
        "SIEM_DATA_DIR": "/var/lib/siem",
    }
    assert "HOME=/var/lib/siem" in lines  # libpq gives up where it may not look, as in root's


def test_tables_are_changed_by_their_owner(host: Path) -> None:
    """The fleet's own role may not."""
    assert "SIEM_DATABASE_URL=the database_owner_url" in admin(host, "db", "upgrade").stdout
    (host / "etc" / "secrets" / "database_owner_url").unlink()
    assert "SIEM_DATABASE_URL=the database_url" in admin(host, "db", "upgrade").stdout


def test_keys_of_the_caller_win(host: Path) -> None:
    """`siem tenants import` needs another cell's key behind the own ones, for this one command."""
    said = admin(
        host, "tenants", "import", "-", SIEM_SECRET_KEYS="own,lost", SIEM_LEASE="1"
    ).stdout.splitlines()

    assert "SIEM_SECRET_KEYS=own,lost" in said
    assert "SIEM_LEASE=61" in said


def test_a_host_that_was_not_set_up_is_told(host: Path) -> None:
    """One line, and no traceback of a shell."""
    (host / "etc" / "siem.env").unlink()
    ran = admin(host, "status")

    assert ran.returncode == 1
    assert f"cannot read {host}/etc/siem.env" in ran.stderr
