"""A tenant that is taken from one ledger to another: all of it, under the new keys, or nothing."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine

from worker.integrations.integration import parse_integration
from worker.ledger.api_keys import ApiKeyStore
from worker.ledger.audit import find_records
from worker.ledger.engine import open_ledger
from worker.ledger.integrations import IntegrationStore
from worker.ledger.migrations.runner import upgrade_tables
from worker.ledger.tenants import (
    ExportedTenant,
    ImportCount,
    InvalidExport,
    export_tenant,
    import_tenant,
    read_export,
    retire_tenant,
)
from worker.model.api_keys import Role
from worker.model.audit import MOST_BYTES, AuditFilter
from worker.model.errors import InvalidInput, NotFoundError, SiemError
from worker.model.limits import DEFAULT_QUOTAS, Quotas
from worker.vault.vault import Vault, new_key

OLD, NEW = new_key(), new_key()


def integration(name: str, tenant_id: str = "acme", **fields: Any) -> Any:
    """Make one of Splunk, with a token."""
    destination = {
        "type": "splunk_hec",
        "url": "https://splunk.example.com:8088",
        "token": f"token-of-{name}",
    }
    return parse_integration(
        {"id": f"int_{name}", "name": name, "tenant_id": tenant_id, "destination": destination, **fields}
    )


@pytest.fixture
def there(engine: Engine) -> IntegrationStore:
    """Give the new place: an empty ledger of either kind, which opens what the old place has sealed."""
    return IntegrationStore(engine, Vault([NEW, OLD]))


@pytest.fixture
def exported(tmp_path: Path) -> ExportedTenant:
    """Give a tenant with two integrations and a key, from another ledger, by way of its JSON."""
    engine = open_ledger(f"sqlite:///{tmp_path / 'old.sqlite3'}")
    upgrade_tables(engine)
    store = IntegrationStore(engine, Vault([OLD]))
    for one in (integration("first"), integration("second", enabled=False), integration("other", "other")):
        store.create(one)
    keys = ApiKeyStore(engine)
    keys.create("acme", Role.ADMIN, "stands")
    keys.revoke(keys.create("acme", Role.ADMIN, "revoked").key.id)
    found = read_export(msgspec.json.encode(export_tenant(engine, "acme")))
    engine.dispose()
    return found


def taken(store: IntegrationStore, tenant: ExportedTenant, quotas: Quotas = DEFAULT_QUOTAS) -> ImportCount:
    """Take it in with the keys of the new place."""
    return import_tenant(store.engine, Vault([NEW, OLD]), quotas, tenant)


def test_a_tenant_is_taken_in_as_it_was(there: IntegrationStore, exported: ExportedTenant) -> None:
    """Ids, names, secrets, what is disabled, and the digests of API keys; nothing of other tenants."""
    count = taken(there, exported)

    assert count == ImportCount(added=2, renewed=0, api_keys=1)
    assert {one.id: one.enabled for one in there.list()} == {"int_first": True, "int_second": False}
    assert [key.name for key, _ in ApiKeyStore(there.engine).standing()] == ["stands"]
    assert ApiKeyStore(there.engine).standing()[0][1] == exported.api_keys[0].digest


def test_secrets_are_sealed_with_the_first_key_of_the_new_place(
    there: IntegrationStore, exported: ExportedTenant
) -> None:
    """So its processes need not know the other key."""
    taken(there, exported)
    opened = IntegrationStore(there.engine, Vault([NEW])).open("int_first")

    assert opened.destination.model_dump()["token"].get_secret_value() == "token-of-first"


def test_an_export_shows_no_secret(exported: ExportedTenant) -> None:
    """Secrets are sealed in it, and of a key it has the digest."""
    text = msgspec.json.encode(exported)

    assert b"token-of" not in text
    assert b"siem_" not in text


def test_to_take_it_in_again_renews_it(there: IntegrationStore, exported: ExportedTenant) -> None:
    """What was retired here opens and sends again: so a tenant can come back."""
    taken(there, exported)
    retire_tenant(there.engine, "acme")
    retired = {one.id: one.enabled for one in there.list()}
    standing = list(ApiKeyStore(there.engine).standing())
    count = taken(there, exported)

    assert retired == {"int_first": False, "int_second": False}
    assert standing == []
    assert count == ImportCount(added=0, renewed=2, api_keys=1)
    assert there.get("int_first").enabled


def test_what_stands_in_the_way_is_named_and_nothing_is_taken_in(
    there: IntegrationStore, exported: ExportedTenant, subtests: pytest.Subtests
) -> None:
    """A part of a tenant would lose the events of the rest."""
    there.create(integration("first"))
    there.delete("int_first")
    there.create(integration("second", "other"))
    first, second = exported.integrations
    moved = msgspec.structs.replace(first, document=first.document | {"id": "int_third"})
    wrong = {
        "int_first was deleted here": [first],
        "int_second is taken by another tenant": [second],
        "sealed for another address": [moved],
    }
    for words, integrations in wrong.items():
        tenant = msgspec.structs.replace(exported, integrations=tuple(integrations))
        with subtests.test(words=words), pytest.raises(InvalidInput, match=words):
            taken(there, tenant)
    assert ApiKeyStore(there.engine).standing() == []


def test_a_name_that_is_taken_is_named(there: IntegrationStore, exported: ExportedTenant) -> None:
    """Names are unique in a tenant."""
    there.create(integration("namesake").model_copy(update={"name": "second"}))

    with pytest.raises(InvalidInput, match="second is taken by another integration of tenant acme"):
        taken(there, exported)


def test_without_the_other_key_nothing_is_taken_in(there: IntegrationStore, exported: ExportedTenant) -> None:
    """Its events would wait for a secret that cannot be opened."""
    with pytest.raises(InvalidExport, match="add the key of the cell that it comes from"):
        import_tenant(there.engine, Vault([NEW]), DEFAULT_QUOTAS, exported)
    with pytest.raises(NotFoundError):
        there.get("int_first")


def test_a_quota_is_kept(there: IntegrationStore, exported: ExportedTenant) -> None:
    """As for any other way to create integrations."""
    with pytest.raises(SiemError, match="has 1 already"):
        taken(there, exported, Quotas(integrations=1))

    assert there.list() == []


def test_an_export_that_is_none_is_refused() -> None:
    """With the place that is wrong."""
    for text, words in ((b"{", "is no export"), (b'{"format": "siem-tenant-2"}', re.escape("$.format"))):
        with pytest.raises(InvalidExport, match=words):
            read_export(text)


def test_an_old_export_lets_no_key_open_that_was_revoked_here(
    there: IntegrationStore, exported: ExportedTenant
) -> None:
    """Who revoked it had a reason; that the tenant was retired meanwhile is another matter."""
    keys = ApiKeyStore(there.engine)
    taken(there, exported)
    keys.revoke(exported.api_keys[0].id)
    retire_tenant(there.engine, "acme")

    with pytest.raises(InvalidExport, match=f"{exported.api_keys[0].id} was revoked here; revoke it there"):
        taken(there, exported)
    assert keys.standing() == []
    assert not there.get("int_first").enabled


_CRAFTED = {
    "times that no row takes": (("integrations", 0, "created_ms"), 10**19),
    "times that no list shows": (("integrations", 0, "disabled_ms"), -1),
    "marks that no list can read": (("integrations", 0, "secrets_set"), "not JSON"),
    "marks of another form": (("integrations", 0, "secrets_set"), '{"token": [1, 2, 3, 4]}'),
    "an id of a key that none has": (("api_keys", 0, "id"), "0123456789abcdef\n"),
    "no digest": (("api_keys", 0, "digest"), "a" * 63 + "\n"),
    "a name of no end": (("api_keys", 0, "name"), "n" * 201),
    "a name that moves the cursor": (("api_keys", 0, "name"), "k\x1b[2J\u202e"),
    "a tenant that cannot be printed": (("tenant_id",), "acme\n"),
    "a tenant of no end": (("tenant_id",), "a" * 129),
}


@pytest.mark.parametrize("crafted", _CRAFTED)
def test_what_no_cell_has_written_is_refused(exported: ExportedTenant, crafted: str) -> None:
    """It would stay in the tables, and break the lists that show it."""
    path, value = _CRAFTED[crafted]
    document = msgspec.to_builtins(exported)
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value

    with pytest.raises(InvalidExport, match=re.escape(f"$.{path[0]}")):
        read_export(msgspec.json.encode(document))


def test_an_export_with_the_same_id_twice_or_too_deep_is_refused(exported: ExportedTenant) -> None:
    """Of two of one id, the second would take the place of the first."""
    twice = msgspec.structs.replace(exported, integrations=exported.integrations[:1] * 2)
    deep = b'{"format": "siem-tenant-1", "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"

    with pytest.raises(InvalidExport, match="int_first is there twice"):
        read_export(msgspec.json.encode(twice))
    with pytest.raises(InvalidExport, match="is no export of a tenant"):
        read_export(deep)


def test_words_of_an_export_are_cleaned(there: IntegrationStore, exported: ExportedTenant) -> None:
    """A reason is shown in lists and on pages."""
    [first, *_] = exported.integrations
    off = msgspec.structs.replace(first, disabled_reason="gone\x00\x1b[2J\n" + "x" * 9999)
    taken(there, msgspec.structs.replace(exported, integrations=(off,)))
    [reason] = [one.disabled_reason for one in there.of("acme").masked()]

    assert reason is not None
    assert reason.startswith("gone\\x00\\x1b[2J x")
    assert len(reason) == 500


def test_a_tenant_of_no_end_is_recorded_in_bounds(engine: Engine) -> None:
    """The record of a command is made while the ledger is locked: it must come to an end."""
    export_tenant(engine, "\n" + "x" * 20_000)
    [record, *_] = find_records(engine, AuditFilter(), 9)

    assert len(msgspec.json.encode(record)) <= MOST_BYTES
    assert record.tenant_id is not None
    assert record.tenant_id.isprintable()
