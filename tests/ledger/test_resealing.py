"""Rotating the keys that seal secrets: what each was sealed with, and sealing it with the first of them."""

import json
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from worker.integrations.integration import Integration, parse_integration
from worker.ledger.integrations import IntegrationStore
from worker.ledger.resealing import reseal_secrets, sealed_secrets
from worker.vault.vault import Vault, new_key

OLD, NEW, LOST = new_key(), new_key(), new_key()
_HEADERS = {"X-Team": "plain-header-value", "X-Zone": "another-value"}


def _hook(name: str, **changes: object) -> Integration:
    destination = {
        "type": "webhook",
        "url": "https://endpoint.example.com/",
        "auth": {"kind": "bearer", "token": "plain-token"},
        "headers": _HEADERS,
    }
    return parse_integration({"id": f"int_{name}", "name": name, "destination": destination | changes})


@pytest.fixture
def with_keys(engine: Engine) -> Callable[..., IntegrationStore]:
    """Give the integrations as a process with these keys has them."""
    return lambda *keys: IntegrationStore(engine, Vault(keys))


def test_each_secret_names_its_key(engine: Engine, with_keys: Callable[..., IntegrationStore]) -> None:
    """The first key, a later one, none of them; deleted integrations have no secrets."""
    with_keys(NEW).create(_hook("c"))
    with_keys(OLD).create(_hook("b", headers={}))
    with_keys(LOST).create(_hook("a", headers={}))
    with_keys(OLD).create(_hook("gone"))
    with_keys(OLD).delete("int_gone")

    found = sealed_secrets(engine, Vault([NEW, OLD]))
    assert [(one.name, one.path, one.key) for one in found] == [
        ("a", "auth.token", None),
        ("b", "auth.token", 1),
        ("c", "auth.token", 0),
        ("c", "headers.X-Team", 0),
        ("c", "headers.X-Zone", 0),
    ]


def test_once_all_is_resealed_the_old_key_can_go(
    engine: Engine, with_keys: Callable[..., IntegrationStore]
) -> None:
    """Integrations are what they were; only what an older key sealed has another revision."""
    for name in ("a", "b"):
        with_keys(OLD).create(_hook(name))
    with_keys(NEW).create(_hook("c"))
    before = with_keys(NEW, OLD).list()
    shown = [IntegrationStore(engine, Vault([NEW, OLD])).of("default").show(one.id) for one in before]

    assert len(reseal_secrets(engine, Vault([NEW, OLD]))) == 6
    assert reseal_secrets(engine, Vault([NEW, OLD])) == []
    assert with_keys(NEW).list() == before
    mine = IntegrationStore(engine, Vault([NEW])).of("default")
    assert [one.revision for one in with_keys(NEW).records()] == [2, 2, 1]
    assert [mine.show(one.id).document for one in shown] == [one.document for one in shown]
    assert [mine.show(one.id).updated_ms for one in shown] == [one.updated_ms for one in shown]


def test_what_no_key_opens_stays_as_it_is(engine: Engine, with_keys: Callable[..., IntegrationStore]) -> None:
    """The readable secrets beside it are sealed again; its own key opens it still."""
    with_keys(LOST).create(_hook("a", headers={}))
    mine = IntegrationStore(engine, Vault([OLD])).of("default")
    mine.change("int_a", lambda one: _with(one, headers=_HEADERS))

    resealed = reseal_secrets(engine, Vault([NEW, OLD]))
    assert [one.path for one in resealed] == ["headers.X-Team", "headers.X-Zone"]
    [opened] = with_keys(NEW, LOST).list()
    assert opened == _hook("a")


def test_a_mark_tells_whether_its_secret_can_be_opened(
    engine: Engine, with_keys: Callable[..., IntegrationStore]
) -> None:
    """A change beside it keeps it; a new value takes its place, and has a mark of its own."""
    with_keys(LOST).create(_hook("a"))
    mine = IntegrationStore(engine, Vault([NEW])).of("default")
    lost = mine.show("int_a").document["destination"]["auth"]["token"]
    mine.change("int_a", lambda one: one.model_copy(update={"name": "renamed"}))
    kept = mine.show("int_a").document["destination"]["auth"]["token"]
    mine.change("int_a", lambda one: _with(one, auth={"kind": "bearer", "token": "set-again-token"}))
    anew = mine.show("int_a").document["destination"]

    assert (lost.readable, lost.tail) == (False, None)
    assert kept == lost
    assert (anew["auth"]["token"].readable, anew["auth"]["token"].tail) == (True, "en")
    assert [anew["headers"][name].readable for name in _HEADERS] == [False, False]
    assert "plain" not in json.dumps(mine.show("int_a").document)


def _with(one: Integration, **changes: object) -> Integration:
    """Change the destination, as a door does: by whole values."""
    whole = one.model_dump()
    whole["destination"] |= changes
    return parse_integration(whole)
