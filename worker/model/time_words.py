"""Moments and spans of time in words. Pure."""

from worker.model.time import in_utc


def utc_text(milliseconds: int) -> str:
    """Write a moment as UTC to the second: `2026-11-23 14:02:07Z`."""
    return in_utc(milliseconds).isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")


def span(milliseconds: float) -> str:
    """Write how long something takes, roughly: `40 s`, `12 min`, `3 h`, `2 d`."""
    seconds = max(0, round(milliseconds / 1000))
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        # From two of a unit on: what is lost to rounding is then less than half.
        if seconds >= 2 * length or seconds == length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
