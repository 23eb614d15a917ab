"""Events that were read together, and what was made of them: several integrations want the same events."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from worker.model.events import QueuedEvent

Made = TypeVar("Made")


class EventRun:
    """Events in their order, shared by the threads of a process; neither they nor what is made is changed."""

    __slots__ = ("_lock", "_made", "events")

    def __init__(self, events: Sequence[QueuedEvent]) -> None:
        """Begin with nothing made of them."""
        self.events = events
        self._made: dict[Callable[..., Any], Any] = {}
        self._lock = threading.RLock()

    def made(self, make: Callable[[Sequence[QueuedEvent]], Made]) -> Made:
        """Return what this function makes of the events; it is called once, however many ask.

        What it makes must depend on the events alone, for all integrations get the same. The function is one
        of a module: it is known by that. Raises what it raises.
        """
        with self._lock:
            if make not in self._made:
                self._made[make] = make(self.events)
            found: Made = self._made[make]
            return found
