"""`siem secrets`: keys are rotated to the end; with a lost key nothing else is lost than its secrets."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.running import Ran, call, destination_of
from tests.fleet import Fleet, wait_until
from worker.broker.heartbeat import API, Heartbeat
from worker.broker.identity import process_identity
from worker.broker.key_holders import key_facts, key_holders
from worker.model.fleet_health import worker_role
from worker.vault.vault import Vault, new_key

pytestmark = pytest.mark.slow

OLD, NEW, LOST = new_key(), new_key(), new_key()
_URL = "https://endpoint.example.com/"


@pytest.fixture
def with_keys(empty: Fleet) -> Callable[..., Ran]:
    """Give what runs `siem` as a process that has these keys."""

    def call_with(keys: str, *arguments: str, **changes: str) -> Ran:
        return call({**empty.environment, "SIEM_SECRET_KEYS": keys, **changes}, *arguments)

    return call_with


def _create(with_keys: Callable[..., Ran], keys: str, name: str) -> str:
    made = with_keys(
        *(keys, "integrations", "create", "--name", name, "--type", "webhook", "--url", _URL),
        *("--token", f"token-of-{name}", "--json"),
    )
    return str(made.json["id"])


def test_keys_are_rotated_to_the_end(with_keys: Callable[..., Ran]) -> None:
    """Until the old key can go, `status` says why not; the copy in Redis is counted as well."""
    one = _create(with_keys, OLD, "one")
    two = _create(with_keys, f"{OLD},{NEW}", "two")
    before = with_keys(f"{NEW},{OLD}", "secrets", "status")
    resealed = with_keys(f"{NEW},{OLD}", "secrets", "reseal")
    after = with_keys(f"{NEW},{OLD}", "secrets", "status", "--json")
    alone = with_keys(NEW, "secrets", "status")

    assert (before.code, before.out.splitlines()[-1]) == (
        1,
        "An older key sealed 2 secrets: `siem secrets reseal`.",
    )
    fingerprint = after.json["keys"][0]
    assert resealed.out == f"Sealed 2 secrets of 2 integrations with key {fingerprint}.\n"
    assert {(it["integration_id"], it["sealed_by"]) for it in after.json["redis"]} == {
        (one, fingerprint),
        (two, fingerprint),
    }
    both = with_keys(f"{NEW},{OLD}", "secrets", "status")
    assert [(ran.code, ran.out.splitlines()[-1]) for ran in (both, alone)] == [
        (0, "The first key has sealed all secrets: the other keys can be removed."),
        (0, "This key has sealed all secrets."),
    ]
    again = with_keys(f"{NEW},{OLD}", "secrets", "reseal", "--json")
    assert again.json == {"resealed": [], "left": []}


def test_a_lost_key_hides_nothing_else(with_keys: Callable[..., Ran]) -> None:
    """List, show, status, pause and doctor go on; update replaces the secret, and says what is missing."""
    lost = _create(with_keys, LOST, "lost")
    _create(with_keys, NEW, "kept")

    listed = with_keys(NEW, "integrations", "list")
    assert [line.split()[1] for line in listed.out.splitlines()[1:]] == ["kept", "lost"]
    assert "lacks the key that sealed auth.token of lost" in listed.err
    assert destination_of(with_keys(NEW, "integrations", "show", lost, "--json").json)["auth"] == {
        "kind": "bearer",
        "token": "unreadable",
    }
    assert [one["name"] for one in with_keys(NEW, "status", "--json").report["integrations"]] == [
        "kept",
        "lost",
    ]
    assert with_keys(NEW, "integrations", "pause", lost).code == 0
    assert "auth.token cannot be opened" in with_keys(NEW, "doctor", lost).out
    assert "auth.token of integration lost cannot be opened" in with_keys(NEW, "preview", lost, "-").err
    renamed = with_keys(NEW, "integrations", "update", lost, "--name", "found")
    assert (renamed.code, "lacks the key that sealed auth.token of found" in renamed.err) == (0, True)
    assert with_keys(LOST, "secrets", "status", "--json").out.count('"sealed_by": null') == 2
    updated = with_keys(NEW, "integrations", "update", lost, "--token", "set-anew")
    assert (updated.code, updated.err.count("lacks the key")) == (0, 0)
    assert with_keys(NEW, "secrets", "status").code == 0


def test_what_no_key_opens_is_left_and_named(with_keys: Callable[..., Ran]) -> None:
    """Resealing ends with 1 then, and tells both ways to mend it."""
    lost = _create(with_keys, LOST, "lost")
    ran = with_keys(NEW, "secrets", "reseal")

    assert (ran.code, ran.out.startswith("Sealed 0 secrets of 0 integrations")) == (1, True)
    assert f"None of the keys opens auth.token of lost ({lost})" in ran.err
    assert f"siem integrations update {lost}" in ran.err


def test_without_redis_its_copy_is_not_called_finished(with_keys: Callable[..., Ran]) -> None:
    """What stands there may still need the old key."""
    _create(with_keys, NEW, "one")
    away = with_keys(NEW, "secrets", "status", SIEM_REDIS_URL="redis://127.0.0.1:1/0")
    reported: dict[str, Any] = json.loads(
        with_keys(NEW, "secrets", "status", "--json", SIEM_REDIS_URL="redis://127.0.0.1:1/0").out
    )

    assert away.code == 1
    assert away.out.splitlines()[-1].startswith("The copy in Redis was not checked: ")
    assert (reported["finished"], reported["redis"]) == (False, None)


def test_an_orphan_in_redis_keeps_its_key(empty: Fleet, with_keys: Callable[..., Ran]) -> None:
    """An integration that only Redis knows has to be adopted or deleted before its key can go."""
    orphan = _create(with_keys, OLD, "orphan")
    document = empty.client.hget("siem:integrations", orphan)
    assert isinstance(document, bytes)
    empty.client.hset("siem:integrations", "int_unknown", document.replace(orphan.encode(), b"int_unknown"))
    with_keys(f"{NEW},{OLD}", "secrets", "reseal")
    ran = with_keys(f"{NEW},{OLD}", "secrets", "status")
    empty.client.hdel("siem:integrations", "int_unknown")

    assert ran.code == 1
    assert "orphan (int_unknown) stands in Redis and not in the ledger" in ran.out


def test_a_new_key_is_one(empty: Fleet) -> None:
    """What is printed can be used as it is."""
    printed = call(empty.environment, "secrets", "new-key").out.strip()

    assert call(empty.environment, "secrets", "status", SIEM_SECRET_KEYS=printed).code in (0, 1)


def test_nothing_is_resealed_while_a_process_lacks_the_key(
    empty: Fleet, with_keys: Callable[..., Ran]
) -> None:
    """A worker that tells other keys would open nothing any more; one of release 0.1.0 tells none."""
    _create(with_keys, OLD, "one")
    sign = Heartbeat(empty.client, worker_role("webhook"), facts=key_facts(Vault([OLD])))
    sign.start()
    wait_until(lambda: key_holders(empty.client), "the worker tells its keys")
    refused = with_keys(f"{NEW},{OLD}", "secrets", "reseal")
    reported = with_keys(f"{NEW},{OLD}", "secrets", "status").out
    forced = with_keys(f"{NEW},{OLD}", "secrets", "reseal", "--confirm")
    after = with_keys(f"{NEW},{OLD}", "secrets", "status")
    sign.stop()

    assert (refused.code, refused.complaint.startswith("nothing is changed: these processes")) == (1, True)
    assert f"worker-webhook {process_identity()} lacks the first key" in reported
    assert forced.out.startswith("Sealed 1 secret ")
    assert after.code == 1
    assert with_keys(f"{NEW},{OLD}", "secrets", "status").code == 0


def test_the_old_key_stays_while_an_api_seals_with_it(empty: Fleet, with_keys: Callable[..., Ran]) -> None:
    """One that was not restarted since the new key was moved to the front; a worker seals nothing."""
    facts, worker = key_facts(Vault([OLD, NEW])), worker_role("webhook")
    signs = [Heartbeat(empty.client, role, facts=facts) for role in (API, worker)]

    def told_by(*roles: str) -> bool:
        holders = key_holders(empty.client)
        return [(set(one.roles), one.keys is not None) for one in holders] == [(set(roles), True)]

    try:
        for sign in signs:
            sign.start()
        wait_until(lambda: told_by(API, worker), "both tell their keys")
        during = with_keys(f"{NEW},{OLD}", "secrets", "status")
        signs[0].stop()
        wait_until(lambda: told_by(worker), "the worker alone tells its keys")
        after = with_keys(f"{NEW},{OLD}", "secrets", "status")
    finally:
        for sign in signs:
            sign.stop()

    assert during.code == 1
    assert "seals with another key: restart it with the first key in front" in during.out
    assert after.code == 0


@pytest.mark.parametrize("first", [NEW, OLD], ids=["unknown", "known"])
def test_a_secret_that_workers_cannot_open_is_warned_of(
    empty: Fleet, with_keys: Callable[..., Ran], first: str
) -> None:
    """`create` and `update` seal with the keys of their own shell; what they seal is for the workers."""
    own = f"{first},{OLD}"
    create = ("integrations", "create", "--type", "webhook", "--url", _URL, "--name")
    sign = Heartbeat(empty.client, worker_role("webhook"), facts=key_facts(Vault([OLD])))
    sign.start()
    try:
        wait_until(lambda: key_holders(empty.client), "the worker tells its keys")
        made = with_keys(own, *create, "sealed", "--token", "token-of-sealed")
        changed = with_keys(own, "integrations", "update", "sealed", "--max-retries", "1")
        plain = with_keys(own, *create, "plain")
    finally:
        sign.stop()

    words = f"worker-webhook {process_identity()} lacks the key that sealed auth.token of sealed"
    assert [words in one.err for one in (made, changed)] == [first is NEW] * 2
    assert made.code == 0
    assert changed.code == 0
    assert plain.err == ""


def test_an_api_that_cannot_open_a_secret_holds_up_no_events(
    empty: Fleet, with_keys: Callable[..., Ran]
) -> None:
    """It is warned of as well, and no one says that events wait for it."""
    sign = Heartbeat(empty.client, API, facts=key_facts(Vault([OLD])))
    sign.start()
    try:
        wait_until(lambda: key_holders(empty.client), "the API tells its keys")
        create = ("integrations", "create", "--type", "webhook", "--url", _URL, "--name", "shown")
        made = with_keys(NEW, *create, "--token", "token-of-shown")
    finally:
        sign.stop()

    assert f"api {process_identity()} lacks the key that sealed auth.token of shown" in made.err
    assert "its events wait" not in made.err


@pytest.mark.parametrize("keys", [f"{NEW},{OLD}", NEW, OLD], ids=["both", "that", "another"])
def test_the_doctor_warns_of_workers_that_cannot_open_a_secret(
    empty: Fleet, with_keys: Callable[..., Ran], keys: str
) -> None:
    """It has the key itself, so that all of its own steps pass; by the copy that workers read."""
    here = ("--type", "webhook", "--url", "https://127.0.0.1:1/", "--name")
    with_keys(NEW, "integrations", "create", *here, "one", "--token", "token-of-one")
    with_keys(NEW, "integrations", "create", *here, "plain")
    sign = Heartbeat(empty.client, worker_role("webhook"), facts=key_facts(Vault(keys.split(","))))
    sign.start()
    try:
        wait_until(lambda: key_holders(empty.client), "the worker tells its keys")
        found = with_keys(f"{NEW},{OLD}", "doctor", "one", "--no-test-event", "--json").report["steps"]
        plain = with_keys(f"{NEW},{OLD}", "doctor", "plain", "--no-test-event", "--json").report["steps"]
    finally:
        sign.stop()
    warned = [step for step in found if step["step"] == "secret keys"]

    words = f"worker-webhook {process_identity()} lacks the key that sealed auth.token: its events wait"
    expected = [("warning", True)] if keys == OLD else []
    assert [(step["result"], words in step["message"]) for step in warned] == expected
    assert all("with that key in SIEM_SECRET_KEYS" in step["hint"] for step in warned)
    assert "secret keys" not in [step["step"] for step in plain]


def test_without_redis_nothing_is_resealed_unasked(with_keys: Callable[..., Ran]) -> None:
    """No one can say then whether every process has the key."""
    away = {"SIEM_REDIS_URL": "redis://127.0.0.1:1/0"}
    _create(with_keys, OLD, "one")

    assert "--confirm does it all the same" in with_keys(NEW, "secrets", "reseal", **away).complaint
    assert with_keys(f"{NEW},{OLD}", "secrets", "reseal", "--confirm", **away).code == 0
    assert "is not renewed yet" in with_keys(f"{NEW},{OLD}", "secrets", "status").out
