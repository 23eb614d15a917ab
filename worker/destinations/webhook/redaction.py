"""What an endpoint answers, without the secrets that it may repeat.

Input: the configuration. Output: the texts to strike out, the longest first.
"""

from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import unquote, urlsplit

from worker.integrations.webhook import ApiKeyAuth, BearerAuth, Webhook
from worker.model.untrusted_text import shortened

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


_LONGEST_CHARACTER = 4  # bytes in UTF-8


_MOST_WORDS = 200


def response_excerpt(body: bytes, secrets: Sequence[str]) -> str:
    """Return the beginning of what an endpoint says, on one line and without the secrets that it repeats.

    Of a page, or of what is no text, it returns nothing.
    """
    text = _decoded(body)
    if text.lstrip().startswith("<"):
        return ""
    for secret in secrets:
        text = text.replace(secret, "***")
    plain = "".join(char if char.isprintable() else " " for char in text)
    return shortened(" ".join(plain.split()), _MOST_WORDS)


def _decoded(body: bytes) -> str:
    """Decode UTF-8, of which the last character may have been cut."""
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        is_cut = error.start > len(body) - _LONGEST_CHARACTER
        return body[: error.start].decode() if is_cut else ""
