"""The integrations of one tenant, as its own people see and change them.

Comes in: ids and changes from a door that knows the tenant. Goes out: what may be shown, secrets left out;
or the integration with its secrets, to work with. Another tenant's integration is as unknown as one that
never was.
"""

import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, Select, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from worker.integrations.integration import Integration
from worker.integrations.secrets import MASK
from worker.ledger.engine import reading, writing
from worker.ledger.quotas import require_fit
from worker.ledger.redriving import bring_back
from worker.ledger.results import DisabledIntegration
from worker.ledger.rows import storable
from worker.ledger.schema import integrations
from worker.model.errors import InvalidIntegration, NotFoundError, RevisionConflict
from worker.model.limits import DEFAULT_QUOTAS, Quotas
from worker.vault.documents import forget_secrets, read_document, seal_document
from worker.vault.marks import SecretMark, marked, marks_of, read_marks
from worker.vault.places import opens_there, require_places, shown_url
from worker.vault.vault import Vault

_columns = integrations.c
#: Revisions that a caller has seen; None when any will do.
RevisionCheck = Collection[int] | None


@dataclass(frozen=True, slots=True)
class Configured:
    """An integration as it may be shown: `document` has a SecretMark where a secret is.

    `revision` is another number with every change; times are milliseconds since 1970 UTC. `off` tells why
    its destination had it disabled.
    """

    id: str
    type: str
    revision: int
    created_ms: int
    updated_ms: int
    off: DisabledIntegration | None
    document: dict[str, Any]

    @property
    def place(self) -> tuple[int, str]:
        """What to give as `after` to get those that follow this one."""
        return self.created_ms, self.id


