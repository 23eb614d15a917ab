"""A tenant that is taken from one ledger to another: all of it, under the new keys, or nothing."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine

from worker.integrations.integration import parse_integration
from worker.ledger.api_keys import ApiKeyStore
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
