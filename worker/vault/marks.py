"""What may be shown of a secret: since when it is set, and its last two characters.

Input: an integration, what it was before, and what was noted then. Output: a mark for each secret, by
its path in the destination, such as `token`, `auth.value` or `headers.X-Team`; and their JSON.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
from pydantic import SecretStr

from worker.integrations.integration import Integration, secrets_in
from worker.integrations.secrets import is_secret_readable, masked_url
from worker.model.untrusted_json import DAMAGED

#: Of a secret that is shorter than this, nothing is shown: two characters would be too much of it.
SHORTEST_WITH_TAIL = 12
_TAIL = 2


class SecretMark(NamedTuple):
    """Since when (ms since 1970 UTC; None: not known), and how it ends (None: not shown).

    Of a url that has a query, `tail` is all but the values of that.

    `readable` is whether it can be used: one of the keys at hand opens it, in the place where it stands.
    """

    set_ms: int | None = None
    tail: str | None = None
    readable: bool = True


Marks = Mapping[str, SecretMark]

_decode = msgspec.json.Decoder(dict[str, tuple[int | None, str | None]]).decode


def marks_of(new: Integration, now_ms: int, old: Integration | None = None, noted: str | None = None) -> str:
    """Return the marks of all its secrets as JSON; one that is what it was before keeps its mark."""
    # By the field that it is in: a secret that is one further down a list now is not another one.
    before = {(_field(path), secret): path for path, secret in secrets_in(old)} if old else {}
    kept = read_marks(noted)
    marks = {}
    for path, secret in secrets_in(new):
        was = before.get((_field(path), secret))
        marks[path] = SecretMark(now_ms, _tail(path, secret)) if was is None else kept.get(was, SecretMark())
    # Whether a secret can be opened is no matter of when it was set, but of the keys of today.
    return json.dumps({path: [mark.set_ms, mark.tail] for path, mark in marks.items()})


def read_marks(noted: str | None) -> Marks:
    """Read what `marks_of` returned; nothing where nothing was noted."""
    return {path: SecretMark(*mark) for path, mark in json.loads(noted or "{}").items()}


def are_marks(noted: str | None) -> bool:
    """Whether `marks_of` may have returned this: to ask of what comes from elsewhere."""
    try:
        _decode(noted or "{}")
    except DAMAGED:
        return False
    return True


def marked(document: Mapping[str, Any], marks: Marks, opens: Callable[[str, str], bool]) -> dict[str, Any]:
    """Return a sealed destination with a SecretMark in the place of each secret.

    `opens` says of a path and the sealed text there whether it is readable.
    """

    def mark(path: str, sealed: str) -> SecretMark:
        return marks.get(path, SecretMark())._replace(readable=opens(path, sealed))

    return {name: _marked(value, name, mark) for name, value in document.items()}


def _marked(value: Any, path: str, mark: Callable[[str, str], SecretMark]) -> Any:
    match value:
        case {"$sealed": str() as sealed, **others} if not others:
            return mark(path, sealed)
        case Mapping():
            return {key: _marked(item, f"{path}.{key}", mark) for key, item in value.items()}
        case list():
            return [_marked(item, f"{path}.{place}", mark) for place, item in enumerate(value)]
        case _:
            return value


def _field(path: str) -> str:
    return path.partition(".")[0]


def _tail(path: str, secret: SecretStr) -> str | None:
    if not is_secret_readable(secret):
        return None
    text = secret.get_secret_value()
    if path == "url":
        return masked_url(text)
    # Every private key in PEM ends alike.
    if len(text) < SHORTEST_WITH_TAIL or "\n" in text:
        return None
    return text[-_TAIL:]
