"""What health says of processes that are short of a resource. Pure."""

from collections.abc import Iterable

from worker.model.health import Part
from worker.model.shortages import Resource

RESOURCES_PART = "resources"


def resources_parts(short: Iterable[tuple[str, Resource]]) -> list[Part]:
    """Return a part that tells which processes, each by its name, are short of what; nothing if none is."""
    by_resource: dict[Resource, set[str]] = {}
    for process, one in short:
        by_resource.setdefault(one, set()).add(process)
    if not by_resource:
        return []
    told = "; ".join(
        f"{', '.join(sorted(processes))} short of {one.words}: {one.hint}"
        for one, processes in sorted(by_resource.items())
    )
    words = f"{told}; what cannot be sent waits, and counts as no attempt"
    public = f"processes are short of {', '.join(one.words for one in sorted(by_resource))}"
    return [Part(RESOURCES_PART, ok=False, words=words, holds_events=False, public=public)]
