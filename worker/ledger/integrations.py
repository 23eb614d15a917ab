"""Keeps the integrations: creates, changes and deletes them, their secrets sealed, and finds and lists them.

A deleted integration keeps its row, for its name, and loses its secrets.
"""

import json
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import IntegrityError

from worker.integrations.integration import Integration
from worker.ledger.audit import add_integration_record
from worker.ledger.engine import reading, writing
from worker.ledger.integration_reading import IntegrationReader
from worker.ledger.integration_rows import (
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
from worker.ledger.schema import integrations
from worker.model.audit import FLEET, Action, Actor, Change
from worker.model.errors import InvalidIntegration
from worker.model.limits import DEFAULT_QUOTAS, Quotas
from worker.model.time import current_ms
from worker.vault.changes import action_of, integration_changes
from worker.vault.documents import read_document, seal_document
from worker.vault.marks import marks_of
from worker.vault.places import require_places
from worker.vault.vault import Vault

_columns = integrations.c


class IntegrationStore(IntegrationReader):
    """The integrations of all tenants, or of the one that it is bound to.

    To a bound store, another tenant's integration is as unknown as one that never was. Every method may raise
    LedgerUnavailable or SchemaOutdated. A secret that no key opens is an UnreadableSecret in an Integration.
    """

    def __init__(
        self,
        engine: Engine,
        vault: Vault,
        quotas: Quotas = DEFAULT_QUOTAS,
        tenant_id: str | None = None,
        *,
        actor: Actor = FLEET,
    ) -> None:
        """Take the ledger, the vault that seals and opens secrets, what a tenant may own, and who acts."""
        super().__init__(engine, vault, tenant_id)
        self._quotas = quotas
        self._actor = actor

    def of(self, tenant_id: str) -> "IntegrationStore":
        """Return the store of one tenant's integrations."""
        return IntegrationStore(self.engine, self._vault, self._quotas, tenant_id, actor=self._actor)

    def by(self, actor: Actor) -> "IntegrationStore":
        """Return the same store, whose changes are recorded as made by this one."""
        return IntegrationStore(self.engine, self._vault, self._quotas, self._tenant_id, actor=actor)

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
                made = integration_changes(None, integration)
                add_integration_record(connection, Action.INTEGRATION_CREATED, self._actor, document, made)
        except IntegrityError:
            raise self._taken(integration) from None

    def change(
        self,
        integration_id: str,
        change: Callable[[Integration], Integration],
        seen: Collection[int] | None = None,
        *,
        action: Action | None = None,
    ) -> Integration:
        """Change one, and return it as it is now; `action` is what it is called unless its fields say that.

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
                changes = integration_changes(old, new)
                name = action or action_of(changes)
                add_integration_record(connection, name, self._actor, document, changes)
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
        action = Action.INTEGRATION_ENABLED if enabled else Action.INTEGRATION_DISABLED
        return self._change_sealed(integration_id, partial(set_enabled, enabled=enabled), action)

    def set_paused(self, integration_id: str, paused: bool) -> Integration:  # noqa: FBT001 - the value to set
        """Keep its events waiting, or no longer, and return it.

        Counts as a change even if it was so before, so that resuming tries a destination at once whose
        backlog is held for another reason. Needs no key. Raises NotFoundError, and InvalidIntegration when
        this release cannot read it: then nothing has changed.
        """
        action = Action.INTEGRATION_PAUSED if paused else Action.INTEGRATION_RESUMED
        return self._change_sealed(integration_id, partial(set_paused, paused=paused), action)

    def delete(self, integration_id: str, seen: Collection[int] | None = None) -> None:
        """Delete one and forget its secrets. Raises NotFoundError; RevisionConflict as `change` does."""
        with writing(self.engine) as connection:
            row = self._locked(connection, integration_id, seen)
            document = json.loads(row.document)
            delete_row(connection, document)
            add_integration_record(
                connection, Action.INTEGRATION_DELETED, self._actor, document, self._lost(document)
            )

    def _lost(self, document: dict[str, Any]) -> list[Change]:
        """Return what goes with an integration; nothing of one that this release cannot read."""
        try:
            return integration_changes(read_document(document, self._vault), None)
        except InvalidIntegration:
            return []

    def _change_sealed(
        self,
        integration_id: str,
        change: Callable[[Connection, dict[str, Any]], dict[str, Any]],
        action: Action,
    ) -> Integration:
        """Change one in its sealed document, so that no key is needed."""
        with writing(self.engine) as connection:
            row = self._locked(connection, integration_id)
            stored = json.loads(row.document)
            old, new = (read_document(one, self._vault) for one in (stored, change(connection, stored)))
            changes = integration_changes(old, new)
            add_integration_record(connection, action, self._actor, stored, changes)
            return new

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
