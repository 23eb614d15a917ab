"""What a process cannot open it writes back as it is, and only to the place where it stood."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, select, update

from worker.integrations.integration import Integration, parse_integration
from worker.ledger.engine import open_ledger, writing
from worker.ledger.integrations import IntegrationStore
from worker.ledger.migrations.runner import upgrade_tables
from worker.ledger.resealing import SecretResealer
from worker.ledger.schema import integrations
from worker.model.errors import InvalidIntegration
from worker.vault.fields import replaced
from worker.vault.vault import Vault, new_key

OLD, NEW = new_key(), new_key()
WITH_OLD, WITHOUT, WITH_BOTH = Vault([OLD]), Vault([NEW]), Vault([NEW, OLD])
FIRST, SECOND = (f"whsec_{base64.b64encode(letter * 32).decode()}" for letter in (b"a", b"b"))
QUERIED = "https://hook.example.com/in?key=k3y"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Engine]:
    """Give a ledger without an integration."""
    engine = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite3")
    upgrade_tables(engine)
    yield engine
    engine.dispose()


def _make(engine: Engine, **destination: Any) -> Integration:
    """Create a webhook whose secrets the old key seals."""
    webhook = {"type": "webhook", "url": "https://hook.example.com/in", "signing_secrets": [FIRST]}
    made = parse_integration({"id": "a", "name": "a", "destination": webhook | destination})
    IntegrationStore(engine, WITH_OLD).create(made)
    return made


def _as_the_release_before(engine: Engine, url: str) -> None:
    """Store it as that release did: with the url as it was given, and secrets bound to nothing."""
    with writing(engine) as connection:
        stored = json.loads(connection.execute(select(integrations.c.document)).scalar_one())
        document = replaced(stored, lambda _path, _sealed: {"$sealed": WITH_OLD.seal(FIRST)})
        document["destination"]["url"] = url
        connection.execute(update(integrations).values(document=json.dumps(document)))


def _with(**fields: Any) -> Callable[[Integration], Integration]:
    """Return a change of the destination."""

    def change(one: Integration) -> Integration:
        return one.model_copy(update={"destination": one.destination.model_copy(update=fields)})

    return change


def _rotate(one: Integration) -> Integration:
    secrets = (SecretStr(SECOND), *one.destination.signing_secrets)  # type: ignore[attr-defined]  # a webhook
    return _with(signing_secrets=secrets)(one)


def _renamed(one: Integration) -> Integration:
    return one.model_copy(update={"name": "b"})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (_rotate, "signing_secrets.1"),
        (_with(url="https://hook.example.com/out"), "signing_secrets.0"),
        (_with(tls_server_name="other.example.com"), "signing_secrets.0"),
    ],
)
def test_what_cannot_be_opened_stays_in_its_place(
    ledger: Engine, change: Callable[[Integration], Integration], field: str
) -> None:
    """It could not be sealed for another one, and would open nowhere once its key returns."""
    made = _make(ledger)
    mine = IntegrationStore(ledger, WITHOUT).of("default")
    with pytest.raises(InvalidIntegration, match="SIEM_SECRET_KEYS lacks the key") as raised:
        mine.change("a", change)
    mine.change("a", _renamed)

    assert [one.field for one in raised.value.all] == [field]
    assert IntegrationStore(ledger, WITH_BOTH).open("a") == _renamed(made)


def test_a_moved_secret_moves_no_further(ledger: Engine) -> None:
    """Its key is at hand: the words do not ask for it."""
    _make(ledger)
    with writing(ledger) as connection:
        [stored] = connection.execute(select(integrations.c.document)).scalars()
        connection.execute(update(integrations).values(document=stored.replace("/in", "/out")))

    with pytest.raises(InvalidIntegration, match=r"signing_secrets\.1: .* sealed for another one already"):
        IntegrationStore(ledger, WITH_OLD).of("default").change("a", _rotate)


def _readable(engine: Engine, vault: Vault) -> list[bool]:
    """Return of each signing secret whether it is shown as one that can be opened."""
    shown = IntegrationStore(engine, vault).of("default").show("a").document["destination"]
    return [mark.readable for mark in shown["signing_secrets"]]


def test_what_opens_in_another_place_is_shown_as_unreadable(ledger: Engine) -> None:
    """Its key is at hand, yet its deliveries wait until it is set again."""
    _make(ledger)
    before = _readable(ledger, WITH_OLD)
    with writing(ledger) as connection:
        [stored] = connection.execute(select(integrations.c.document)).scalars()
        connection.execute(update(integrations).values(document=stored.replace("/in", "/out")))

    assert (before, _readable(ledger, WITH_OLD)) == ([True], [False])


def test_what_belongs_to_a_url_that_does_not_open_is_shown_as_unreadable(ledger: Engine) -> None:
    """Its own key is at hand, but not the one of its url."""
    _make(ledger, url=QUERIED)
    with writing(ledger) as connection:
        stored = json.loads(connection.execute(select(integrations.c.document)).scalar_one())
        stored["destination"]["url"] = {"$sealed": WITHOUT.seal(QUERIED, "elsewhere")}
        connection.execute(update(integrations).values(document=json.dumps(stored)))

    assert _readable(ledger, WITH_OLD) == [False]


def test_what_is_sealed_needs_a_url_that_opens(ledger: Engine) -> None:
    """It is what the new secret would be bound to; that is no outage."""
    made = _make(ledger, url=QUERIED)
    with pytest.raises(InvalidIntegration, match="url: cannot be opened"):
        IntegrationStore(ledger, WITHOUT).of("default").change("a", _rotate)

    assert IntegrationStore(ledger, WITH_BOTH).open("a") == made


def test_a_host_beyond_ascii_is_one_place_however_it_is_written(ledger: Engine) -> None:
    """An earlier release stored the url as it was given; whatever changes it stores the host in ASCII."""
    made = _make(ledger, url="https://xn--mnchen-3ya.example/in")
    _as_the_release_before(ledger, "https://münchen.example/in")
    assert len(SecretResealer(ledger, WITH_OLD).bind()) == 1
    IntegrationStore(ledger, WITHOUT).of("default").change("a", _renamed)

    assert IntegrationStore(ledger, WITH_BOTH).open("a") == _renamed(made)
