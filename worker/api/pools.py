"""The threads of the API: which pool runs what, and what is answered when a pool is full.

Nothing that may be slow runs in a thread that somebody else's request needs: the pool of a route is that of
its kind, and a tenant has a share of it. Readiness and the look-up of API keys have threads, and connections
to the database, of their own. The pool that Starlette shares among everything is left with static files.
"""

import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, TypeVar

from fastapi.routing import APIRoute

from worker.api.fair_pool import FairPool, PoolFull
from worker.api.limits import RefusalReason, note_refusal
from worker.api.problems import Problem

T = TypeVar("T")

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
