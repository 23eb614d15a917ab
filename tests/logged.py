"""What was logged: the events of the catalogue, by name, with their fields."""

from collections.abc import Sequence
from typing import Any

import pytest

from worker.model.log_records import LogEvent


def event_names(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Name the events that were logged, in their order; other records are left out."""
    events = (getattr(record, "event", None) for record in caplog.records)
    return [event.name for event in events if isinstance(event, LogEvent)]


def fields_of(caplog: pytest.LogCaptureFixture, event: LogEvent) -> Sequence[dict[str, Any]]:
    """Return the fields of each record of this event."""
    return [record.__dict__["fields"] for record in caplog.records if getattr(record, "event", None) is event]
