"""What one tenant may own, with the errors that say so; and how many rows a list shows.

A quota refuses growth only: what a tenant had before the quota was lowered keeps working, and may be changed.
"""

from dataclasses import dataclass

from worker.model.errors import InvalidInput, InvalidIntegration, InvalidReplay, SiemError


@dataclass(frozen=True, slots=True)
class Quotas:
    """Of one tenant: its integrations, the bytes of each one's document, its replays that run."""

    integrations: int = 100
    integration_bytes: int = 65_536
    replays: int = 20


#: Defaults.
DEFAULT_QUOTAS = Quotas()


class OverQuota(InvalidInput):
    """A quota would be passed: `limit` is the name of its setting without SIEM_, `most` its value."""

    def __init__(self, field: str, reason: str, hint: str, limit: str, most: int) -> None:
        """Name the field, what is wrong with it, and a hint."""
        super().__init__(
            field,
            f"{reason} (limit {limit}: {most})",
            f"{hint}, or have SIEM_{limit.upper()} raised by those who run this installation",
        )
        self.limit = limit
        self.most = most


class TooManyIntegrations(OverQuota, InvalidIntegration):
    """The integration would be one too many."""


class TooLargeIntegration(OverQuota, InvalidIntegration):
    """The integration takes too many bytes."""


class TooManyReplays(OverQuota, InvalidReplay):
    """The replay would be one too many."""


class TooManyChanges(SiemError):
    """The keys of a tenant have changed as much in an hour as the audit trail has room for."""

    def __init__(self, most: int) -> None:
        """Say how many changes an hour has room for."""
        super().__init__(f"this tenant has made {most} changes within an hour, and each is recorded")


def too_many_integrations(count: int, most: int) -> TooManyIntegrations:
    """Return the error for a tenant that has `count` integrations already."""
    return TooManyIntegrations(
        "integrations",
        f"this tenant has {count} already",
        "delete one that is not needed any more",
        "tenant_integrations",
        most,
    )


def too_large_document(size: int, most: int, largest: str) -> TooLargeIntegration:
    """Return the error for a document of `size` bytes, of which the field `largest` takes the most."""
    return TooLargeIntegration(
        largest,
        f"makes the integration too large, {size} bytes with its secrets sealed",
        "leave out what is not needed, as certificates of CAs that did not sign the destination's",
        "integration_bytes",
        most,
    )


def too_many_replays(count: int, most: int) -> TooManyReplays:
    """Return the error for a tenant of which `count` replays run."""
    return TooManyReplays(
        "replays",
        f"{count} replays of this tenant run already",
        "wait until one is done, or cancel one",
        "tenant_replays",
        most,
    )


#: By default; and at the most.
USUAL_ROWS, MOST_ROWS = 50, 1000
