"""A name that moves, for processes that ask the system: glibc's look-ups, answered from a file (nss_wrapper).

The library stands before the C library's own functions, and reads the file again when its time has changed.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.interop.programs import PEERS

HOST = "siem.test"
#: The library distinguishes changes by whole seconds.
_LATER = 10
_ONE_LOOK_UP = Path(__file__).parent / "one_look_up"


class HostsFile:
    """Leads one name to addresses that may be changed."""

    def __init__(self, directory: Path, ips: Sequence[str]) -> None:
        """Write the file; without the library, the test is skipped, and says how to get it."""
        library = next(PEERS.glob("usr/lib/*/libnss_wrapper.so"), None)
        if library is None:
            pytest.skip("nss_wrapper is not here: run .ci/peers, which brings it")
        self._path = directory / "hosts"
        self._time = 1_000_000_000
        #: Of the processes that are to see the name.
        self.environment = {
            "LD_PRELOAD": str(library),
            "NSS_WRAPPER_HOSTS": str(self._path),
            "PYTHONPATH": os.pathsep.join([str(_ONE_LOOK_UP), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }
        self.lead_to(ips)

    def lead_to(self, ips: Sequence[str]) -> None:
        """Let the name lead there from the next look-up on."""
        draft = self._path.with_suffix(".draft")
        draft.write_text("".join(f"{ip} {HOST}\n" for ip in ips))
        self._time += _LATER
        os.utime(draft, (self._time, self._time))
        draft.replace(self._path)
