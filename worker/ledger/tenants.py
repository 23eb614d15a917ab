"""A tenant as it is taken from one cell to another: its integrations, as they are sealed, and its API keys.

What became of its events stays in the ledger that recorded it.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import msgspec
from sqlalchemy import Connection, Engine, insert, select, update

from worker.ledger.audit import add_record, audit
from worker.ledger.batch_reading import latest_settled
from worker.ledger.engine import reading, writing
from worker.ledger.integration_rows import LIVING, insert_integration, name_taken, set_enabled, write_document
from worker.ledger.quotas import require_fit, require_place
from worker.ledger.rows import storable, storable_prose
from worker.ledger.schema import api_keys, deliveries, integrations
from worker.model.api_keys import Role
from worker.model.audit import FLEET, Action, Actor, AuditRecord, audit_record
from worker.model.errors import InvalidInput, InvalidIntegration, SecretMoved, SecretUnreadable
from worker.model.limits import Quotas
from worker.model.time import current_ms
from worker.model.untrusted_json import DAMAGED
from worker.model.untrusted_text import in_one_line
from worker.vault.documents import open_document, reseal_document
from worker.vault.marks import are_marks
from worker.vault.vault import Vault

_columns = integrations.c
#: Where a row of `deliveries` holds when its event was published.
_PUBLISHED = list(deliveries.c).index(deliveries.c.published_ms)
#: What of a row goes along with its document.
_ALONG = ("created_ms", "disabled_reason", "disabled_ms", "secrets_set")


#: A time up to the year 9999, in ms since 1970 UTC; and a text for people.
_Moment = Annotated[int, msgspec.Meta(ge=0, lt=253_402_300_800_000)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_TenantId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class ExportedIntegration(msgspec.Struct, frozen=True):
    """An integration: its document, with its secrets sealed, and what its row has besides."""

    document: dict[str, Any]
    created_ms: _Moment
    disabled_reason: str | None = None
    disabled_ms: _Moment | None = None
    secrets_set: str | None = None


class ExportedKey(msgspec.Struct, frozen=True):
    """An API key that is not revoked: the digest of its text, never the text."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z")]
    name: _Name
    role: Role
    digest: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    created_ms: _Moment


class ExportedTenant(msgspec.Struct, frozen=True, tag_field="format", tag="siem-tenant-1"):
    """What a cell must know of a tenant to deliver its events and to answer its requests."""

    tenant_id: _TenantId
    integrations: tuple[ExportedIntegration, ...]
    api_keys: tuple[ExportedKey, ...]


class InvalidExport(InvalidInput):
    """The document is no export of a tenant, or cannot be taken in here."""


class ImportCount(msgspec.Struct, frozen=True):
    """How many integrations were added and renewed, and how many API keys open now that did not."""

    added: int
    renewed: int
    api_keys: int


def read_export(text: bytes) -> ExportedTenant:
    """Read what `siem tenants export` has printed. Raises InvalidExport, which names the place.

    Nothing of it is believed: what no cell would have written would stay in the tables of this one, and
    break the lists that show it.
    """
    try:
        found = msgspec.json.decode(text, type=ExportedTenant)
        complaint = next(_complaints(found), None)
    except DAMAGED as error:
        complaint = str(error)
    if complaint is not None:
        raise InvalidExport("FILE", f"is no export of a tenant: {complaint}", "see `siem tenants export`")
    return found


def export_tenant(engine: Engine, tenant_id: str, *, by: Actor = FLEET) -> ExportedTenant:
    """Return a tenant, and record who took it. Raises LedgerUnavailable, SchemaOutdated."""
    with writing(engine) as connection:
        found = _read(connection, tenant_id)
        add_record(connection, _record(Action.TENANT_EXPORTED, by, found))
    return found


