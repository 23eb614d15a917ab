"""An attacker who can write to Redis has a sealed secret sent elsewhere: it opens in no place but its own."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, select, update

from tests.fleet import Fleet, wait_until
from tests.procfile import WORKER
from tests.receivers.webhook import WebhookReceiver
from worker.background.reach import reach_of
from worker.broker import keys
from worker.broker.fleet import LivingProcess, ProcessReport
from worker.integrations.integration import Integration, parse_integration
from worker.ledger.engine import open_ledger, writing
from worker.ledger.integrations import IntegrationStore
from worker.ledger.migrations.runner import upgrade_tables
from worker.ledger.orphans import adopt_integration
from worker.ledger.resealing import SecretResealer, reseal_secrets, sealed_secrets
from worker.ledger.schema import integrations
from worker.model.errors import InvalidIntegration, SecretMoved, SecretUnreadable
from worker.model.fleet_health import worker_role
from worker.settings import Settings
from worker.vault.documents import open_document, seal_document
from worker.vault.fields import replaced
from worker.vault.places import place_of
from worker.vault.sealed_secrets import Binding
from worker.vault.vault import Vault, new_key

TOKEN = "hunter2-hunter2-hunter2"
SIGNING = f"whsec_{base64.b64encode(b'a' * 32).decode()}"
DESTINATION = {
    "type": "webhook",
    "url": "https://hook.example.com/in",
    "auth": {"kind": "api_key", "header": "X-Api-Key", "value": TOKEN},
    "headers": {"X-Team": "another-secret"},
    "signing_secrets": [SIGNING],
    "ca_pem": None,
}
KEY = new_key()
VAULT = Vault([KEY])

EVENT = {"type": "policy.deny", "timestamp": "2026-11-26T00:00:00Z"}

Change = Callable[[dict[str, Any]], Any]


def _integration(**changes: Any) -> Integration:
    return parse_integration({"id": "int_a", "name": "a", "destination": DESTINATION, **changes})


def _sealed(integration: Integration | None = None) -> dict[str, Any]:
    """Return the document as it stands in Redis."""
    document: dict[str, Any] = json.loads(json.dumps(seal_document(integration or _integration(), VAULT)))
    return document


def _set(path: str, value: Any) -> Change:
    def change(document: dict[str, Any]) -> None:
        *folders, name = path.split(".")
        for folder in folders:
            document = document[folder]
        document[name] = value

    return change


def _swap(document: dict[str, Any]) -> None:
    own = document["destination"]
    own["auth"]["value"], own["headers"]["X-Team"] = own["headers"]["X-Team"], own["auth"]["value"]


def _sign_as_well(document: dict[str, Any]) -> None:
    document["destination"]["signing_secrets"].append(SIGNING)


def _shown_name(document: dict[str, Any]) -> None:
    document["name"] = document["destination"]["auth"]["value"]


def _as_url(document: dict[str, Any]) -> None:
    document["destination"]["url"] = document["destination"]["auth"]["value"]


CHANGES = {
    "host": _set("destination.url", "https://evil.example.com/in"),
    "path": _set("destination.url", "https://hook.example.com/in/evil"),
    "scheme": _set("destination.url", "http://hook.example.com/in"),
    "no verification": _set("destination.verify_tls", False),  # noqa: FBT003 - the value to set
    "own ca": _set("destination.ca_pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    "own name": _set("destination.tls_server_name", "evil.example.com"),
    "own header": _set("destination.auth.header", "X-Echoed"),
    "other tenant": _set("tenant_id", "theirs"),
    "other id": _set("id", "int_b"),
    "other field": _swap,
    "shown field": _shown_name,
    "url": _as_url,
    "own token": _set("destination.auth.value", "of-the-attacker"),
    "own host": _set("destination.headers.Host", "evil.example.com"),
    "own framing": _set("destination.headers.Transfer-Encoding", "chunked"),
    "own signature": _sign_as_well,
}


def test_a_changed_document_gives_no_secret_away(subtests: pytest.Subtests) -> None:
    """Whatever decides where a secret goes, or who can read it there, is part of its seal."""
    for name, change in CHANGES.items():
        with subtests.test(change=name):
            document = _sealed()
            change(document)

            with pytest.raises((SecretUnreadable, InvalidIntegration)) as raised:
                open_document(document, VAULT)
            assert TOKEN not in str(raised.value)


def test_what_decides_nothing_may_change() -> None:
    """A pause, a name, another size of batches: the ledger changes these without the keys."""
    document = _sealed()
    for path in ("paused", "enabled", "redrive"):
        document[path] = True
    document["name"], document["destination"]["batch_events"] = "another", 7

    assert open_document(document, VAULT).destination.auth.value.get_secret_value() == TOKEN  # type: ignore[attr-defined]  # a webhook


def test_a_url_may_stand_in_the_clear() -> None:
    """So the release before leaves one that has a query; there must be no other secret beside it."""
    document = _sealed(_integration(destination={"type": "webhook", "url": "https://hook.example.com/"}))
    _set("destination.url", "https://hook.example.com/?key=k3y")(document)

    assert open_document(document, VAULT).destination.url == "https://hook.example.com/?key=k3y"


@pytest.mark.parametrize(
    "document", [[], {}, {"id": 1}, {"destination": []}, {"destination": [{"$sealed": "x"}]}, {"id": "a"}]
)
def test_nonsense_is_refused_in_words(document: Any) -> None:
    """Whatever stands in Redis ends no worker."""
    with pytest.raises((SecretUnreadable, InvalidIntegration, msgspec.DecodeError)):
        open_document(msgspec.json.decode(json.dumps(document), type=dict[str, Any]), VAULT)


def test_a_secret_opens_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What workers allow stands in Redis, sealed; a secret of a tenant that reads alike shows nothing."""
    text = json.dumps({"process": "1@host:0", "networks": ["0.0.0.0/0"], "send_deadline": 30.0})
    destination = {"type": "splunk_hec", "url": "https://splunk.example.com", "token": text.replace(" ", "")}
    token = _sealed(_integration(destination=destination))["destination"]["token"]["$sealed"]
    for forged in (token, VAULT.seal(text)):
        living = LivingProcess(
            worker_role("webhook"), "1@host:0", 0.0, ProcessReport(facts={"reach": forged})
        )
        monkeypatch.setattr("worker.background.reach.living_processes", lambda _, one=living: [one])
        found = reach_of(None, VAULT, Settings(data_dir=tmp_path), "webhook")  # type: ignore[arg-type]  # none is asked

        assert found.telling == []


