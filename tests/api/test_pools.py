"""Threads that are shared fairly, and shares of whatever else there is."""

import threading
from concurrent.futures import Future

import pytest

from tests.fleet import wait_until
from worker.api.limits import UNKNOWN, Shares, origin_of
from worker.api.pools import FairPool, PoolFull


class Calls:
    """Calls that wait until they may end; `order` says in which order they began."""

    def __init__(self, pool: FairPool) -> None:
        """Begin with none."""
        self.pool = pool
        self.order: list[str] = []
        self._may_end: dict[str, threading.Event] = {}

    def submit(self, owner: str, number: int = 0) -> "Future[str]":
        """Have the owner make one."""
        name = f"{owner}{number}"
        self._may_end[name] = threading.Event()

        def call() -> str:
            self.order.append(name)
            self._may_end[name].wait(30)
            return name

        return self.pool.submit(owner, call)

    def end(self, name: str) -> None:
        """Let one end."""
        self._may_end[name].set()


def test_no_owner_has_more_than_a_share(calls: Calls) -> None:
    """The others have threads meanwhile; what is beyond the share waits, and runs in the end."""
    mine = [calls.submit("a", number) for number in range(4)]
    wait_until(lambda: len(calls.order) == 2, "two of them run")
    other = calls.submit("b")
    wait_until(lambda: "b0" in calls.order, "the other runs")
    for name in ("a0", "a1", "a2", "a3", "b0"):
        calls.end(name)

    assert [one.result(30) for one in mine] == ["a0", "a1", "a2", "a3"]
    assert other.result(30) == "b0"
    assert calls.order[:3] == ["a0", "a1", "b0"]


def test_owners_take_turns(calls: Calls) -> None:
    """Who has asked for more waits no less: of those that wait, each owner's first comes first."""
    first = [calls.submit("a", 0), calls.submit("a", 1), calls.submit("b")]
    wait_until(lambda: len(calls.order) == 3, "all threads are taken")
    later = [calls.submit(owner, number) for owner, number in (("a", 2), ("a", 3), ("c", 0), ("d", 0))]
    for name in ("a2", "a3", "c0", "d0", "b0", "a0", "a1"):
        calls.end(name)
    for one in first + later:
        one.result(30)

    assert calls.order.index("c0") < calls.order.index("a3")


def test_what_is_beyond_is_refused(calls: Calls) -> None:
    """The owner's own share first, then that of all; once something has ended there is room again."""
    held = [calls.submit("a", number) for number in range(4)]
    with pytest.raises(PoolFull) as own:
        calls.submit("a", 4)
    held += [calls.submit("b"), calls.submit("c"), calls.submit("d"), calls.submit("e")]
    with pytest.raises(PoolFull) as total:
        calls.submit("f")
    for name in ("a0", "a1", "a2", "a3", "b0", "c0", "d0", "e0"):
        calls.end(name)
    for one in held:
        one.result(30)

    assert (own.value.is_own, total.value.is_own) == (True, False)
    wait_until(lambda: calls.pool.running == 0, "all have ended")
    again = calls.submit("a", 9)
    calls.end("a9")
    assert again.result(30) == "a9"


def test_who_has_an_answer_has_its_place_back() -> None:
    """Asked again at once, the pool has room, whatever the first call brought."""
    pool = FairPool("test", threads=1, share=1, waiting=0, waiting_share=0)
    again: Future[list[Future[int]]] = Future()

    def ask_again(_: "Future[float]") -> None:
        try:
            again.set_result([pool.submit("a", lambda: 2)])
        except PoolFull as full:
            again.set_exception(full)

    gate = threading.Event()
    first = pool.submit("a", lambda: gate.wait(10) / 0)
    first.add_done_callback(ask_again)
    gate.set()

    assert [one.result(10) for one in again.result(10)] == [2]
    assert isinstance(first.exception(), ZeroDivisionError)


def test_a_failure_is_raised_and_costs_no_thread(calls: Calls) -> None:
    """Whatever is raised, and even if its caller gave up before it began."""

    def fail() -> None:
        raise LookupError

    failed = [calls.pool.submit("a", fail) for _ in range(2)]
    assert {type(one.exception(30)) for one in failed} == {LookupError}
    running = [calls.submit("a", 0), calls.submit("a", 1)]
    given_up = calls.submit("a", 2)
    assert given_up.cancel()
    calls.end("a0")
    calls.end("a1")

    assert [one.result(30) for one in running] == ["a0", "a1"]
    assert "a2" not in calls.order
    wait_until(lambda: calls.pool.running == 0, "nothing is held")


@pytest.mark.parametrize(("holders", "each"), [(1, 50), (2, 33), (9, 10)])
def test_no_caller_holds_more_than_is_free(holders: int, each: int) -> None:
    """However many take what they can, there is as much left for one more."""
    shares = Shares(100)
    found = [0] * holders
    for turn in range(100 * holders):
        holder = turn % holders
        shares.take(1, [holder])
        if shares.exceeds(holder):
            shares.give_back(1, [holder])
        else:
            found[holder] += 1

    assert max(found) - min(found) <= 1
    assert max(found) == each
    assert shares.total - shares.held >= each


def test_a_network_of_ipv6_is_one_caller() -> None:
    """And nothing that a client wrote into a header gets into a log."""
    origins = {
        "192.0.2.7": "192.0.2.7",
        "::ffff:192.0.2.7": "192.0.2.7",
        "2001:db8:1:2:3::4": "2001:db8:1:2::/64",
        "fe80::1%eth0": "fe80::/64",
        "": UNKNOWN,
        "evil\r\nname": UNKNOWN,
    }

    assert {host: origin_of(host) for host in origins} == origins


@pytest.fixture
def calls() -> Calls:
    """Give calls in three threads, two for one owner; one more of each may wait, and five of all."""
    return Calls(FairPool("test", threads=3, share=2, waiting=5, waiting_share=2))
