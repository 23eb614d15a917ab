"""Records as lines for people and as JSON: ours with event and fields, those of libraries alike."""

import json
import logging
import pkgutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.app import trace

import worker
from tests.attacks.test_forged_words import FORGED, is_clean
from worker.logging import LONGEST, QUIET, CleanRecord, make_handler
from worker.model.log_events import BREAKER_OPENED, DEPENDENCY_LOST, PROCESS_UNEXPECTED_ERROR
from worker.model.log_records import bind_fields, bind_more

log = logging.getLogger("worker.test")

#: Libraries that log nothing of theirs, or only what should be read.
HARMLESS = {
    "concurrent",  # exceptions of callbacks
    "dotenv",  # a file `.env` that cannot be parsed
    "fastapi",  # nothing that this release logs
    "psycopg",  # WARNING: a connection that could not be closed
    "pydantic_settings",  # nothing that this release logs
    "socks",  # DEBUG: proxies, which we use none of
    "tzlocal",  # a time zone of the machine that cannot be read
    "tornado",  # of Flower alone
}


class Lines:
    """What handlers of both forms write."""

    def __init__(self, folder: Path) -> None:
        """Write into this folder."""
        self.files = {form: folder / form for form in ("console", "json")}
        self.handlers = {form: make_handler(form, str(file)) for form, file in self.files.items()}

    def console(self) -> list[str]:
        """Return the lines for people, without times."""
        return [line.partition(",")[2][4:] for line in self.files["console"].read_text().splitlines()]

    def json(self) -> list[dict[str, Any]]:
        """Return the objects."""
        return [json.loads(line) for line in self.files["json"].read_text().splitlines()]


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Lines]:
    """Give the root logger handlers of both forms, at DEBUG."""
    made, root = Lines(tmp_path), logging.getLogger()
    factory = logging.getLogRecordFactory()
    levels = {name: logging.getLogger(name).level for name in (None, *QUIET)}
    logging.setLogRecordFactory(CleanRecord)
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    for handler in made.handlers.values():
        root.addHandler(handler)
    yield made
    for handler in made.handlers.values():
        root.removeHandler(handler)
        handler.close()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.setLogRecordFactory(factory)


def test_an_event_shows_each_field_once(lines: Lines) -> None:
    """People read those of the sentence there, and the others behind it; programs have all."""
    with bind_fields(integration="int_1", slot=0, epoch=7, batch=1_764_160_000_123):
        bind_more(tenant="acme corp", type=None)
        BREAKER_OPENED.log(log, reason="timeout")

    [text] = lines.console()
    sentence = "circuit breaker of int_1 opened (timeout): its events wait, and one probe at a time is sent"
    fields = 'slot=0 epoch=7 batch=1764160000123 tenant="acme corp"'
    assert text == f"WARNING breaker.opened: {sentence} {fields}"
    [line] = lines.json()
    assert line.pop("time").endswith("Z")
    assert isinstance(line.pop("process"), int)
    assert line == {
        "level": "warning",
        "event": "breaker.opened",
        "message": sentence,
        "logger": "worker.test",
        "integration": "int_1",
        "slot": 0,
        "epoch": 7,
        "batch": 1_764_160_000_123,
        "tenant": "acme corp",
        "reason": "timeout",
    }


