"""`siem status` and `siem health` list integrations: trouble first, in 80 columns, however many there are."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, event

from tests.cli.running import call
from tests.fleet import Fleet
from worker.broker import keys
from worker.broker.snapshot import publish_integrations
from worker.cli.reports import as_screen
from worker.integrations.integration import parse_integration

URL = "https://splunk.example.com/services/collector"
MANY = 250


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Give a fleet without processes, with many integrations; the breaker of the last one is open."""
    with Fleet(tmp_path_factory.mktemp("many")) as fleet:
        for number in range(MANY):
            tenant = f"tenant-{number % 7}"
            destination = {"type": "splunk_hec", "url": URL, "token": "t"}
            name = f"splunk of a department with a very long name {number}"
            document = {"id": f"int_{number}", "name": name, "tenant_id": tenant, "destination": destination}
            fleet.store.create(parse_integration(document))
        publish_integrations(fleet.client, fleet.store.records(), fleet.settings.slots)
        opened = ("breaker", "open", "opened_by", "connect_failed", "opened_at", "1795600000000")
        fleet.client.hset(keys.state_key(f"int_{MANY - 1}"), items=[*opened, "backlog_events", "1234567"])
        yield fleet


@pytest.mark.parametrize("command", ["status", "health"])
def test_trouble_comes_first_in_80_columns(many: Fleet, command: str) -> None:
    """The one that fails leads, with the reason under it; the rest is counted, not listed."""
    lines = call(many.environment, command, columns=80).out.splitlines()
    heading = next(place for place, line in enumerate(lines) if line.startswith("STATE"))
    first, reason = lines[heading + 1 : heading + 3]

    assert max(map(len, lines)) <= 80
    assert f"{MANY} integrations: 1 failing, {MANY - 1} idle." in lines
    assert first.startswith("failing")
    assert "1 234 567" in first
    assert "…" in first
    assert "tenant-" in first
    assert reason.startswith("    circuit breaker open since")
    assert len([line for line in lines if line.startswith("idle")]) == 19
    assert any("Not listed: 230 idle" in line for line in lines)


@pytest.mark.parametrize("command", ["status", "health"])
def test_a_pipe_gets_whole_lines(many: Fleet, command: str) -> None:
    """A script that greps finds names that are not cut, and every integration if it wants."""
    out = call(many.environment, command, "--limit", "0").out

    for number in range(MANY):
        assert f"splunk of a department with a very long name {number} " in out
    assert "Not listed" not in out


@pytest.mark.parametrize("command", ["status", "health"])
def test_one_tenant_alone(many: Fleet, command: str) -> None:
    """The list, the document and the exit code are the tenant's; one without integrations is reported."""
    listed = call(many.environment, command, "--tenant", "tenant-3").out
    document: dict[str, Any] = call(many.environment, command, "--tenant", "tenant-3", "--json").report

    assert "36 integrations: 36 idle." in listed
    assert "TENANT" not in listed
    assert {one["tenant_id"] for one in document["integrations"]} == {"tenant-3"}
    assert "No integrations of tenant nobody yet" in call(many.environment, command, "--tenant", "nobody").out


def test_an_error_is_shown_once(many: Fleet) -> None:
    """The reason has it, and so the row has not."""
    out = call(many.environment, "status", "--limit", "1").out

    assert out.count("connect failed") == 1


@pytest.mark.parametrize("command", ["status", "health"])
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_questions_do_not_grow_with_the_integrations(
    many: Fleet, command: str, options: tuple[str, ...]
) -> None:
    """The ledger is asked of a hundred at once: a few statements, not a few for each."""
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        call(many.environment, command, *options)
    finally:
        event.remove(Engine, "before_cursor_execute", note)

    assert 0 < len(asked) < 50


def test_a_list_that_is_watched_shows_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit into the terminal is left out below, never above."""
    monkeypatch.setenv("LINES", "24")
    shown = as_screen("\n".join(map(str, range(500))))
    lines = [line.removesuffix("\x1b[K") for line in shown.removeprefix("\x1b[H").splitlines()]

    assert lines[:2] == ["0", "1"]
    assert lines[22] == "… 478 more lines: the terminal is too short"
    assert len(lines) == 24
