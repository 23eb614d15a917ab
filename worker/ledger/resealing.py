"""Which key of SIEM_SECRET_KEYS sealed each secret, and sealing with the first what an older one sealed.

So that keys can be rotated to the end: once nothing is sealed with an older key any more, it can go.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, select, update

from worker.ledger.engine import reading, writing
from worker.ledger.schema import integrations
from worker.ledger.switching import locked_document
from worker.ledger.vault import Vault, reseal, sealed_in


class SealedSecret(NamedTuple):
    """A secret of an integration: `path` is that of the API, such as `auth.value`.

    `key` is the place in SIEM_SECRET_KEYS of the key that opens it, 0 being the one that seals; None when
    none of them does.
    """

    integration_id: str
    name: str
    tenant_id: str
    path: str
    key: int | None

    @property
    def is_current(self) -> bool:
        """Whether the key that seals has sealed it."""
        return self.key == 0


def sealed_secrets(engine: Engine, vault: Vault) -> list[SealedSecret]:
    """Return every secret of the ledger, by tenant and name. Raises LedgerUnavailable, SchemaOutdated."""
    columns = integrations.c
    wanted = select(columns.document).where(columns.deleted_ms.is_(None))
    with reading(engine) as connection:
        documents = connection.execute(wanted.order_by(columns.tenant_id, columns.name)).scalars().all()
    return [secret for document in documents for secret in secrets_of(json.loads(document), vault)]


def secrets_of(document: Mapping[str, Any], vault: Vault) -> list[SealedSecret]:
    """Return the secrets of one sealed document, wherever it stands; none of a deleted integration's."""
    whose = document["id"], document.get("name", ""), document.get("tenant_id", "")
    return [SealedSecret(*whose, path, vault.key_of(text)) for path, text in sealed_in(document).items()]


def reseal_secrets(engine: Engine, vault: Vault) -> list[SealedSecret]:
    """Seal with the first key what an older one sealed, and return that as it was before.

    Each integration is a transaction of its own, and gets another revision, by which its copy in Redis is
    renewed. What no key opens stays as it is. Raises LedgerUnavailable, SchemaOutdated.
    """
    older = [one for one in sealed_secrets(engine, vault) if one.key]
    done: list[SealedSecret] = []
    for integration_id in dict.fromkeys(one.integration_id for one in older):
        with writing(engine) as connection:
            done += _resealed(connection, integration_id, vault)
    return done


def _resealed(connection: Connection, integration_id: str, vault: Vault) -> list[SealedSecret]:
    document = locked_document(connection, integration_id)
    older = [one for one in secrets_of(document or {"id": integration_id}, vault) if one.key]
    if document is None or not older:
        return []  # deleted or changed meanwhile
    columns = integrations.c
    connection.execute(
        update(integrations)
        .where(columns.id == integration_id)
        .values(
            # Nobody has changed what it says: `updated_ms` stays.
            document=json.dumps(reseal(document, vault)),
            revision=columns.revision + 1,
        )
    )
    return older
