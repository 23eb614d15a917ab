"""One candidate at a time has the turn, whichever of its threads asks."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import redis

from tests.fleet import PATIENCE
from worker.broker.locks import LeaderLock


class Together:
    """A client whose first reads wait for each other, so that both threads find the lock free."""

    def __init__(self, client: redis.Redis, threads: int) -> None:
        """Let that many threads read before one of them goes on."""
        self._client = client
        self._barrier = threading.Barrier(threads)

    def get(self, key: str) -> Any:
        """Read, then wait for the others; not for ever, for only one may be let in."""
        found = self._client.get(key)
        try:
            self._barrier.wait(0.3)
        except threading.BrokenBarrierError:
            return found
        return found

    def __getattr__(self, name: str) -> Any:
        """Do everything else as the client does it."""
        return getattr(self._client, name)


def test_threads_that_share_a_turn_do_not_take_it_from_each_other(client: redis.Redis) -> None:
    """Both ask at once while it is free: the candidate has it then, and keeps it."""
    for number in range(3):
        turn = LeaderLock(Together(client, 2), f"turn-shared-{number}", 60)  # type: ignore[arg-type]  # a stand-in
        with ThreadPoolExecutor(2) as threads:
            asked = [threads.submit(turn.is_mine) for _ in range(2)]
            assert any(one.result(PATIENCE) for one in asked)
        assert turn.is_mine()
