"""From dead letters in the ledger back into the backlogs, page by page, at the pace of each replay.

Runs beside every recorder; a lock in Redis lets one of them work at a time. It also makes the replays that
are made automatically: of what died in an outage that is over. No page is handed over twice, whatever is
killed and whichever process works: see `worker.broker.replaying`.

Tenants take turns, one page each. Replays of integrations that take nothing for now (paused, disabled,
circuit breaker open, backlog deep) cost one round trip together, however many they are.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial

from worker.broker.ingress import RoutedChunk
from worker.broker.locks import LeaderLock
from worker.broker.replaying import Replaying, ReplayPass
from worker.broker.snapshot import Limits, Snapshot, Subscription
from worker.ledger.replay_pages import ReplayStore
from worker.model.availability import Dependencies, run_forever_pausing
from worker.model.events import BULK_EVENT_TYPES, QueuedEvent
from worker.model.log_events import REPLAY_DONE, REPLAY_RESUMED, REPLAY_STARTED_BY_REDRIVE
from worker.model.replays import FairOrder, Page, Replay, ReplayedLetter, ReplayState

log = logging.getLogger(__name__)

#: Letters of one page at the most.
LARGEST_PAGE = 500
#: A second's worth of letters is cut into so many pages, so that the destination sees an even flow.
PAGES_A_SECOND = 4
#: How long to rest when there is nothing to do, in seconds.
IDLE = 1.0
#: How long to rest when all that is left is for integrations that take nothing for now, in seconds.
CLOSED_REST = 3.0
#: How often to look for integrations that have recovered, in seconds.
REDRIVE_EVERY = 30.0
#: Another replayer takes over when the one at work was silent for this long, in seconds.
TURN = 5.0

_GONE = "the integration that it was for is not there any more"


class ReplayPacer:
    """When each replay may go on; counts from the first page that this process hands over."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Reckon by this clock, in seconds."""
        self._clock = clock
        self._next: dict[str, float] = {}

    def wait(self, replay: Replay) -> float:
        """Return for how many seconds the replay is to rest."""
        return max(0.0, self._next.get(replay.id, 0.0) - self._clock())

    def spent(self, replay: Replay, events: int) -> None:
        """Note that so many events went out."""
        begun = max(self._clock(), self._next.get(replay.id, 0.0))
        self._next[replay.id] = begun + events / replay.rate

    def rest(self, replay: Replay, seconds: float) -> None:
        """Let the replay rest, although it has sent nothing."""
        self._next[replay.id] = self._clock() + seconds

    def forget_all_but(self, replays: Iterable[Replay]) -> None:
        """Keep no times of replays that have ended."""
        running = {replay.id for replay in replays}
        self._next = {one: when for one, when in self._next.items() if one in running}


