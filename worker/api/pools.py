"""The threads of the API: which pool runs what, and what is answered when a pool is full.

Nothing that may be slow runs in a thread that other requests need: the pool of a route is that of
its kind, and a tenant has a share of it. Readiness and the look-up of API keys have threads, and connections
to the database, of their own. The pool that Starlette shares among everything is left with static files.

Threads that are shared fairly: each owner has a share of them, and owners take turns.

Whatever waits for Redis, the database or a destination runs in a thread. With one pool for all, the slow
requests of one tenant would take every thread, and all others would wait behind them.
"""

import asyncio
import inspect
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import partial, wraps
from typing import Any, NamedTuple, TypeVar

from fastapi.routing import APIRoute

from worker.api.limits import RefusalReason, note_refusal
from worker.api.problems import Problem

T = TypeVar("T")


class PoolFull(Exception):
    """No more is taken at present; `is_own` is whether the owner alone has reached its share."""

    def __init__(self, *, is_own: bool) -> None:
        """Keep whose fault it is."""
        super().__init__("the owner's share is used" if is_own else "the pool is full")
        self.is_own = is_own


class _Task(NamedTuple):
    owner: str
    call: Callable[[], Any]
    answer: "Future[Any]"


class FairPool:
    """May be shared between threads and event loops. Its threads do not hold up the end of the process."""

    def __init__(self, name: str, *, threads: int, share: int, waiting: int, waiting_share: int) -> None:
        """Run so many calls at once, `share` of them for one owner; beyond them so many calls may wait."""
        self._name = name
        self.threads = threads
        self.share = share
        self._most = threads + waiting
        self.most_of_one = share + waiting_share
        self._changed = threading.Condition()
        self._waiting: OrderedDict[str, deque[_Task]] = OrderedDict()
        self._running: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._started = self._idle = 0

    @property
    def running(self) -> int:
        """How many calls are made at this moment."""
        return self._running.total()

    async def run(self, owner: str, call: Callable[..., T], *arguments: Any) -> T:
        """Return what the call returns, or raise what it raises. Raises PoolFull."""
        return await asyncio.wrap_future(self.submit(owner, partial(call, *arguments)))

    def submit(self, owner: str, call: Callable[[], T]) -> "Future[T]":
        """Have the call made for this owner. Raises PoolFull."""
        task = _Task(owner, call, Future())
        with self._changed:
            self._refuse_if_full(owner)
            self._held[owner] += 1
            self._waiting.setdefault(owner, deque()).append(task)
            waiting = self._held.total() - self._running.total()
            if waiting > self._idle and self._started < self.threads:
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
                self._started += 1
            self._changed.notify()
        return task.answer

    def _refuse_if_full(self, owner: str) -> None:
        if self._held[owner] >= self.most_of_one:
            raise PoolFull(is_own=True)
        if self._held.total() >= self._most:
            raise PoolFull(is_own=False)

    def _work(self) -> None:
        while True:
            task = self._taken()
            answer = _made(task)
            # Before the answer: who has it may ask for something else at once.
            with self._changed:
                self._running[task.owner] -= 1
                self._held[task.owner] -= 1
                self._forget_if_gone(task.owner)
                # What waits for a share of this owner may be for another thread to do.
                self._changed.notify()
            answer()
            # A thread that waits must not keep what it did last.
            del task, answer

    def _taken(self) -> _Task:
        with self._changed:
            self._idle += 1
            while (task := self._next()) is None:
                self._changed.wait()
            self._idle -= 1
            return task

    def _next(self) -> _Task | None:
        """Return the next one of the owner whose turn it is; the caller holds the lock."""
        for owner, tasks in self._waiting.items():
            if self._running[owner] < self.share:
                task = tasks.popleft()
                self._waiting.move_to_end(owner)
                if not tasks:
                    del self._waiting[owner]
                self._running[owner] += 1
                return task
        return None

    def _forget_if_gone(self, owner: str) -> None:
        if not self._held[owner]:
            del self._held[owner], self._running[owner]


def _made(task: _Task) -> Callable[[], None]:
    """Make the call; return what gives its answer to who waits for it."""
    if not task.answer.set_running_or_notify_cancel():
        return lambda: None
    try:
        return partial(task.answer.set_result, task.call())
    except BaseException as error:  # noqa: BLE001 - the caller that waits gets it
        return partial(task.answer.set_exception, error)


#: What asks Redis and the database for a tenant: pages, lists, changes, replays. So many connections to the
#: database serve them, so that none waits for another's.
WORK = FairPool("work", threads=32, share=8, waiting=256, waiting_share=64)
#: What publishes events. One tenant cannot take all of it: a body of many lines keeps its thread busy.
PUBLISHING = FairPool("publisher", threads=16, share=12, waiting=112, waiting_share=52)
#: Finds the sessions of those who look at pages, by the addresses that they look from.
SESSIONS = FairPool("session", threads=8, share=4, waiting=256, waiting_share=64)
#: Tests of integrations, which wait for destinations. None waits for its turn.
TESTS = FairPool("test", threads=32, share=2, waiting=0, waiting_share=0)
#: Looks API keys up, for all callers at once; and what a slow answer left behind.
KEYS = FairPool("keys", threads=3, share=1, waiting=64, waiting_share=64)
#: `/readyz` and `/metrics`: each asks one question at a time.
FLEET = FairPool("fleet", threads=2, share=1, waiting=16, waiting_share=1)

#: Parameters of a route that know the tenant.
_BEARERS = ("caller", "_caller", "user", "_user")


class FairRoute(APIRoute):
    """A route whose function, if it is no coroutine, runs in a thread of `WORK` for the caller's tenant."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:
        """Take what FastAPI gives. Raises TypeError when no parameter of the function knows the tenant."""
        is_async = inspect.iscoroutinefunction(endpoint)
        super().__init__(path, endpoint if is_async else _in_work(path, endpoint), **more)


async def work(tenant_id: str, call: Callable[..., T], *arguments: Any) -> T:
    """Return what the call returns, made in a thread of `WORK`. Raises a Problem when there is no room."""
    try:
        return await WORK.run(tenant_id, call, *arguments)
    except PoolFull as full:
        raise crowded(full, "requests", "tenant", tenant_id) from None


def crowded(full: PoolFull, what: str, whose: str, name: str) -> Problem:
    """Return the problem of a pool that takes no more: 429 where that is the owner's doing, else 503.

    `whose` is what the owner is, `tenant` or `address`, and `name` which one.
    """
    if full.is_own:
        note_refusal(RefusalReason.THREADS_OF_ONE, f"{whose} {name}")
        return Problem(
            429,
            f"too many {what} of your {whose} are under way",
            headers={"Retry-After": "5"},
            hint="wait until one has ended",
        )
    note_refusal(RefusalReason.THREADS, "all callers")
    return Problem(
        503, f"too many {what} are under way", headers={"Retry-After": "5"}, hint="try again later"
    )


def _in_work(path: str, endpoint: Callable[..., T]) -> Callable[..., Coroutine[Any, Any, T]]:
    bearer = next((name for name in inspect.signature(endpoint).parameters if name in _BEARERS), None)
    if bearer is None:
        raise TypeError(f"{path}: make it a coroutine, or let it take one of {', '.join(_BEARERS)}")

    @wraps(endpoint)
    async def run(**given: Any) -> T:
        return await work(given[bearer].tenant_id, lambda: endpoint(**given))

    return run