def import_tenant(
    engine: Engine, vault: Vault, quotas: Quotas, tenant: ExportedTenant, *, by: Actor = FLEET
) -> ImportCount:
    """Make a tenant here what it is in another cell: all of it or, if anything stands in the way, nothing.

    Secrets are sealed with the first key of this cell; the key of the other one must be among the vault's.
    An integration that is here already is renewed. A key that was revoked here is refused, unless the tenant
    was retired then: an export of before must not let it open again.

    Raises InvalidExport, InvalidIntegration, TooManyIntegrations, TooLargeIntegration, LedgerUnavailable,
    SchemaOutdated.
    """
    sealed = [(one, _sealed_here(tenant, one.document, vault)) for one in tenant.integrations]
    with writing(engine) as connection:
        added = 0
        for one, document in sealed:
            require_fit(document, quotas)
            added += _take_integration(connection, quotas, one, document)
        keys = sum(_take_key(connection, tenant.tenant_id, key) for key in tenant.api_keys)
        add_record(connection, _record(Action.TENANT_IMPORTED, by, tenant))
    return ImportCount(added, len(sealed) - added, keys)


def retire_tenant(engine: Engine, tenant_id: str, *, by: Actor = FLEET) -> ExportedTenant:
    """Disable the integrations of a tenant that has left, and revoke its API keys; return what it had.

    Raises LedgerUnavailable, SchemaOutdated.
    """
    with writing(engine) as connection:
        found = _read(connection, tenant_id)
        for one in found.integrations:
            if one.document.get("enabled"):
                set_enabled(connection, one.document, enabled=False)
        record = _record(Action.TENANT_RETIRED, by, found)
        mine = (api_keys.c.tenant_id == storable(tenant_id), api_keys.c.revoked_ms.is_(None))
        # The time of the record, by which `_was_retired` knows them again.
        connection.execute(update(api_keys).where(*mine).values(revoked_ms=record.at_ms))
        add_record(connection, record)
    return found


def last_event_ms(engine: Engine, integration_ids: Iterable[str]) -> int | None:
    """Return when the latest event was published of which it is known what became (ms since 1970 UTC)."""
    columns = deliveries.c
    found: list[int] = []
    with reading(engine) as connection:
        for integration_id in integration_ids:
            mine = select(columns.published_ms).where(columns.integration_id == integration_id)
            latest = mine.order_by(columns.settled_ms.desc()).limit(1)
            found += connection.execute(latest).scalars()
            found += [row[_PUBLISHED] for row in latest_settled(connection, integration_id, 1)]
    return max(found, default=None)


def _complaints(found: ExportedTenant) -> Iterator[str]:
    """Find what the types alone do not refuse."""
    for place, one in enumerate(found.integrations):
        if not are_marks(one.secrets_set):
            yield f"what no cell has written stands at `$.integrations[{place}].secrets_set`"
    names = {f"$.api_keys[{place}].name": key.name for place, key in enumerate(found.api_keys)}
    texts = names | {"$.tenant_id": found.tenant_id}
    yield from (
        f"characters that cannot be printed - at `{place}`"
        for place, text in texts.items()
        if not text.isprintable()
    )
    ids = Counter([str(one.document.get("id")) for one in found.integrations])
    ids.update(key.id for key in found.api_keys)
    yield from (f"{one} is there twice" for one, count in ids.items() if count > 1)


def _read(connection: Connection, tenant_id: str) -> ExportedTenant:
    mine = storable(tenant_id)
    columns = (_columns.document, *(_columns[name] for name in _ALONG))
    # Locked: who retires it writes these documents back.
    rows = select(*columns).where(_columns.tenant_id == mine, LIVING).order_by(_columns.id).with_for_update()
    keys = select(api_keys).where(api_keys.c.tenant_id == mine, api_keys.c.revoked_ms.is_(None))
    return ExportedTenant(
        tenant_id,
        tuple(ExportedIntegration(json.loads(row[0]), *row[1:]) for row in connection.execute(rows)),
        tuple(
            ExportedKey(row.id, row.name, Role(row.role), row.digest, row.created_ms)
            for row in connection.execute(keys.order_by(api_keys.c.id))
        ),
    )


