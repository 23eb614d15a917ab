"""Which key of SIEM_SECRET_KEYS sealed each secret, and sealing again what an older key sealed, or release.

So that keys can be rotated to the end: once nothing is sealed with an older key any more, it can go. And so
that every secret is bound to its place: the release before this one bound none (`worker.vault.vault`).
"""

import json
from collections.abc import Callable, Collection

from sqlalchemy import Connection, Engine, select, update

from worker.ledger.audit import add_record
from worker.ledger.engine import reading, writing
from worker.ledger.integration_rows import locked_document
from worker.ledger.schema import integrations
from worker.model.audit import FLEET, Action, Actor, audit_record
from worker.vault.documents import reseal_document
from worker.vault.sealed_secrets import Binding, SealedSecret, secrets_in_document
from worker.vault.vault import Vault


def sealed_secrets(engine: Engine, vault: Vault) -> list[SealedSecret]:
    """Return every secret of the ledger, by tenant and name. Raises LedgerUnavailable, SchemaOutdated."""
    columns = integrations.c
    wanted = select(columns.document).where(columns.deleted_ms.is_(None))
    with reading(engine) as connection:
        documents = connection.execute(wanted.order_by(columns.tenant_id, columns.name)).scalars().all()
    return [secret for document in documents for secret in secrets_in_document(json.loads(document), vault)]


def reseal_secrets(engine: Engine, vault: Vault, *, by: Actor = FLEET) -> list[SealedSecret]:
    """Seal with the first key, and bind, what was not so, and return that as it was before.

    Each integration is a transaction of its own, and gets another revision, by which its copy in Redis is
    renewed. What no key opens, or was sealed for another place, stays as it is. Raises LedgerUnavailable,
    SchemaOutdated.
    """
    wanting = [one for one in sealed_secrets(engine, vault) if one.can_be_resealed]
    done: list[SealedSecret] = []
    for integration_id in dict.fromkeys(one.integration_id for one in wanting):
        with writing(engine) as connection:
            sealed = _resealed(connection, integration_id, vault)
            if sealed and not done:
                details = {"secrets": len(wanting), "key": vault.fingerprints[0]}
                add_record(connection, audit_record(Action.SECRETS_RESEALED, by, details=details))
            done += sealed
    return done


class SecretResealer:
    """Binds secrets that an earlier release sealed, each with the key that sealed it.

    Remembers which revisions it has seen: only what has changed is read again.
    """

    def __init__(
        self, engine: Engine, vault: Vault, may_seal_urls: Callable[[], bool] = lambda: True
    ) -> None:
        """Take the ledger and the keys; ask whether every living API can read a url that is sealed."""
        self._may_seal_urls = may_seal_urls
        self._engine = engine
        self._vault = vault
        self._seen: dict[str, int] = {}

    def bind(self) -> list[SealedSecret]:
        """Bind what is unbound, and return it as it was before. Raises LedgerUnavailable, SchemaOutdated."""
        done: list[SealedSecret] = []
        for integration_id, revision in self._changed().items():
            wanting = self._wanting(integration_id)
            if any(one.binding is Binding.CLEAR for one in wanting) and not self._may_seal_urls():
                continue
            if wanting:
                with writing(self._engine) as connection:
                    done += _resealed(connection, integration_id, self._vault, keep_keys=True)
            self._seen[integration_id] = revision
        return done

    def _changed(self) -> dict[str, int]:
        columns = integrations.c
        wanted = select(columns.id, columns.revision).where(columns.deleted_ms.is_(None))
        with reading(self._engine) as connection:
            found = {row.id: row.revision for row in connection.execute(wanted)}
        self._seen = {one: revision for one, revision in self._seen.items() if one in found}
        return {one: revision for one, revision in found.items() if self._seen.get(one) != revision}

    def _wanting(self, integration_id: str) -> list[SealedSecret]:
        wanted = select(integrations.c.document).where(integrations.c.id == integration_id)
        with reading(self._engine) as connection:
            document = connection.execute(wanted).scalar_one_or_none()
        return _unbound(secrets_in_document(json.loads(document), self._vault)) if document else []


def _unbound(found: Collection[SealedSecret]) -> list[SealedSecret]:
    return [one for one in found if one.binding in {Binding.UNBOUND, Binding.CLEAR}]


def _resealed(
    connection: Connection, integration_id: str, vault: Vault, *, keep_keys: bool = False
) -> list[SealedSecret]:
    document = locked_document(connection, integration_id)
    found = secrets_in_document(document or {"id": integration_id}, vault)
    wanting = _unbound(found) if keep_keys else [one for one in found if one.can_be_resealed]
    if document is None or not wanting:
        return []  # deleted or changed meanwhile
    columns = integrations.c
    connection.execute(
        update(integrations)
        .where(columns.id == integration_id)
        .values(
            # What it says has not changed: `updated_ms` stays.
            document=json.dumps(reseal_document(document, vault, keep_keys=keep_keys)),
            revision=columns.revision + 1,
        )
    )
    return wanting
