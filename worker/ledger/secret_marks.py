"""What may be shown of a secret: since when it is set, and its last two characters.

Comes in: an integration, what it was before, and what was noted then. Goes out: a mark for each secret, by
its path in the destination, such as `token`, `auth.value` or `headers.X-Team`; and their JSON.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import SecretStr

from worker.model.integrations import Integration

#: Of a secret that is shorter than this, nothing is shown: two characters would be too much of it.
SHORTEST_WITH_TAIL = 12
_TAIL = 2


class SecretMark(NamedTuple):
    """Since when (ms since 1970 UTC; None: nobody noted it), and how it ends (None: not shown)."""

    set_ms: int | None = None
    tail: str | None = None


Marks = Mapping[str, SecretMark]


def marks_of(new: Integration, now_ms: int, old: Integration | None = None, noted: str | None = None) -> str:
    """Return the marks of all its secrets as JSON; one that is what it was before keeps its mark."""
    # By the field that it is in: a secret that is one further down a list now is not another one.
    before = {(_field(path), text): path for path, text in _secrets(old)} if old else {}
    kept = read_marks(noted)
    marks = {}
    for path, text in _secrets(new):
        was = before.get((_field(path), text))
        marks[path] = SecretMark(now_ms, _tail(text)) if was is None else kept.get(was, SecretMark())
    return json.dumps(marks)


def read_marks(noted: str | None) -> Marks:
    """Read what `marks_of` returned; nothing where nothing was noted."""
    return {path: SecretMark(*mark) for path, mark in json.loads(noted or "{}").items()}


def marked(document: Mapping[str, Any], marks: Marks) -> dict[str, Any]:
    """Return a sealed destination with a SecretMark in the place of each secret. Needs no key."""
    return {name: _marked(value, name, marks) for name, value in document.items()}


def _marked(value: Any, path: str, marks: Marks) -> Any:
    match value:
        case {"$sealed": str(), **others} if not others:
            return marks.get(path, SecretMark())
        case Mapping():
            return {key: _marked(item, f"{path}.{key}", marks) for key, item in value.items()}
        case list():
            return [_marked(item, f"{path}.{place}", marks) for place, item in enumerate(value)]
        case _:
            return value


def _secrets(integration: Integration) -> Iterator[tuple[str, str]]:
    for name, value in integration.destination.model_dump().items():
        yield from _within(name, value)


def _field(path: str) -> str:
    return path.partition(".")[0]


def _within(path: str, value: Any) -> Iterator[tuple[str, str]]:
    match value:
        case SecretStr():
            yield path, value.get_secret_value()
        case Mapping():
            for key, item in value.items():
                yield from _within(f"{path}.{key}", item)
        case list() | tuple():
            for place, item in enumerate(value):
                yield from _within(f"{path}.{place}", item)


def _tail(secret: str) -> str | None:
    # Every private key in PEM ends alike.
    if len(secret) < SHORTEST_WITH_TAIL or "\n" in secret:
        return None
    return secret[-_TAIL:]
