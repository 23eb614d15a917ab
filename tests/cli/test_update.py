"""`siem integrations update` and `test`: what is given changes, and nothing else does."""

import secrets
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import call, run
from tests.fleet import Fleet
from tests.receivers.webhook import WebhookReceiver
from worker.cli import integration_update
from worker.cli.integration_update import read_changes
from worker.integrations.integration import Integration, parse_integration
from worker.integrations.splunk_hec import SplunkHec
from worker.integrations.webhook import ApiKeyAuth, Webhook

pytestmark = pytest.mark.slow

OLD_SECRET = "whsec_" + "A" * 43 + "="
NEW_SECRET = "whsec_" + "B" * 43 + "="


def make(fleet: Fleet, name: str, **destination: Any) -> Integration:
    """Make an integration of an id that no other test had."""
    document = {"id": f"int_{secrets.token_hex(8)}", "name": name, "destination": destination}
    integration = parse_integration(document)
    fleet.store.create(integration)
    return integration


@pytest.fixture
def splunk(empty: Fleet) -> Integration:
    """Give a Splunk with a token and a few settings."""
    url = "https://splunk.example.com:8088/services/collector"
    return make(empty, "splunk", type="splunk_hec", url=url, token="old-token", index="main", gzip=True)


@pytest.fixture
def hook(empty: Fleet) -> Integration:
    """Give a webhook with a key and a signature."""
    return make(
        empty,
        "hook",
        type="webhook",
        url="https://endpoint.example.com/",
        auth={"kind": "api_key", "value": "old-key"},
        headers={"X-Team": "secret-team"},
        signing_secrets=[OLD_SECRET],
    )


def test_only_what_is_given_changes(empty: Fleet, splunk: Integration) -> None:
    """The token above all stays."""
    ran = run(
        empty.environment, "integrations", "update", "splunk", "--index", "security", "--max-retries", "1"
    )
    now = empty.store.get(splunk.id)

    assert (ran.code, ran.out) == (0, f"Updated splunk ({splunk.id}).\n")
    assert isinstance(now.destination, SplunkHec)
    assert (now.destination.index, now.max_retries) == ("security", 1)
    assert now.destination.token.get_secret_value() == "old-token"
    assert now.destination.gzip is True
    assert now.event_types == splunk.event_types


def test_a_new_token_comes_from_a_file(empty: Fleet, splunk: Integration, tmp_path: Path) -> None:
    """And is not shown, not even in JSON."""
    (tmp_path / "token").write_text("new-token\n")
    ran = call(
        empty.environment,
        *("integrations", "update", splunk.id, "--token-file", str(tmp_path / "token"), "--json"),
    )
    now = empty.store.get(splunk.id).destination

    assert isinstance(now, SplunkHec)
    assert now.token.get_secret_value() == "new-token"
    assert "new-token" not in ran.out


