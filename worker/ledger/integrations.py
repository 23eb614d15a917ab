"""Keeps the integrations: makes, finds, lists, switches and deletes them, their secrets sealed.

Comes in: integrations from the doors. Goes out: integrations with their secrets opened, and, for the
copy in Redis, records whose secrets stay sealed. A deleted integration keeps its row and loses its secrets.
"""

import builtins
import json
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from worker.integrations.integration import Integration
from worker.ledger.engine import reading, writing
from worker.ledger.integration_rows import locked_document, set_enabled, set_pause
from worker.ledger.quotas import require_fit, require_place
from worker.ledger.results import DisabledIntegration
from worker.ledger.rows import storable
from worker.ledger.schema import integrations
from worker.model.errors import InvalidIntegration, NotFoundError
from worker.model.limits import DEFAULT_QUOTAS, Quotas
from worker.vault.documents import forget_secrets, open_document, read_document, seal_document
from worker.vault.marks import marks_of
from worker.vault.vault import Vault

log = logging.getLogger(__name__)

_UNKNOWN = "integration %s (%s) cannot be read by this release and is not shown: %s"
#: Bound values of one SQLite statement: older releases take 999.
_MOST_VALUES = 900
_LIVING = integrations.c.deleted_ms.is_(None)


@dataclass(frozen=True, slots=True)
class IntegrationRecord:
    """An integration as it rests: `document` is JSON with sealed secrets, or without any once deleted."""

    id: str
    type: str
    document: str
    revision: int
    deleted: bool


@dataclass(frozen=True, slots=True)
class IntegrationState:
    """Where an integration stands, without its document."""

    id: str
    type: str
    revision: int
    deleted: bool


