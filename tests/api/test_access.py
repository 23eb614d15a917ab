"""Who is let in: known keys, for what their role may do; failures are slowed down."""

import hmac
import re
from unittest.mock import patch

import pytest

from tests.api.conftest import OURS, PREFIX, Api, running
from tests.fleet import Fleet
from worker.api.access import (
    AWAY,
    FAILURE_SECONDS,
    MOST_FAILURES,
    MOST_OF_ADDRESS,
    REMEMBERED,
    Access,
    TooManyFailures,
    UnknownKey,
)
from worker.broker.key_copy import Found
from worker.ledger.api_keys import ApiKeyStore
from worker.model.api_keys import ApiKey, Role, digest_of, make_text
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
    """Knows one key, unless it is away; counts the questions."""

    asked = 0
    away = False
    key: ApiKey | None = KEY

    def __call__(self, text: str) -> ApiKey | None:
        """Recognise a key."""
        self.asked += 1
        if self.away:
            raise LedgerUnavailable
        return self.key if text == GOOD else None


@pytest.fixture
def clock() -> Clock:
    """Give a clock."""
    return Clock()


@pytest.fixture
def ledger() -> Ledger:
    """Give a ledger."""
    return Ledger()


class Copy:
    """What Redis has of the keys: nothing, unless a test says so; may be away."""

    away = False

    def __init__(self) -> None:
        """Begin empty."""
        self.found: dict[str, Found] = {}

    def __call__(self, key_id: str) -> Found | None:
        """Find a key."""
        if self.away:
            raise BrokerUnavailable
        return self.found.get(key_id)


@pytest.fixture
def copy() -> Copy:
    """Give a copy."""
    return Copy()


@pytest.fixture
def noted() -> list[Exception]:
    """Give what the log is told."""
    return []


@pytest.fixture
def access(ledger: Ledger, copy: Copy, noted: list[Exception], clock: Clock) -> Access:
    """Give the door."""
    return Access(ledger, copy, noted.append, clock)


def test_the_copy_opens_after_a_restart_without_the_database(
    access: Access, ledger: Ledger, copy: Copy, noted: list[Exception], clock: Clock
) -> None:
    """A key that was never used here opens by the copy; a wrong text does not. A hang is waited for once."""
    ledger.away = True
    copy.found["a" * 16] = Found(KEY, digest_of(GOOD))

    assert [access.admit(GOOD, "1.2.3.4") for _ in range(3)] == [KEY] * 3
    assert access.standing(KEY.id, lambda _: ledger(""))
    with pytest.raises(UnknownKey):
        access.admit(make_text("a" * 16), "1.2.3.4")
    with pytest.raises(LedgerUnavailable):
        access.admit(make_text("b" * 16), "1.2.3.4")
    assert ledger.asked == 1
    assert {type(one) for one in noted} == {LedgerUnavailable}
    clock.now += 10 * AWAY
    assert access.admit(GOOD, "1.2.3.4") == KEY, "for as long as the copy is good"


def test_a_revoked_key_does_not_come_back_to_life(
    access: Access, ledger: Ledger, copy: Copy, clock: Clock
) -> None:
    """Not even where it was recognised a moment before the database went away."""
    access.admit(GOOD, "1.2.3.4")
    ledger.away = True
    copy.found["a" * 16] = Found(None, "0" * 64)
    clock.now += REMEMBERED

    with pytest.raises(UnknownKey):
        access.admit(GOOD, "1.2.3.4")
    assert not access.standing(KEY.id, lambda _: ledger(""))


def test_without_both_only_memory_is_left(
    access: Access, ledger: Ledger, copy: Copy, noted: list[Exception], clock: Clock
) -> None:
    """Whoever was let in before goes on for a while; that Redis is away is noted as well."""
    access.admit(GOOD, "1.2.3.4")
    ledger.away = copy.away = True
    clock.now += REMEMBERED

    assert access.admit(GOOD, "1.2.3.4") == KEY
    assert {type(one) for one in noted} == {LedgerUnavailable, BrokerUnavailable}


