"""Cells: several whole fleets, each with its own Redis and ledger, each for some of the tenants.

A directory, which is a JSON file, says which tenant lives in which cell. Publishers read it:

{"cells": {"eu-1": {"redis_url": "redis://…", "api_url": "https://…"}, "eu-2": {"redis_url_file": "/run/…"}},
 "tenants": {"acme": "eu-2"}, "default": "eu-1"}

with CellPublisher("cells.json") as publisher:
    publisher.publish({"id": "evt_1", "type": "policy.deny", "timestamp": "…", "tenant_id": "acme"})
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from worker.broker.frames import JudgedEvent, judge
from worker.model.errors import BrokerUnavailable, InvalidEvent, InvalidSetting
from worker.model.log_events import CELL_DIRECTORY_INVALID
from worker.model.redis_address import check_address
from worker.publisher import PIPELINE, EventPublisher, Receipt, event_bytes

log = logging.getLogger(__name__)

#: How often a changed directory is looked for, in seconds.
_LOOK_EVERY = 1.0
_Name = Annotated[str, Field(min_length=1, max_length=128)]


class Cell(BaseModel):
    """One fleet: its Redis, given as URL or as the file that holds it, and where its API is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    redis_url: Annotated[str, Field(repr=False)] = ""
    redis_url_file: Path | None = None
    api_url: str = ""

    @model_validator(mode="after")
    def _has_redis(self) -> Self:
        if bool(self.redis_url) == bool(self.redis_url_file):
            msg = "give one of redis_url and redis_url_file"
            raise ValueError(msg)
        if self.redis_url:
            check_address(self.redis_url)
        return self

    def broker_address(self) -> str:
        """Return the URL of its Redis. Raises InvalidSetting when the file cannot be read or holds none."""
        if self.redis_url_file is None:
            return self.redis_url
        try:
            url = self.redis_url_file.read_text().strip()
            check_address(url)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise InvalidSetting(
                "redis_url_file",
                f"{self.redis_url_file} cannot be used: {reason}",
                "give a file with one URL",
            ) from None
        return url


