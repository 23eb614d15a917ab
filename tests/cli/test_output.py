"""`siem status`, `deliveries`, `dead-letters`: what people and scripts get to read."""

import json
import time
from datetime import UTC, datetime

import click
import pytest

from tests.cli.conftest import HOSTILE
from tests.cli.running import call, run, start
from tests.fleet import Fleet
from worker.cli.output import Since
from worker.model.untrusted_text import in_one_line

pytestmark = pytest.mark.slow

DAY_MS = 86_400_000
HEADINGS = ("SETTLED", "INTEGRATION", "EVENT", "TYPE", "STATUS", "ASSURANCE", "ATTEMPTS", "MS", "ERROR")


def test_status_shows_each_integration(settled: Fleet) -> None:
    """Counts, latency and the last problem of each; what waits; which processes run."""
    ran = call(settled.environment, "status", "--json")
    report = ran.report
    ill, well = sorted(report["integrations"], key=lambda one: str(one["name"]))

    assert report["processes"] == {
        "router": True,
        "recorder": True,
        "worker-splunk_hec": True,
        "worker-syslog_cef": True,
        "worker-webhook": True,
    }
    assert (report["waiting_to_be_routed"], report["waiting_to_be_recorded"]) == (0, 0)
    assert well["delivered"] == 300
    assert well["dead"] == 0
    assert well["backlog"] == 0
    assert well["latency_ms"]["p50"] >= 0
    assert well["last_error"] is None
    assert (ill["delivered"], ill["dead"]) == (0, 2)
    assert "503" in ill["last_error"]["error"]
    assert ill["last_error"]["hint"]
    assert ran.code == call(settled.environment, "health").code
    assert report["not_ok"] == ["events"]


def test_status_says_who_does_not_run(desk: Fleet) -> None:
    """Without processes nothing is delivered: it says so and what to do, and exits as `siem health` does."""
    ran = run(desk.environment, "status")

    assert (ran.code, run(desk.environment, "health").code) == (1, 1)
    assert "NOT OK: router, recorder" in ran.out
    assert "Not running: router, recorder (start each by its line of the Procfile, or `siem up`)." in ran.out
    assert "`siem integrations create --help`" in ran.out


def test_tables_are_whole_lines_of_plain_text(settled: Fleet) -> None:
    """A row is a line, however long; what a SIEM answered cannot reach the terminal."""
    ran = call(settled.environment, "deliveries", "--integration", "ill", COLUMNS="80", FORCE_COLOR="1")
    heading, *rows = ran.out.splitlines()

    assert tuple(heading.split()) == HEADINGS
    assert len(rows) == 2
    assert all(row.isprintable() for row in rows)
    assert all(in_one_line(HOSTILE) in row for row in rows)
    assert all(heading.index("EVENT") == row.index("ill-") for row in rows)


def test_deliveries_can_be_narrowed_down(settled: Fleet) -> None:
    """Each filter leaves what it says, the latest first, and an event's content is not shown."""
    for filters, count in {
        "--limit 1000": 302,
        "--integration well --limit 299": 299,
        "--integration int_ill --status dead": 2,
        "--status delivered --since 1h --limit 1000": 300,
        "--status retrying": 0,
        "--event-id well-7": 1,
        "--since 2999-01-01T00:00:00Z": 0,
    }.items():
        ran = call(settled.environment, "deliveries", "--json", *filters.split())
        moments = [row["settled_at"] for row in ran.json["items"]]

        assert len(moments) == count, filters
        assert moments == sorted(moments, reverse=True), filters
        assert "private-content" not in ran.out, filters


def test_deliveries_say_how_far_they_came(settled: Fleet) -> None:
    """Splunk has accepted what is delivered; what is dead claims nothing."""
    rows = call(settled.environment, "deliveries", "--limit", "1000", "--json").json["items"]
    table = call(settled.environment, "deliveries", "--event-id", "well-7").out.splitlines()
    at = table[0].index("ASSURANCE")

    assert {(row["status"], row["assurance"]) for row in rows} == {("delivered", "accepted"), ("dead", None)}
    assert table[1][at:].startswith("accepted")


def test_dead_letters_show_their_payload_one_at_a_time(settled: Fleet) -> None:
    """The table tells what died of what and what to do; the content is for those who ask for it."""
    table = call(settled.environment, "dead-letters", "list")
    listed = call(settled.environment, "dead-letters", "list", "--json")
    shown = [
        call(settled.environment, "dead-letters", "show", one["id"], "--json").json
        for one in listed.json["items"]
    ]
    refused = [one for one in shown if one["integration_id"] == "int_ill"]
    [invalid] = [one for one in shown if one["cause"] == "invalid"]

    assert len(table.out.splitlines()) == 4
    assert all(line.isprintable() for line in table.out.splitlines())
    assert "private-content" not in table.out + listed.out
    assert len(refused) == 2
    assert {json.loads(row["payload"])["reason"] for row in refused} == {"private-content"}
    assert {row["cause"] for row in refused} == {"exhausted"}
    assert (invalid["integration_id"], json.loads(invalid["payload"])["id"]) == (None, "invalid-1")


def test_an_unknown_integration_is_not_an_empty_answer(settled: Fleet) -> None:
    """A mistyped name differs from a SIEM without deliveries."""
    ran = call(settled.environment, "deliveries", "--integration", "wel")

    assert ran.code == 4
    assert "there is no integration wel" in ran.complaint


def test_a_closed_pipe_is_no_error(settled: Fleet) -> None:
    """`siem deliveries | head -1` ends without a word."""
    with start(settled.environment, "deliveries", "--limit", "1000", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1) == b"{"
        process.stdout.close()

        assert process.stderr.read() == b""


def test_since_reads_a_time() -> None:
    """RFC 3339, or less, with a zone."""
    moments = {
        "2026-11-22 10:00+00:00": datetime(2026, 11, 22, 10, tzinfo=UTC),
        "2026-11-22T10:00:00Z": datetime(2026, 11, 22, 10, tzinfo=UTC),
        "2026-11-22T10:00:00+02:00": datetime(2026, 11, 22, 8, tzinfo=UTC),
    }

    assert {text: Since().convert(text, None, None) for text in moments} == {
        text: round(moment.timestamp() * 1000) for text, moment in moments.items()
    }


def test_since_reads_how_long_ago() -> None:
    """Seconds, minutes, hours and days before now."""
    for text, ago_ms in {"90s": 90_000, "15m": 900_000, "1h": DAY_MS / 24, "2d": 2 * DAY_MS}.items():
        before = time.time() * 1000
        since = Since().convert(text, None, None)

        assert before - ago_ms - 1 <= since <= time.time() * 1000 - ago_ms + 1, text


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["2026-11-22", "2026-11-22T10:00:00"], "names no zone: give 2026-11-22T10:00:00Z"),
        (["", "yesterday", "1w", "-5m", "5", "12:00", "\u0661m"], "give 30s, 15m, 1h, 2d"),
    ],
    ids=["no zone", "no time"],
)
def test_since_refuses_the_rest(texts: list[str], words: str) -> None:
    """With examples of what is a time; one without a zone as the API does."""
    for text in texts:
        with pytest.raises(click.BadParameter, match=words):
            pytest.fail(f"{text!r} is read as {Since().convert(text, None, None)}")
