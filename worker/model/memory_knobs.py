"""The settings that bound what waits in Redis; `worker.settings` reads them with the others."""

from typing import Annotated

from pydantic import BaseModel, Field


class MemoryKnobs(BaseModel):
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
