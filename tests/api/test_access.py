"""Who is let in: known keys, for what their role may do; failures are slowed down."""

import asyncio
import hmac
import re
import threading
from collections.abc import Collection, Iterable
from unittest.mock import patch

import pytest

from tests.api.conftest import OURS, PREFIX, Api, running
from tests.fleet import Fleet
from worker.api.access import (
    FAILURE_SECONDS,
    MOST_FAILURES,
    MOST_OF_ADDRESS,
    Access,
    TooManyFailures,
    UnknownKey,
)
from worker.api.key_lookups import AWAY, REMEMBERED, KeyLookups
from worker.api.pools import FairPool, PoolFull
from worker.broker.api_keys import FoundKey
from worker.ledger.api_keys import ApiKeyStore
from worker.model.api_keys import ApiKey, Role, key_digest, make_text
from worker.model.errors import BrokerUnavailable, LedgerUnavailable

GOOD = make_text("a" * 16)
KEY = ApiKey("a" * 16, "ours", "good", Role.ADMIN, 0)


class Clock:
    """Stands still until it is set on."""

    now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


class Ledger:
    """Knows one key, unless it is away; keeps the questions, and may hang on the first."""

    away = False
    key: ApiKey | None = KEY

    def __init__(self) -> None:
        """Answer at once."""
        self.asked: list[list[str]] = []
        self.answers = threading.Event()
        self.answers.set()

    def __call__(self, key_ids: Collection[str]) -> dict[str, FoundKey]:
        """Find keys."""
        self.asked.append(sorted(key_ids))
        self.answers.wait(30)
        if self.away:
            raise LedgerUnavailable
        return {KEY.id: FoundKey(self.key, key_digest(GOOD))} if KEY.id in key_ids else {}


class Copy:
    """What Redis has of the keys: nothing, unless a test says so; may be away."""

    away = False
    fault: Exception | None = None

    def __init__(self) -> None:
        """Begin empty."""
        self.found: dict[str, FoundKey] = {}

    def __call__(self, key_ids: Collection[str]) -> dict[str, FoundKey]:
        """Find keys."""
        if self.away:
            raise BrokerUnavailable
        if self.fault:
            raise self.fault
        return {one: self.found[one] for one in key_ids if one in self.found}


class Door:
    """The door, for tests that are no coroutines."""

    def __init__(self, ledger: Ledger, copy: Copy, clock: Clock) -> None:
        """Take what it asks."""
        self.noted: list[Exception] = []
        pool = FairPool("test", threads=4, share=1, waiting=16, waiting_share=16)
        self.access = Access(KeyLookups(ledger, copy, self.noted.append, pool.submit, clock), clock)

    def admit(self, text: str, address: str = "1.2.3.4") -> ApiKey:
        """Let one in."""
        return asyncio.run(self.access.admit(text, address))

    def stands(self) -> bool:
        """Whether the key of a session does."""
        return asyncio.run(self.access.standing(KEY.id)) is not None

    def admit_all(self, texts: Iterable[str]) -> list[ApiKey | BaseException]:
        """Let them in at the same time."""

        async def gathered() -> list[ApiKey | BaseException]:
            calls = [self.access.admit(text, "1.2.3.4") for text in texts]
            return await asyncio.gather(*calls, return_exceptions=True)

        return asyncio.run(gathered())


@pytest.fixture
def clock() -> Clock:
    """Give a clock."""
    return Clock()


@pytest.fixture
def ledger() -> Ledger:
    """Give a ledger."""
    return Ledger()


@pytest.fixture
def copy() -> Copy:
    """Give a copy."""
    return Copy()


@pytest.fixture
def access(ledger: Ledger, copy: Copy, clock: Clock) -> Door:
    """Give the door."""
    return Door(ledger, copy, clock)


def test_the_copy_opens_after_a_restart_without_the_database(
    access: Door, ledger: Ledger, copy: Copy, clock: Clock
) -> None:
    """A key that was never used here opens by the copy; a wrong text does not. An outage is met once."""
    ledger.away = True
    copy.found["a" * 16] = FoundKey(KEY, key_digest(GOOD))

    assert [access.admit(GOOD) for _ in range(3)] == [KEY] * 3
    assert access.stands()
    with pytest.raises(UnknownKey):
        access.admit(make_text("a" * 16))
    with pytest.raises(LedgerUnavailable):
        access.admit(make_text("b" * 16))
    assert len(ledger.asked) == 1
    assert {type(one) for one in access.noted} == {LedgerUnavailable}
    clock.now += 10 * AWAY
    assert access.admit(GOOD) == KEY, "for as long as the copy is good"


