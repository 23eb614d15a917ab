"""Whatever stands in Redis for an integration's copy, what looks for its secrets goes on."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import call
from tests.fleet import Fleet
from worker.broker import keys
from worker.broker.key_holders import unopened_secrets
from worker.vault.vault import open_vault

FORGED = {
    "empty": b"{}",
    "no_json": b"\xff{",
    "a_list": b"[1]",
    "no_destination": b'{"id":"x","destination":null}',
    "odd_destination": b'{"id":"x","destination":["url"]}',
    "half_a_character": b'{"id":"x","destination":{"type":"splunk_hec","token":{"$sealed":"\\ud800"}}}',
    "half_a_url": b'{"id":"x","destination":{"type":"webhook","url":{"$sealed":"\\ud800"}}}',
    "no_id": b'{"id":["x"],"name":{},"destination":{"token":{"$sealed":"x"}}}',
    "deep": b'{"id":"x","destination":' + b'{"a":' * 600 + b"1" + b"}" * 601,
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Give a fleet of which no process runs, with one integration that has a secret."""
    with Fleet(tmp_path_factory.mktemp("forged")) as own:
        own.integrate("https://endpoint.example.com/", "ours", type="splunk_hec", token="a-token")
        yield own


@pytest.mark.parametrize("forged", FORGED)
def test_workers_that_lack_a_key_are_looked_for_in_spite_of_a_forged_copy(fleet: Fleet, forged: str) -> None:
    """As the doctor does, and a test of the API."""
    fleet.client.hset(keys.INTEGRATIONS, "x", FORGED[forged])
    try:
        assert unopened_secrets(fleet.client, open_vault(fleet.settings), "x", "webhook") is None
    finally:
        fleet.client.hdel(keys.INTEGRATIONS, "x")


def test_the_state_of_the_keys_is_shown_in_spite_of_forged_copies(fleet: Fleet) -> None:
    """One that names no integration has no secret; one that no key opens is shown as in Redis alone."""
    for name, document in FORGED.items():
        fleet.client.hset(keys.INTEGRATIONS, name, document)
    try:
        told = call(fleet.environment, "secrets", "status", "--json")
        shown = call(fleet.environment, "secrets", "status")
    finally:
        fleet.client.hdel(keys.INTEGRATIONS, *FORGED)

    assert [one["name"] for one in told.report["ledger"]] == ["ours"]
    assert {one["binding"] for one in told.report["redis"] if one["integration_id"] == "x"} == {"unknown"}
    assert "stands in Redis and not in the ledger" in shown.out
    assert "Traceback" not in told.err + shown.err


@pytest.mark.parametrize("forged", ["half_a_character", "odd_destination"])
def test_the_doctor_says_what_is_wrong_with_a_forged_copy(fleet: Fleet, tmp_path: Path, forged: str) -> None:
    """While the database is away, it reads the integration from there."""
    document = json.loads(FORGED[forged]) | {"name": "forged"}
    if forged == "odd_destination":
        document["destination"] = {"type": "webhook", "url": ["x"]}
    fleet.client.hset(keys.INTEGRATIONS, "x", json.dumps(document))
    away = {**fleet.environment, "SIEM_LEDGER_URL": f"sqlite:///{tmp_path}/nowhere/ledger.db"}
    try:
        ran = call(away, "doctor", "x")
    finally:
        fleet.client.hdel(keys.INTEGRATIONS, "x")

    assert ran.code not in {0, None}
    assert "Traceback" not in ran.err
    assert ran.out + ran.err
