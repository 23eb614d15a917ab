"""What an endpoint may repeat in its answer, and nobody may read there.

Comes in: the configuration. Goes out: the texts to strike out, the longest first.
"""

from collections.abc import Iterable, Iterator
from urllib.parse import unquote, urlsplit

from worker.integrations import ApiKeyAuth, BearerAuth, Webhook

#: What is shorter is a word rather than a secret, and is left standing.
_SHORTEST = 4
#: The same for a part of the url: such words are often those of the error itself.
_SHORTEST_PART = 12
#: The same for a value of its query that is more than a word.
_SHORTEST_VALUE = 6


def webhook_secrets(config: Webhook) -> list[str]:
    """Name the secrets of the integration, its url beyond the host included, as an answer may spell them."""
    found = {spelling for one in (*_given(config), *_of_url(config.url)) for spelling in _spellings(one)}
    return sorted(found, key=len, reverse=True)


def _given(config: Webhook) -> Iterator[str]:
    values = [*config.headers.values(), *config.signing_secrets]
    match config.auth:
        case BearerAuth(token=token):
            values.append(token)
        case ApiKeyAuth(value=value):
            values.append(value)
        case _:
            pass
    yield from _at_least(_SHORTEST, (value.get_secret_value() for value in values))


def _of_url(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    yield from _at_least(_SHORTEST, (parts.path, parts.query))
    pieces = [piece for pair in parts.query.split("&") for piece in pair.split("=")]
    yield from _at_least(_SHORTEST_PART, (*parts.path.split("/"), *pieces))
    values = (pair.partition("=")[2] for pair in parts.query.split("&"))
    yield from (one for one in _at_least(_SHORTEST_VALUE, values) if not one.isalpha())


def _at_least(length: int, texts: Iterable[str]) -> Iterator[str]:
    yield from (text for text in texts if len(text) >= length)


def _spellings(text: str) -> set[str]:
    """Return the text as it stands, decoded, and as JSON may write it (RFC 8259, section 7)."""
    plain = {text, unquote(text)}
    return plain | {one.replace("/", "\\/") for one in plain} | {one.replace('"', '\\"') for one in plain}