def _sealed_here(tenant: ExportedTenant, document: Mapping[str, Any], vault: Vault) -> dict[str, Any]:
    if document.get("tenant_id", "default") != tenant.tenant_id:
        raise InvalidExport("integrations", "has one of another tenant", "give an export as it was printed")
    try:
        open_document(document, vault)
    except SecretMoved as error:
        raise InvalidExport("integrations", str(error), "give an export as it was printed") from None
    except SecretUnreadable as error:
        raise InvalidExport(
            "SIEM_SECRET_KEYS",
            f"opens not all secrets of the export ({error})",
            "add the key of the cell that it comes from behind the others, for this command",
        ) from None
    return reseal_document(document, vault)


def _take_integration(
    connection: Connection,
    quotas: Quotas,
    one: ExportedIntegration,
    document: dict[str, Any],
) -> bool:
    """Write an integration; return whether it was not here before."""
    integration_id, name = document["id"], document.get("name", document["id"])
    tenant_id = document.get("tenant_id", "default")
    along = {name: getattr(one, name) for name in _ALONG}
    if one.disabled_reason is not None:
        along["disabled_reason"] = storable_prose(in_one_line(one.disabled_reason))
    row = connection.execute(
        select(integrations).where(_columns.id == integration_id).with_for_update()
    ).one_or_none()
    if row is not None and (row.tenant_id != tenant_id or row.deleted_ms is not None):
        reason = "was deleted here" if row.tenant_id == tenant_id else "is taken by another tenant"
        raise InvalidIntegration("id", f"{integration_id} {reason}", "create it here under another id")
    namesake = select(_columns.id).where(_columns.tenant_id == tenant_id, _columns.name == name, LIVING)
    if connection.execute(namesake.where(_columns.id != integration_id)).first():
        raise name_taken(name, tenant_id, "rename one of the two")
    if row is not None:
        write_document(connection, document, **along)
        return False
    require_place(connection, tenant_id, quotas)
    insert_integration(connection, document, current_ms(), **along)
    return True


def _take_key(connection: Connection, tenant_id: str, key: ExportedKey) -> bool:
    """Let a key open here; return whether it did not before."""
    row = connection.execute(select(api_keys).where(api_keys.c.id == key.id).with_for_update()).one_or_none()
    if row is None:
        own = {"tenant_id": tenant_id, "revoked_ms": None}
        connection.execute(insert(api_keys).values(msgspec.to_builtins(key) | own))
        return True
    if row.tenant_id != tenant_id or row.digest != key.digest:
        raise InvalidExport("api_keys", f"{key.id} is another key here", "revoke it there, and export again")
    if row.revoked_ms is None:
        return False
    if not _was_retired(connection, tenant_id, row.revoked_ms):
        raise InvalidExport(
            "api_keys", f"{key.id} was revoked here", "revoke it there as well, and export again"
        )
    connection.execute(update(api_keys).where(api_keys.c.id == key.id).values(revoked_ms=None))
    return True


def _was_retired(connection: Connection, tenant_id: str, at_ms: int) -> bool:
    """Whether the tenant was retired here at that moment, and its keys were revoked with it."""
    retired = (audit.c.tenant_id == tenant_id, audit.c.action == Action.TENANT_RETIRED)
    wanted = select(audit.c.id).where(*retired, audit.c.at_ms == at_ms).limit(1)
    return connection.execute(wanted).first() is not None


def _record(action: Action, by: Actor, tenant: ExportedTenant) -> AuditRecord:
    return audit_record(
        action,
        by,
        tenant_id=tenant.tenant_id,
        subject=tenant.tenant_id,
        details={
            "integrations": [one.document["id"] for one in tenant.integrations],
            "api_keys": [key.id for key in tenant.api_keys],
        },
    )
