"""What the broker asks of an integration as the ledger keeps it."""

from typing import Protocol


class StoredState(Protocol):
    """Where one integration stands in the ledger."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def type(self) -> str:
        """The type of its destination."""
        ...

    @property
    def revision(self) -> int:
        """Another number with every change."""
        ...

    @property
    def deleted(self) -> bool:
        """Whether only a tombstone is left to publish."""
        ...


class StoredIntegration(StoredState, Protocol):
    """One integration as the ledger keeps it."""

    @property
    def document(self) -> str:
        """The whole integration as JSON, with sealed secrets."""
        ...