def _of_the_release_before(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document as that release sealed it: bound to nothing."""

    def again(path: str, sealed: str) -> dict[str, str]:
        text = VAULT.open(sealed, place_of(document, path, document["destination"]["url"]))
        return {"$sealed": VAULT.seal(text)}

    return replaced(document, again)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Engine]:
    """Give a ledger with one integration that the release before has sealed."""
    engine = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite3")
    upgrade_tables(engine)
    IntegrationStore(engine, VAULT).create(_integration())
    document = json.dumps(_of_the_release_before(_sealed()))
    with writing(engine) as connection:
        connection.execute(update(integrations).values(document=document))
    yield engine
    engine.dispose()


def _bindings(engine: Engine, vault: Vault) -> set[tuple[int | None, Binding]]:
    return {(one.key, one.binding) for one in sealed_secrets(engine, vault)}


def test_secrets_of_the_release_before_are_read_and_then_bound(ledger: Engine) -> None:
    """Each with the key that sealed it, and once; another change of that release is found as well."""
    both = Vault([new_key(), KEY])
    store, binder = IntegrationStore(ledger, both), SecretResealer(ledger, both)
    assert store.open("int_a") == _integration()
    done = binder.bind()

    assert {one.path for one in done} == {"auth.value", "headers.X-Team", "signing_secrets.0"}
    assert _bindings(ledger, both) == {(1, Binding.BOUND)}
    assert store.open("int_a") == _integration()
    assert [one.revision for one in store.records()] == [2]
    assert binder.bind() == []
    with writing(ledger) as connection:
        older = json.dumps(_of_the_release_before(_sealed()))
        connection.execute(update(integrations).values(document=older, revision=3))
    assert len(binder.bind()) == 3


def test_resealing_binds_and_leaves_what_was_moved(ledger: Engine) -> None:
    """A rotation goes on as before; a secret that was moved in the ledger is reported, and not made good."""
    rotated = Vault([new_key(), KEY])
    assert len(reseal_secrets(ledger, rotated)) == 3
    assert _bindings(ledger, rotated) == {(0, Binding.BOUND)}
    with writing(ledger) as connection:
        [stored] = connection.execute(select(integrations.c.document)).scalars()
        moved = stored.replace("hook.example.com", "evil.example.com")
        connection.execute(update(integrations).values(document=moved))

    assert _bindings(ledger, rotated) == {(0, Binding.MOVED)}
    assert reseal_secrets(ledger, rotated) == []
    with pytest.raises(
        SecretMoved, match=r"auth\.value, headers\.X-Team, signing_secrets\.0 of integration a"
    ):
        IntegrationStore(ledger, rotated).open("int_a")


def test_an_orphan_with_secrets_of_others_is_not_adopted(ledger: Engine) -> None:
    """The ledger would make good what an attacker has put into Redis."""
    document = _sealed() | {"id": "int_b", "name": "b"}

    with pytest.raises(SecretMoved, match="integration b"):
        adopt_integration(ledger, VAULT, document, 1)
    own = _sealed(_integration(id="int_c", name="c"))
    own["destination"]["headers"]["Host"] = "evil.example.com"
    with pytest.raises(InvalidIntegration, match=r"headers\.Host: is not sealed"):
        adopt_integration(ledger, VAULT, own, 1)


@pytest.mark.slow
def test_a_worker_sends_no_token_to_a_changed_address(tmp_path: Path) -> None:
    """The events wait, and go where they belong once the copy is right again."""
    with WebhookReceiver() as evil, WebhookReceiver() as good, Fleet(tmp_path) as fleet:
        fleet.integrate(good.url, "a", type="webhook", auth={"kind": "bearer", "token": TOKEN})
        right: Any = fleet.client.hget(keys.INTEGRATIONS, "int_a")
        changed = right.replace(good.url.encode(), evil.url.encode())
        fleet.client.hset(keys.INTEGRATIONS, "int_a", changed)
        fleet.start("router", WORKER)
        fleet.publish([{**EVENT, "id": "e1"}])
        wait_until(lambda: fleet.client.hget(keys.state_key("int_a"), "breaker") == b"open", "it is held")

        assert (evil.requests, good.requests) == ([], [])
        fleet.client.hset(keys.INTEGRATIONS, "int_a", right)
        wait_until(lambda: len(good.requests) == 1, "it arrives")
        assert evil.requests == []
