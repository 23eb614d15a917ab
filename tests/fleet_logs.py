"""What the processes of a fleet have logged last: when a test fails on a busy machine, often all there is."""

from collections.abc import Iterable, Iterator

from tests.fleet import Fleet

#: Of each process.
_LINES = 40


def last_words(given: Iterable[object]) -> list[tuple[str, str]]:
    """Return a section for a report, of each process of the fleets, or their customers, given to a test."""
    fleets = {id(fleet): fleet for fleet in _fleets(given)}
    return [section for fleet in fleets.values() for section in _sections(fleet)]


def _fleets(given: Iterable[object]) -> Iterator[Fleet]:
    for one in given:
        fleet = getattr(one, "fleet", one)
        if isinstance(fleet, Fleet):
            yield fleet


def _sections(fleet: Fleet) -> Iterator[tuple[str, str]]:
    for file in sorted(fleet.directory.glob("*.log")):
        lines = file.read_text(errors="replace").splitlines()
        yield f"log of {file.stem}, the last of {len(lines)} lines", "\n".join(lines[-_LINES:])
