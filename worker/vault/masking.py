"""An integration as it may be shown: its fields, and of each secret a mark that it is set."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from worker.integrations.secrets import MASK
from worker.vault.marks import SecretMark, marked, read_marks
from worker.vault.places import opens_there, shown_url
from worker.vault.vault import Vault


@dataclass(frozen=True, slots=True)
class MaskedIntegration:
    """An integration as it may be shown: `document` has a SecretMark where a secret is.

    `revision` is another number with every change; times are milliseconds since 1970 UTC. `disabled_reason`
    and `disabled_ms` say why and when its destination had it disabled.
    """

    id: str
    type: str
    revision: int
    created_ms: int
    updated_ms: int
    disabled_reason: str | None
    disabled_ms: int | None
    document: dict[str, Any]

    @classmethod
    def of(cls, row: Any, vault: Vault) -> Self:
        """Mask a row of the ledger's `integrations`."""
        document = masked_document(json.loads(row.document), row.secrets_set, vault)
        times = row.created_ms, row.updated_ms
        return cls(row.id, row.type, row.revision, *times, row.disabled_reason, row.disabled_ms, document)

    @property
    def place(self) -> tuple[int, str]:
        """What to give as `after` to get those that follow this one."""
        return self.created_ms, self.id


def masked_document(document: Mapping[str, Any], noted: str | None, vault: Vault) -> dict[str, Any]:
    """Return a sealed document with marks for its secrets; `noted` is what was noted of them, as JSON."""
    opens = partial(opens_there, document, vault)
    destination = marked(document["destination"], read_marks(noted), opens)
    destination["url"] = url_for_display(document, noted, vault)
    return {**document, "destination": destination}


def url_for_display(document: Mapping[str, Any], noted: str | None, vault: Vault) -> str:
    """Return the url without the values of its query; of one that no key opens, what was noted when saved."""
    return shown_url(document, vault) or read_marks(noted).get("url", SecretMark()).tail or MASK
