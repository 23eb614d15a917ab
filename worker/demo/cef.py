r"""What a receiver of the demo reads of a syslog message that carries CEF: the id of its event.

In comes a message without its frame, out comes the id, or none. It is read from the ArcSight CEF standard
and from none of our own code that writes it: a pipe is escaped in the header alone, an equals sign in values
alone, and what is neither (`\n` and `\r` in values aside) is a mistake.
"""

import re

#: A priority of at most 191 (RFC 5424, 6.2.1) and whatever header follows it, up to the CEF.
_BEFORE_CEF = re.compile(r"<(?:1[0-8][0-9]|19[01]|[1-9]?[0-9])>[ -~]*?(?=CEF:[01]\|)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: What stands for a character that was escaped until the text is taken apart: no message holds a control.
_BACKSLASH, _PIPE, _EQUALS = "\x00", "\x01", "\x02"
#: The keys that name the event; the first has room for the longest id.
_ID_KEYS = ("devicePayloadId", "externalId")
_FIELDS = 7


def cef_event_id(message: bytes) -> str | None:
    """Return the id of the event that a message is about; None when the message breaks a rule."""
    try:
        text = message.decode()
    except UnicodeDecodeError:
        return None
    before = _BEFORE_CEF.match(text)
    if before is None or _CONTROL.search(text):
        return None
    pairs = _read_cef(text[before.end() :])
    return next((_unescaped(pairs[key]) for key in _ID_KEYS if pairs.get(key)), None)


def _read_cef(text: str) -> dict[str, str]:
    """Return the pairs of the extension, their values still masked; none when a rule is broken."""
    masked = text.replace("\\\\", _BACKSLASH).replace("\\|", _PIPE)
    *header, extension = masked.split("|", _FIELDS)
    if len(header) != _FIELDS or "\\" in "".join(header) or _PIPE in extension:
        return {}
    return _read_extension(extension.replace("\\=", _EQUALS))


def _read_extension(masked: str) -> dict[str, str]:
    """Read the pairs: an unescaped equals sign ends a key, which begins behind the blank before it."""
    first, *rest = masked.split("=")
    parts = [part.rpartition(" ") for part in rest[:-1]]
    keys = [first, *(key for _, _, key in parts)]
    values = [*(value for value, _, _ in parts), *rest[-1:]]
    is_sound = len(set(keys)) == len(keys) and all(map(str.isidentifier, keys))
    if not is_sound or "\\" in masked.replace("\\n", "").replace("\\r", ""):
        return {}
    return dict(zip(keys, values, strict=False))


def _unescaped(value: str) -> str:
    plain = value.replace("\\n", "\n").replace("\\r", "\r")
    return plain.replace(_EQUALS, "=").replace(_BACKSLASH, "\\")
