"""What the broker asks of an integration as the ledger keeps it."""

from typing import Protocol


class Record(Protocol):
    """One integration as the ledger keeps it: `document` is its JSON, with sealed secrets."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def type(self) -> str:
        """The type of its destination."""
        ...

    @property
    def document(self) -> str:
        """The whole integration as JSON."""
        ...

    @property
    def revision(self) -> int:
        """Another number with every change."""
        ...

    @property
    def deleted(self) -> bool:
        """Whether only a tombstone is left to publish."""
        ...
