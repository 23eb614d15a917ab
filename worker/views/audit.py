"""Records of the audit trail as JSON: in the API, `siem audit --json` and the stream `siem:audit`."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, Field

from worker.model.audit import Action, Actor, ActorKind, AuditRecord, Change
from worker.model.time import rfc3339
from worker.views.cursors import cut_page, decode_cursor

#: The id of a record, in a cursor.
RecordId = Annotated[str, msgspec.Meta(pattern=r"^aud_[0-9a-f]{12,40}$")]

_ACTIONS = "What was done; later releases may add more:\n\n" + "\n".join(f"- `{one.value}`" for one in Action)


class ActorDocument(BaseModel):
    """Who acted. A key of another tenant, and who operates the installation, are not shown to tenants."""

    kind: str = Field(description="`api`, `page`, `cli` (an operator), or `fleet`: what is done by itself.")
    key_id: str | None = Field(description="The id of the API key; never its text.")
    key_name: str | None
    address: str | None = Field(description="Where the request came from, as a trusted proxy says.")
    user: str | None = Field(description="Of a command: the user of the operating system.")
    host: str | None = Field(description="Of a command: the machine.")


class ChangeDocument(BaseModel):
    """A field before and after; null where there was, or is, none.

    Of a `secret`, it is shown only whether there is one: `{"set": true}`; of a url, all but the values of its
    query. Both may be the same before and after: it changed all the same.
    """

    field: str
    before: Any
    after: Any
    secret: bool


class AuditDocument(BaseModel):
    """Who did what, to which thing, and what changed by it; values of more than 300 characters are cut."""

    id: str = Field(description="Records sort by it: it begins with their time.")
    at: str | None
    action: str = Field(description=_ACTIONS)
    tenant_id: str | None = Field(description="Null for what concerns the whole installation.")
    actor: ActorDocument
    subject: str | None = Field(description="The id of what it was done to.")
    subject_name: str | None = Field(description="How that was called then.")
    integration_id: str | None
    changes: list[ChangeDocument]
    details: dict[str, Any] = Field(description="What else there is to say, by action.")


class AuditPage(BaseModel):
    """Records, the latest first; `next` is the cursor of the next page."""

    items: list[AuditDocument]
    next: str | None


def audit_document(record: AuditRecord, *, for_tenant: bool = False) -> AuditDocument:
    """Return a record; tenants are not shown which operator acted, nor where."""
    return AuditDocument(
        id=record.id,
        at=rfc3339(record.at_ms),
        action=record.action,
        tenant_id=record.tenant_id,
        actor=ActorDocument(**msgspec.structs.asdict(shown_actor(record.actor, for_tenant=for_tenant))),
        subject=record.subject,
        subject_name=record.subject_name,
        integration_id=record.integration_id,
        changes=[ChangeDocument(**msgspec.structs.asdict(one)) for one in record.changes],
        details=record.details,
    )


def audit_page(found: Sequence[AuditRecord], limit: int, *, for_tenant: bool = False) -> AuditPage:
    """Return a page of records; `found` has one more than `limit` if there are more."""
    shown, following = cut_page(found, limit, lambda one: one.id)
    items = [audit_document(one, for_tenant=for_tenant) for one in shown]
    return AuditPage(items=items, next=following)


def audit_place(cursor: str | None) -> str | None:
    """Return the id of the last record before this page; None for the first. Raises InvalidInput."""
    return None if cursor is None else decode_cursor(cursor, RecordId)


def stream_document(record: AuditRecord) -> bytes:
    """Return what stands in the stream of those who run the fleet."""
    return audit_document(record).model_dump_json().encode()


def shown_actor(actor: Actor, *, for_tenant: bool) -> Actor:
    """Return an actor as a tenant may see it."""
    return Actor(actor.kind) if for_tenant and actor.kind == ActorKind.CLI else actor


def actor_words(actor: Actor) -> str:
    """Return who acted, in one line for people."""
    if actor.kind == ActorKind.FLEET:
        return "the fleet"
    if actor.kind == ActorKind.CLI:
        return f"{actor.user}@{actor.host}" if actor.user else "operator"
    if actor.key_id is None and actor.kind not in list(ActorKind):
        return actor.kind
    door = "" if actor.kind == ActorKind.API else f"{actor.kind}, "
    from_where = f" from {actor.address}" if actor.address else ""
    return f"{actor.key_name or 'key'} ({door}{actor.key_id}){from_where}"


def subject_words(record: AuditRecord) -> str:
    """Return what it was done to: its name and its id."""
    if record.subject_name and record.subject and record.subject_name != record.subject:
        return f"{record.subject_name} ({record.subject})"
    return record.subject_name or record.subject or ""


def change_words(change: Change) -> tuple[str, str, str]:
    """Return a field, and what stood there before and after; of a secret, whether it was set."""
    before, after = value_words(change.before), value_words(change.after)
    if change.secret and before == after:
        after = f"{after} (another secret)"
    return change.field, before, after


def value_words(value: Any) -> str:
    """Return a value for people."""
    match value:
        case None:
            return "not set"
        case bool():
            return "yes" if value else "no"
        case str():
            return value
        case {"set": True, **rest} if not rest:
            return "set"
        case list():
            return ", ".join(map(value_words, value)) or "none"
        case _:
            return msgspec.json.encode(value).decode()
