"""Whether this process of the API lives, and can serve."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from worker.model.availability import Dependencies
from worker.probes.process import ProcessProbe

_LOOP = "event"
#: How often its event loop shows that it turns, in seconds.
TURN_EVERY = 5.0


def api_process(dependencies: Dependencies) -> ProcessProbe:
    """Return what this process says of itself; `dependencies` are what its requests and its watch have met.

    It cannot serve only while it has neither Redis nor the database. With Redis alone it publishes events,
    with the database alone it shows and changes integrations. An outage of either is the same for every
    process of the API: a balancer that took all of them out would leave clients without a reason.
    """

    def hindered() -> str | None:
        redis = dependencies.redis.absence()
        return redis if redis and dependencies.database.is_missed else None

    return ProcessProbe(dependencies, hindered)


@asynccontextmanager
async def turning(process: ProcessProbe) -> AsyncIterator[None]:
    """Note that the process serves and that its event loop turns, until the end."""
    loops = process.dependencies.loops
    loops.watch(_LOOP)
    process.works()

    async def turn() -> None:
        while True:
            loops.turned(_LOOP)
            await asyncio.sleep(TURN_EVERY)

    task = asyncio.create_task(turn())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
