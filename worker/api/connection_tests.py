"""Runs tests of integrations, for the API and the pages alike, in threads that serve nothing else.

A test dials the destination and may take minutes: a tenant has few at once, whichever door it comes by, and
forty destinations that never answer hold up nothing but further tests.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, closing

from worker.api.fair_pool import PoolFull
from worker.api.pools import TESTS, crowded
from worker.api.resources import Resources
from worker.background.doctor import StepReport, examine, examine_keys
from worker.background.reach import held_connections
from worker.integrations.integration import Integration
from worker.transports.check_guards import FleetGuard

Checks = Callable[[], Generator[StepReport, None, None]]


async def steps_of_test(
    resources: Resources, integration: Integration, tenant_id: str, *, test_event: bool = True
) -> AsyncGenerator[StepReport, None]:
    """Return the steps of a test that has begun, each as soon as it has ended.

    Raises a Problem, 429 or 503, when too many tests are under way, and whatever keeps a test from its first
    step. If nobody takes the steps any more, the test ends with the step that it is at.
    """
    run = _Run(lambda: _checks(resources, integration, test_event=test_event))
    try:
        TESTS.submit(tenant_id, run.work)
    except PoolFull as full:
        raise crowded(full, "tests", "tenant", tenant_id) from None
    steps = run.steps()
    first = await anext(steps)
    return _chained(first, steps)


async def _chained(
    first: StepReport, rest: AsyncGenerator[StepReport, None]
) -> AsyncGenerator[StepReport, None]:
    async with aclosing(rest):
        yield first
        async for one in rest:
            yield one


def _checks(
    resources: Resources, integration: Integration, *, test_event: bool
) -> Generator[StepReport, None, None]:
    reach = resources.reach_of(integration.type)
    seconds = reach.send_deadline(resources.config.send_deadline)
    held = held_connections(resources.client, integration)
    keys = examine_keys(resources.client, resources.vault, integration, with_names=False)
    yield from keys
    guard = FleetGuard(reach)
    yield from examine(integration, guard, send_seconds=seconds, test_event=test_event, held=held)


class _Run:
    """One test: made in a thread, followed from the event loop that made this."""

    def __init__(self, checks: Checks) -> None:
        self._checks = checks
        self._loop = asyncio.get_running_loop()
        self._found: asyncio.Queue[StepReport | BaseException | None] = asyncio.Queue()
        self._is_left = False

    def work(self) -> None:
        """Run in a thread."""
        try:
            with closing(self._checks()) as checks:
                for check in checks:
                    self._tell(check)
                    if self._is_left:
                        break
        except BaseException as error:  # noqa: BLE001 - raised where the steps are awaited
            self._tell(error)
        else:
            self._tell(None)

    async def steps(self) -> AsyncGenerator[StepReport, None]:
        """Yield what `work` finds, and raise what it raises."""
        try:
            while (found := await self._found.get()) is not None:
                if isinstance(found, BaseException):
                    raise found
                yield found
        finally:
            self._is_left = True

    def _tell(self, found: StepReport | BaseException | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._found.put_nowait, found)
        except RuntimeError:  # the server has ended, and its loop is closed
            self._is_left = True
