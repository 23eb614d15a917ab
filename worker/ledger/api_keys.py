"""Keeps the keys of the HTTP API: makes, lists, revokes and finds them.

Input: what a door was given. Output: keys, without their text. A revoked key keeps its row, so that
it is known who it was.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Engine, insert, select, update

from worker.ledger.audit import add_record
from worker.ledger.engine import reading, writing
from worker.ledger.rows import storable
from worker.ledger.schema import api_keys
from worker.model.api_keys import ApiKey, NewApiKey, Role, key_digest, make_id, make_text
from worker.model.audit import FLEET, Action, Actor, AuditRecord, audit_record
from worker.model.errors import InvalidApiKey, NotFoundError
from worker.model.time import current_ms

_LONGEST_TENANT, _LONGEST_NAME = 128, 200
_columns = [column for column in api_keys.c if column.name != "digest"]


class ApiKeyStore:
    """The keys of all tenants. Every method may raise LedgerUnavailable or SchemaOutdated."""

    def __init__(self, engine: Engine) -> None:
        """Take the ledger."""
        self._engine = engine

    def create(self, tenant_id: str, role: Role, name: str, *, by: Actor = FLEET) -> NewApiKey:
        """Make a key of that tenant. Raises InvalidApiKey naming `tenant` or `name`."""
        _check("tenant", tenant_id, _LONGEST_TENANT)
        _check("name", name, _LONGEST_NAME)
        key = ApiKey(make_id(), tenant_id, name, role, current_ms())
        text = make_text(key.id)
        row = {
            "id": key.id,
            "tenant_id": tenant_id,
            "name": name,
            "role": role.value,
            "digest": key_digest(text),
            "created_ms": key.created_ms,
        }
        with writing(self._engine) as connection:
            connection.execute(insert(api_keys).values(row))
            add_record(connection, key_record(Action.API_KEY_CREATED, by, key))
        return NewApiKey(key, text)

    def list(self, tenant_id: str | None = None) -> "list[ApiKey]":
        """Return those of one tenant, or all, the oldest first; revoked ones as well."""
        wanted = select(*_columns).order_by(api_keys.c.created_ms, api_keys.c.id)
        if tenant_id is not None:
            wanted = wanted.where(api_keys.c.tenant_id == storable(tenant_id))
        with reading(self._engine) as connection:
            return [_read(row) for row in connection.execute(wanted).mappings()]

    def standing(self) -> Sequence[tuple[ApiKey, str]]:
        """Return all that were not revoked, each with the digest of its text."""
        wanted = select(api_keys).where(api_keys.c.revoked_ms.is_(None))
        with reading(self._engine) as connection:
            return [(_read(row), row["digest"]) for row in connection.execute(wanted).mappings()]

    def revoke(self, key_id: str, *, by: Actor | None = FLEET) -> ApiKey:
        """Let a key open nothing any more, and return it. Raises NotFoundError.

        Without `by`, that is recorded already.
        """
        mine = api_keys.c.id == storable(key_id)
        with writing(self._engine) as connection:
            stands = update(api_keys).where(mine, api_keys.c.revoked_ms.is_(None))
            stood = connection.execute(stands.values(revoked_ms=current_ms())).rowcount
            row = connection.execute(select(*_columns).where(mine)).mappings().first()
            if row is not None and stood and by is not None:
                add_record(connection, key_record(Action.API_KEY_REVOKED, by, _read(row)))
        if row is None:
            raise NotFoundError(
                f"there is no API key with the id {key_id}: `siem api-keys list` shows those there are"
            )
        return _read(row)

    def find_all(self, key_ids: Collection[str]) -> dict[str, tuple[ApiKey, str]]:
        """Return those of these keys that there are, revoked ones too, each with the digest of its text."""
        wanted = select(api_keys).where(api_keys.c.id.in_([storable(one) for one in key_ids]))
        with reading(self._engine) as connection:
            return {row["id"]: (_read(row), row["digest"]) for row in connection.execute(wanted).mappings()}


def key_record(action: Action, actor: Actor, key: ApiKey, **details: Any) -> AuditRecord:
    """Return the record of what was done to a key, or with it."""
    return audit_record(
        action,
        actor,
        tenant_id=key.tenant_id,
        subject=key.id,
        subject_name=key.name,
        details={"role": key.role.value, **details},
    )


def _read(row: Any) -> ApiKey:
    return ApiKey(
        row["id"], row["tenant_id"], row["name"], Role(row["role"]), row["created_ms"], row["revoked_ms"]
    )


def _check(field: str, text: str, longest: int) -> None:
    if not 1 <= len(text) <= longest:
        raise InvalidApiKey(field, f"has {len(text)} characters", f"give 1 to {longest}")
    if not text.isprintable():
        raise InvalidApiKey(field, "has characters that cannot be printed", "leave those out")
