"""Keeps the copy of the integrations in Redis that of the ledger, whatever happened to either.

A change is published by the process that made it, at the cost of that integration
(`worker.broker.snapshot.publish_some`). This finds what was not published: a change while Redis was away,
a Redis that was emptied, a ledger that was restored from a backup, damage. A look compares revisions, and
reads the documents of those that differ, and of a few others in turn: its cost does not grow with what
tenants put into their documents.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from worker.broker.api_keys import KeyCopy
from worker.broker.conflicts import forget_settled, hold_unknown, note_yielded
from worker.broker.connection import Client
from worker.broker.integration_documents import drop_unreadable, standing_ids
from worker.broker.locks import check_claim
from worker.broker.redis_stats import has_integrations
from worker.broker.snapshot import differing, is_ahead, later_states, publish_integrations, publish_some
from worker.ledger.api_keys import ApiKeyStore
from worker.ledger.engine import Ledger, ledger_id
from worker.ledger.integrations import IntegrationStore
from worker.ledger.orphans import take_careful_state
from worker.ledger.results import IntegrationRecord
from worker.model.log_events import API_KEY_REVOCATION_RECORDED

log = logging.getLogger(__name__)

#: Documents that are read at once, and that a look compares in turn.
AT_ONCE = 100


class Reconciliation:
    """One ledger and one Redis; one thread at a time.

    Every method raises BrokerUnavailable, LedgerUnavailable, and WrongLedger if Redis holds the events of
    another ledger.
    """

    def __init__(self, client: Client, store: IntegrationStore, copy: KeyCopy, slots: int) -> None:
        """Compare nothing yet; `slots` is how many batches of one integration may be under way."""
        self._client = client
        self._store = store
        self._copy = copy
        self._slots = slots
        #: Ids up to this one were compared in this turn; None until all were compared once.
        self._compared: str | None = None

    def look(self) -> bool:
        """Bring Redis up to date; return whether anything had to change. The first look compares all."""
        return self._reconcile(whole=self._compared is None)

    def whole(self) -> bool:
        """Do so with all documents.

        Where the ledger was set back (restored from a backup), the more careful state wins in both, and what
        only Redis knows is paused.
        """
        return self._reconcile(whole=True)

    def _reconcile(self, *, whole: bool) -> bool:
        check_claim(self._client, ledger_id(self._store.engine))
        # Before the ledger is asked: what is created stands there first.
        standing = standing_ids(self._client)
        known = self._store.states(standing)
        ids = {one.id for one in known}
        drop_unreadable(self._client, {one.encode() for one in ids})
        if has_integrations(self._client):
            differ = {one.id for one in known} if whole else differing(self._client, known, self._slots)
            published = self._publish(differ | (set() if whole else self._next_compared(known)))
            self._compared = self._compared or ""
        else:
            published = self._publish_all()
        hold_unknown(self._client, standing - ids)
        # What was published just now stands there as well.
        forget_settled(self._client, known, standing | {one.id for one in known if not one.deleted})
        share_api_keys(self._copy, self._store.engine)
        return published

    def _publish(self, ids: Collection[str]) -> bool:
        """Write these to Redis, as far as it does not have them so; return whether any had to be."""
        published = False
        for some in _portions(sorted(ids)):
            changed = publish_some(self._client, self._yielding(self._store.records(some), some), self._slots)
            if changed is None:
                return self._publish_all()
            published = published or changed
        return published

    def _publish_all(self) -> bool:
        """Publish all together, for a router that finds some would drop the events of the others."""
        records = self._yielding(self._store.records(), None)
        return publish_integrations(self._client, records, self._slots)

    def _yielding(
        self, records: list[IntegrationRecord], ids: Sequence[str] | None
    ) -> list[IntegrationRecord]:
        """Return the ledger's records, once it has taken over what Redis knows in a more careful state."""
        if not is_ahead(self._client, records):
            return records
        # What has changed in both since the ledger was read is no sign that it was set back.
        for one in later_states(self._client, self._store.records(ids)):
            revision = take_careful_state(
                self._store.engine, one.id, one.revision, enabled=one.enabled, paused=one.paused
            )
            if revision is not None:
                note_yielded(self._client, one, revision)
        return self._store.records(ids)

    def _next_compared(self, known: Sequence[Any]) -> set[str]:
        """Return the next ids in turn, whose documents are compared although their revisions agree."""
        living = sorted(one.id for one in known if not one.deleted)
        ahead = [one for one in living if one > (self._compared or "")][:AT_ONCE]
        self._compared = ahead[-1] if len(ahead) == AT_ONCE else ""
        return set(ahead)


def share_api_keys(copy: KeyCopy, engine: Ledger) -> None:
    """Make the copy of the API keys in Redis that of the ledger, and revoke here what was revoked there.

    The caller knows that Redis is this ledger's. Raises BrokerUnavailable, LedgerUnavailable.
    """
    store = ApiKeyStore(engine)
    revoked, standing = copy.revoked(), store.standing()
    for key, _ in standing:
        if key.id in revoked:
            # Who did it stands in the inbox of the audit trail, or in the ledger by now.
            store.revoke(key.id, by=None)
            API_KEY_REVOCATION_RECORDED.log(log, api_key=key.id)
    copy.replace([(key, digest) for key, digest in standing if key.id not in revoked])


def _portions(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), AT_ONCE):
        yield ids[start : start + AT_ONCE]
