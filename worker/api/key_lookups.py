"""Looks API keys up by their ids: in memory, in the ledger, and while that is away in the copy in Redis.

A request that waits for a key waits for one question that asks for all keys wanted at that moment. So
neither how many wrong keys come, nor from where, makes a right one wait for longer than two such questions.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

from worker.broker.api_keys import FoundKey
from worker.model.errors import BrokerUnavailable, LedgerUnavailable, SchemaOutdated

#: A key that was found is not looked up again for so long: it may open for so long after it was revoked.
#: While the database is away and Redis has no copy of the keys (no recorder of this release made one), it
#: opens for `AWAY`. Both in seconds.
REMEMBERED, AWAY = 5.0, 3600.0
#: The longest that a database which hangs is waited for, in seconds.
PATIENCE = 2.0
#: How many keys are remembered at the most, and how many one question asks for.
_MOST_REMEMBERED, _MOST_AT_ONCE = 10_000, 500

#: Finds those of these ids that there are, revoked ones included.
FindAll = Callable[[Collection[str]], Mapping[str, FoundKey]]
#: Makes a call in a thread of its own, while none of the same name is under way.
Submit = Callable[[str, Callable[[], Mapping[str, FoundKey]]], "Future[Mapping[str, FoundKey]]"]
Outage = LedgerUnavailable | SchemaOutdated


class _Known(NamedTuple):
    found: FoundKey
    looked_up: float
    #: When it was asked for last, even if the database did not answer: not each request waits for that.
    asked: float


class _Away(NamedTuple):
    """The database was away when it was asked last, for this reason; it is not asked again before `until`."""

    error: Outage
    until: float


class KeyLookups:
    """Finds keys; all of it happens in one event loop, but for the questions."""

    def __init__(
        self,
        recorded: FindAll,
        copied: FindAll,
        note: Callable[[Exception], None],
        submit: Submit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what asks the ledger, and what asks the copy; the clock returns seconds.

        `recorded` may raise LedgerUnavailable and SchemaOutdated, `copied` BrokerUnavailable; `note` takes
        these errors where keys are found all the same.
        """
        self._recorded = recorded
        self._copied = copied
        self._note = note
        self._submit = submit
        self._clock = clock
        self._away: _Away | None = None
        self._hangs: asyncio.Future[Mapping[str, FoundKey]] | None = None
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._wanted: dict[str, asyncio.Future[FoundKey | None]] = {}
        self._asker: asyncio.Task[None] | None = None

    def remembered(self, key_id: str) -> FoundKey | None:
        """Return what was found of the key a moment ago."""
        known = self._known.get(key_id)
        return known.found if known and self._clock() - known.asked < REMEMBERED else None

    async def find(self, key_id: str) -> FoundKey | None:
        """Return what there is of the key with this id. Raises LedgerUnavailable, SchemaOutdated."""
        if (found := self.remembered(key_id)) is not None:
            return found
        loop = asyncio.get_running_loop()
        answer = self._wanted.setdefault(key_id, loop.create_future())
        if self._asker is None or self._asker.done():
            self._asker = loop.create_task(self._ask_for_all())
        # Who gives up does not take the answer from the others.
        return await asyncio.shield(answer)

    async def _ask_for_all(self) -> None:
        while self._wanted:
            ids = list(self._wanted)[:_MOST_AT_ONCE]
            answers = {key_id: self._wanted.pop(key_id) for key_id in ids}
            await self._answer(answers)

    async def _answer(self, answers: "dict[str, asyncio.Future[FoundKey | None]]") -> None:
        """Answer all of these, whatever happens: they are not asked for again."""
        try:
            await self._answer_from_ledger(answers)
        except Exception as error:  # noqa: BLE001 - raised where the answers are awaited
            _fail(answers.values(), error)

    async def _answer_from_ledger(self, answers: "dict[str, asyncio.Future[FoundKey | None]]") -> None:
        now = self._clock()
        try:
            found = await self._ask_ledger(answers)
        except (LedgerUnavailable, SchemaOutdated) as outage:
            await self._answer_without(answers, outage)
        else:
            for key_id, answer in answers.items():
                one = found.get(key_id)
                self._remember(key_id, _Known(one, now, self._clock()) if one else None)
                _resolve(answer, one)

    async def _answer_without(
        self, answers: "dict[str, asyncio.Future[FoundKey | None]]", outage: Outage
    ) -> None:
        """Answer from the copy, and from memory where Redis has none."""
        copy, now = await self._ask_copy(answers), self._clock()
        for key_id, answer in answers.items():
            known = self._known.get(key_id)
            if (one := copy.get(key_id)) is not None:
                self._remember(key_id, _Known(one, now, now))
            elif known is not None and now - known.looked_up < AWAY:
                one = known.found
                self._remember(key_id, known._replace(asked=now))
            else:
                _fail([answer], outage)
                continue
            self._note(outage)
            _resolve(answer, one)

    async def _ask_ledger(self, ids: Collection[str]) -> Mapping[str, FoundKey]:
        """Ask, unless the database was away a moment ago: one that hangs must not hold up each request."""
        if self._away is not None and self._clock() < self._away.until:
            raise type(self._away.error)(str(self._away.error), self._away.error.cause)
        try:
            found = await self._ask_in_time(partial(self._recorded, tuple(ids)))
        except (LedgerUnavailable, SchemaOutdated) as error:
            self._away = _Away(error, self._clock() + REMEMBERED)
            raise
        self._away = None
        return found

    async def _ask_in_time(self, ask: Callable[[], Mapping[str, FoundKey]]) -> Mapping[str, FoundKey]:
        if self._hangs is None or self._hangs.done():
            self._hangs = asyncio.wrap_future(self._submit("ledger", ask))
            done, _ = await asyncio.wait([self._hangs], timeout=PATIENCE)
            if done:
                return self._hangs.result()
            # Its later answer is not waited for.
            self._hangs.add_done_callback(lambda late: late.cancelled() or late.exception())
        raise LedgerUnavailable(f"the database has not answered within {PATIENCE:g} s")

    async def _ask_copy(self, ids: Iterable[str]) -> Mapping[str, FoundKey]:
        try:
            return await asyncio.wrap_future(self._submit("copy", partial(self._copied, tuple(ids))))
        except BrokerUnavailable as error:
            self._note(error)
            return {}

    def _remember(self, key_id: str, known: _Known | None) -> None:
        self._known.pop(key_id, None)
        if known is not None:
            self._known[key_id] = known
            if len(self._known) > _MOST_REMEMBERED:
                self._known.popitem(last=False)


def _resolve(answer: "asyncio.Future[FoundKey | None]", found: FoundKey | None) -> None:
    if not answer.done():
        answer.set_result(found)


def _fail(answers: "Iterable[asyncio.Future[FoundKey | None]]", error: Exception) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_exception(error)
