"""The settings that bound what waits in Redis; `worker.settings` reads them with the others."""

from typing import Annotated

from pydantic import BaseModel, Field

from worker.model.budget import MemoryPlan, memory_of
from worker.model.parking import Cap


class MemorySettings(BaseModel):
    """What may wait in Redis; the database keeps what is older."""

    backlog_events: Annotated[
        int,
        Field(
            ge=1000,
            description="Events that one backlog may hold in Redis; the database keeps what is older.",
        ),
    ] = 200_000
    backlog_bytes: Annotated[
        int,
        Field(ge=1_000_000, description="Bytes of these events, as published."),
    ] = 256_000_000
    waiting_bytes: Annotated[
        int,
        Field(
            ge=0,
            description="Bytes of Redis's memory that all backlogs may take together; beyond, the largest "
            "give up their oldest events to the database. 0 is half of `maxmemory`, or 2 GB without one.",
        ),
    ] = 0

    @property
    def cap(self) -> Cap:
        """What one backlog may hold."""
        return Cap(self.backlog_events, self.backlog_bytes)

    @property
    def memory_plan(self) -> MemoryPlan:
        """What the check of Redis' memory needs to know."""
        return MemoryPlan(memory_of(self.backlog_events, self.backlog_bytes), self.waiting_bytes)
