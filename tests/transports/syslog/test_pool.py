"""Which idle connections are kept, and which is handed out."""

import pytest

from worker.transports.budget import LONGEST_IDLE
from worker.transports.syslog import pool as syslog_pool
from worker.transports.syslog.pool import Pool


class Connection:
    """Notes whether it was closed."""

    is_closed = False

    def close(self) -> None:
        """Note it."""
        self.is_closed = True


def test_the_newest_is_taken_first() -> None:
    """Under light load the others can grow old."""
    pool: Pool[Connection] = Pool(3)
    old, new = Connection(), Connection()
    pool.give_back(old)
    pool.give_back(new)

    assert [pool.take(), pool.take(), pool.take()] == [new, old, None]


def test_no_more_are_kept_than_agreed() -> None:
    """The oldest of them goes."""
    pool: Pool[Connection] = Pool(2)
    connections = [Connection() for _ in range(3)]
    for connection in connections:
        pool.give_back(connection)

    assert [connection.is_closed for connection in connections] == [True, False, False]


def test_what_sat_idle_for_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found out when another is given back."""
    now = 1_000.0
    monkeypatch.setattr(syslog_pool, "monotonic", lambda: now)
    pool: Pool[Connection] = Pool(3)
    idle, used = Connection(), Connection()
    pool.give_back(idle)
    now += LONGEST_IDLE + 1
    pool.give_back(used)

    assert idle.is_closed
    assert not used.is_closed
    assert [pool.take(), pool.take()] == [used, None]


def test_where_room_is_short_only_what_may_still_show_something_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An end soon after a batch says that it may be lost."""
    now = 1_000.0
    monkeypatch.setattr(syslog_pool, "monotonic", lambda: now)
    pool: Pool[Connection] = Pool(3)
    idle, fresh = Connection(), Connection()
    pool.give_back(idle)
    now += syslog_pool.SUSPICIOUS + 1
    pool.give_back(fresh)
    pool.close_idle()

    assert idle.is_closed
    assert not fresh.is_closed
    assert [pool.take(), pool.take()] == [fresh, None]


def test_a_closed_pool_keeps_nothing() -> None:
    """What was in use when it was closed is closed when it comes back."""
    pool: Pool[Connection] = Pool(2)
    idle, used = Connection(), Connection()
    pool.give_back(idle)
    pool.close()
    pool.give_back(used)

    assert idle.is_closed
    assert used.is_closed
    assert pool.take() is None
