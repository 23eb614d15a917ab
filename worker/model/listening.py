"""What is said where a process cannot listen at the address that the settings give."""

import errno

from worker.model.errors import InvalidSetting


def listening_refused(prefix: str, host: str, port: int, error: OSError, hint: str) -> InvalidSetting:
    """Return the error for the settings `<prefix>_HOST` and `<prefix>_PORT`; the hint is for a taken port."""
    if error.errno == errno.EADDRINUSE:
        return InvalidSetting(f"{prefix}_PORT", f"{port} is in use", hint)
    return InvalidSetting(
        f"{prefix}_HOST", f"cannot listen at {host} ({error.strerror})", "give an address of this machine"
    )
