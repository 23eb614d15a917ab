"""`siem doctor` on the installation itself, and on an integration while the database is away."""

import json

import pytest

from tests.cli.running import call
from tests.cli.test_troubles import NO_DATABASE, NO_REDIS
from tests.fleet import Fleet
from tests.receivers.hec import HecReceiver
from worker.background.redis_monitor import WITHOUT_DATABASE

pytestmark = pytest.mark.slow


def test_without_an_integration_the_installation_is_examined(desk: Fleet) -> None:
    """Each check of Redis, and the database."""
    ran = call(desk.environment, "doctor", "--json")
    steps = {one["step"]: one["result"] for one in ran.json["installation"]}

    assert {"redis", "redis version", "redis persistence", "redis ledger", "database"} <= set(steps)
    assert set(steps.values()) == {"ok"}
    assert "installation: no step failed." in call(desk.environment, "doctor").out


@pytest.mark.parametrize(
    ("variable", "value", "step", "words"),
    [
        ("SIEM_REDIS_URL", NO_REDIS, "redis", "Redis does not answer"),
        ("SIEM_DATABASE_URL", NO_DATABASE, "database", "127.0.0.1:1/siem does not answer"),
    ],
)
def test_what_is_away_is_a_step_that_failed(
    desk: Fleet, variable: str, value: str, step: str, words: str
) -> None:
    """The other one is examined all the same; no password is repeated."""
    ran = call(desk.environment | {variable: value}, "doctor", "--json")
    reported = json.loads(ran.out)["installation"]
    failed = {one["step"]: one for one in reported if one["result"] == "failed"}

    assert ran.code == 1
    assert set(failed) == {step}
    assert words in failed[step]["message"]
    assert failed[step]["hint"]
    assert {"redis", "database"} <= {one["step"] for one in reported}
    assert [one["message"] for one in reported if one["step"] == "redis ledger"] == (
        [] if step == "redis" else [f"cannot be checked: whose Redis it is: {WITHOUT_DATABASE}"]
    )
    assert "hunter2" not in ran.out


def test_an_integration_is_examined_without_the_database(empty: Fleet) -> None:
    """It is taken from Redis with its sealed token, and its test event arrives."""
    with HecReceiver() as splunk:
        empty.integrate(splunk.url, "splunk")
        ran = call(empty.environment | {"SIEM_DATABASE_URL": NO_DATABASE}, "doctor", "splunk")
        missing = call(empty.environment | {"SIEM_DATABASE_URL": NO_DATABASE}, "doctor", "nobody")

    assert "FAILED  database" in ran.out
    assert "splunk: no step failed" in ran.out
    assert len(splunk.accepted_ids) == 1
    assert (ran.code, missing.code) == (1, 4)
    assert "there is no integration nobody in Redis, and the database cannot be asked" in missing.err
