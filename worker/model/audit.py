"""The audit trail: who did what to which thing, when and from where, and what changed by it.

A record holds no secret: of one that changed it says only that. What is long is shortened, so that no record
is larger than `MOST_BYTES`.
"""

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from worker.model.api_keys import ApiKey
from worker.model.time import current_ms
from worker.model.untrusted_text import MARK, in_one_line

#: The largest record as JSON, in bytes.
MOST_BYTES = 8192
#: Characters that a value, a name or a place may have; what is longer ends in its size and its digest.
LONGEST_VALUE, LONGEST_NAME = 300, 200
#: Fields of one record at the most.
_MOST_CHANGES = 60
_SHORTEST = 20
#: Records that one tenant's keys may make in an hour.
MOST_AN_HOUR = 5000
_TIME_DIGITS = 12


class ActorKind(StrEnum):
    """By which door it was done; `fleet` is what the fleet does by itself."""

    API = "api"
    PAGE = "page"
    CLI = "cli"
    FLEET = "fleet"


class Action(StrEnum):
    """What was done."""

    INTEGRATION_CREATED = "integration.created"
    INTEGRATION_CHANGED = "integration.changed"
    INTEGRATION_SECRETS_CHANGED = "integration.secrets_changed"
    INTEGRATION_PAUSED = "integration.paused"
    INTEGRATION_RESUMED = "integration.resumed"
    INTEGRATION_ENABLED = "integration.enabled"
    INTEGRATION_DISABLED = "integration.disabled"
    INTEGRATION_DELETED = "integration.deleted"
    INTEGRATION_TESTED = "integration.tested"
    ORPHAN_ADOPTED = "orphan.adopted"
    ORPHAN_DELETED = "orphan.deleted"
    LETTERS_DISCARDED = "dead_letters.discarded"
    LETTER_CORRECTED = "dead_letters.corrected"
    REPLAY_CREATED = "replay.created"
    REPLAY_CANCELLED = "replay.cancelled"
    API_KEY_CREATED = "api_key.created"
    API_KEY_REVOKED = "api_key.revoked"
    SIGNED_IN = "session.begun"
    SIGNED_OUT = "session.ended"
    SIGN_IN_REFUSED = "session.refused"
    SECRETS_RESEALED = "secrets.resealed"
    REDIS_CLAIMED = "redis.claimed"
    LOSS_ACKNOWLEDGED = "redis.loss_acknowledged"
    FORMATS_HELD = "redis.formats_held"
    FORMATS_RELEASED = "redis.formats_released"
    UNRECORDABLE_RETRIED = "unrecordable.retried"
    UNRECORDABLE_DISCARDED = "unrecordable.discarded"
    TENANT_EXPORTED = "tenant.exported"
    TENANT_IMPORTED = "tenant.imported"
    TENANT_RETIRED = "tenant.retired"
    LEDGER_PRUNED = "ledger.pruned"
    LEDGER_UPGRADED = "ledger.upgraded"
    LEDGER_DOWNGRADED = "ledger.downgraded"


class Actor(msgspec.Struct, frozen=True):
    """Who acted: by a key of the API from an address, or a user of a machine's operating system.

    `kind` is an ActorKind, or one of a later release.
    """

    kind: str
    key_id: str | None = None
    key_name: str | None = None
    address: str | None = None
    user: str | None = None
    host: str | None = None


FLEET = Actor(ActorKind.FLEET)


def key_actor(kind: ActorKind, key: ApiKey, address: str) -> Actor:
    """Return who bears a key, at that address."""
    return Actor(kind, key.id, key.name, address or None)


class Change(msgspec.Struct, frozen=True):
    """A field before and after; of a secret, `{"set": true}` where there was, or is, one."""

    field: str
    before: Any = None
    after: Any = None
    secret: bool = False


class AuditRecord(msgspec.Struct, frozen=True):
    """One deed. `id` begins with its time, so that records sort by it; `tenant_id` is None for the fleet's.

    `action` is an Action, or one of a later release.
    `subject` is what it was done to, by its id, and `subject_name` how that was called then.
    """

    id: str
    at_ms: int
    action: str
    actor: Actor
    tenant_id: str | None = None
    subject: str | None = None
    subject_name: str | None = None
    integration_id: str | None = None
    changes: tuple[Change, ...] = ()
    details: dict[str, Any] = {}


class AuditFilter(msgspec.Struct, frozen=True):
    """Which records are meant: those to which all of this applies. Times are in ms since 1970 UTC."""

    tenant_id: str | None = None
    integration_id: str | None = None
    key_id: str | None = None
    action: Action | None = None
    since_ms: int | None = None
    until_ms: int | None = None


def audit_record(  # noqa: PLR0913 - what a record consists of
    action: str,
    actor: Actor,
    *,
    tenant_id: str | None = None,
    subject: str | None = None,
    subject_name: str | None = None,
    integration_id: str | None = None,
    changes: Iterable[Change] = (),
    details: Mapping[str, Any] | None = None,
) -> AuditRecord:
    """Make a record of now, shortened to what one may take."""
    at_ms = current_ms()
    return _within_bounds(
        AuditRecord(
            f"{first_id_at(at_ms)}{secrets.token_hex(8)}",
            at_ms,
            action,
            Actor(actor.kind, *map(_name, msgspec.structs.astuple(actor)[1:])),
            _name(tenant_id),
            _name(subject),
            _name(subject_name),
            _name(integration_id),
            tuple(changes),
            dict(details or {}),
        )
    )


def session_record(action: Action, actor: Actor, tenant_id: str | None) -> AuditRecord:
    """Return the record of a sign-in, or of its end or refusal."""
    return audit_record(action, actor, tenant_id=tenant_id, subject=actor.key_id, subject_name=actor.key_name)


def first_id_at(at_ms: int) -> str:
    """Return what sorts before the ids of all records of this millisecond, behind those of earlier ones."""
    return f"aud_{at_ms:0{_TIME_DIGITS}x}"


def _within_bounds(record: AuditRecord) -> AuditRecord:
    longest, most = LONGEST_VALUE, _MOST_CHANGES
    while True:
        kept = [_shortened(one, longest) for one in record.changes[:most]]
        if left := len(record.changes) - len(kept):
            kept.append(Change(MARK, None, f"{left} more fields"))
        details = {name: _value(value, longest) for name, value in record.details.items()}
        found = msgspec.structs.replace(record, changes=tuple(kept), details=details)
        # Without changes there is nothing left that could be shorter.
        if len(msgspec.json.encode(found)) <= MOST_BYTES or not most:
            return found
        longest, most = (longest // 2, most) if longest > _SHORTEST else (longest, most // 2)


def _shortened(change: Change, longest: int) -> Change:
    before, after = (_value(value, longest) for value in (change.before, change.after))
    return Change(_value(change.field, LONGEST_NAME), before, after, change.secret)


def _value(value: Any, longest: int) -> Any:
    """Return a value; one that is longer as its beginning, with what distinguishes it from others."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if len(text) <= longest:
        return value
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{text[: max(0, longest - 50)]}{MARK} ({len(text)} characters, sha256 {digest})"


def _name(text: str | None) -> str | None:
    return None if text is None else _value(in_one_line(text), LONGEST_NAME)
