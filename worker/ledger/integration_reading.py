"""Reads the integrations of all tenants, or of one: what the doors show, and what the fleet sends with."""

import json
import logging
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Engine, or_, select, tuple_

from worker.integrations.integration import Integration
from worker.ledger.engine import chunks, reading
from worker.ledger.integration_rows import LIVING
from worker.ledger.results import DisabledIntegration, IntegrationRecord, IntegrationState
from worker.ledger.rows import storable
from worker.ledger.schema import integrations
from worker.model.errors import InvalidIntegration, NotFoundError
from worker.model.log_events import INTEGRATION_UNREADABLE
from worker.vault.documents import open_document, read_document
from worker.vault.masking import MaskedIntegration, url_for_display
from worker.vault.vault import Vault

log = logging.getLogger(__name__)

_columns = integrations.c
_DELETED = _columns.deleted_ms.is_not(None)


class IntegrationReader:
    """The integrations of all tenants, or of the one that it is bound to, to read.

    Every method may raise LedgerUnavailable or SchemaOutdated.
    """

    def __init__(self, engine: Engine, vault: Vault, tenant_id: str | None = None) -> None:
        """Take the ledger, and the vault that opens secrets."""
        self.engine = engine
        self._vault = vault
        self._tenant_id = tenant_id
        self._mine = () if tenant_id is None else (_columns.tenant_id == storable(tenant_id),)

    def get(self, integration_id: str) -> Integration:
        """Return one, to show and to change.

        Raises NotFoundError, and InvalidIntegration when this release cannot read it.
        """
        return read_document(json.loads(self._row(integration_id).document), self._vault)

    def open(self, integration_id: str) -> Integration:
        """Return one, to send with. Raises what `get` raises, and SecretUnreadable."""
        return open_document(json.loads(self._row(integration_id).document), self._vault)

    def show(self, integration_id: str) -> MaskedIntegration:
        """Return one as it may be shown. Raises NotFoundError."""
        return MaskedIntegration.of(self._row(integration_id), self._vault)

    def resolve(self, id_or_name: str) -> str:
        """Return the id of what is named so, without opening its secrets; a deleted one has its id alone.

        Raises NotFoundError when there is none, or several of that name.
        """
        wanted = storable(id_or_name)
        named = or_(_columns.id == wanted, _columns.name == wanted)
        ids = [row.id for row in self._living(named)]
        # An id is unique, so it wins over integrations that have it as their name.
        if wanted in ids or (not ids and self.knows(wanted)):
            return wanted
        if not ids:
            raise self._not_found(id_or_name)
        if len(ids) > 1:
            raise NotFoundError(
                f"{len(ids)} tenants have an integration named {id_or_name}: give its id instead "
                f"({', '.join(sorted(ids))})"
            )
        return str(ids[0])

    def knows(self, integration_id: str) -> bool:
        """Whether there is or was one with this id."""
        wanted = select(1).where(_columns.id == storable(integration_id), *self._mine)
        with reading(self.engine) as connection:
            return connection.execute(wanted).first() is not None

    def names(self) -> dict[str, str]:
        """Return the name of each by its id, by name; of deleted ones as well."""
        wanted = select(_columns.id, _columns.name).where(*self._mine).order_by(_columns.name)
        with reading(self.engine) as connection:
            return {row.id: row.name for row in connection.execute(wanted)}

    def deleted_ids(self) -> set[str]:
        """Return the ids of those that were deleted."""
        wanted = select(_columns.id).where(_DELETED, *self._mine)
        with reading(self.engine) as connection:
            return set(connection.execute(wanted).scalars())

    def urls(self, integration_ids: Collection[str]) -> dict[str, str]:
        """Return the address of each that is there, without the values of its query."""
        return {
            row.id: url_for_display(json.loads(row.document), row.secrets_set, self._vault)
            for row in self._living(_columns.id.in_(integration_ids))
        }

    def disabled_by_destination(self) -> dict[str, DisabledIntegration]:
        """Return why and when, by id, for each that its destination had disabled."""
        return {
            row.id: DisabledIntegration(row.id, row.name, row.disabled_reason, row.disabled_ms)
            for row in self._living(_columns.disabled_reason.is_not(None))
        }

    def records(self, ids: Collection[str] | None = None) -> list[IntegrationRecord]:
        """Return every integration there is or ever was, or those of these ids, by id."""
        parts = (_columns.id, _columns.type, _columns.document, _columns.revision, _DELETED)
        wanted = select(*parts).where(*self._mine).order_by(_columns.id)
        if ids is not None:
            wanted = wanted.where(_columns.id.in_(ids))
        with reading(self.engine) as connection:
            return [IntegrationRecord(*row) for row in connection.execute(wanted)]

    def states(self, ids: Collection[str]) -> list[IntegrationState]:
        """Return where the living ones stand, and the deleted ones of these ids; no document is read."""
        wanted = select(_columns.id, _columns.type, _columns.revision, _DELETED).where(*self._mine)
        with reading(self.engine) as connection:
            found = [IntegrationState(*row) for row in connection.execute(wanted.where(LIVING))]
            for left in chunks(sorted(set(ids) - {one.id for one in found})):
                rows = connection.execute(wanted.where(_columns.id.in_(left)))
                found += [IntegrationState(*row) for row in rows]
        return found

    def masked(self) -> list[MaskedIntegration]:
        """Return all as they may be shown, by tenant and name."""
        return [MaskedIntegration.of(row, self._vault) for row in self._living()]

    def page(self, limit: int, after: tuple[int, str] | None = None) -> list[MaskedIntegration]:
        """Return the next ones as they may be shown, the oldest first."""
        place = tuple_(_columns.created_ms, _columns.id)
        wanted = select(integrations).where(LIVING, *self._mine).order_by(*place).limit(limit)
        if after is not None:
            wanted = wanted.where(place > (after[0], storable(after[1])))
        with reading(self.engine) as connection:
            return [MaskedIntegration.of(row, self._vault) for row in connection.execute(wanted)]

    def list(self) -> list[Integration]:
        """Return all, by tenant and name; one that this release cannot read is left out and logged."""
        found = []
        for row in self._living():
            try:
                found.append(read_document(json.loads(row.document), self._vault))
            except InvalidIntegration as error:
                INTEGRATION_UNREADABLE.log(
                    log, integration=row.id, name=row.name, store="the ledger", error=str(error)
                )
        return found

    def _row(self, integration_id: str) -> Any:
        rows = self._living(_columns.id == storable(integration_id))
        if not rows:
            raise self._not_found(integration_id)
        return rows[0]

    def _living(self, *conditions: ColumnElement[bool]) -> Sequence[Any]:
        wanted = select(integrations).where(LIVING, *self._mine, *conditions)
        with reading(self.engine) as connection:
            return connection.execute(wanted.order_by(_columns.tenant_id, _columns.name)).all()

    def _not_found(self, id_or_name: str) -> NotFoundError:
        if self._tenant_id is None:
            hint = "`siem integrations list` shows those there are"
            return NotFoundError(f"there is no integration {id_or_name}: {hint}")
        # The same for whatever is not the tenant's own.
        return NotFoundError("there is no integration with this id")
