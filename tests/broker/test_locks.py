"""One candidate at a time has the turn, whichever of its threads asks."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import redis

from tests.broker.counting import round_trips
from tests.fleet import PATIENCE
from worker.broker import keys, locks
from worker.broker.locks import LeaderLock, LedgerClaim
from worker.broker.round_trips import Call, run_script
from worker.model.errors import BrokerUnavailable, WrongLedger


def _together(threads: int) -> Callable[..., Any]:
    """Return what runs a script and then waits for others that do; not for ever: only one may be let in."""
    barrier = threading.Barrier(threads)

    def run(client: redis.Redis, script: Any, call: Call) -> Any:
        reply = run_script(client, script, call)
        with suppress(threading.BrokenBarrierError):
            barrier.wait(0.3)
        return reply

    return run


def test_threads_that_share_a_turn_do_not_take_it_from_each_other(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ask at once while it is free: the candidate has it then, and keeps it."""
    for number in range(3):
        monkeypatch.setattr(locks, "run_script", _together(2))
        turn = LeaderLock(client, f"turn-shared-{number}", 60)
        with ThreadPoolExecutor(2) as threads:
            asked = [threads.submit(turn.is_mine) for _ in range(2)]
            assert any(one.result(PATIENCE) for one in asked)
        assert turn.is_mine()


def test_a_turn_is_kept_until_it_is_passed_on(client: redis.Redis) -> None:
    """Each turn has a name of its own, by which scripts know whose it is."""
    first, second = LeaderLock(client, "turn", 60), LeaderLock(client, "turn", 60)

    assert first.is_mine()
    name = first.name
    assert client.get("turn") == name.encode()
    assert not second.is_mine()
    assert first.is_mine()
    assert first.name == name

    first.pass_on()
    assert second.is_mine()
    assert not first.is_mine()
    second.pass_on()
    assert first.is_mine()
    assert first.name != name


def test_a_turn_whose_reply_was_lost_is_kept(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nobody would work until it has expired."""

    def lose(*given: Any) -> None:
        run_script(*given)
        raise redis.ConnectionError("the reply is lost")

    turn = LeaderLock(client, "turn-lost", 60)
    with monkeypatch.context() as patched:
        patched.setattr(locks, "run_script", lose)
        with pytest.raises(BrokerUnavailable):
            turn.is_mine()

    assert turn.is_mine()
    assert client.get("turn-lost") == turn.name.encode()


def test_to_keep_a_turn_and_a_claim_costs_a_round_trip_each(client: redis.Redis) -> None:
    """All that a recorder does now and then asks for both, once a second or more often."""
    claim = LedgerClaim(client, "ledger-1")
    turn = LeaderLock(client, "turn-counted", 60)
    claim.require()
    assert turn.is_mine()
    claim._trusted_until = 0.0  # noqa: SLF001 - as if a second had passed

    with round_trips() as count:
        assert turn.is_mine()
        claim.require()

    assert count() == 2


def test_another_ledger_is_refused_and_this_one_returns(client: redis.Redis) -> None:
    """What stands there decides, and where nothing does, who comes first."""
    own, other = LedgerClaim(client, "ledger-1"), LedgerClaim(client, "ledger-2")
    own.require()
    with pytest.raises(WrongLedger):
        other.require()

    client.delete(keys.LEDGER)
    other.require()
    assert client.get(keys.LEDGER) == b"ledger-2"
