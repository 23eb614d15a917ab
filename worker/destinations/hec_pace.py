"""How long to spare a Splunk that takes what it is sent but says that it will soon be full."""

import threading

from worker.destinations.splunk_hec.verdict import HecMeaning, HecVerdict

_FIRST_REST = 1.0
_LONGEST_REST = 16.0


class CoolDown:
    """The rest between batches, in seconds; it grows with each such reply. Shared by a process's threads."""

    def __init__(self) -> None:
        """Begin without a rest."""
        self._lock = threading.Lock()
        self._rest = 0.0

    def rest_after(self, verdict: HecVerdict) -> float:
        """Return for how long to rest after this reply: 1 s, then twice that, up to 16; a plain 0 ends it."""
        if verdict.meaning is not HecMeaning.ACCEPTED:
            return 0.0
        with self._lock:
            self._rest = min(max(self._rest * 2, _FIRST_REST), _LONGEST_REST) if verdict.strained else 0.0
            return self._rest
