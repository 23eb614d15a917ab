"""Makes text storable: what comes from a customer's SIEM may hold what PostgreSQL cannot."""

from worker.model.untrusted_text import shortened

#: Errors and hints are cut to this many characters, the mark that says so included.
LONGEST = 500


def storable(text: str) -> str:
    """Return the text with a replacement character for NUL, which no text of PostgreSQL may hold."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def storable_prose(text: str) -> str:
    """Return storable text of at most 500 characters, without lone surrogates."""
    return storable(shortened(text, LONGEST)).encode(errors="replace").decode()
