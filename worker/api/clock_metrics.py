"""The names under which processes stand in the figures of clocks."""

import hashlib


def anonymous(process: str) -> str:
    """Return the role of a process and a mark that tells it from others, in place of its host and number."""
    role, _, name = process.partition(":")
    return f"{role}:{hashlib.sha256(name.encode()).hexdigest()[:8]}"
