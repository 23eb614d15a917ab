"""The demo's account: what is sound, what is said of it, and that it fits on a screen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.destinations.checks.examinations import integration_to
from tests.ledger.entries import NOON, outcome
from worker.demo.account import Account, AccountLine
from worker.demo.report import account_json, print_account, summary, verdict
from worker.ledger.engine import open_ledger
from worker.ledger.integrations import IntegrationStore
from worker.ledger.migrations.runner import upgrade_tables
from worker.ledger.recording import record_entries
from worker.model.deliveries import Status
from worker.vault.vault import Vault, new_key

_LINE = AccountLine("demo one", "HEC", 10, 10, 0, received=10)


@pytest.mark.parametrize(("delivered", "dead", "missing"), [(10, 0, 0), (7, 3, 0), (7, 2, 1), (11, 0, -1)])
def test_an_account_that_does_not_add_up_is_seen(delivered: int, dead: int, missing: int) -> None:
    """One event too few, or one too many, is not accounted for, whatever the receiver says."""
    line = replace(_LINE, delivered=delivered, dead=dead, received=delivered)

    assert line.missing == missing
    assert line.is_sound == (missing == 0)


@pytest.mark.parametrize(
    "line", [_LINE, replace(_LINE, delivered=7, dead=3, received=8), replace(_LINE, over="UDP")]
)
def test_an_account_is_sound(line: AccountLine) -> None:
    """What is delivered has come; what is dead may have come all the same."""
    assert account_json(10, [_LINE, line], 1.0)["accounted_for"] is True
    assert verdict([_LINE, line]) == "Every event is accounted for, and the receivers agree."


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (replace(_LINE, delivered=8, received=8), "neither delivered nor dead: 2"),
        (replace(_LINE, received=9), "delivered, but not received: 1"),
        (replace(_LINE, received=11), "received, but not published: 1"),
        (replace(_LINE, received=None), "the receiver does not say what it has"),
        (
            replace(_LINE, delivered=11, received=9),
            "delivered or dead, but not published: 1, delivered, but not received: 2",
        ),
        (replace(_LINE, over="UDP", received=None), "the receiver does not say what it has"),
        (replace(_LINE, over="UDP", received=11), "received, but not published: 1"),
    ],
)
def test_what_is_not_accounted_for_is_said(line: AccountLine, said: str) -> None:
    """Ledger and receiver are held against each other, and the one who is short is named."""
    assert account_json(10, [_LINE, line], 1.0)["accounted_for"] is False
    assert verdict([_LINE, line]) == f"NOT every event is accounted for:\n  one: {said}"


def test_a_lost_datagram_is_said_and_forgiven() -> None:
    """RFC 5426, 4.3: nothing makes datagrams sure to come."""
    lines = [_LINE, replace(_LINE, over="UDP", received=9)]
    said = "Every event is accounted for, but:\n  one: sent and lost, for UDP promises nothing: 1"

    assert account_json(10, lines, 1.0)["accounted_for"] is True
    assert verdict(lines) == said


def test_the_account_fits_into_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """Even with as many events as the demo plays at the most, no column is cut off."""
    line = AccountLine("demo arcsight", "HTTP", 10**7, 10**7, 10**4, 10**7, 10**6, 10**5, 10**5, 10**5)
    print_account([line], stderr=False)
    printed = capsys.readouterr().out.splitlines()

    words = [" ".join(row.split()) for row in printed]

    assert max(map(len, printed)) <= 80
    assert "arcsight HTTP 10000000 10000000 10000 10000000 1000000 100000 100000" in words


def test_what_is_not_known_is_shown_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    """A receiver that does not answer, and latencies of nothing delivered, leave a question mark."""
    print_account([AccountLine("demo one", "TCP", 0, 0, 0)], stderr=True)

    printed = " ".join(capsys.readouterr().err.split())

    assert " one TCP 0 0 0 ? 0 ? ? Latency: from publication to acceptance, over " in printed


def test_the_document_has_all_of_it() -> None:
    """Programs read the account by its names."""
    line: dict[str, Any] = account_json(10, [_LINE], 2.345)["integrations"][0]

    assert line == {
        "integration": "demo one",
        "over": "HEC",
        "published": 10,
        "delivered": 10,
        "dead": 0,
        "received": 10,
        "retried": 0,
        "events_per_second": 0,
        "p50_ms": None,
        "p99_ms": None,
    }
    assert account_json(10, [_LINE], 2.345)["seconds"] == 2.35


@pytest.mark.parametrize(("seconds", "speed"), [(2.0, 10), (0.0, 0)])
def test_a_sentence_sums_it_up(seconds: float, speed: int) -> None:
    """An account of no time at all divides by nothing."""
    said = f"10 events published, 20 deliveries in {seconds:.1f} s ({speed} a second)."

    assert summary(10, [_LINE, _LINE], seconds) == said


def test_retried_counts_what_the_status_counts(tmp_path: Path) -> None:
    """An event that a later request carried because of a refused neighbour had no failed attempt itself."""
    engine = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    upgrade_tables(engine)
    failed = outcome(["e1"], Status.RETRYING, settled_ms=NOON)
    came = outcome(["e1", "e2"], settled_ms=NOON + 1, attempts=2)
    record_entries(engine, [("1-0", [failed]), ("2-0", [came])], [])
    url = {"type": "webhook", "url": "https://siem.example.com/hook"}
    account = Account(IntegrationStore(engine, Vault([new_key()])), [integration_to(url, id="int_a")])
    [line] = account.look()
    engine.dispose()

    assert (line.delivered, line.retried) == (2, 1)