class TenantIntegrations:
    """The integrations of one tenant. Every method may raise LedgerUnavailable or SchemaOutdated."""

    def __init__(self, engine: Engine, vault: Vault, tenant_id: str, quotas: Quotas = DEFAULT_QUOTAS) -> None:
        """Take the ledger, the vault that seals and opens secrets, whose they are, and how many may be."""
        self._engine = engine
        self._vault = vault
        self._tenant_id = storable(tenant_id)
        self._quotas = quotas

    def show(self, integration_id: str) -> Configured:
        """Return one. Raises NotFoundError."""
        with reading(self._engine) as connection:
            return self._shown(self._row(connection, integration_id))

    def page(self, limit: int, after: tuple[int, str] | None = None) -> list[Configured]:
        """Return the next ones, the oldest first."""
        place = tuple_(_columns.created_ms, _columns.id)
        wanted = self._living().order_by(_columns.created_ms, _columns.id).limit(limit)
        if after is not None:
            wanted = wanted.where(place > (after[0], storable(after[1])))
        with reading(self._engine) as connection:
            return [self._shown(row) for row in connection.execute(wanted)]

    def names(self) -> dict[str, str]:
        """Return the name of each by its id, by name; of deleted ones as well."""
        mine = select(_columns.id, _columns.name).where(_columns.tenant_id == self._tenant_id)
        with reading(self._engine) as connection:
            return {row.id: row.name for row in connection.execute(mine.order_by(_columns.name))}

    def deleted(self) -> set[str]:
        """Return the ids of those that were deleted."""
        gone = select(_columns.id).where(
            _columns.tenant_id == self._tenant_id, _columns.deleted_ms.is_not(None)
        )
        with reading(self._engine) as connection:
            return set(connection.execute(gone).scalars())

    def knew(self, integration_id: str) -> bool:
        """Whether there is or was one with this id."""
        wanted = select(1).where(
            _columns.id == storable(integration_id), _columns.tenant_id == self._tenant_id
        )
        with reading(self._engine) as connection:
            return connection.execute(wanted).first() is not None

    def urls(self, integration_ids: Collection[str]) -> dict[str, str]:
        """Return the address of each that is there, without the values of its query."""
        wanted = self._living().where(_columns.id.in_(integration_ids))
        with reading(self._engine) as connection:
            return {row.id: self._url(row) for row in connection.execute(wanted)}

    def open(self, integration_id: str) -> Integration:
        """Return one with its secrets, those that no key opens as UnreadableSecret. Raises NotFoundError."""
        with reading(self._engine) as connection:
            row = self._row(connection, integration_id)
        return read_document(json.loads(row.document), self._vault)

    def change(
        self, integration_id: str, change: Callable[[Integration], Integration], seen: RevisionCheck = None
    ) -> Integration:
        """Change one, and return it as it is now.

        Switching it on forgets why it was off, and brings back what died because its destination was gone.
        A secret that no key opens stays as it is unless `change` sets it anew. Raises NotFoundError;
        ChangedMeanwhile unless its revision was `seen`; InvalidIntegration when the new name is taken, or a
        secret that no key opens would stand in another place; TooLargeIntegration when it has grown too
        large; and what `change` raises. Nothing has changed then.
        """
        try:
            with writing(self._engine) as connection:
                row = self._locked(connection, integration_id, seen)
                stored = json.loads(row.document)
                old = read_document(stored, self._vault)
                new = change(old)
                now_ms = _now_ms()
                marks = marks_of(new, now_ms, old, row.secrets_set)
                document = seal_document(new, self._vault)
                require_places(stored, document, new, self._vault)
                # By the same release: an earlier one may have written fewer fields.
                require_fit(document, self._quotas, seal_document(old, self._vault))
                values = _values(new, document) | {"secrets_set": marks, "updated_ms": now_ms}
                connection.execute(_update(integration_id).values(values))
                if new.enabled and not old.enabled:
                    bring_back(connection, old.id)
                return new
        except IntegrityError:
            raise InvalidIntegration(
                "name", "is taken by another of your integrations", "give another one"
            ) from None

    def delete(self, integration_id: str, seen: RevisionCheck = None) -> None:
        """Delete one and forget its secrets. Raises NotFoundError, ChangedMeanwhile as `change` does."""
        with writing(self._engine) as connection:
            row = self._locked(connection, integration_id, seen)
            now_ms = _now_ms()
            forgotten = json.dumps(forget_secrets(json.loads(row.document)))
            values = {"document": forgotten, "secrets_set": None, "deleted_ms": now_ms, "updated_ms": now_ms}
            connection.execute(_update(integration_id).values(values))

    def _shown(self, row: Any) -> Configured:
        document = json.loads(row.document)
        marks = read_marks(row.secrets_set)
        destination = marked(document["destination"], marks, partial(opens_there, document, self._vault))
        document["destination"] = {**destination, "url": self._url(row)}
        off = None
        if row.disabled_reason:
            off = DisabledIntegration(row.id, row.name, row.disabled_reason, row.disabled_ms)
        return Configured(row.id, row.type, row.revision, row.created_ms, row.updated_ms, off, document)

    def _url(self, row: Any) -> str:
        """Return what may be shown of the url; of one that no key opens, what was noted when it was saved."""
        shown = shown_url(json.loads(row.document), self._vault)
        return shown or read_marks(row.secrets_set).get("url", SecretMark()).tail or MASK

    def _living(self) -> Select[Any]:
        return select(integrations).where(
            _columns.tenant_id == self._tenant_id, _columns.deleted_ms.is_(None)
        )

    def _row(self, connection: Connection, integration_id: str, *, lock: bool = False) -> Any:
        wanted = self._living().where(_columns.id == storable(integration_id))
        row = connection.execute(wanted.with_for_update() if lock else wanted).first()
        if row is None:
            raise NotFoundError("there is no integration with this id")
        return row

    def _locked(self, connection: Connection, integration_id: str, seen: RevisionCheck) -> Any:
        row = self._row(connection, integration_id, lock=True)
        if seen is not None and row.revision not in seen:
            raise RevisionConflict
        return row


def _values(new: Integration, document: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": new.name,
        "enabled": new.enabled,
        "document": json.dumps(document),
    }
    return values | ({"disabled_reason": None, "disabled_ms": None} if new.enabled else {})


def _update(integration_id: str) -> Any:
    return (
        update(integrations)
        .where(_columns.id == storable(integration_id))
        .values(revision=_columns.revision + 1)
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