def test_a_key_is_remembered_for_a_moment(access: Access, ledger: Ledger, clock: Clock) -> None:
    """The ledger is not asked at each request, and a revoked key opens nothing some seconds later."""
    access.admit(GOOD, "1.2.3.4")
    access.admit(GOOD, "1.2.3.4")
    assert ledger.asked == 1
    ledger.key = None
    clock.now += REMEMBERED

    with pytest.raises(UnknownKey):
        access.admit(GOOD, "1.2.3.4")


def test_a_key_opens_while_the_database_is_away(access: Access, ledger: Ledger, clock: Clock) -> None:
    """Whoever was let in before goes on; strangers are told to come back."""
    access.admit(GOOD, "1.2.3.4")
    ledger.away = True
    clock.now += AWAY - 1

    assert [access.admit(GOOD, "1.2.3.4") for _ in range(3)] == [KEY] * 3
    assert ledger.asked == 2, "a database that hangs is not waited for by each request"
    with pytest.raises(LedgerUnavailable):
        access.admit(make_text("b" * 16), "1.2.3.4")
    clock.now += REMEMBERED
    with pytest.raises(LedgerUnavailable):
        access.admit(GOOD, "1.2.3.4")


def test_who_fails_too_often_waits(access: Access, ledger: Ledger, clock: Clock) -> None:
    """After so many wrong texts of a key nothing is looked up any more until the minute is over."""
    guesses = [make_text("a" * 16) for _ in range(MOST_FAILURES)]
    for guess in guesses:
        with pytest.raises(UnknownKey):
            access.admit(guess, "1.2.3.4")
    asked = ledger.asked
    clock.now += 12
    with pytest.raises(TooManyFailures) as barred:
        access.admit(GOOD, "1.2.3.4")

    assert barred.value.retry_after == FAILURE_SECONDS - 12
    assert ledger.asked == asked
    assert access.admit(GOOD, "4.3.2.1") == KEY
    assert access.admit(GOOD, "1.2.3.4") == KEY, "recognised a moment ago"
    clock.now += FAILURE_SECONDS
    assert access.admit(GOOD, "1.2.3.4") == KEY


def test_nobody_goes_from_key_to_key(access: Access, clock: Clock) -> None:
    """One address may not try any number of keys; who uses a good one there is not hindered."""
    access.admit(GOOD, "1.2.3.4")
    for number in range(MOST_OF_ADDRESS):
        with pytest.raises(UnknownKey):
            access.admit(make_text(f"{number:016x}"), "1.2.3.4")

    with pytest.raises(TooManyFailures):
        access.admit(make_text("f" * 16), "1.2.3.4")
    assert access.admit(GOOD, "1.2.3.4") == KEY
    clock.now += FAILURE_SECONDS
    with pytest.raises(UnknownKey):
        access.admit(make_text("f" * 16), "1.2.3.4")


def test_digests_are_compared_in_constant_time(bare_fleet: Fleet) -> None:
    """Whether the id is known or not, one comparison is made that takes as long for a near miss."""
    keys = ApiKeyStore(bare_fleet.engine)
    made = keys.create("ours", Role.ADMIN, "compared")
    near = made.text[:-1] + ("0" if made.text[-1] != "0" else "1")
    with patch("worker.model.api_keys.hmac.compare_digest", wraps=hmac.compare_digest) as compare:
        assert keys.recognise(near) is None
        assert keys.recognise(make_text("0" * 16)) is None
        assert keys.recognise("no key at all") is None
        assert keys.recognise(made.text) == made.key

    assert compare.call_count == 4
    assert {len(one) for call in compare.call_args_list for one in call.args} == {64}


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic abc", "Bearer é", "Bearer siem_1_2"])
def test_without_a_key_there_is_nothing(api: Api, header: str | None) -> None:
    """A missing or odd key is answered 401, and how to give one."""
    headers = [] if header is None else [(b"Authorization", header.encode())]
    answer = api.http.get(f"{api.url}{PREFIX}/event-types", headers=headers)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == 401


def test_failures_are_limited_over_http(bare_fleet: Fleet) -> None:
    """The one who guesses is told when to come back; the holder of a good key notices nothing."""
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
    """Nobody gets a clean slate by saying that he comes from elsewhere, unless a proxy of ours says so."""
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
