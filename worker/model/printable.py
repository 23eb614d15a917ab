"""Text that anybody may have written, made safe to look at, and short enough."""

#: What ends a text that is not whole.
MARK = "…"


def shortened(text: str, most: int) -> str:
    """Return the text, or as much of its beginning as fits into `most` characters with a mark behind it."""
    return text if len(text) <= most else text[: most - 1].rstrip() + MARK


def plain(text: str) -> str:
    r"""Return the text with its codes for what cannot be printed: `\x1b`, `\n`, `\u202e`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _code(char) for char in text)


def _code(char: str) -> str:
    return char.encode("unicode_escape").decode()
