"""The catalogue of what is logged, and every call that logs, read as source."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from worker.model import log_events
from worker.model.log_records import BOUND, LogEvent

WORKER = Path(__file__).parents[2] / "worker"
CATALOGUE = {name: one for name, one in vars(log_events).items() if isinstance(one, LogEvent)}
#: What every line has; no field may take its place.
LINE = {"time", "level", "event", "message", "logger", "process", "traceback", "task_id"}
#: Every field that a line may have: a new one is a decision, for searches and alerts rest on them.
FIELDS = {
    *BOUND,
    *("api_key", "attempt", "batches", "bytes", "check", "chunks", "code", "count", "dead", "delivered"),
    *("dependency", "details", "elapsed_ms", "entries", "entry", "error", "events", "hint", "host"),
    *("integrations", "key", "kind", "known", "last_error", "last_id", "limit", "loss", "most", "name"),
    *(
        "peer",
        "pid",
        "place",
        "port",
        "previous",
        "queue",
        "reason",
        "release",
        "replay",
        "replayed",
        "resource",
    ),
    *("retried", "retry_in", "role", "seconds", "skew_seconds", "skipped", "state", "state_in_redis"),
    *("store", "stream", "task", "threads", "times", "total", "url", "value", "wanted", "who", "worker"),
}
#: What hides an event, a destination's words or a secret.
FORBIDDEN = {"payload", "body", "answer", "headers", "token", "secret", "password", "raw"}
_BY_LEVEL = {"debug", "info", "warning", "error", "exception", "critical", "log"}


def _calls() -> Iterator[tuple[str, ast.Call]]:
    """Give every call of a method in worker/, with its place."""
    for file in sorted(WORKER.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                yield f"{file.relative_to(WORKER)}:{node.lineno}", node


def _event_calls() -> Iterator[tuple[str, str, ast.Call]]:
    for place, call in _calls():
        assert isinstance(call.func, ast.Attribute)
        if call.func.attr == "log" and isinstance(call.func.value, ast.Name) and call.func.value.id.isupper():
            yield place, call.func.value.id, call


def test_every_call_gives_an_event_its_fields() -> None:
    """No field is missing, none is unknown; those of a batch may come from the thread."""
    wrong = {}
    for place, name, call in _event_calls():
        given = {keyword.arg for keyword in call.keywords} - {"level", "exc_info"}
        event = CATALOGUE[name]
        wanted = event.shown | set(event.extra.split())
        if given - wanted - set(BOUND) or wanted - given - set(BOUND):
            wrong[place] = (name, given ^ wanted)
    assert wrong == {}


def test_every_event_is_logged_somewhere() -> None:
    """The catalogue has no more than happens."""
    assert {name for _, name, _ in _event_calls()} == set(CATALOGUE)


def test_nothing_is_logged_beside_the_catalogue() -> None:
    """A sentence of its own would have no name to search for."""
    loggers = re.compile(r"(^|\.)_?log(ger)?$")
    found = [
        place
        for place, call in _calls()
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in _BY_LEVEL
        and loggers.search(ast.unparse(call.func.value))
    ]
    assert found == []


def test_names_are_those_of_facts() -> None:
    """`noun.verb`, once each, as the constants are called, in the order of the alphabet by group."""
    names = [one.name for one in CATALOGUE.values()]
    assert all(re.fullmatch(r"[a-z_]+\.[a-z_]+", name) for name in names)
    assert len(set(names)) == len(names)
    assert [name.upper().replace(".", "_") for name in names] == list(CATALOGUE)
    groups = [name.partition(".")[0] for name in names]
    assert groups == sorted(groups)


def test_fields_are_known_and_harmless() -> None:
    """Each is in the list above; none stands for what must not be logged."""
    used = {field for one in CATALOGUE.values() for field in (*one.shown, *one.extra.split())}
    assert used | set(BOUND) == FIELDS
    assert not FIELDS & (LINE | FORBIDDEN)