class Replayer:
    """One replayer; runs in one thread."""

    def __init__(
        self,
        ledger: ReplayStore,
        replaying: Replaying,
        snapshot: Snapshot,
        turn: LeaderLock,
        pace: ReplayPacer | None = None,
    ) -> None:
        """Take letters from the ledger, and hand their events over to the backlogs."""
        self._ledger = ledger
        self._replaying = replaying
        self._snapshot = snapshot
        self._turn = turn
        self._pace = pace or ReplayPacer()
        self._order = FairOrder()
        self._next_redrive = 0.0

    def run(self, stopping: threading.Event, dependencies: Dependencies | None = None) -> None:
        """Replay until stopped; outlive any absence of Redis or the database."""
        with self._turn.passed_on_at_the_end():
            run_forever_pausing(self.step, stopping, dependencies or Dependencies(log), log)

    def step(self) -> float:
        """Hand over a page for each tenant with a replay that may go on; return the seconds to rest then.

        Raises BrokerUnavailable, LedgerUnavailable; what was under way is then finished by the next step.
        """
        if not self._turn.is_mine():
            return IDLE
        if time.monotonic() >= self._next_redrive:
            self._next_redrive = time.monotonic() + REDRIVE_EVERY
            self._redrive()
        running = self._ledger.running()
        self._pace.forget_all_but(running)
        self._order.forget_all_but(running)
        due = [one for one in running if self._pace.wait(one) == 0]
        for replay in self._next_round(due) if due else ():
            self._order.had_turn(replay)
            self._go_on(replay.id)
        return min([IDLE, *map(self._pace.wait, running)])

    def _next_round(self, due: Sequence[Replay]) -> list[Replay]:
        """Return one replay of each tenant; of those whose only integration takes nothing, one in all.

        That one is looked at, for it may have come to its end; the others rest without a look.
        """
        closed = self._closed_of({only for one in due if (only := _only(one)) is not None})
        waiting = [one for one in due if _only(one) in closed]
        for one in waiting:
            self._pace.rest(one, CLOSED_REST)
        taking = [one for one in due if _only(one) not in closed]
        tenant_of = partial(_tenant_of, self._snapshot.subscriptions())
        return [*self._order.round(taking, tenant_of), *self._order.next_of(waiting)]

    def _go_on(self, replay_id: str) -> None:
        """Hand over the next page of a replay, or end it."""
        with self._replaying.hand() as hand:
            # Only now, when no other process can hand anything over, is what the ledger says not out of date.
            replay = self._with_all_pages_noted(hand).get(replay_id)
            if replay is None:
                return
            closed = self._closed(replay)
            if _only(replay) in closed:
                self._wait(replay)
                return
            letters, superseded = self._ledger.next_page(replay, _page_size(replay), closed)
            if letters or superseded:
                self._hand_over(hand, replay, letters, superseded)
            else:
                self._wait(replay)

    def _with_all_pages_noted(self, hand: ReplayPass) -> dict[str, Replay]:
        """Note in the ledger what was handed over by one who did not get to that; return what runs."""
        running = {replay.id: replay for replay in self._ledger.running()}
        records = hand.records()
        missing = [page for page in records if not _is_noted(page, running.get(page.replay_id))]
        for page in missing:
            if self._ledger.mark(page):
                REPLAY_RESUMED.log(log, replay=page.replay_id)
        if ended := {page.replay_id for page in records} - running.keys():
            self._replaying.forget(ended)
        return {replay.id: replay for replay in self._ledger.running()} if missing else running

    def _hand_over(
        self, hand: ReplayPass, replay: Replay, letters: list[ReplayedLetter], superseded: list[str]
    ) -> None:
        limits = {one.id: one.destination for one in self._snapshot.subscriptions().values()}
        # What Redis does not know yet, a recorder will write.
        known = [letter for letter in letters if letter.target_id in limits]
        if not known and not superseded:
            self._pace.rest(replay, IDLE)
            return
        ids = [letter.id for letter in known]
        page = Page(replay.id, replay.pages + 1, ids, superseded, hand.now_ms())
        if hand.over(page, routed_chunks(known, limits)):
            self._ledger.mark(page)
            self._pace.spent(replay, len(known))

    def _closed(self, replay: Replay) -> set[str]:
        """Name the integrations that cannot do with more for now, of those that the replay may be for."""
        only = _only(replay)
        return self._closed_of(self._snapshot.subscriptions() if only is None else {only})

    def _closed_of(self, integration_ids: Collection[str]) -> set[str]:
        """Return those of the integrations that cannot do with more for now, or are not there."""
        known = self._snapshot.subscriptions()
        living = {one for one in integration_ids if one in known and not known[one].deleted}
        return set(integration_ids) - self._replaying.ready(living)

    def _wait(self, replay: Replay) -> None:
        """Let it rest, or end it when there is nothing to wait for."""
        if replay.target_id is not None and self._is_deleted(replay.target_id):
            self._ledger.end(replay.id, ReplayState.CANCELLED, _GONE)
        elif any(self._ledger.next_page(replay, 1)):
            self._pace.rest(replay, CLOSED_REST)
        else:
            self._end(replay)

    def _is_deleted(self, integration_id: str) -> bool:
        """Whether it will never take anything: Redis keeps a deleted one for a short time only."""
        known = self._snapshot.subscriptions().get(integration_id)
        return known.deleted if known is not None else self._ledger.is_deleted(integration_id)

    def _end(self, replay: Replay) -> None:
        if self._ledger.end(replay.id, ReplayState.DONE):
            self._replaying.forget([replay.id])
            done, total, skipped = replay.replayed, replay.total, replay.skipped
            REPLAY_DONE.log(log, replay=replay.id, replayed=done, total=total, skipped=skipped)

    def _redrive(self) -> None:
        """Make replays for integrations that have recovered."""
        candidates = self._ledger.redrivable()
        for integration_id in sorted(self._replaying.ready(candidates)):
            replay = self._ledger.redrive(integration_id, candidates[integration_id])
            if replay is not None:
                REPLAY_STARTED_BY_REDRIVE.log(
                    log, integration=integration_id, total=replay.total, replay=replay.id
                )


def routed_chunks(letters: Iterable[ReplayedLetter], limits: Mapping[str, Limits]) -> list[RoutedChunk]:
    """Sort letters by target and lane, and cut them into chunks that fit into a request; pure."""
    lanes: dict[tuple[str, bool], list[QueuedEvent]] = defaultdict(list)
    for letter in letters:
        lanes[letter.target_id, letter.event.type not in BULK_EVENT_TYPES].append(letter.event)
    return [
        RoutedChunk([target], urgent, chunk)
        for (target, urgent), events in lanes.items()
        for chunk in _chunks(events, limits[target])
    ]


def _chunks(events: Sequence[QueuedEvent], limits: Limits) -> Iterator[list[QueuedEvent]]:
    chunk: list[QueuedEvent] = []
    size = 0
    for event in events:
        size += len(event.raw)
        if chunk and (len(chunk) >= limits.batch_events or size > limits.batch_bytes):
            yield chunk
            chunk, size = [], len(event.raw)
        chunk.append(event)
    yield chunk


def _page_size(replay: Replay) -> int:
    return max(1, min(LARGEST_PAGE, replay.rate // PAGES_A_SECOND))


def _only(replay: Replay) -> str | None:
    """Name the one integration that gets all of it, if it is one."""
    return replay.target_id or replay.selection.integration_id


def _tenant_of(known: Mapping[str, Subscription], replay: Replay) -> str:
    """Name the tenant; "" for a replay of all tenants, which only an operator can make."""
    home = known.get(_only(replay) or "")
    return home.tenant_id if home else replay.selection.tenant_id or ""


def _is_noted(page: Page, replay: Replay | None) -> bool:
    return replay is not None and page.number <= replay.pages
