"""What others send must not hold an interpreter: a pattern's cost grows as its text does, and no faster."""

import ast
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import worker
from tests.model.test_event_decoder import encoded, spliced
from worker.model.errors import InvalidEvent
from worker.model.event_decoder import accept_event
from worker.model.events import MAX_EVENT_BYTES
from worker.model.flows import flow_of
from worker.model.invalid_events import salvage_event
from worker.model.untrusted_text import in_one_line

#: Seconds of computing, not of the clock: a deadline that a busy machine does not bring nearer.
_DEADLINE = 3.0
#: Characters: a pattern whose cost grows as their square needs more than the deadline; any other some ms.
_LONG = 200_000
_NEARLY_ALL = MAX_EVENT_BYTES - 1000

_ROOT = Path(worker.__file__).parent
_SOURCES = {path: path.read_text() for path in sorted(_ROOT.rglob("*.py"))}
_ALL = "\n".join(_SOURCES.values())
_CLASSES = {r"\s": " ", r"\t": "\t", r"\r": "\r", r"\n": "\n", r"\d": "1", r"\w": "a", r"\S": "a", ".": "a"}


@contextmanager
def deadline() -> Iterator[None]:
    """Raise TimeoutError within what computes longer; `re` looks for signals while it searches."""

    def end(*_: object) -> None:
        raise TimeoutError(f"more than {_DEADLINE} s of computing")

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, _DEADLINE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize(
    "raw",
    [
        spliced(r'"x":"\u0041' + r"\"" * (_NEARLY_ALL // 2))[:-1],
        spliced('"x":"' + r"\ud83d\"" * (_NEARLY_ALL // 8))[:-1],
        encoded(type=" - at `$." + "a" * _NEARLY_ALL),
        encoded(type=" - at `$.a." + "a" * _NEARLY_ALL),
    ],
    ids=["unended", "unended with halves", "place", "inner place"],
)
def test_no_event_takes_long_to_refuse(raw: bytes) -> None:
    """Also while its tenant is looked for; every other event of the process waits meanwhile."""
    with deadline(), pytest.raises(InvalidEvent):
        accept_event(raw)
    with deadline():
        salvage_event(raw)
        flow_of(raw)


def test_no_text_takes_long_to_clean() -> None:
    """Neither one full of blanks, which a reader puts into a path, nor one full of line breaks."""
    with deadline():
        assert in_one_line("x" + "\t" * _NEARLY_ALL + "x") == "x" + r"\t" * _NEARLY_ALL + "x"
        assert in_one_line("x" + " \n\t" * _NEARLY_ALL + "x") == "x x"


def _compiled(value: Any) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, tuple):
        for one in value:
            yield from _compiled(one)


def _patterns() -> Iterator[tuple[str, re.Pattern[Any], frozenset[str]]]:
    """Yield each pattern with the place that it stands in and the methods that it is used by."""
    for path, source in _SOURCES.items():
        if "import re\n" not in source:
            continue
        module = ".".join(path.relative_to(_ROOT.parent).with_suffix("").parts)
        for name, value in list(vars(import_module(module)).items()):
            used = source if name.startswith("_") else _ALL
            for pattern in _compiled(value):
                yield f"{module}.{name}", pattern, frozenset(re.findall(rf"\b{name}\.(\w+)", used))
        for call in ast.walk(ast.parse(source)):
            match call:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name("re"), attr=method),
                    args=[ast.Constant(str() | bytes() as words), *_],
                ) if method != "compile":
                    yield f"{module}:{call.lineno}", re.compile(words), frozenset({method})


def _texts(source: str) -> Iterator[str]:
    """Yield long texts of each character and each word of a pattern, also behind its words."""
    tokens = set(re.findall(r"\\?.", source, re.DOTALL)) | {'\\"', " ", "\t", ":", "1", "a"}
    characters = sorted({_CLASSES.get(token, token.removeprefix("\\")) for token in tokens})
    words = re.findall(r"[^\[\](){}|*+?^]{3,}", source)
    words = [re.sub(r"\\(.)", r"\1", word) for word in words]
    for beginning in ("", *words):
        for pump in (*characters, *words):
            yield beginning + pump * (_LONG // len(pump)) + "!"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_pattern_takes_long(subtests: pytest.Subtests) -> None:
    """Neither one for what others send, nor any other: one that is safe is as easily written."""
    places = {(pattern, methods): place for place, pattern, methods in _patterns()}
    assert len(places) > 50
    for (pattern, methods), place in places.items():
        with subtests.test(place=place):
            _search_long_texts(pattern, methods)


def _search_long_texts(pattern: re.Pattern[Any], methods: frozenset[str]) -> None:
    source = pattern.pattern
    anchored = [name for name in ("match", "fullmatch") if name in methods]
    for text in _texts(source if isinstance(source, str) else source.decode("latin-1")):
        given = text if isinstance(source, str) else text.encode("latin-1")
        with deadline():
            for name in anchored if len(anchored) == len(methods) and methods else [*anchored, "findall"]:
                getattr(pattern, name)(given)