def test_fields_of_a_batch_are_those_of_its_thread_and_block(lines: Lines) -> None:
    """Threads deliver at once; what follows a batch is not about it."""

    def deliver(name: str) -> None:
        with bind_fields(integration=name):
            barrier.wait(10)
            BREAKER_OPENED.log(log, reason="timeout")
        DEPENDENCY_LOST.log(log, dependency="Redis", error=name)
        bind_more(tenant="of no batch")

    barrier = threading.Barrier(2)
    threads = [threading.Thread(target=deliver, args=[name]) for name in ("int_1", "int_2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    about = [(line["event"], line.get("integration")) for line in lines.json()]
    assert sorted(about, key=str) == [
        ("breaker.opened", "int_1"),
        ("breaker.opened", "int_2"),
        ("dependency.lost", None),
        ("dependency.lost", None),
    ]
    assert not any("tenant" in line for line in lines.json())


def test_a_traceback_is_indented_or_a_field(lines: Lines) -> None:
    """No line of it can be taken for a record."""
    PROCESS_UNEXPECTED_ERROR.log(log, task="sweeper", retry_in=2.0, exc_info=ValueError(FORGED))

    first, *others = lines.files["console"].read_text().rstrip("\n").split("\n")
    assert first.endswith("ERROR process.unexpected_error: unexpected error in sweeper, retrying in 2 s")
    assert others[0].startswith("    ValueError: ")
    assert all(line.startswith("    ") and line.isprintable() for line in others)
    [line] = lines.json()
    assert line["traceback"].split("\n") == others


@pytest.mark.parametrize("form", ["console", "json"])
def test_forged_words_stay_one_clean_line(lines: Lines, form: str) -> None:
    """In a sentence, in a field that it does not show, and in a record of a library."""
    with bind_fields(tenant=FORGED, integration="x" * 1_000_000, slot=0):
        BREAKER_OPENED.log(log, reason=FORGED)
    logging.getLogger("amqp.x").error("it said: %s", FORGED)

    text = lines.files[form].read_text()
    assert text.count("\n") == 2
    assert all(
        is_clean(line) or is_clean(line.replace("\\\\", "\\")) for line in text.rstrip("\n").split("\n")
    )
    assert len(text) < 4 * LONGEST
    if form == "json":
        assert all(is_clean(line["message"]) or is_clean(line["tenant"]) for line in lines.json())


def test_a_record_that_cannot_be_formatted_is_a_line_as_well(lines: Lines) -> None:
    """Without its words: logging itself would print them as they came."""
    record = CleanRecord("kombu.x", logging.ERROR, __file__, 1, "%d of %d", ("secret",), None)
    for handler in lines.handlers.values():
        handler.handle(record)

    assert lines.console() == ["ERROR kombu.x: a record of kombu.x cannot be formatted: TypeError"]
    [line] = lines.json()
    assert (line["event"], line["level"]) == ("kombu.log", "error")
    assert line["message"] == "a record of kombu.x cannot be formatted: TypeError"


def test_a_task_of_celery_is_named_by_fields(lines: Lines) -> None:
    """As Celery logs it: what it gives to handlers is read, its text is not, and arguments stay out."""
    context = {
        "id": "4a3e",
        "name": "deliver_webhook",
        "return_value": "canary",
        "runtime": 0.5,
        "args": "canary",
    }
    trace.info("a text of some release: %(name)s", context)

    [line] = lines.json()
    assert (line["event"], line["logger"]) == ("celery.log", "celery.app.trace")
    assert line["message"] == "a text of some release: deliver_webhook"
    assert line["task"] == "deliver_webhook"
    assert line["task_id"] == "4a3e"
    assert line["seconds"] == 0.5
    assert "canary" not in lines.files["json"].read_text()


def test_every_library_that_logs_has_a_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new dependency that logs is to be looked at: what it says, and from which level up that helps."""
    monkeypatch.setenv("SIEM_REDIS_URL", "redis://127.0.0.1:1/0")
    program = (
        "import logging, sys\n"
        "for name in sys.argv[1:]: __import__(name)\n"
        "print(*{name.partition('.')[0] for name in logging.root.manager.loggerDict})"
    )
    names = [one.name for one in pkgutil.walk_packages(worker.__path__, "worker.")]
    own = [name for name in names if ".versions." not in name]  # Alembic imports those
    done = subprocess.run([sys.executable, "-c", program, *own], capture_output=True, check=True, text=True)

    found = set(done.stdout.split()) - {"worker"}
    assert found - QUIET.keys() - HARMLESS == set()
    assert not QUIET.keys() & HARMLESS


@pytest.mark.parametrize("form", ["console", "json"])
def test_what_ends_a_process_or_a_thread_is_a_record(form: str) -> None:
    """Once the process logs, its last words have the same form."""
    program = (
        "import threading; from worker.logging import configure\n"
        f"configure('INFO', {form!r})\n"
        "def fail(): raise ValueError('\\x1b[2J')\n"
        "one = threading.Thread(target=fail, name='one'); one.start(); one.join()\n"
        "fail()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, text=True)

    lines = [line for line in done.stderr.splitlines() if not line.startswith(" ")]
    assert done.returncode == 1
    assert done.stderr.count("ValueError: \\" + "\\" * (form == "json") + "x1b[2J") == 2
    if form == "json":
        assert [json.loads(line)["event"] for line in lines] == ["thread.ended", "process.crashed"]
    else:
        assert [line.split()[3] for line in lines] == ["thread.ended:", "process.crashed:"]