class CellDirectory(BaseModel):
    """Which cells there are, and in which one each tenant lives; the others live in `default`, if given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cells: Annotated[dict[_Name, Cell], Field(min_length=1)]
    tenants: dict[_Name, _Name] = {}
    default: str | None = None

    @model_validator(mode="after")
    def _names_cells(self) -> Self:
        unknown = {*self.tenants.values(), *filter(None, [self.default])} - self.cells.keys()
        if unknown:
            msg = f"{', '.join(sorted(unknown))} is no cell: name one of {', '.join(sorted(self.cells))}"
            raise ValueError(msg)
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read it from a file. Raises InvalidSetting, which names the file and what is wrong in it."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise InvalidSetting(
                str(path), f"cannot be read: {error.strerror}", "name a directory of cells"
            ) from None
        except ValidationError as error:
            [first, *_] = error.errors(include_url=False, include_input=False)
            place = ".".join(map(str, first["loc"])) or "the file"
            raise InvalidSetting(str(path), f"{place}: {_reason(first['msg'])}", "correct it there") from None

    def cell_of(self, tenant_id: str) -> str:
        """Return the name of the cell of a tenant. Raises InvalidEvent when it has none."""
        found = self.tenants.get(tenant_id, self.default)
        if found is None:
            raise InvalidEvent("tenant_id", "has no cell in the directory", "add it there, or a default")
        return found


class CellPublisher:
    """Publishes each event in the cell of its tenant; as EventPublisher does, and to be used like it.

    A change of the directory, or of a file that holds a URL, counts within a second; one that is not valid is
    logged, and what was before it stays, until it can be read. While a cell is away, only the first batch
    waits for it; the other cells get their events.
    """

    def __init__(self, directory: str | Path, *, patience: float = 10.0, tracing: bool = False) -> None:
        """Read the directory. An absence of a cell's Redis of up to `patience` seconds is waited out.

        `tracing` is as of EventPublisher. Raises InvalidSetting.
        """
        self._path = Path(directory)
        self._patience = patience
        self._tracing = tracing
        self._publishers: dict[str, tuple[Cell, str, EventPublisher]] = {}
        self._stamp = self._stamped()
        self._complaint = ""
        self._directory = CellDirectory.read(self._path)
        self._looked = time.monotonic()

    def publish(self, event: Mapping[str, Any] | bytes) -> str:
        """Publish one event; return the id of its entry. Raises InvalidEvent, BrokerUnavailable."""
        [receipt] = self.publish_many([event])
        if receipt.error is not None:
            raise receipt.error
        return receipt.entry_id or ""

    def publish_many(self, events: Iterable[Mapping[str, Any] | bytes]) -> Iterator[Receipt]:
        """Publish events, many a round trip; yield one receipt for each, in their order."""
        left = iter(events)
        while window := list(islice(left, PIPELINE)):
            self._look_again()
            yield from self._publish(window)

    def close(self) -> None:
        """Close the connections."""
        for _, _, publisher in self._publishers.values():
            publisher.close()
        self._publishers = {}

    def __enter__(self) -> Self:
        """Publish within a `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def _publish(self, window: list[Mapping[str, Any] | bytes]) -> list[Receipt]:
        receipts: dict[int, Receipt] = {}
        by_cell: dict[str, dict[int, JudgedEvent]] = {}
        for place, event in enumerate(window):
            try:
                judged = judge(event_bytes(event))
                cell = self._directory.cell_of(judged.tenant_id)
                by_cell.setdefault(cell, {})[place] = judged
            except InvalidEvent as error:
                receipts[place] = Receipt(None, error)
        for cell, found in by_cell.items():
            receipts |= zip(found, self._publish_in(cell, list(found.values())), strict=True)
        return [receipts[place] for place in range(len(window))]

    def _publish_in(self, cell: str, events: list[JudgedEvent]) -> list[Receipt]:
        try:
            publisher = self._publisher(cell)
        except InvalidSetting as error:
            return [Receipt(None, BrokerUnavailable(f"cell {cell}: {error}"))] * len(events)
        receipts = publisher.publish_judged(events)
        is_away = any(isinstance(receipt.error, BrokerUnavailable) for receipt in receipts)
        publisher.patience = 0.0 if is_away else self._patience
        return receipts

    def _publisher(self, name: str) -> EventPublisher:
        """Return who publishes in this cell, a new one when the directory gives it another address."""
        cell = self._directory.cells[name]
        known = self._publishers.get(name)
        if known is not None and known[0] == cell:
            return known[2]
        address = cell.broker_address()
        made = EventPublisher(address, patience=self._patience, tracing=self._tracing)
        if known is not None:
            known[2].close()
        self._publishers[name] = (cell, address, made)
        return made

    def _look_again(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        self._forget_renewed()
        stamp = self._stamped()
        # What could not be read is tried again: a right that was missing, too many open files.
        if stamp == self._stamp and not self._complaint:
            return
        self._stamp, before, self._complaint = stamp, self._complaint, ""
        try:
            self._directory = CellDirectory.read(self._path)
        except InvalidSetting as error:
            self._complaint = str(error)
            if self._complaint != before:
                CELL_DIRECTORY_INVALID.log(log, error=self._complaint)

    def _forget_renewed(self) -> None:
        """Close the connections by an address that its file has replaced: its password ends soon."""
        for name, (cell, address, publisher) in list(self._publishers.items()):
            with suppress(InvalidSetting):
                if cell.broker_address() != address:
                    publisher.close()
                    del self._publishers[name]

    def _stamped(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size


def _reason(message: str) -> str:
    """Return what pydantic says, without its word for an error of ours."""
    return message.removeprefix("Value error, ")
