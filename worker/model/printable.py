"""Text that anybody may have written, made safe to look at."""


def plain(text: str) -> str:
    r"""Return the text with its codes for what cannot be printed: `\x1b`, `\n`, `\u202e`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _code(char) for char in text)


def _code(char: str) -> str:
    return char.encode("unicode_escape").decode()
