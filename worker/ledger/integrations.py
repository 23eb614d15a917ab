"""Keeps the integrations: creates, finds, lists, changes and deletes them, their secrets sealed.

A deleted integration keeps its row, for its name, and loses its secrets.
"""

import json
import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, or_, select, tuple_
from sqlalchemy.exc import IntegrityError

from worker.integrations.integration import Integration
from worker.ledger.engine import chunks, reading, writing
from worker.ledger.integration_rows import (
    LIVING,
    delete_row,
    enable,
    insert_integration,
    locked_row,
    name_taken,
    set_enabled,
    set_paused,
    write_document,
)
from worker.ledger.quotas import require_fit, require_place
from worker.ledger.results import DisabledIntegration, IntegrationRecord, IntegrationState
from worker.ledger.rows import storable
from worker.ledger.schema import integrations
from worker.model.errors import InvalidIntegration, NotFoundError
from worker.model.limits import DEFAULT_QUOTAS, Quotas
from worker.model.log_events import INTEGRATION_UNREADABLE
from worker.model.time import current_ms
from worker.vault.documents import open_document, read_document, seal_document
from worker.vault.marks import marks_of
from worker.vault.masking import MaskedIntegration, url_for_display
from worker.vault.places import require_places
from worker.vault.vault import Vault

log = logging.getLogger(__name__)

_columns = integrations.c
_DELETED = _columns.deleted_ms.is_not(None)


class IntegrationStore:
    """The integrations of all tenants, or of the one that it is bound to.

    To a bound store, another tenant's integration is as unknown as one that never was. Every method may raise
    LedgerUnavailable or SchemaOutdated. A secret that no key opens is an UnreadableSecret in an Integration.
    """

    def __init__(
        self, engine: Engine, vault: Vault, quotas: Quotas = DEFAULT_QUOTAS, tenant_id: str | None = None
    ) -> None:
        """Take the ledger, the vault that seals and opens secrets, and what a tenant may own."""
        self.engine = engine
        self._vault = vault
        self._quotas = quotas
        self._tenant_id = tenant_id
        self._mine = () if tenant_id is None else (_columns.tenant_id == storable(tenant_id),)

    def of(self, tenant_id: str) -> "IntegrationStore":
        """Return the store of one tenant's integrations."""
        return IntegrationStore(self.engine, self._vault, self._quotas, tenant_id)

    def create(self, integration: Integration) -> None:
        """Add it. Raises InvalidIntegration naming `id` or `name` when that is taken, or unprintable.

        Raises TooManyIntegrations, TooLargeIntegration.
        """
        if not integration.tenant_id.isprintable():
            raise InvalidIntegration("tenant_id", "has characters that cannot be printed", "leave those out")
        if self._tenant_id not in {None, integration.tenant_id}:
            raise InvalidIntegration("tenant_id", "is another tenant's", "leave it out")
        document, now_ms = seal_document(integration, self._vault), current_ms()
        require_fit(document, self._quotas)
        try:
            with writing(self.engine) as connection:
                require_place(connection, integration.tenant_id, self._quotas)
                insert_integration(connection, document, now_ms, secrets_set=marks_of(integration, now_ms))
        except IntegrityError:
            raise self._taken(integration) from None

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

    def change(
        self,
        integration_id: str,
        change: Callable[[Integration], Integration],
        seen: Collection[int] | None = None,
    ) -> Integration:
        """Change one, and return it as it is now.

        Enabling it forgets why it was disabled, and brings back what died because its destination was gone.
        A secret that no key opens stays as it is unless `change` sets it again. Raises NotFoundError;
        RevisionConflict unless its revision was `seen`, if given; InvalidIntegration when the new name is
        taken, or a secret that no key opens would stand in another place; TooLargeIntegration when it has
        grown too large; and what `change` raises. Nothing has changed then.
        """
        try:
            with writing(self.engine) as connection:
                row = self._locked(connection, integration_id, seen)
                stored = json.loads(row.document)
                old = read_document(stored, self._vault)
                new, now_ms = change(old), current_ms()
                marks = marks_of(new, now_ms, old, row.secrets_set)
                document = seal_document(new, self._vault)
                require_places(stored, document, new, self._vault)
                # By the same release: an earlier one may have written fewer fields.
                require_fit(document, self._quotas, seal_document(old, self._vault))
                enabling = enable(connection, old.id) if new.enabled and not old.enabled else {}
                values = {"secrets_set": marks, "updated_ms": now_ms} | enabling
                write_document(connection, document, **values)
                return new
        except IntegrityError:
            raise InvalidIntegration(
                "name", "is taken by another of your integrations", "give another one"
            ) from None

    def set_enabled(self, integration_id: str, enabled: bool) -> Integration:  # noqa: FBT001 - the value to set
        """Enable or disable it, also in its document, and return it; enabling forgets why it was disabled.

        Counts as a change even if it was so before: the copy in Redis is then written again. Needs no key.
        Raises NotFoundError, and InvalidIntegration when this release cannot read it: then nothing has
        changed.
        """
        return self._change_sealed(integration_id, partial(set_enabled, enabled=enabled))

    def set_paused(self, integration_id: str, paused: bool) -> Integration:  # noqa: FBT001 - the value to set
        """Keep its events waiting, or no longer, and return it.

        Counts as a change even if it was so before, so that resuming tries a destination at once whose
        backlog is held for another reason. Needs no key. Raises NotFoundError, and InvalidIntegration when
        this release cannot read it: then nothing has changed.
        """
        return self._change_sealed(integration_id, partial(set_paused, paused=paused))

    def delete(self, integration_id: str, seen: Collection[int] | None = None) -> None:
        """Delete one and forget its secrets. Raises NotFoundError; RevisionConflict as `change` does."""
        with writing(self.engine) as connection:
            row = self._locked(connection, integration_id, seen)
            delete_row(connection, json.loads(row.document))

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

    def _change_sealed(
        self, integration_id: str, change: Callable[[Connection, dict[str, Any]], dict[str, Any]]
    ) -> Integration:
        """Change one in its sealed document, so that no key is needed."""
        with writing(self.engine) as connection:
            row = self._locked(connection, integration_id)
            return read_document(change(connection, json.loads(row.document)), self._vault)

    def _row(self, integration_id: str) -> Any:
        rows = self._living(_columns.id == storable(integration_id))
        if not rows:
            raise self._not_found(integration_id)
        return rows[0]

    def _living(self, *conditions: ColumnElement[bool]) -> Sequence[Any]:
        wanted = select(integrations).where(LIVING, *self._mine, *conditions)
        with reading(self.engine) as connection:
            return connection.execute(wanted.order_by(_columns.tenant_id, _columns.name)).all()

    def _locked(
        self, connection: Connection, integration_id: str, seen: Collection[int] | None = None
    ) -> Any:
        row = locked_row(connection, integration_id, *self._mine, seen=seen)
        if row is None:
            raise self._not_found(integration_id)
        return row

    def _taken(self, integration: Integration) -> InvalidIntegration:
        with reading(self.engine) as connection:
            if connection.execute(select(1).where(_columns.id == integration.id)).first():
                return InvalidIntegration("id", f"{integration.id} is taken", "give another one")
        hint = "give another one, or delete that integration first"
        return name_taken(integration.name, integration.tenant_id, hint)

    def _not_found(self, id_or_name: str) -> NotFoundError:
        if self._tenant_id is None:
            hint = "`siem integrations list` shows those there are"
            return NotFoundError(f"there is no integration {id_or_name}: {hint}")
        # The same for whatever is not the tenant's own.
        return NotFoundError("there is no integration with this id")