class IntegrationStore:
    """The integrations of all tenants. Every method may raise LedgerUnavailable or SchemaOutdated."""

    def __init__(self, engine: Engine, vault: Vault, quotas: Quotas = DEFAULT_QUOTAS) -> None:
        """Take the ledger, the vault that seals and opens secrets, and what a tenant may own."""
        self.engine = engine
        self._vault = vault
        self._quotas = quotas

    def create(self, integration: Integration) -> None:
        """Add it. Raises InvalidIntegration naming `id` or `name` when that is taken, or unprintable.

        Raises TooManyIntegrations, TooLargeIntegration.
        """
        if not integration.tenant_id.isprintable():
            raise InvalidIntegration("tenant_id", "has characters that cannot be printed", "leave those out")
        document = seal_document(integration, self._vault)
        require_fit(document, self._quotas)
        now_ms = time.time_ns() // 1_000_000
        row = {
            "id": integration.id,
            "tenant_id": integration.tenant_id,
            "type": integration.type,
            "name": integration.name,
            "enabled": integration.enabled,
            "document": json.dumps(document),
            "revision": 1,
            "created_ms": now_ms,
            "updated_ms": now_ms,
            "secrets_set": marks_of(integration, now_ms),
        }
        try:
            with writing(self.engine) as connection:
                require_place(connection, integration.tenant_id, self._quotas)
                connection.execute(insert(integrations).values(row))
        except IntegrityError:
            raise self._taken(integration) from None

    def get(self, id_or_name: str, tenant_id: str | None = None) -> Integration:
        """Return the integration of that id, or else of that name, in one tenant or in any.

        A secret that no key opens is an UnreadableSecret. Raises NotFoundError when there is none, or several
        of that name; InvalidIntegration when this release cannot read it.
        """
        _, document = self._find(id_or_name, tenant_id)
        return read_document(json.loads(document), self._vault)

    def open(self, id_or_name: str) -> Integration:
        """Return the one that is meant, to send with. Raises what `get` raises, and SecretUnreadable."""
        _, document = self._find(id_or_name, None)
        return open_document(json.loads(document), self._vault)

    def resolve(self, id_or_name: str) -> str:
        """Return the id of what is named so, without opening its secrets; a deleted one has its id alone.

        Raises NotFoundError when there is none, or several of that name.
        """
        try:
            return self._find(id_or_name, None)[0]
        except NotFoundError:
            if any(record.id == id_or_name for record in self.records()):
                return id_or_name
            raise

    def list(self, tenant_id: str | None = None) -> list[Integration]:
        """Return those of one tenant, or all, by tenant and name.

        A secret that no key opens is an UnreadableSecret. One that this release cannot read is left out, and
        the log says so.
        """
        documents = self._living(_LIVING, tenant_id)
        return [one for document in documents.values() if (one := self._readable(json.loads(document)))]

    def set_enabled(self, integration_id: str, enabled: bool) -> Integration:  # noqa: FBT001 - the value to set
        """Switch it on or off, also in its document, and return it; switching on forgets why it was off.

        Counts as a change even if it was so before: the copy in Redis is then written anew. Raises
        NotFoundError, and InvalidIntegration when this release cannot read it: then nothing has changed.
        """
        return self._change(integration_id, partial(set_enabled, enabled=enabled))

    def set_paused(self, integration_id: str, paused: bool) -> Integration:  # noqa: FBT001 - the value to set
        """Keep its events waiting, or no longer, and return it.

        Counts as a change even if it was so before, so that resuming tries a destination at once whose
        backlog is held for another reason. Raises NotFoundError, and InvalidIntegration when this release
        cannot read it: then nothing has changed.
        """
        return self._change(integration_id, partial(set_pause, paused=paused))

    def disabled_by_destination(self) -> dict[str, DisabledIntegration]:
        """Return why and when, by id, for each that its destination had disabled."""
        columns = integrations.c
        wanted = select(columns.id, columns.name, columns.disabled_reason, columns.disabled_ms).where(
            _LIVING, columns.disabled_reason.is_not(None)
        )
        with reading(self.engine) as connection:
            return {row.id: DisabledIntegration(*row) for row in connection.execute(wanted)}

    def delete(self, integration_id: str) -> None:
        """Delete it and forget its secrets. Raises NotFoundError."""
        with writing(self.engine) as connection:
            document = locked_document(connection, integration_id)
            if document is None:
                raise _not_found(integration_id)
            _make_dead_letters(connection, document)

    def records(self, ids: Collection[str] | None = None) -> builtins.list[IntegrationRecord]:
        """Return every integration there is or ever was, or those of these ids, by id."""
        columns = integrations.c
        wanted = select(
            columns.id, columns.type, columns.document, columns.revision, columns.deleted_ms.is_not(None)
        ).order_by(columns.id)
        if ids is not None:
            wanted = wanted.where(columns.id.in_(ids))
        with reading(self.engine) as connection:
            return [IntegrationRecord(*row) for row in connection.execute(wanted)]

    def standings(self, ids: Collection[str]) -> builtins.list[IntegrationState]:
        """Return where the living ones stand, and the deleted ones of these ids; no document is read."""
        columns = integrations.c
        wanted = select(columns.id, columns.type, columns.revision, columns.deleted_ms.is_not(None))
        with reading(self.engine) as connection:
            found = [IntegrationState(*row) for row in connection.execute(wanted.where(_LIVING))]
            left = sorted(set(ids) - {one.id for one in found})
            for start in range(0, len(left), _MOST_VALUES):
                some = columns.id.in_(left[start : start + _MOST_VALUES])
                found += [IntegrationState(*row) for row in connection.execute(wanted.where(some))]
        return found

    def _change(
        self, integration_id: str, change: Callable[[Connection, dict[str, Any]], dict[str, Any]]
    ) -> Integration:
        with writing(self.engine) as connection:
            document = locked_document(connection, integration_id)
            if document is None:
                raise _not_found(integration_id)
            return read_document(change(connection, document), self._vault)

    def _readable(self, document: dict[str, Any]) -> Integration | None:
        try:
            return read_document(document, self._vault)
        except InvalidIntegration as error:
            log.error(_UNKNOWN, document.get("name"), document.get("id"), error)  # noqa: TRY400 - no fault of the code, so no traceback
            return None

    def _find(self, id_or_name: str, tenant_id: str | None) -> tuple[str, str]:
        """Return id and document of the only one that is meant."""
        wanted = storable(id_or_name)
        named = or_(integrations.c.id == wanted, integrations.c.name == wanted)
        documents = self._living(named, tenant_id)
        if wanted in documents:
            # An id is unique, so it wins over integrations that have it as their name.
            return wanted, documents[wanted]
        if not documents:
            raise _not_found(id_or_name)
        if len(documents) > 1:
            raise NotFoundError(
                f"{len(documents)} tenants have an integration named {id_or_name}: give its id instead "
                f"({', '.join(sorted(documents))})"
            )
        [found] = documents.items()
        return found

    def _living(self, condition: ColumnElement[bool], tenant_id: str | None) -> dict[str, str]:
        """Return the documents, by id."""
        columns = integrations.c
        wanted = select(columns.id, columns.document).where(condition, _LIVING)
        if tenant_id is not None:
            wanted = wanted.where(columns.tenant_id == storable(tenant_id))
        with reading(self.engine) as connection:
            rows = connection.execute(wanted.order_by(columns.tenant_id, columns.name))
            return {row.id: row.document for row in rows}

    def _taken(self, integration: Integration) -> InvalidIntegration:
        with reading(self.engine) as connection:
            same_id = select(integrations.c.id).where(integrations.c.id == integration.id)
            if connection.execute(same_id).first():
                return InvalidIntegration("id", f"{integration.id} is taken", "give another one")
        return InvalidIntegration(
            "name",
            f"{integration.name} is taken by another integration of tenant {integration.tenant_id}",
            "give another one, or delete that integration first",
        )


def _make_dead_letters(connection: Connection, document: dict[str, object]) -> None:
    now_ms = time.time_ns() // 1_000_000
    connection.execute(
        update(integrations)
        .where(integrations.c.id == document["id"])
        .values(
            document=json.dumps(forget_secrets(document)),
            secrets_set=None,
            revision=integrations.c.revision + 1,
            updated_ms=now_ms,
            deleted_ms=now_ms,
        )
    )


def _not_found(id_or_name: str) -> NotFoundError:
    return NotFoundError(
        f"there is no integration {id_or_name}: `siem integrations list` shows those there are"
    )
