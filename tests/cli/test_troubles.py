"""Whatever is missing: one line that helps, the exit code that the help promises, and no secret."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.running import SIEM, call, run
from tests.fleet import Fleet

pytestmark = pytest.mark.slow

NO_REDIS = "redis://:hunter2@127.0.0.1:1/0"
NO_DATABASE = "postgresql+psycopg://siem:hunter2@127.0.0.1:1/siem"
NEWCOMER = {"PATH": os.environ["PATH"]}


@pytest.mark.parametrize(
    ("variable", "value", "code", "words"),
    [
        ("SIEM_DATABASE_URL", "mysql://siem:hunter2@localhost/siem", 2, "mysql"),
        ("SIEM_SECRET_KEYS", "hunter2", 2, "SIEM_SECRET_KEYS"),
        ("SIEM_METRICS_TOKEN_FILE", "/etc/nothing/hunter", 2, "SIEM_METRICS_TOKEN_FILE"),
        ("SIEM_ALLOWED_NETWORKS", "10.0.0.0/64", 2, "SIEM_ALLOWED_NETWORKS"),
        ("SIEM_SLOTS", "many", 2, "SIEM_SLOTS"),
    ],
)
def test_what_does_not_answer_is_named(desk: Fleet, variable: str, value: str, code: int, words: str) -> None:
    """2 for what is set wrong; a password in it is not repeated."""
    ran = call(desk.environment | {variable: value}, "integrations", "list")

    assert ran.code == code
    assert words in ran.complaint
    assert "hunter2" not in ran.err


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("SIEM_REDIS_URL", NO_REDIS, "Redis does not answer"),
        ("SIEM_DATABASE_URL", NO_DATABASE, "127.0.0.1:1/siem does not answer"),
    ],
)
@pytest.mark.parametrize("command", [["status"], ["health"], ["status", "--json"], ["health", "--json"]])
def test_a_report_tells_what_it_can(
    desk: Fleet, variable: str, value: str, words: str, command: list[str]
) -> None:
    """What does not answer is one line on standard error, and code 3; the rest stands on standard output."""
    ran = call(desk.environment | {variable: value}, *command)

    assert ran.code == 3
    assert ran.err.count("\n") == 1
    assert words in ran.err
    assert words in ran.out
    assert "hunter2" not in ran.err + ran.out


def test_without_redis_a_newcomer_reads_what_to_start(tmp_path: Path) -> None:
    """Nothing is set and nothing runs: `siem up` is the answer."""
    ran = run(NEWCOMER, "publish", "-", SIEM_DATA_DIR=str(tmp_path))

    assert ran.code == 3
    assert "SIEM_REDIS_URL: is not set" in ran.complaint
    assert "`siem up`" in ran.complaint


def test_a_ledger_that_is_not_there_is_not_made_by_looking(tmp_path: Path) -> None:
    """In the wrong directory, the answer names the place that was looked at and leaves nothing there."""
    ran = call(NEWCOMER, "integrations", "list", SIEM_DATA_DIR=str(tmp_path / "data"))

    assert ran.code == 3
    assert str(tmp_path / "data") in ran.complaint
    assert "`siem db upgrade`" in ran.complaint
    assert list(tmp_path.iterdir()) == []


def test_an_empty_ledger_is_upgraded_as_often_as_one_likes(tmp_path: Path) -> None:
    """Without tables every command asks for `siem db upgrade`; a second upgrade changes nothing."""
    environment = NEWCOMER | {"SIEM_DATA_DIR": str(tmp_path)}
    (tmp_path / "ledger.sqlite3").touch()
    before = call(environment, "deliveries")
    upgrades = [call(environment, "db", "upgrade") for _ in range(2)]
    after = call(environment, "deliveries")

    assert (before.code, "run `siem db upgrade`" in before.complaint) == (3, True)
    assert [(ran.code, ran.err) for ran in upgrades] == [(0, ""), (0, "")]
    assert (after.code, after.out) == (0, "No deliveries match.\n")


def test_an_integration_can_be_changed_while_redis_is_away(desk: Fleet) -> None:
    """It is saved, a warning says that the fleet learns of it later, and the exit code is 0."""
    words = ("--name", "later", "--url", "https://splunk.example.com/services/collector", "--token", "t")
    created = run(desk.environment, "integrations", "create", *words, SIEM_REDIS_URL=NO_REDIS)
    deleted = run(desk.environment, "integrations", "delete", "later", "--yes", SIEM_REDIS_URL=NO_REDIS)

    assert (created.code, deleted.code) == (0, 0)
    for ran in (created, deleted):
        assert ran.err.count("\n") == 1
        assert "saved, but not yet in Redis" in ran.err
        assert "hunter2" not in ran.err


def test_a_full_disk_is_named(desk: Fleet) -> None:
    """What could not be written is an error, not a success."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [SIEM, "publish", "/dev/null"],
            env=desk.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr == b"Error: input or output: No space left on device\n"


def test_the_recorder_asks_for_an_upgrade(tmp_path: Path, desk: Fleet) -> None:
    """A process that cannot work ends with the reason instead of waiting for a person."""
    ran = run(desk.environment, "record", SIEM_DATA_DIR=str(tmp_path))

    assert ran.code == 3
    assert "`siem db upgrade`" in ran.complaint