def test_a_database_that_hangs_is_waited_for_once(
    access: Door, ledger: Ledger, copy: Copy, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not for long: the copy decides, and no further question is asked while that one hangs."""
    monkeypatch.setattr("worker.api.key_lookups.PATIENCE", 0.1)
    copy.found["a" * 16] = FoundKey(KEY, key_digest(GOOD))
    ledger.answers.clear()
    try:
        assert access.admit(GOOD) == KEY
        clock.now += REMEMBERED
        assert access.admit(GOOD) == KEY
        assert len(ledger.asked) == 1
    finally:
        ledger.answers.set()


def test_a_revoked_key_does_not_come_back_to_life(
    access: Door, ledger: Ledger, copy: Copy, clock: Clock
) -> None:
    """Not even where it was recognised a moment before the database went away."""
    access.admit(GOOD)
    ledger.away = True
    copy.found["a" * 16] = FoundKey(None, "0" * 64)
    clock.now += REMEMBERED

    with pytest.raises(UnknownKey):
        access.admit(GOOD)
    assert not access.stands()


@pytest.mark.parametrize("fault", [RecursionError("nested too deeply"), PoolFull(is_own=True)])
def test_whatever_a_copy_does_all_who_wait_are_answered(
    access: Door, ledger: Ledger, copy: Copy, fault: Exception
) -> None:
    """Also those who ask next: they once waited for ever, with their connections."""
    ledger.away, copy.fault = True, fault

    async def answers() -> list[ApiKey | BaseException]:
        calls = [access.access.admit(make_text(name * 16), "1.2.3.4") for name in "abc"]
        async with asyncio.timeout(20):
            return await asyncio.gather(*calls, return_exceptions=True)

    assert asyncio.run(answers()) == [fault] * 3
    copy.fault, copy.found["a" * 16] = None, FoundKey(KEY, key_digest(GOOD))
    assert access.admit(GOOD) == KEY


def test_without_both_only_memory_is_left(access: Door, ledger: Ledger, copy: Copy, clock: Clock) -> None:
    """Who was let in before goes on for a while; that Redis is away is noted as well."""
    access.admit(GOOD)
    ledger.away = copy.away = True
    clock.now += REMEMBERED

    assert access.admit(GOOD) == KEY
    assert {type(one) for one in access.noted} == {LedgerUnavailable, BrokerUnavailable}


def test_a_key_is_remembered_for_a_moment(access: Door, ledger: Ledger, clock: Clock) -> None:
    """The ledger is not asked at each request, and a revoked key opens nothing some seconds later."""
    access.admit(GOOD)
    access.admit(GOOD)
    assert len(ledger.asked) == 1
    ledger.key = None
    clock.now += REMEMBERED

    with pytest.raises(UnknownKey):
        access.admit(GOOD)


def test_a_key_opens_while_the_database_is_away(access: Door, ledger: Ledger, clock: Clock) -> None:
    """Who was let in before goes on; others must come back later."""
    access.admit(GOOD)
    ledger.away = True
    clock.now += AWAY - 1

    assert [access.admit(GOOD) for _ in range(3)] == [KEY] * 3
    assert len(ledger.asked) == 2, "a database that hangs is not waited for by each request"
    with pytest.raises(LedgerUnavailable):
        access.admit(make_text("b" * 16))
    clock.now += REMEMBERED
    with pytest.raises(LedgerUnavailable):
        access.admit(GOOD)


def test_who_fails_too_often_waits(access: Door, clock: Clock) -> None:
    """After so many wrong texts of a key the next answer says when to come back; the right one opens."""
    for _ in range(MOST_FAILURES):
        with pytest.raises(UnknownKey):
            access.admit(make_text("a" * 16))
    clock.now += 12
    with pytest.raises(TooManyFailures) as barred:
        access.admit(make_text("a" * 16))

    assert barred.value.retry_after == FAILURE_SECONDS - 12
    assert access.admit(GOOD) == KEY
    with pytest.raises(UnknownKey):
        access.admit(make_text("a" * 16), "4.3.2.1")
    clock.now += FAILURE_SECONDS
    with pytest.raises(UnknownKey):
        access.admit(make_text("a" * 16))


def test_wrong_texts_of_a_key_that_is_remembered_cost_no_question(access: Door, ledger: Ledger) -> None:
    """Its digest is in memory."""
    access.admit(GOOD)
    for _ in range(3):
        with pytest.raises(UnknownKey):
            access.admit(make_text("a" * 16))

    assert len(ledger.asked) == 1


@pytest.mark.parametrize("network", ["1.2.3.4", "2001:db8:1:2::"])
def test_one_address_cannot_try_key_after_key(access: Door, clock: Clock, network: str) -> None:
    """One address may not try any number of keys, nor one network of IPv6; a right key is let in."""
    for number in range(MOST_OF_ADDRESS):
        with pytest.raises(UnknownKey):
            access.admit(make_text(f"{number:016x}"), network)

    wrong, neighbour = make_text("f" * 16), network.replace("::", "::99")
    with pytest.raises(TooManyFailures):
        access.admit(wrong, neighbour)
    clock.now += REMEMBERED
    assert access.admit(GOOD, neighbour) == KEY
    clock.now += FAILURE_SECONDS
    with pytest.raises(UnknownKey):
        access.admit(wrong, neighbour)


def test_all_keys_that_are_wanted_at_once_are_one_question(access: Door, ledger: Ledger) -> None:
    """However many wrong ones there are, a right one waits for two questions at the most."""
    wrong = [make_text(f"{number:016x}") for number in range(300)]
    ledger.answers.clear()
    threading.Timer(0.1, ledger.answers.set).start()
    answers = access.admit_all([*wrong, GOOD])

    assert answers[-1] == KEY
    assert {type(one) for one in answers[:-1]} == {UnknownKey, TooManyFailures}
    assert len(ledger.asked) <= 2


def test_digests_are_compared_in_constant_time(access: Door) -> None:
    """Whether the id is known or not, one comparison is made that takes as long for a near miss."""
    near = GOOD[:-1] + ("0" if GOOD[-1] != "0" else "1")
    mixed = GOOD[:22] + make_text("b" * 16)[22:]
    wrong = (near, mixed, GOOD + " ", GOOD.upper(), KEY.id, make_text("0" * 16), "no key at all", "", "\0")
    with patch("worker.model.api_keys.hmac.compare_digest", wraps=hmac.compare_digest) as compare:
        for text in wrong:
            with pytest.raises(UnknownKey):
                access.admit(text)
        assert access.admit(GOOD) == KEY

    assert compare.call_count == len(wrong) + 1
    assert {len(one) for call in compare.call_args_list for one in call.args} == {64}


def test_without_a_key_there_is_nothing(api: Api) -> None:
    """A missing or odd key is answered 401, and how to give one."""
    for header in (None, "", "Bearer", "Basic abc", "Bearer é", "Bearer siem_1_2"):
        headers = [] if header is None else [(b"Authorization", header.encode())]
        answer = api.http.get(f"{api.url}{PREFIX}/event-types", headers=headers)

        assert answer.status_code == 401, header
        assert answer.headers["WWW-Authenticate"] == "Bearer", header
        assert answer.headers["Content-Type"] == "application/problem+json", header
        assert answer.json()["status"] == 401, header


def test_failures_are_limited_over_http(bare_fleet: Fleet) -> None:
    """The answer to a guess says when to come back; the holder of a good key notices nothing."""
    with running(bare_fleet) as own:
        guess = {"Authorization": f"Bearer {make_text('c' * 16)}"}
        url = f"{own.url}{PREFIX}/event-types"
        statuses = [own.http.get(url, headers=guess).status_code for _ in range(MOST_FAILURES)]
        barred = own.http.get(url, headers=guess)

        assert statuses == [401] * MOST_FAILURES
        assert barred.status_code == 429
        assert re.fullmatch(r"[1-9][0-9]?", barred.headers["Retry-After"])
        assert own.ask("GET", "/event-types").status_code == 200


def test_only_trusted_proxies_are_believed(bare_fleet: Fleet) -> None:
    """No one gets a clean slate by saying that he comes from elsewhere, unless a proxy of ours says so."""
    guess = {"Authorization": f"Bearer {make_text('d' * 16)}"}

    def statuses(own: Api) -> set[int]:
        return {
            own.http.get(
                f"{own.url}{PREFIX}/event-types", headers={**guess, "X-Forwarded-For": f"192.0.2.{number}"}
            ).status_code
            for number in range(MOST_FAILURES + 1)
        }

    with running(bare_fleet) as distrustful:
        assert statuses(distrustful) == {401, 429}
    with running(bare_fleet, api_trusted_proxies=bare_fleet.settings.allowed_networks) as behind_proxy:
        assert statuses(behind_proxy) == {401}


def test_a_revoked_key_opens_nothing(api: Api) -> None:
    """Revoking needs no restart."""
    keys = ApiKeyStore(api.fleet.engine)
    made = keys.create(OURS, Role.ADMIN, "short-lived")
    keys.revoke(made.key.id)
    headers = {"Authorization": f"Bearer {made.text}"}

    assert api.http.get(f"{api.url}{PREFIX}/event-types", headers=headers).status_code == 401