def test_a_change_in_between_is_not_overwritten(
    empty: Fleet, splunk: Integration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come while a token is waited for on standard input."""

    def read_slowly(old: Integration, given: Any) -> Integration:
        changed = read_changes(old, given)
        empty.store.set_enabled(old.id, False)
        return changed

    monkeypatch.setattr(integration_update, "read_changes", read_slowly)
    ran = call(empty.environment, "integrations", "update", "splunk", "--index", "security")
    now = empty.store.get(splunk.id)

    assert ran.code == 1
    assert "Another user has changed it since it was read" in ran.complaint
    assert (now.enabled, now.destination) == (False, splunk.destination)


def test_the_fleet_learns_of_it(empty: Fleet, splunk: Integration) -> None:
    """At once: a change also tries a SIEM that is held."""
    call(empty.environment, "integrations", "update", "splunk", "--name", "splunk-eu")
    document = empty.client.hget("siem:integrations", splunk.id)

    assert isinstance(document, bytes)
    assert b"splunk-eu" in document


def test_a_signature_is_changed_with_an_overlap(empty: Fleet, hook: Integration, tmp_path: Path) -> None:
    """Two secrets while the endpoint changes over; key and headers stay."""
    for name, text in (("old", OLD_SECRET), ("new", NEW_SECRET)):
        (tmp_path / name).write_text(text)
    files = [part for name in ("new", "old") for part in ("--signing-secret-file", str(tmp_path / name))]
    call(empty.environment, "integrations", "update", "hook", *files)
    now = empty.store.get(hook.id).destination

    assert isinstance(now, Webhook)
    assert [one.get_secret_value() for one in now.signing_secrets] == [NEW_SECRET, OLD_SECRET]
    assert isinstance(now.auth, ApiKeyAuth)
    assert now.auth.value.get_secret_value() == "old-key"
    assert now.headers["X-Team"].get_secret_value() == "secret-team"


def test_fields_go_back_to_their_defaults(empty: Fleet, splunk: Integration) -> None:
    """By the names that `siem integrations show` has for them."""
    ran = call(
        empty.environment, *("integrations", "update", "splunk", "--reset", "index", "--reset", "gzip")
    )
    now = empty.store.get(splunk.id).destination

    assert ran.code == 0
    assert isinstance(now, SplunkHec)
    assert (now.index, now.gzip) == (None, False)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "say what to change"),
        (["--facility", "local3"], "--facility is of no use for splunk_hec"),
        (["--url", "ftp://elsewhere"], "--url"),
        (["--reset", "token"], "token"),
        (["--timeout", "99"], "--timeout"),
        (["--event-type", "policy.deny", "--all-events"], "not both"),
        (["--reset", "nonsense"], "nonsense"),
    ],
)
def test_what_is_wrong_is_named_and_changes_nothing(
    empty: Fleet, splunk: Integration, arguments: list[str], complaint: str
) -> None:
    """One line, exit code 2."""
    ran = call(empty.environment, "integrations", "update", "splunk", *arguments)

    assert ran.code == 2
    assert complaint in ran.complaint
    assert empty.store.get(splunk.id) == splunk


def test_another_server_asks_for_the_secrets_again(empty: Fleet, hook: Integration, tmp_path: Path) -> None:
    """With the options that give them; a path asks for none."""
    (tmp_path / "key").write_text("new-key")
    (tmp_path / "headers").write_text("X-Team: new-team")
    (tmp_path / "signing").write_text(NEW_SECRET)
    moving = ("integrations", "update", "hook", "--url")
    refused = call(empty.environment, *moving, "https://other.example.com/")
    given = [
        *("--api-key-file", str(tmp_path / "key"), "--header-file", str(tmp_path / "headers")),
        *("--signing-secret-file", str(tmp_path / "signing")),
    ]
    moved = call(empty.environment, *moving, "https://other.example.com/", *given)
    elsewhere = call(empty.environment, *moving, "https://other.example.com/in")
    now = empty.store.get(hook.id).destination

    assert refused.code == 2
    for words in (
        "url has another scheme, host or port",
        "--api-key-file",
        "--header-file",
        "--signing-secret",
    ):
        assert words in refused.err
    assert (moved.code, elsewhere.code) == (0, 0), moved.err + elsewhere.err
    assert isinstance(now, Webhook)
    assert now.url == "https://other.example.com/in"
    assert now.headers["X-Team"].get_secret_value() == "new-team"


def test_an_unknown_one_is_no_success(empty: Fleet) -> None:
    """Exit code 4."""
    assert call(empty.environment, "integrations", "update", "nobody", "--name", "x").code == 4


def test_a_test_is_the_doctors(empty: Fleet) -> None:
    """With its exit code: 0 for one that is well, 1 for one that is not."""
    with WebhookReceiver() as receiver:
        make(empty, "well", type="webhook", url=receiver.url)
        make(empty, "ill", type="webhook", url="http://127.0.0.1:1/")
        well = call(empty.environment, "integrations", "test", "well")
        ill = call(empty.environment, "integrations", "test", "ill")

    assert well.code == 0
    assert len(receiver.events) == 1
    assert ill.code == 1
    assert "FAILED" in ill.out
